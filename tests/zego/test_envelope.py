from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.sandbox.callbacks import Shape, encode_body, sign_fields
from service.zego.callback import Envelope, Unreadable, parse_callback, read_envelope
from service.zego.signature import verify_callback

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
SECRET = "callback-secret"
FIELDS = {
    "event": "record",
    "appid": "1234567890",
    "stream_alias": "课程 a+b&c=d%41 😀",
    "replay_url": "https://cdn.example/a b+c.mp4?x=1&y=%20",
    "begin_time": "1785580000",
    "end_time": "1785583600",
    "extra_params": {"FileID": "5285890784273533167", "Duration": 12.5, "TaskId": "a+b c"},
}
SIGNED = sign_fields(FIELDS, secret=SECRET, now=NOW, nonce="123456")
SHAPES: tuple[Shape, ...] = get_args(Shape)


def body(**changes: object) -> bytes:
    return json.dumps({name: value for name, value in (SIGNED | changes).items() if value is not ...}).encode()


def opened(**changes: object) -> Envelope:
    return read_envelope(body(**changes), "application/json")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_opens_to_the_same_content(shape: Shape) -> None:
    envelope = read_envelope(*encode_body(SIGNED, shape))
    assert verify_callback([SECRET], envelope.signature, envelope.timestamp, envelope.nonce)
    assert (envelope.app_id, envelope.event, envelope.problem) == ("1234567890", "record", None)
    assert envelope.fields["stream_alias"] == FIELDS["stream_alias"]
    assert envelope.fields["replay_url"] == FIELDS["replay_url"]
    assert envelope.fields["extra_params"] == {
        "FileID": "5285890784273533167",
        "Duration": "12.5",
        "TaskId": "a+b c",
    }
    assert envelope.content_hash == opened().content_hash


def test_the_content_type_is_not_trusted() -> None:
    for shape in SHAPES:
        raw, content_type = encode_body(SIGNED, shape)
        assert read_envelope(raw, "\ud800" * 99) == read_envelope(raw, content_type)


def test_key_order_blanks_a_byte_order_mark_and_the_case_of_the_signature_change_nothing() -> None:
    assert opened(signature=SIGNED["signature"].upper()) == opened()
    turned = json.dumps(dict(reversed(SIGNED.items())), indent=3).encode()
    assert read_envelope(b"\xef\xbb\xbf\r\n" + turned + b"\n", "").content_hash == opened().content_hash


@pytest.mark.parametrize(
    "change",
    [{"stream_alias": "other"}, {"new": ""}, {"extra_params": {"FileID": "1"}}, {"begin_time": ...}, {"nonce": "1"}],
)
def test_other_content_has_another_hash(change: dict[str, Any]) -> None:
    assert opened(**change).content_hash != opened().content_hash


def test_content_that_a_duplicate_key_hides_counts_in_the_hash() -> None:
    def hidden(value: str) -> Envelope:
        return read_envelope(b'{"stream_alias":"%s",' % value.encode() + body()[1:], "")

    assert hidden("one").problem == "the key 'stream_alias' occurs twice in one object"
    assert hidden("one").content_hash != hidden("two").content_hash
    assert hidden("one").content_hash == hidden("one").content_hash


PLUS = '{"stream_alias":"a+b c"}'


@pytest.mark.parametrize(
    ("encoder", "encoded"),
    [
        ("quote", quote(PLUS, safe="")),
        ("quote_plus", quote_plus(PLUS)),
        ("encodeURI", quote(PLUS, safe=":+,/")),
        ("encodeURI of blanks only", PLUS.replace('"', "%22").replace(" ", "%20").replace("{", "%7B")),
        ("twice", quote(quote(PLUS, safe=""), safe="")),
    ],
)
def test_a_plus_is_read_as_its_encoder_meant_it(encoder: str, encoded: str) -> None:
    envelope = read_envelope(body(extra_params=encoded), "")
    assert envelope.fields["extra_params"] == {"stream_alias": "a+b c"}, encoder


