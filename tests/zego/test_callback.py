from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from service.model import Announcement, Vendor, Verdict
from service.sandbox.callbacks import callback_body, encode_body, sign_fields
from service.zego.callback import NoFile, parse_callback, read_envelope
from tests.other_events import cloud_recording_fields

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
ODD_STREAMS: list[object] = ["a\x00", "\udc00", "x" * 1025, ["a"], True, {}]


def short(value: object) -> str:
    return "10**4000" if value == 10**4000 else ascii(value)[:30]


def parse(**changes: object) -> Announcement | NoFile:
    fields = {name: value for name, value in (BASE | changes).items() if value is not ...}
    return parse_callback(read_envelope(json.dumps(sign_fields(fields, secret="s", now=NOW)).encode(), ""))


def parse_file(**changes: object) -> Announcement:
    callback = parse(**changes)
    assert isinstance(callback, Announcement), callback
    return callback


def reason_of(answer: Announcement | NoFile, verdict: Verdict) -> str:
    assert isinstance(answer, NoFile), answer
    assert answer.verdict is verdict
    assert "\n" not in answer.reason
    return answer.reason


def refused(**changes: object) -> str:
    return reason_of(parse(**changes), Verdict.NOT_UNDERSTOOD)


def test_a_tencent_recording_has_every_fact_but_a_size() -> None:
    assert parse(extra_params=json.dumps(TENCENT)) == Announcement(
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
    assert isinstance(callback, Announcement)
    assert (callback.vendor, callback.file_id, callback.size_bytes) == (vendor, file_id, size)


@pytest.mark.parametrize("number", ["5.285890784273533e+18", "5285890784273533000.0", "5e18"])
def test_a_long_number_is_an_id_but_one_that_went_through_a_float_is_not(number: str) -> None:
    assert "rounded" in refused(extra_params=f'{{"FileID": {number}}}')
    assert parse_file(extra_params='{"FileID": 5285890784273533167}').file_id == "5285890784273533167"
    assert parse_file(extra_params=f'{{"PersistentId": "{number}"}}').file_id == number


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (..., "no JSON object"),
        (None, "no JSON object"),
        ("free text", "no JSON object"),
        (["FileID"], "no JSON object"),
        ({}, "none of FileID, PersistentId, ObsObject"),
        ({"FileID": None}, "none of"),
        ({"FileID": "  "}, "FileID is empty"),
        ({"FileID": "1", "ObsObject": "a"}, "several vendors: FileID, ObsObject"),
        ({"FileID": ["1"]}, "neither text nor a number"),
        ({"ObsObject": "a\x00b"}, "no database can store"),
        ({"ObsObject": "a\ud83d"}, "no database can store"),
        ({"ObsObject": "é" * 513}, "longer than 1024 bytes"),
    ],
    ids=short,
)
def test_a_recording_whose_file_has_no_certain_id_is_not_understood(extra: object, reason: str) -> None:
    assert reason in refused(extra_params=extra)


def test_an_empty_key_of_another_vendor_is_no_second_id() -> None:
    assert parse_file(extra_params={"FileID": "", "PersistentId": "p"}).vendor is Vendor.WANGSU


@pytest.mark.parametrize(("stream", "kept"), [(..., ""), (None, ""), ("", ""), (5, "5"), ("流😀\n", "流😀\n")])
def test_streams_that_can_be_stored(stream: object, kept: str) -> None:
    assert parse_file(extra_params=TENCENT, stream_alias=stream).stream_id == kept


@pytest.mark.parametrize("url", [..., None, "", "x" * 1025, ["a"], True], ids=short)
def test_an_unusable_replay_url_loses_no_file(url: object) -> None:
    assert parse_file(extra_params=TENCENT, replay_url=url).replay_url is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        (1785583600, datetime.fromtimestamp(1785583600, UTC)),
        (1785583600.75, datetime.fromtimestamp(1785583600, UTC)),
        ("253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("-1", None),
        ("", None),
        (..., None),
        ("١٧٨٥٥٨٣٦٠٠", None),
        ("1_785_583_600", None),
        (["1"], None),
    ],
    ids=short,
)
def test_times(text: object, moment: datetime | None) -> None:
    callback = parse_file(extra_params=TENCENT, begin_time=text, end_time=text)
    assert (callback.began_at, callback.ended_at) == (moment, moment)


