from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.renditions import MOST_RENDITIONS, Rendition
from service.zego.callback import NotUnderstood, Transcoded, Uninteresting, parse_callback, read_envelope
from service.zego.sandbox_callbacks import Shape, encode_body, sign_fields, transcoding_fields

if TYPE_CHECKING:
    from service.zego.callback import Parsed

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
FILE = "5285890784273533167"
MADE = {"code": "0", "replay_url": "https://a/720.mp4", "size": 5, "duration": 2.5, "video": {"height": 720}}


def parse(shape: Shape = "json", **changes: Any) -> Parsed:
    fields = transcoding_fields("42", FILE) | changes
    kept = {name: value for name, value in fields.items() if value is not ...}
    return parse_callback(read_envelope(*encode_body(sign_fields(kept, secret="s", now=NOW), shape)))


def parse_entries(*entries: Any) -> Parsed:
    return parse(extra_params={"media": {"transcode": list(entries)}})


def made(*entries: Any) -> tuple[Rendition, ...]:
    transcoded = parse_entries(*entries)
    assert isinstance(transcoded, Transcoded), transcoded
    return transcoded.renditions


@pytest.mark.parametrize("shape", get_args(Shape))
def test_the_renditions_of_a_file_are_read_in_every_shape(shape: Shape) -> None:
    assert parse(shape) == Transcoded(
        app_id="42",
        file_id=FILE,
        renditions=(
            Rendition(360, 360_000, 3600.5, f"https://media.invalid/{FILE}/360.mp4"),
            Rendition(720, 720_000, 3600.5, f"https://media.invalid/{FILE}/720.mp4"),
        ),
    )


@pytest.mark.parametrize(
    "names", [{"file_id": FILE, "fileId": ...}, {"file_id": FILE}, {"file_id": ""}, {"fileId": int(FILE)}]
)
def test_the_source_is_named_under_either_key(names: dict[str, Any]) -> None:
    transcoded = parse(**names)
    assert isinstance(transcoded, Transcoded)
    assert transcoded.file_id == FILE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fileId": ...}, "no name"),
        ({"fileId": "", "file_id": None}, "no name"),
        ({"file_id": "1"}, "two files"),
        ({"fileId": ["1"]}, "neither text nor a number"),
        ({"fileId": " "}, "empty"),
        ({"fileId": 5.2e18}, "rounded"),
        ({"fileId": "x" * 1025}, "longer"),
        ({"extra_params": ...}, "media.transcode"),
        ({"extra_params": ""}, "media.transcode"),
        ({"extra_params": {"media": {"transcode": {}}}}, "media.transcode"),
        ({"extra_params": {"media": []}}, "media.transcode"),
    ],
)
def test_what_cannot_be_noted_of_a_certain_file_is_not_understood(changes: dict[str, Any], reason: str) -> None:
    answer = parse(**changes)
    assert isinstance(answer, NotUnderstood), answer
    assert reason in answer.reason


def test_a_transcoding_that_failed_leaves_nothing_to_note() -> None:
    assert isinstance(parse(status="FAILED", extra_params=""), Uninteresting)
    assert isinstance(parse(status="FAILED"), Uninteresting)
    assert isinstance(parse_entries(MADE | {"code": "70000"}), Uninteresting)
    assert isinstance(parse_entries(), Uninteresting)


def test_only_what_was_made_is_read() -> None:
    assert made(MADE | {"code": 0}, MADE | {"code": "1"}, "odd", None, {"code": "0"}) == (
        Rendition(720, 5, 2.5, "https://a/720.mp4"),
    )


@pytest.mark.parametrize(
    ("changes", "fact", "value"),
    [
        ({"size": 2**63}, "size_bytes", None),
        ({"size": "many"}, "size_bytes", None),
        ({"duration": 1e12}, "duration_s", None),
        ({"duration": []}, "duration_s", None),
        ({"video": {"height": 0}}, "height", None),
        ({"video": {"height": 100_001}}, "height", None),
        ({"video": "720p"}, "height", None),
        ({"replay_url": "a\x00"}, "replay_url", None),
        ({"replay_url": "x" * 1025}, "replay_url", None),
        ({"size": "7"}, "size_bytes", 7),
    ],
)
def test_an_odd_fact_of_a_rendition_is_not_known(changes: dict[str, Any], fact: str, value: object) -> None:
    [rendition] = made(MADE | changes)
    assert getattr(rendition, fact) == value


def test_no_more_are_read_than_are_noted() -> None:
    assert len(made(*(MADE | {"replay_url": f"https://a/{number}"} for number in range(80)))) == MOST_RENDITIONS


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
entries = values | st.fixed_dictionaries(
    {"code": st.just("0") | values},
    optional={
        "replay_url": values,
        "size": values,
        "duration": values,
        "video": st.fixed_dictionaries({"height": values}),
    },
)


@settings(max_examples=200, deadline=None)
@given(
    file_id=values,
    status=values,
    extra=values | st.fixed_dictionaries({"media": st.fixed_dictionaries({"transcode": st.lists(entries)})}),
)
def test_whatever_it_holds_it_is_read_or_refused_with_a_reason(file_id: Any, status: Any, extra: Any) -> None:
    signed = sign_fields(
        {"appid": "1", "event": "procedure", "fileId": file_id, "status": status, "extra_params": extra},
        secret="s",
        now=NOW,
    )
    answer = parse_callback(read_envelope(json.dumps(signed).encode(), ""))
    if isinstance(answer, Transcoded):
        assert answer.file_id.strip()
        assert 0 < len(answer.renditions) <= MOST_RENDITIONS
        assert all(each.replay_url is not None or each.height is not None for each in answer.renditions)
    else:
        assert isinstance(answer, Uninteresting | NotUnderstood)
        assert answer.reason
