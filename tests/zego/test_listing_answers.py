from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model import Vendor
from service.zego.messages import HttpAnswer, ListedFile, SearchAnswer, Transport, read_search_answer
from service.zego.wirejson import is_text

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


def moment(second: int) -> datetime:
    return datetime(2023, 7, 28, 9, 30, second, tzinfo=UTC)


TENCENT = """{"Tencent": {"TotalCount": 2, "MediaInfoSet": [
  {"FileId": "5285890784273533167",
   "BasicInfo": {"Name": "room-1", "CreateTime": "2023-07-28T09:30:06Z", "UpdateTime": "2023-07-28T09:31:06Z",
     "ExpireTime": "9999-12-31T23:59:59Z", "MediaUrl": "http://vod.example/a.mp4", "Vid": "v"},
   "TranscodeInfo": {"TranscodeSet": [
     {"Definition": 100020, "Height": 480, "Size": 11, "Duration": 1.5},
     {"Definition": 0, "Height": 720, "Size": 123456, "Duration": 61.25}]}},
  {"FileId": 5285890784273533168,
   "BasicInfo": {"CreateTime": "2023-07-28T09:30:06.125Z", "ExpireTime": "2027-01-02T03:04:05Z"},
   "TranscodeInfo": null}]}}"""
LISTED = (
    ListedFile("5285890784273533167", moment(6), "room-1", 123456, 61.25, "http://vod.example/a.mp4"),
    ListedFile("5285890784273533168", moment(6) + timedelta(microseconds=125_000)),
)
ODD_MARKERS: list[object] = [[], {}, True, "a\x00", "\ud800", "é" * 1025]
KEYS = """{"VENDOR": {"Keys": [
  {"Key": "record/app/x/2023-07-28-09-30-06.mp4", "LastModified": "2023-07-28T09:30:06.000Z", "Size": 99,
   "ETag": "\\"b1\\"", "MediaUrl": "http://obs.example/x.mp4"},
  {"Key": "record/app/y.mp4", "LastModified": "2023-07-28T09:30:07Z", "Size": "0", "ETag": "", "MediaUrl": ""}],
  "NextMarker": "record/app/y.mp4"}}"""
LISTED_KEYS = (
    ListedFile("record/app/x/2023-07-28-09-30-06.mp4", moment(6), size_bytes=99, media_url="http://obs.example/x.mp4"),
    ListedFile("record/app/y.mp4", moment(7), size_bytes=0),
)


def answered(text: str, status: int = 200, retry_after: str = "") -> HttpAnswer:
    date = "Sat, 01 Aug 2026 11:59:00 GMT"
    return HttpAnswer(Transport.ANSWERED, status=status, date=date, retry_after=retry_after, text=text)


def read(http: HttpAnswer, vendor: Vendor = Vendor.TENCENT) -> SearchAnswer:
    return read_search_answer(http, vendor, NOW)


def read_data(data: object, vendor: Vendor = Vendor.TENCENT) -> SearchAnswer:
    return read(answered(json.dumps({"Code": 0, "Message": "success", "RequestId": "r1", "Data": data})), vendor)


def media(**entry: Any) -> SearchAnswer:
    whole = {"FileId": "5", "BasicInfo": {"CreateTime": "2026-01-02T03:04:05Z"}} | entry
    return read_data({"Tencent": {"TotalCount": 1, "MediaInfoSet": [whole]}})


def key(**entry: Any) -> SearchAnswer:
    return read_data({"Huawei": {"Keys": [{"Key": "a"} | entry], "NextMarker": ""}}, Vendor.HUAWEI)


def only(answer: SearchAnswer) -> ListedFile:
    assert (answer.unreadable, answer.unnamed) == (False, 0)
    (file,) = answer.files
    return file


@pytest.mark.parametrize("data", [TENCENT, json.dumps(TENCENT)], ids=["object", "string"])
def test_a_page_of_tencent(data: str) -> None:
    answer = read(answered(f'{{"Code": 0, "Message": "success", "RequestId": "r1", "Data": {data}}}'))
    assert (answer.code, answer.message, answer.request_id, answer.unreadable) == (0, "success", "r1", False)
    assert (answer.total, answer.next_marker, answer.unnamed) == (2, None, 0)
    assert answer.files == LISTED