@pytest.mark.parametrize(
    ("name", "written", "read_as"),
    [
        *(("Duration", written, float(written)) for written in (0, "12.5", 1e3)),
        *(("Duration", odd, None) for odd in (-1, "nan", "1_0", None)),
        *(("FileSize", written, int(written)) for written in (0, "123", 123.0, 2**63 - 1)),
        *(("FileSize", odd, None) for odd in (-1, 1.5, "1e3", None)),
    ],
    ids=short,
)
def test_durations_and_sizes(name: str, written: object, read_as: float | None) -> None:
    callback = parse_file(extra_params=HUAWEI | {name: written})
    assert (callback.duration_s if name == "Duration" else callback.size_bytes) == read_as


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"extra_params": HUAWEI | {"FileSize": 2**63}}, "FileSize"),
        ({"extra_params": HUAWEI | {"FileSize": 10**4000}}, "FileSize"),
        ({"extra_params": TENCENT | {"Duration": 400_000_000}}, "Duration"),
        ({"extra_params": TENCENT | {"Duration": "9" * 5000}}, "Duration"),
        ({"extra_params": TENCENT, "replay_url": "a\x00"}, "replay_url"),
        ({"extra_params": TENCENT, "replay_url": "\udc00"}, "replay_url"),
        *(({"extra_params": TENCENT, "stream_alias": stream}, "stream_alias") for stream in ODD_STREAMS),
    ],
    ids=short,
)
def test_a_fact_that_no_database_can_store_is_not_understood(changes: dict[str, Any], named: str) -> None:
    assert named in refused(**changes)


def merged(**changes: object) -> Announcement | NoFile:
    fields = {"event": "compose", "task_id": "t", "code": "0", "file_id": "387702307091234567", "extra_params": ...}
    return parse(**(fields | changes))


@pytest.mark.parametrize("code", ["0", 0])
def test_a_merged_file_of_tencent_is_a_file(code: object) -> None:
    callback = merged(code=code, stream_alias=...)
    assert isinstance(callback, Announcement)
    assert (callback.vendor, callback.file_id) == (Vendor.TENCENT, "387702307091234567")
    assert (callback.event, callback.stream_id) == ("compose", "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"code": "1"}, "merging failed with code '1'"),
        ({"code": "40000", "file_id": ...}, "merging failed with code '40000'"),
        ({"file_id": ...}, "no file_id"),
        ({"file_id": "", "code": ...}, "no file_id"),
        ({"file_id": None, "replay_url": ...}, "no file_id"),
    ],
)
def test_a_merge_that_names_no_file_is_ignored(changes: dict[str, Any], reason: str) -> None:
    assert reason in reason_of(merged(**changes), Verdict.IGNORED)


@pytest.mark.parametrize(
    "changes", [{"code": ...}, {"code": True}, {"code": ""}, {"file_id": ["1"]}, {"file_id": 3.8e17}]
)
def test_an_ambiguous_merge_is_not_understood(changes: dict[str, Any]) -> None:
    assert reason_of(merged(**changes), Verdict.NOT_UNDERSTOOD)


@pytest.mark.parametrize("event", ["snapshot", "Record", "stream_close", "procedure", "未知"])
def test_other_events_announce_no_file(event: str) -> None:
    reason = reason_of(parse(event=event, extra_params=TENCENT), Verdict.IGNORED)
    assert event in reason or ascii(event) in reason


def test_a_callback_of_cloud_recording_names_the_console_field_to_use() -> None:
    answer = parse_callback(read_envelope(*encode_body(sign_fields(cloud_recording_fields("7"), secret="s", now=NOW))))
    reason = reason_of(answer, Verdict.MISDIRECTED)
    assert "Cloud Recording" in reason
    assert "Project → Server callback → Recording file" in reason


def test_without_an_event_or_with_a_problem_of_the_envelope_it_is_not_understood() -> None:
    assert "event" in refused(event=..., extra_params=TENCENT)
    assert "'FileID' occurs twice" in refused(extra_params='{"FileID": "1", "FileID": "1"}')
