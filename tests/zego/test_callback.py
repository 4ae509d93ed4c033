from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.model import Callback, Vendor
from service.zego.callback import Misdirected, NotUnderstood, Uninteresting, Unnamed, parse_callback, read_envelope
from service.zego.sandbox_callbacks import callback_body, cloud_recording_fields, encode_body, sign_fields
from service.zego.signature import callback_signature

if TYPE_CHECKING:
    from service.zego.callback import Parsed

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
BASE: dict[str, Any] = {
    "event": "record",
    "appid": "1234567890",
    "stream_alias": "lesson-1",
    "replay_url": "https://cdn.example/1.mp4",
    "begin_time": "1785580000",
    "end_time": "1785583600",
}
TENCENT = {"FileID": "5285890784273533167", "TaskId": "t", "Duration": 3600.5}
HUAWEI = {"ObsObject": "record/app/x/2023-07-28-09-30-06.mp4", "Duration": 3600, "FileSize": 123456}


def short(value: object) -> str:
    return "10**4000" if value == 10**4000 else ascii(value)[:30]


def parse(**changes: object) -> Parsed:
    fields = {name: value for name, value in (BASE | changes).items() if value is not ...}
    return parse_callback(read_envelope(json.dumps(sign_fields(fields, secret="s", now=NOW)).encode(), ""))


def parse_file(**changes: object) -> Callback:
    callback = parse(**changes)
    assert isinstance(callback, Callback), callback
    return callback


def refused(**changes: object) -> str:
    answer = parse(**changes)
    assert isinstance(answer, NotUnderstood), answer
    assert "\n" not in answer.reason
    return answer.reason


def test_a_tencent_recording_has_every_fact_but_a_size() -> None:
    assert parse(extra_params=json.dumps(TENCENT)) == Callback(
        app_id="1234567890",
        vendor=Vendor.TENCENT,
        file_id="5285890784273533167",
        stream_id="lesson-1",
        event="record",
        began_at=datetime.fromtimestamp(1785580000, UTC),
        ended_at=datetime.fromtimestamp(1785583600, UTC),
        duration_s=3600.5,
        size_bytes=None,
        replay_url="https://cdn.example/1.mp4",
    )


@pytest.mark.parametrize(
    ("vendor", "file_id", "size"),
    [(Vendor.TENCENT, "5285890784273533167", None), (Vendor.WANGSU, "z0.5d-é", None), (Vendor.HUAWEI, "a/b c.mp4", 77)],
)
def test_the_vendor_follows_from_the_key_of_the_file_id(vendor: Vendor, file_id: str, size: int | None) -> None:
    raw, content_type = callback_body(
        vendor, app_id="1", secret="s", file_id=file_id, stream="x", began=NOW, ended=NOW, now=NOW, size_bytes=77
    )
    callback = parse_callback(read_envelope(raw, content_type))
    assert isinstance(callback, Callback)
    assert (callback.vendor, callback.file_id, callback.size_bytes) == (vendor, file_id, size)


def test_a_long_id_written_as_a_number_keeps_every_digit() -> None:
    assert parse_file(extra_params='{"FileID": 5285890784273533167}').file_id == "5285890784273533167"


@pytest.mark.parametrize("number", ["5.285890784273533e+18", "5285890784273533000.0", "5e18"])
def test_an_id_that_went_through_a_float_names_no_file(number: str) -> None:
    assert "rounded" in refused(extra_params=f'{{"FileID": {number}}}')
    assert parse_file(extra_params=f'{{"PersistentId": "{number}"}}').file_id == number


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (..., "no JSON object"),
        (None, "no JSON object"),
        ("", "no JSON object"),
        ("free text", "no JSON object"),
        (["FileID"], "no JSON object"),
        ({}, "none of FileID, PersistentId, ObsObject"),
        ({"FileID": ""}, "none of"),
        ({"FileID": None}, "none of"),
        ({"FileID": "  "}, "FileID is empty"),
        ({"FileID": "1", "ObsObject": "a"}, "several vendors: FileID, ObsObject"),
        ({"FileID": ["1"]}, "neither text nor a number"),
        ({"FileID": False}, "neither text nor a number"),
        ({"ObsObject": "a\x00b"}, "no database can keep"),
        ({"ObsObject": "a\ud83d"}, "no database can keep"),
        ({"ObsObject": "é" * 513}, "longer than 1024 bytes"),
    ],
    ids=short,
)
def test_a_recording_whose_file_has_no_certain_id_is_not_understood(extra: object, reason: str) -> None:
    assert reason in refused(extra_params=extra)