@pytest.mark.parametrize("vendor", [Vendor.WANGSU, Vendor.HUAWEI])
@pytest.mark.parametrize("spelling", [str, json.dumps], ids=["object", "string"])
def test_a_page_of_keys(vendor: Vendor, spelling: Any) -> None:
    data = spelling(KEYS.replace("VENDOR", vendor.value))
    answer = read(answered(f'{{"Code": "0", "Data": {data}}}'), vendor)
    assert (answer.code, answer.unreadable, answer.total, answer.unnamed) == (0, False, None, 0)
    assert answer.next_marker == "record/app/y.mp4"
    assert answer.files == LISTED_KEYS


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2026-02-30T03:04:05Z", None),
        ("2026-01-02T03:04:05", None),
        ("2026-01-02T03:04:05+08:00", None),
        ("2026-01-02T03:04:05Z\n", None),
        ("٢٠٢٦-01-02T03:04:05Z", None),
        ("", None),
        (1767323045, None),
        ([], None),
    ],
    ids=str,
)
def test_a_moment_is_read_exactly_or_unknown(written: object, read_as: datetime | None) -> None:
    assert only(media(BasicInfo={"CreateTime": written})).created_at == read_as
    assert only(key(LastModified=written)).created_at == read_as


@pytest.mark.parametrize(
    "file_id",
    ["", "  ", None, True, [], {}, "a\x00", "\ud800", "é" * 513, "5.285890784273533e18", 5.285890784273533e18, 5.0],
    ids=ascii,
)
def test_an_entry_whose_file_cannot_be_named_is_counted(file_id: object) -> None:
    answer = media(FileId=file_id)
    assert (answer.files, answer.unnamed, answer.total, answer.unreadable) == ((), 1, 1, False)


def test_only_tencents_ids_are_numbers() -> None:
    answer = read_data({"Ws": {"Keys": ["5", {"Key": "1.5"}, {"Key": " "}]}}, Vendor.WANGSU)
    assert ([file.file_id for file in answer.files], answer.unnamed) == (["1.5"], 2)


