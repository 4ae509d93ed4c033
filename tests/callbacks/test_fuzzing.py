"""Whatever a stranger sends: no exception that is not the declared one, no 5xx, and a bound on time and memory.

A program of four bytes an edit changes authentic bodies step by step; what it makes is looked at after each step. ZEGO
signs no body, so most of what comes of it is still authentic, and is understood as well.
"""

from __future__ import annotations

import http.client
import json
import random
import resource
import time
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.callbacks.receive import find_refusal
from service.callbacks.store import list_callbacks
from service.callbacks.understand import StoredCallback, read_callback, understand
from service.filters import CallbackFilter
from service.listing.walks import walk_markers, walk_windows
from service.model import Announcement, Vendor, Verdict
from service.sandbox.callbacks import Shape, encode_body, sign_fields
from service.zego.callback import NoFile, Unreadable, parse_callback, read_envelope
from service.zego.messages import HttpAnswer, Query, SearchAnswer, Transport, read_delete_answer, read_search_answer
from service.zego.signature import api_signature, callback_signature, verify_callback
from service.zego.wirejson import is_text
from tests.callbacks.callback_scene import APP, SECRET, START, recording
from tests.other_events import cloud_recording_fields, merge_fields, transcoding_fields
from tests.web.api_scene import open_api
from tests.web.test_app import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.zego.callback import Envelope

EDITS: Final = 25
MAX_INPUT_S: Final = 1.0  # of CPU: a body takes less than 0.06 s, and the machine may have other things to do
MAX_GROWTH_KB: Final = 300_000
FRESHNESS: Final = START - START.replace(hour=11, minute=45)

CHUNKS: Final = (
    *(bytes([code]) for code in b'{}[]"\\:,%+=&\x00\xff\n'),
    *(b"\xef\xbb\xbf", b"%25", b"%7B", b"%00", b"%ED%A0%80", b"\\u0000", b"\\ud800", b"\\u202e", b"1e999", b"-1"),
    *(b"0.1", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"9" * 30, b"0", b"Infinity", b"<script>"),
    *(b"'; DROP TABLE", b"=cmd|", b"\r\nX: y", b'"event":', b'"record"', b'"compose"', b'"appid":', b'"signature":'),
    *(b'"extra_params":', b'"FileID":', b'"code":', b'"end_time":', b"9999999999", b"253402300799", b"253402300800"),
    *("录".encode(), "🎥".encode(), b"[" * 70, b" " * 50),
)


def list_bodies(app_id: str, now: Any, secret: str) -> list[bytes]:
    """Authentic bodies: every event, every vendor, every shape."""
    events: list[dict[str, Any]] = [recording(vendor=vendor, FileSize=5, appid=app_id) for vendor in Vendor]
    events += [merge_fields(app_id, "https://media.invalid/a.mp4", file_id="f1"), transcoding_fields(app_id, "f1")]
    events += [cloud_recording_fields(app_id), {"event": "snapshot", "appid": app_id}]
    shapes: tuple[Shape, ...] = get_args(Shape)
    signed = [sign_fields(fields, secret=secret, now=now, nonce=f"{place}") for place, fields in enumerate(events)]
    return [encode_body(fields, shape)[0] for fields in signed for shape in shapes]


BODIES: Final = list_bodies(APP, START, SECRET)