def test_an_empty_key_of_another_vendor_is_no_second_name() -> None:
    assert parse_file(extra_params={"FileID": "", "PersistentId": "p"}).vendor is Vendor.WANGSU


def test_an_id_of_1024_bytes_is_kept() -> None:
    assert parse_file(extra_params={"ObsObject": "é" * 512}).file_id == "é" * 512


@pytest.mark.parametrize(("stream", "kept"), [(..., ""), (None, ""), ("", ""), (5, "5"), ("流😀\n", "流😀\n")])
def test_streams_that_can_be_kept(stream: object, kept: str) -> None:
    assert parse_file(extra_params=TENCENT, stream_alias=stream).stream_id == kept


@pytest.mark.parametrize("stream", ["a\x00", "\udc00", "x" * 1025, ["a"], True, {}], ids=short)
def test_a_stream_that_cannot_be_kept_decides_rules_so_it_is_not_understood(stream: object) -> None:
    assert "stream_alias" in refused(extra_params=TENCENT, stream_alias=stream)


@pytest.mark.parametrize("url", [..., None, "", "x" * 1025, ["a"], True], ids=short)
def test_an_odd_replay_url_loses_no_file(url: object) -> None:
    assert parse_file(extra_params=TENCENT, replay_url=url).replay_url is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        (1785583600, datetime.fromtimestamp(1785583600, UTC)),
        (1785583600.75, datetime.fromtimestamp(1785583600, UTC)),
        ("253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("253402300800", None),
        ("1785583600000", None),
        ("-1", None),
        ("", None),
        (..., None),
        (None, None),
        ("١٧٨٥٥٨٣٦٠٠", None),
        ("1_785_583_600", None),
        (["1"], None),
        ("2026-08-01", None),
    ],
    ids=short,
)
def test_times(text: object, moment: datetime | None) -> None:
    callback = parse_file(extra_params=TENCENT, begin_time=text, end_time=text)
    assert (callback.began_at, callback.ended_at) == (moment, moment)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (0, 0.0),
        ("12.5", 12.5),
        (1e3, 1000.0),
        (315_360_000, 315_360_000.0),
        (-1, None),
        ("nan", None),
        ("1_0", None),
        (None, None),
        ([], None),
    ],
    ids=short,
)
def test_durations(duration: object, seconds: float | None) -> None:
    assert parse_file(extra_params=TENCENT | {"Duration": duration}).duration_s == seconds


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [
        (0, 0),
        ("123", 123),
        (123.0, 123),
        (2**63 - 1, 2**63 - 1),
        (-1, None),
        (1.5, None),
        ("1e3", None),
        (None, None),
        ({}, None),
    ],
    ids=short,
)
def test_sizes(size: object, size_bytes: int | None) -> None:
    assert parse_file(extra_params=HUAWEI | {"FileSize": size}).size_bytes == size_bytes


@pytest.mark.parametrize("size", [2**63, 10**4000], ids=short)
def test_a_size_beyond_every_database_is_not_understood(size: int) -> None:
    assert "FileSize" in refused(extra_params=HUAWEI | {"FileSize": size})


@pytest.mark.parametrize("duration", [400_000_000, "1e999", "9" * 5000], ids=short)
def test_a_duration_beyond_any_recording_is_not_understood(duration: object) -> None:
    assert "Duration" in refused(extra_params=TENCENT | {"Duration": duration})


@pytest.mark.parametrize("url", ["a\x00", "\udc00"], ids=short)
def test_a_replay_url_that_no_database_can_keep_is_not_understood(url: str) -> None:
    assert "replay_url" in refused(extra_params=TENCENT, replay_url=url)


def merged(**changes: object) -> Parsed:
    fields = {"event": "compose", "task_id": "t", "code": "0", "file_id": "387702307091234567", "extra_params": ...}
    return parse(**(fields | changes))


@pytest.mark.parametrize("code", ["0", 0])
def test_a_merged_file_of_tencent_is_a_file(code: object) -> None:
    callback = merged(code=code, stream_alias=...)
    assert isinstance(callback, Callback)
    assert (callback.vendor, callback.file_id) == (Vendor.TENCENT, "387702307091234567")
    assert (callback.event, callback.stream_id) == ("compose", "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"code": "1"}, "code '1'"), ({"code": -5}, "code '-5'"), ({"code": "40000", "file_id": ...}, "code '40000'")],
)
def test_a_merge_that_failed_is_of_no_interest(changes: dict[str, Any], reason: str) -> None:
    answer = merged(**changes)
    assert isinstance(answer, Uninteresting)
    assert reason in answer.reason