@pytest.mark.parametrize("name", ["appid", "timestamp", "nonce", "signature"])
@pytest.mark.parametrize(
    "value",
    [..., None, "", True, False, [], ["1"], {}, {"a": 1}, "a\x00b", "\ud800", "9" * 256],
    ids=lambda value: ascii(value)[:20],
)
def test_without_a_usable_signature_field_a_body_is_unreadable(name: str, value: object) -> None:
    with pytest.raises(Unreadable, match=name if name != "appid" else "app"):
        opened(**{name: value})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xef\xbb\xbf",
        b"[]",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"[" + body() + b"]",
        body() + b"}",
        b"\xff\xfe{\x00}\x00",
        b"%" * 1000,
        b"&".join(b"a%d=1" % number for number in range(5000)),
        b"<xml/>",
        b"\x00",
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_bodies_without_a_signature_are_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        read_envelope(raw, "application/json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (body(extra_params='{"FileID": "1", "FileID": "2"}'), "the key 'FileID' occurs twice"),
        (body(extra_params='{"Duration": NaN}'), "NaN is not a JSON number"),
        (body(extra_params='{"FileID": "1"'), "extra_params cannot be read"),
        (body(extra_params="[" * 200_000 + "{"), None),
        (body().replace(b'"1785583600"', b"9" * 5000), None),
        (body(extra_params='{"a":' * 200_000), "extra_params cannot be read: JSON nested more than 64"),
        (body(event=["record"]), "the field event is not a short text"),
        (body(event="record\x00"), "the field event is not a short text"),
        (body(Duration=float("inf")), "Infinity is not a JSON number"),
        (urlencode(SIGNED).encode() + b"&appid=2", "a form field occurs twice"),
    ],
    ids=lambda value: repr(value[:25] if value else value),
)
def test_an_ambiguous_body_with_a_signature_is_kept_with_its_problem(raw: bytes, problem: str | None) -> None:
    envelope = read_envelope(raw, "")
    assert (envelope.problem or "").startswith(problem or "")
    assert (envelope.problem is None) == (problem is None)
    assert envelope.signature == SIGNED["signature"]


def test_bytes_that_are_not_utf8_do_not_hide_the_signature() -> None:
    raw = body(stream_alias="X").replace(b'"X"', b'"\xff\xfe"')
    assert read_envelope(raw, "").signature == SIGNED["signature"]
    assert read_envelope(raw, "").content_hash != read_envelope(raw.replace(b"\xff", b"\xfd"), "").content_hash


NOISE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([*SIGNED, "app_id", "code", "file_id", "detail", "task_id", "event_type"])
EXTRAS = st.dictionaries(
    st.sampled_from(["FileID", "PersistentId", "ObsObject", "Duration", "FileSize"]), NOISE, max_size=5
)


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    fields = SIGNED | {"event": draw(st.sampled_from(["record", "compose", "", "x"]))}
    fields |= draw(st.dictionaries(NAMES, NOISE, max_size=3))
    if draw(st.booleans()):
        extra = draw(EXTRAS)
        fields["extra_params"] = extra if draw(st.booleans()) else json.dumps(extra)
    raw = json.dumps(fields).encode()
    wrap = draw(st.sampled_from(["plain", "percent", "form"]))
    if wrap == "percent":
        raw = quote(raw).encode()
    elif wrap == "form":
        raw = urlencode({name: str(value) for name, value in fields.items()}, errors="replace").encode()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 4)) :]
    return raw


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(damaged_bodies() | st.binary(max_size=200) | NOISE.map(lambda noise: json.dumps(noise).encode()))
def test_a_malformed_body_is_unreadable_or_parsed_but_never_raises(raw: bytes) -> None:
    try:
        envelope = read_envelope(raw, "application/json")
    except Unreadable:
        return
    assert parse_callback(envelope) is not None
    assert len(envelope.content_hash) == 64
    for text in (envelope.app_id, envelope.event, envelope.timestamp, envelope.nonce, envelope.signature):
        assert "\x00" not in text
        assert len(text.encode()) <= 255