def mutate(bases: list[bytes], program: bytes) -> Iterator[bytes]:
    """What a program makes of texts, after each of its edits; after three it begins with another text."""
    raw = b""
    for place in range(2, len(program) - 3, 4):
        if place % 12 == 2:
            raw = bases[((program[0] << 8 | program[1]) + place // 12) % len(bases)]
        kind, near, far, what = program[place : place + 4]
        at = (near << 8 | far) * (len(raw) + 1) >> 16
        chunk = CHUNKS[what % len(CHUNKS)]
        match kind % 8:
            case 0 | 1 | 2:  # in a value, so that most of it stays whole
                at = max(raw.find(b'": "', at), raw.find(b'": "')) + 4
                raw = raw[:at] + chunk + raw[at:]
            case 3:
                raw = raw[:at] + chunk + raw[at + len(chunk) :]
            case 4:
                raw = raw[:at] + raw[at + 1 + what % 16 :]
            case 5:
                raw = raw[:at] + bytes([what]) + raw[at + 1 :]
            case 6:
                raw = raw[:at] + raw[max(at - what, 0) : at] * (1 + what % 3) + raw[at:]
            case _:
                raw = raw[:at] + bases[what % len(bases)][at:]
        yield raw[: 64 * 1024]


def fuzz(look: Callable[[bytes], int], examples: int, shard: int) -> int:
    """Let hypothesis write programs, and look at what each makes; returns how many inputs were looked at."""
    inputs = 0
    pad = random.Random(shard).randbytes(2 + 4 * EDITS)  # hypothesis begins with programs of zeros

    @seed(shard)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(min_size=2 + 4 * EDITS, max_size=2 + 4 * EDITS))
    def run(program: bytes) -> None:
        nonlocal inputs
        inputs += look(bytes(one ^ other for one, other in zip(program, pad, strict=True)))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB
    return inputs


def look_at_bodies(program: bytes) -> int:
    """Read each body, verify it, and understand together those that are authentic."""
    authentic: list[StoredCallback] = []
    inputs = 0
    for raw in mutate(BODIES, program):
        inputs += 1
        began = time.thread_time()
        try:
            envelope = read_envelope(raw, "application/json")
        except Unreadable:
            continue
        finally:
            assert time.thread_time() - began < MAX_INPUT_S
        check(envelope)
        if find_refusal({APP: [SECRET]}, envelope) is None:
            names = (envelope.app_id, envelope.signature, envelope.content_hash)
            stored = StoredCallback(inputs, *names, START, "", "", Verdict.PENDING, "", None, 0, None, len(raw), raw)
            authentic.append(stored)
        assert time.thread_time() - began < MAX_INPUT_S
    readings = [read_callback(each, FRESHNESS) for each in authentic]
    same = [each for each in authentic if sum(each.signature == other.signature for other in authentic) > 1]
    judged, files = understand(readings, [], same, {}, START)
    assert {callback.id for callback, _ in judged} == {each.id for each in authentic}
    assert all(callback.verdict is not Verdict.PENDING for callback, _ in judged)
    for file in files.values():
        assert all(is_text(text) for text in (file.file_id, file.stream_id, file.event))
        assert file.ended_at.tzinfo is not None
    return inputs


def check(envelope: Envelope) -> None:
    said = parse_callback(envelope)
    assert isinstance(said, Announcement | NoFile)
    assert len(envelope.content_hash) == 64
    for text in (envelope.app_id, envelope.event, envelope.timestamp, envelope.nonce, envelope.signature):
        assert is_text(text, 255)
    if isinstance(said, Announcement):
        assert said.file_id.strip()
        assert said.replay_url is None or is_text(said.replay_url)
    else:
        assert is_text(said.reason, 4_000)


def look_at_signatures(program: bytes) -> int:
    """Verify odd triples, and sign with odd texts; only what is signed as it should be is authentic."""
    texts = [raw.decode("utf-8", "surrogateescape") for raw in mutate([b"1470820198", b"123412", b"a" * 40], program)]
    for place, text in enumerate(texts):
        timestamp, nonce = texts[place - 1], texts[place - 2]
        assert len(callback_signature(SECRET, timestamp, nonce)) == 40
        assert not verify_callback([SECRET], text, timestamp, nonce) or len(text) == 40
        signed = callback_signature(SECRET, timestamp, nonce)
        if verify_callback(["", SECRET], signed, timestamp, nonce):
            assert timestamp.isascii()
            assert timestamp.isdecimal()
            assert (len(timestamp), nonce.isascii(), nonce.isdecimal()) == (10, True, True)
        assert not verify_callback([], signed, timestamp, nonce)
        clean = text.encode("utf-8", "replace").decode()
        assert len(api_signature(clean, clean, SECRET, clean)) == 32
    return len(texts)


def listing(vendor: Vendor) -> bytes:
    basic = {"CreateTime": "2026-02-01T00:00:00Z", "ExpireTime": "9999-12-31T23:59:59Z", "MediaUrl": "https://a"}
    key = {"LastModified": "2026-02-01T00:00:00.5Z", "Size": 5}
    section: dict[str, Any] = {"Keys": [key | {"Key": f"record/{number}.mp4"} for number in (1, 2)], "NextMarker": "m"}
    if vendor is Vendor.TENCENT:
        section = {"TotalCount": 2, "MediaInfoSet": [{"FileId": f"{number}", "BasicInfo": basic} for number in (1, 2)]}
    return json.dumps({"Code": 0, "Message": "", "RequestId": "1", "Data": {vendor.value: section}}).encode()


LISTINGS: Final = [listing(vendor) for vendor in Vendor]


@dataclass
class Pages:
    """A vendor that answers these pages again and again, however it is asked."""

    pages: list[SearchAnswer]
    calls: int = 0

    def __call__(self, _query: Query) -> SearchAnswer:
        self.calls += 1
        assert self.calls < 20_000, "a listing leads nowhere"
        return self.pages[self.calls * 7 % len(self.pages)]


def look_at_listings(program: bytes) -> int:
    """Read each answer as every vendor's, and follow the listings that are made of them to their end."""
    inputs = 0
    pages: dict[Vendor, list[SearchAnswer]] = {vendor: [] for vendor in Vendor}
    for raw in mutate(LISTINGS, program):
        inputs += 1
        began = time.thread_time()
        answered = HttpAnswer(Transport.ANSWERED, status=200, text=raw.decode("utf-8", "replace"))
        for vendor in Vendor:
            pages[vendor].append(read_search_answer(answered, vendor, START))
        assert read_delete_answer(answered, START) is not None
        assert time.thread_time() - began < MAX_INPUT_S
    for walk, vendor in ((walk_markers, Vendor.HUAWEI), (lambda ask: walk_windows(ask, None, START), Vendor.TENCENT)):
        whole = [page for page in pages[vendor] if page.code == 0 and not page.unreadable]
        problems = walk(Pages(whole)) if whole else []
        assert all(problem.isprintable() for problem in problems)
    return inputs


LOOKS: Final = {"bodies": look_at_bodies, "signatures": look_at_signatures, "listings": look_at_listings}
SHARDS: Final = {"bodies": 16, "signatures": 4, "listings": 4}


@pytest.mark.parametrize("what", LOOKS)
def test_nothing_that_is_read_raises_what_is_not_declared(what: str) -> None:
    assert fuzz(LOOKS[what], 40, 0) >= 40 * EDITS


@pytest.mark.long
@pytest.mark.parametrize(("what", "shard"), [(what, shard) for what, count in SHARDS.items() for shard in range(count)])
def test_a_million_inputs_raise_nothing_that_is_not_declared(what: str, shard: int) -> None:
    """24 parts of 50,000 inputs."""
    assert fuzz(LOOKS[what], 2_000, shard + 1) >= 50_000


TRIPLE: Final = '"appid":"1","timestamp":"1470820198","nonce":"1","event":"record","signature":"' + "a" * 40 + '"'
WORST: Final = {
    "open brackets": b"{" * 65_000,
    "brackets in a list": ("{" + TRIPLE + ',"a":[' + "[]," * 21_000 + "1]}").encode(),
    "open brackets in extra_params": ("{" + TRIPLE + ',"extra_params":"{' + "[" * 64_000 + '"}').encode(),
    "backslashes": b'{"' + b"\\" * 65_000,
    "percent of percent": b"%25" * 21_000,
    "percent and plus": b"%" + b"+" * 65_000,
    "a thousand form fields": ("a=1&" + "&".join(f"a{number}={'%41' * 20}" for number in range(990))).encode()[:65_000],
    "form fields without an end": b"a&" * 32_000,
    "keys": ("{" + TRIPLE + "," + ",".join(f'"{number}":1' for number in range(7_000)) + "}").encode(),
    "one key many times": ("{" + TRIPLE + "," + ",".join(['"a":1'] * 10_000) + "}").encode(),
    "digits": ("{" + TRIPLE + ',"extra_params":{"FileID":"1","Duration":' + "9" * 60_000 + "}}").encode(),
    "surrogates": ("{" + TRIPLE + ',"stream_alias":"' + "\\ud800" * 10_000 + '"}').encode(),
    "byte order marks": b"\xef\xbb\xbf" * 21_000,
}


@pytest.mark.parametrize("body", WORST.values(), ids=WORST)
def test_the_worst_bodies_take_little_time_and_memory(body: bytes) -> None:
    took = []
    for _ in range(3):
        began = time.thread_time()
        read(body)
        took.append(time.thread_time() - began)
    assert min(took) < 0.3
    tracemalloc.start()
    try:
        read(body)
        assert tracemalloc.get_traced_memory()[1] < 32_000_000
    finally:
        tracemalloc.stop()


def read(body: bytes) -> None:
    with suppress(Unreadable):
        parse_callback(read_envelope(body, ""))


def send_all(database_url: str, programs: int, shard: int) -> int:
    """Send what programs make of authentic bodies to the real front, and let the leader understand what was stored."""
    with capture_logs() as logs, open_api(database_url) as api, serve(api.app) as port:
        secret = api.world.service.settings.apps[0].callback_secrets[0].get_secret_value()
        bodies = list_bodies(api.world.service.settings.apps[0].app_id, api.world.clock(), secret)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        statuses: dict[int, int] = {}

        def look(program: bytes) -> int:
            sent = 0
            for raw in mutate(bodies, program):
                path = "/zego/callback" if program[-1] % 8 else "/zego/callback/"
                connection.request("POST", path, raw, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
                sent += 1
            return sent

        sent = fuzz(look, programs, shard)
        connection.close()
        api.world.catch_up()
        with api.world.database.read() as tx:
            stored = list(list_callbacks(tx, CallbackFilter()))
    assert set(statuses) <= {200, 400, 401, 413}, statuses
    assert statuses[200] > sent / 10, "many are still authentic"
    assert not [each for each in stored if each.verdict is Verdict.PENDING or "defect" in each.reason]
    assert not [line for line in logs if line.get("exc_info") or line["log_level"] in ("error", "critical")]
    return sent


def test_nothing_that_is_sent_is_answered_5xx_or_logged_as_a_defect(sqlite_url: str) -> None:
    assert send_all(sqlite_url, 8, 0) >= 8 * EDITS


@pytest.mark.long
@pytest.mark.parametrize("shard", range(2))
def test_twenty_thousand_requests_are_answered_without_5xx(database_url: str, shard: int) -> None:
    assert send_all(database_url, 200, shard + 1) >= 200 * EDITS