@pytest.mark.parametrize("code", ["0", 0, None, "", ...])
def test_a_merged_file_without_an_id_is_known_by_its_replay_url(code: object) -> None:
    unnamed = merged(code=code, file_id=..., extra_params={"Duration": 7, "FileSize": 9})
    assert isinstance(unnamed, Unnamed)
    assert unnamed.replay_url == unnamed.facts.replay_url == "https://cdn.example/1.mp4"
    assert (unnamed.facts.vendor, unnamed.facts.event, unnamed.facts.app_id) == (Vendor.HUAWEI, "compose", "1234567890")
    assert (unnamed.facts.stream_id, unnamed.facts.duration_s, unnamed.facts.size_bytes) == ("lesson-1", 7.0, 9)


@pytest.mark.parametrize("url", [..., None, "", "x" * 1025, ["a"], "a\x00"], ids=short)
def test_a_merged_file_with_neither_id_nor_url_is_not_understood(url: object) -> None:
    answer = merged(file_id=..., replay_url=url)
    assert isinstance(answer, NotUnderstood)
    assert "replay_url" in answer.reason


@pytest.mark.parametrize(
    "changes", [{"code": ...}, {"code": True}, {"code": True, "file_id": ...}, {"file_id": ["1"]}, {"file_id": 3.8e17}]
)
def test_a_merge_in_doubt_is_not_understood(changes: dict[str, Any]) -> None:
    assert isinstance(merged(**changes), NotUnderstood)


@pytest.mark.parametrize("event", ["snapshot", "Record", "stream_close", "未知"])
def test_other_events_announce_no_file(event: str) -> None:
    answer = parse(event=event, extra_params=TENCENT)
    assert isinstance(answer, Uninteresting)
    assert ascii(event) in answer.reason


def test_a_callback_of_cloud_recording_names_the_console_field_to_use() -> None:
    answer = parse_callback(read_envelope(*encode_body(sign_fields(cloud_recording_fields("7"), secret="s", now=NOW))))
    assert isinstance(answer, Misdirected)
    assert "Cloud Recording" in answer.reason
    assert "Project → Server callback → Recording file" in answer.reason


def test_no_event_at_all_is_not_understood() -> None:
    assert "event" in refused(event=..., extra_params=TENCENT)


def test_a_problem_of_the_envelope_is_the_reason() -> None:
    assert "'FileID' occurs twice" in refused(extra_params='{"FileID": "1", "FileID": "1"}')


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(), max_size=2)


@settings(max_examples=200, deadline=None)
@given(
    code=st.just("0") | values,
    file_id=st.just("9") | values,
    url=st.just("https://a/b") | values,
    extra=values | st.dictionaries(st.sampled_from(["Duration", "FileSize", "FileID"]), values),
)
def test_whatever_a_merge_holds_it_is_read_or_refused_with_a_reason(
    code: Any, file_id: Any, url: Any, extra: Any
) -> None:
    answer = merged(code=code, file_id=file_id, replay_url=url, extra_params=extra)
    if isinstance(answer, Callback):
        assert (str(code), answer.vendor) == ("0", Vendor.TENCENT)
        assert answer.file_id.strip()
    elif isinstance(answer, Unnamed):
        assert code in (None, "", "0", 0)
        assert file_id in (None, "")
        assert answer.replay_url == str(url)
    else:
        assert isinstance(answer, Uninteresting | NotUnderstood)
        assert answer.reason


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30))
def test_any_bytes_as_a_stream_are_kept_exactly_or_refused(stream: bytes) -> None:
    signature = callback_signature("s", "1785585600", "1")
    signed = f"appid=1&event=record&timestamp=1785585600&nonce=1&signature={signature}"
    raw = (
        signed + "&extra_params=%7B%22FileID%22%3A%221%22%7D&stream_alias=" + "".join(f"%{byte:02x}" for byte in stream)
    )
    answer = parse_callback(read_envelope(raw.encode(), ""))
    if isinstance(answer, Callback):
        assert answer.stream_id.encode() == stream
    else:
        assert isinstance(answer, NotUnderstood)