@pytest.mark.parametrize(
    ("size", "read_as"),
    [
        *((0, 0), ("17", 17), (17.0, 17), (2**63 - 1, 2**63 - 1), (2**63, None), (-1, None), (1.5, None)),
        *(("1e9", None), ("9" * 5000, None), (None, None), (True, None), ([], None), ("", None)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_size_is_read_exactly_or_unknown(size: object, read_as: int | None) -> None:
    original = {"Definition": "0", "Size": size}
    assert only(media(TranscodeInfo={"TranscodeSet": [original]})).size_bytes == read_as
    assert only(key(Size=size)).size_bytes == read_as


def test_a_rendition_is_not_the_original() -> None:
    original = {"Definition": 0, "Size": 7, "Duration": "60.5"}
    rendition = {"Definition": 100020, "Size": 1, "Duration": 1}
    listed = only(media(TranscodeInfo={"TranscodeSet": [None, "0", {"Size": 1}, rendition, original]}))
    assert (listed.size_bytes, listed.duration_s) == (7, 60.5)
    odd: object
    for odd in (None, [original], {"TranscodeSet": original}, {"TranscodeSet": [rendition]}):
        listed = only(media(TranscodeInfo=odd))
        assert (listed.size_bytes, listed.duration_s) == (None, None)


@pytest.mark.parametrize("text", ["", "a\x00b", "\ud800", "é" * 513, None, ["a"], {}, True], ids=ascii)
def test_names_and_urls_are_whole_or_unknown(text: object) -> None:
    listed = only(media(BasicInfo={"Name": text, "MediaUrl": text}))
    assert (listed.name, listed.media_url) == (None, None)
    assert only(key(MediaUrl=text)).media_url is None
    assert only(media(BasicInfo={"Name": "é" * 512})).name == "é" * 512


@pytest.mark.parametrize(
    "section",
    [
        *(None, [], {}, {"TotalCount": 0}, {"MediaInfoSet": []}),
        {"TotalCount": 0, "MediaInfoSet": {}},
        {"TotalCount": 0, "MediaInfoSet": "[]"},
        *({"TotalCount": count, "MediaInfoSet": []} for count in (None, -1, 1.5, "", "x", True, 10**15)),
    ],
    ids=str,
)
def test_a_listing_of_tencent_that_is_not_whole_is_unreadable(section: object) -> None:
    answer = read_data({"Tencent": section})
    assert (answer.code, answer.unreadable, answer.files, answer.total) == (0, True, (), None)


@pytest.mark.parametrize(
    "section",
    [
        *(None, {"NextMarker": ""}, {"Keys": {}}, {"Keys": "[]"}),
        *({"Keys": [], "NextMarker": odd} for odd in ODD_MARKERS),
    ],
    ids=ascii,
)
def test_a_listing_of_keys_that_is_not_whole_is_unreadable(section: object) -> None:
    answer = read_data({"Huawei": section}, Vendor.HUAWEI)
    assert (answer.code, answer.unreadable, answer.files, answer.next_marker) == (0, True, (), None)


@pytest.mark.parametrize("data", [None, "", "{cut", [], 5, {}, {"Ws": {"TotalCount": 0, "MediaInfoSet": []}}], ids=str)
def test_an_answer_without_the_vendors_part_is_unreadable(data: object) -> None:
    assert read_data(data).unreadable


@pytest.mark.parametrize("entries", [[], None], ids=str)
def test_an_empty_listing(entries: object) -> None:
    answer = read_data({"Tencent": {"TotalCount": "0", "MediaInfoSet": entries}})
    assert (answer.unreadable, answer.files, answer.unnamed, answer.total) == (False, (), 0, 0)
    answer = read_data({"Ws": {"Keys": entries, "NextMarker": ""}}, Vendor.WANGSU)
    assert (answer.unreadable, answer.files, answer.unnamed, answer.next_marker) == (False, (), 0, "")
    missing = read_data({"Ws": {"Keys": entries}}, Vendor.WANGSU)
    assert (missing.unreadable, missing.next_marker) == (False, None), "a marker that is missing is not the end"


@pytest.mark.parametrize("vendor", Vendor)
def test_a_page_that_says_something_twice_is_unreadable(vendor: Vendor) -> None:
    entry = '{"FileId": "1", "FileId": "2", "Key": "1"}'
    section = f'{{"TotalCount": 1, "MediaInfoSet": [{entry}], "Keys": [{entry}]}}'
    assert read(answered(f'{{"Code": 0, "Data": {{"{vendor}": {section}}}}}'), vendor).unreadable


def test_another_code_than_0_lists_nothing() -> None:
    answer = read(answered('{"Code": "7", "Message": "no", "RequestId": 5, "Data": {"Tencent": 5}}', 401, "30"))
    date = datetime(2026, 8, 1, 11, 59, tzinfo=UTC)
    assert answer == SearchAnswer(Transport.ANSWERED, 401, 7, "no", "5", date, unreadable=False, retry_after_s=30.0)


@pytest.mark.parametrize("transport", [Transport.LOST, Transport.NOT_SENT])
def test_no_answer_is_not_an_unreadable_one(transport: Transport) -> None:
    assert read(HttpAnswer(transport, failure="timed out")) == SearchAnswer(transport, message="timed out")


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Name", "Size"]), inner, max_size=2),
    max_leaves=10,
)
ENTRY = st.dictionaries(st.sampled_from(["FileId", "BasicInfo", "TranscodeInfo", "Key", "LastModified", "Size"]), ODD)
SECTION = st.fixed_dictionaries(
    {"TotalCount": st.integers(0, 5000) | ODD, "MediaInfoSet": st.lists(ENTRY | ODD, max_size=4) | ODD}
    | {"Keys": st.lists(ENTRY | ODD, max_size=4) | ODD, "NextMarker": ODD}
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Vendor), SECTION | ODD, st.booleans())
def test_whatever_a_listing_holds_what_is_read_can_be_stored(vendor: Vendor, section: Any, as_text: bool) -> None:
    data = {vendor.value: section}
    answer = read_data(json.dumps(data) if as_text else data, vendor)
    for file in answer.files:
        texts = [file.file_id, *(text for text in (file.name, file.media_url) if text is not None)]
        assert all(text and is_text(text, max_bytes=1024) for text in texts)
    if not answer.unreadable:
        entries = section["MediaInfoSet" if vendor is Vendor.TENCENT else "Keys"]
        assert len(answer.files) + answer.unnamed == len(entries or [])
