"""The sandbox's SearchMedia, asked through the client."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.listing import ListedFile, Query
from service.core.model import Transport, Vendor
from service.zego import sandbox_faults as faults
from service.zego.client import ZegoClient
from service.zego.sandbox import Sandbox, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.core.listing import SearchAnswer

APP, SECRET = "1234567890", "server-secret"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEYED = [Vendor.WANGSU, Vendor.HUAWEI]


def now() -> datetime:
    return NOW


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({APP: SECRET}, now=now, calls_per_second=1000) as opened:
        yield opened


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[ZegoClient]:
    with ZegoClient(APP, SECRET, sandbox.url, None, clear_cache=False, now=now) as opened:
        yield opened


def search(client: ZegoClient, vendor: Vendor = Vendor.TENCENT, *, size: int = 10, **asked: Any) -> SearchAnswer:
    answer = client.search_media(vendor, Query(size, **asked))
    assert (answer.transport, answer.code, answer.unreadable) == (Transport.ANSWERED, 0, False)
    return answer


def ids(answer: SearchAnswer) -> list[str]:
    return [file.file_id for file in answer.files]


def store_seconds(sandbox: Sandbox, names: Sequence[str], vendor: Vendor = Vendor.TENCENT) -> None:
    """Store files, each a second older than the one before."""
    sandbox.add_files(APP, vendor, (StoredFile(name, NOW - place * SECOND) for place, name in enumerate(names)))


@pytest.mark.parametrize("data_as_text", [False, True])
def test_what_tencents_listing_tells_of_a_file(sandbox: Sandbox, client: ZegoClient, *, data_as_text: bool) -> None:
    sandbox.data_as_text = data_as_text
    created_at = NOW - timedelta(days=1, microseconds=-900_000)
    sandbox.add_file(
        APP,
        "Tencent",
        "5285890784273533167",
        size_bytes=5,
        created_at=created_at.astimezone(),
        stream_id="s",
        name="n",
        duration_s=1.5,
        expires_at=NOW,
        media_url="https://u.invalid/",
    )
    sandbox.add_file(APP, "Tencent", "plain", stream_id="s")
    plain, told = search(client).files
    to_the_second = created_at.replace(microsecond=0)
    assert told == ListedFile("5285890784273533167", to_the_second, "n", 5, 1.5, "https://u.invalid/", NOW)
    assert plain == ListedFile("plain", NOW, "s", 1000, 60.0, "https://media.invalid/plain.mp4", None)


@pytest.mark.parametrize("vendor", KEYED)
def test_what_the_others_listings_tell_of_a_file(sandbox: Sandbox, client: ZegoClient, vendor: Vendor) -> None:
    sandbox.add_file(APP, vendor, "a/b.mp4", size_bytes=7, stream_id="s", expires_at=NOW)
    sandbox.add_file(APP, vendor, "a/c.mp4", created_at=NOW - SECOND, media_url="https://u.invalid/")
    assert search(client, vendor).files == (
        ListedFile("a/b.mp4", NOW, size_bytes=7, media_url="https://media.invalid/a/b.mp4"),
        ListedFile("a/c.mp4", NOW - SECOND, size_bytes=1000, media_url="https://u.invalid/"),
    )


def test_pages_of_tencent(sandbox: Sandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde")
    assert [ids(search(client, size=2, page=page)) for page in range(4)] == [["a", "b"], ["c", "d"], ["e"], []]
    assert search(client, size=2, page=3).total == 5
    sandbox.listing_order = "oldest"
    assert [ids(search(client, size=2, page=page)) for page in range(4)] == [["e", "d"], ["c", "b"], ["a"], []]
    sandbox.listing_order = "shuffled"
    shuffled = [name for page in range(3) for name in ids(search(client, size=2, page=page))]
    assert sorted(shuffled) == ["a", "b", "c", "d", "e"]
    assert shuffled not in (["a", "b", "c", "d", "e"], ["e", "d", "c", "b", "a"])
    assert ids(search(client)) == shuffled


def test_windows_of_tencent_hold_whole_seconds(sandbox: Sandbox, client: ZegoClient) -> None:
    for half in range(8):
        sandbox.add_file(APP, "Tencent", f"f{half}", created_at=NOW + half * SECOND / 2)
    window: dict[str, Any] = {"start": NOW + SECOND, "end": NOW + 2 * SECOND}
    assert ids(search(client, **window)) == ["f5", "f4", "f3", "f2"]
    assert ids(search(client, start=NOW + 3 * SECOND)) == ["f7", "f6"]
    assert ids(search(client, end=NOW)) == ["f1", "f0"]
    assert ids(search(client, start=NOW, end=NOW)) == ["f1", "f0"]
    sandbox.listing_order = "oldest"
    assert ids(search(client, **window)) == ["f2", "f3", "f4", "f5"]
    sandbox.end_is_inclusive, sandbox.listing_order = False, "newest"
    assert ids(search(client, **window)) == ["f3", "f2"]
    assert ids(search(client, start=NOW, end=NOW)) == []


def test_filters_of_tencent_hold_together(sandbox: Sandbox, client: ZegoClient) -> None:
    for file_id, stream, name in (("a", "s1", "one"), ("b", "s1", "only"), ("c", "s2", "one"), ("d", "s3", None)):
        sandbox.add_file(APP, "Tencent", file_id, stream_id=stream, name=name)
    sandbox.listing_order = "oldest"
    assert ids(search(client, prefix="on")) == ["a", "b", "c"]
    assert ids(search(client, prefix="one")) == ["a", "c"]
    assert ids(search(client, prefix="s")) == ["d"]
    assert ids(search(client, file_ids=("c", "x", "a"))) == ["a", "c"]
    assert ids(search(client, stream_ids=("s1", "s3"))) == ["a", "b", "d"]
    assert ids(search(client, stream_ids=("s1", "s3"), file_ids=("a", "c"), prefix="one")) == ["a"]
    both = search(client, size=1, page=1, stream_ids=("s1",))
    assert (ids(both), both.total) == (["b"], 2)
    assert ids(search(client, stream_ids=("s1",), end=NOW - SECOND)) == []


def test_the_count_of_tencent_stops_at_5000(sandbox: Sandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, [f"{number:05}" for number in range(5001)])
    assert search(client).total == 5000
    assert search(client, prefix="").total == 5000
    assert search(client, start=NOW - 4999 * SECOND).total == 5000
    assert search(client, start=NOW - 4998 * SECOND).total == 4999
    last = search(client, size=1000, page=4)
    assert (ids(last)[-1], len(last.files)) == ("04999", 1000)


@pytest.mark.parametrize("vendor", KEYED)
def test_pages_by_marker(sandbox: Sandbox, client: ZegoClient, vendor: Vendor) -> None:
    store_seconds(sandbox, ["x/3", "x/1", "w", "x/2", "y"], vendor)
    first = search(client, vendor, size=2, prefix="x/")
    assert (ids(first), first.next_marker) == (["x/1", "x/2"], "x/2")
    last = search(client, vendor, size=2, prefix="x/", marker="x/2")
    assert (ids(last), last.next_marker) == (["x/3"], "")
    assert ids(search(client, vendor, size=1000)) == ["w", "x/1", "x/2", "x/3", "y"]
    assert search(client, vendor, size=3, prefix="x/").next_marker == ""


@pytest.mark.parametrize("vendor", KEYED)
def test_files_that_come_and_go_between_pages_are_seen(sandbox: Sandbox, client: ZegoClient, vendor: Vendor) -> None:
    store_seconds(sandbox, "abcd", vendor)
    first = search(client, vendor, size=2)
    sandbox.remove_file(APP, vendor, "c")
    sandbox.add_file(APP, vendor, "e")
    client.delete_media(vendor, ["b"])
    assert ids(search(client, vendor, size=2, marker=first.next_marker)) == ["d", "e"]


def test_files_that_come_and_go_move_tencents_pages(sandbox: Sandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcd")
    assert ids(search(client, size=2)) == ["a", "b"]
    client.delete_media(Vendor.TENCENT, ["a"])
    second = search(client, size=2, page=1)
    assert (ids(second), second.total) == (["d"], 3)
    assert ids(search(client, prefix="", stream_ids=("late",))) == []
    sandbox.add_file(APP, "Tencent", "z", created_at=NOW + SECOND, stream_id="late")
    assert ids(search(client, stream_ids=("late",))) == ["z"]
    assert ids(search(client, size=2)) == ["z", "b"]


def test_the_record_tells_pages_apart(sandbox: Sandbox, client: ZegoClient) -> None:
    search(client, start=NOW, end=NOW, page=1, prefix="a b")
    search(client, file_ids=("f1", "f2"), stream_ids=("s",))
    search(client, Vendor.WANGSU, marker="m")
    client.delete_media(Vendor.TENCENT, ["a"])
    assert [call.page for call in sandbox.calls] == [
        "EndTime=1785585600&NamePrefix=a+b&PageNumber=1&PageSize=10&StartTime=1785585600",
        "FileId%5B%5D=f1&FileId%5B%5D=f2&PageNumber=0&PageSize=10&StreamId%5B%5D=s",
        "Marker=m&MaxKeys=10",
        "",
    ]


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
def test_a_big_shelf_is_listed_quickly(sandbox: Sandbox, client: ZegoClient, order: Any) -> None:
    count = 200_000
    sandbox.listing_order = order
    store_seconds(sandbox, [f"{number:06}" for number in range(count)])
    window: dict[str, Any] = {"start": NOW - 150_000 * SECOND, "end": NOW - 50_000 * SECOND}
    took = []
    for number in range(6):
        sandbox.remove_file(APP, "Tencent", f"{number:06}")
        started = time.perf_counter()
        assert search(client, size=100, page=20).total == 5000
        assert len(search(client, size=100, page=20, **window).files) == 100
        took.append((time.perf_counter() - started) / 2)
    assert min(took[1:]) < 0.05


# Faults


def test_a_vendor_that_the_app_does_not_use(sandbox: Sandbox, client: ZegoClient) -> None:
    sandbox.add_file(APP, "Huawei", "a")
    sandbox.always(faults.answer_code(4, "vendor", vendor=Vendor.HUAWEI, action="SearchMedia"))
    assert client.search_media(Vendor.HUAWEI, Query(1)).code == 4
    assert client.search_media(Vendor.WANGSU, Query(1)).code == 0
    assert client.delete_media(Vendor.HUAWEI, ["a"]).deleted == {"a"}


@pytest.mark.parametrize(
    "fault",
    [
        faults.answer_html(502, action="SearchMedia"),
        faults.cut_answer(action="SearchMedia"),
        faults.drop_before(action="SearchMedia"),
        faults.drop_after(action="SearchMedia"),
    ],
    ids=["html", "cut", "before", "after"],
)
def test_a_fault_of_the_listing_waits_for_one(sandbox: Sandbox, client: ZegoClient, fault: faults.Fault) -> None:
    sandbox.add_file(APP, "Tencent", "a")
    sandbox.next(fault)
    assert client.delete_media(Vendor.TENCENT, ["b"]).code == 0
    answer = client.search_media(Vendor.TENCENT, Query(1))
    assert (answer.code, answer.files) == (None, ())
    assert answer.unreadable is (answer.transport is Transport.ANSWERED)
    assert ids(search(client)) == ["a"]


def test_an_answer_of_the_listing_can_be_late(sandbox: Sandbox) -> None:
    sandbox.next(faults.answer_late(30, action="SearchMedia"))
    with ZegoClient(APP, SECRET, sandbox.url, None, clear_cache=False, now=now, read_timeout_s=0.2) as client:
        assert client.delete_media(Vendor.TENCENT, ["b"]).code == 0
        assert client.search_media(Vendor.TENCENT, Query(1)).transport is Transport.LOST


def test_a_listing_that_ends_too_early(sandbox: Sandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde")
    store_seconds(sandbox, "abcde", Vendor.WANGSU)
    sandbox.always(faults.list_fewer(3))
    pages = [search(client, size=2, page=page) for page in range(3)]
    assert [(ids(page), page.total) for page in pages] == [(["a", "b"], 3), (["c"], 3), ([], 3)]
    page = search(client, Vendor.WANGSU, size=4)
    assert (ids(page), page.next_marker) == (["a", "b", "c"], "")


def test_a_count_that_is_too_small(sandbox: Sandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde")
    store_seconds(sandbox, "a", Vendor.WANGSU)
    sandbox.always(faults.understate_total(3))
    pages = [search(client, size=2, page=page) for page in range(3)]
    assert [(ids(page), page.total) for page in pages] == [(["a", "b"], 3), (["c", "d"], 3), (["e"], 3)]
    assert ids(search(client, Vendor.WANGSU)) == ["a"]


def test_a_marker_that_stands_still(sandbox: Sandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde", Vendor.WANGSU)
    store_seconds(sandbox, "a")
    sandbox.always(faults.repeat_marker())
    markers = [search(client, Vendor.WANGSU, size=2, marker=marker).next_marker for marker in ("", "b", "d")]
    assert markers == ["b", "b", "d"]
    assert ids(search(client)) == ["a"]


@pytest.mark.parametrize(("way", "expected"), [("onward", ["b", "d", "e~", "e~~"]), ("back", ["b", "d", " ", "b"])])
def test_markers_that_never_end(sandbox: Sandbox, client: ZegoClient, way: Any, expected: list[str]) -> None:
    store_seconds(sandbox, "abcde", Vendor.WANGSU)
    sandbox.always(faults.repeat_marker(way))
    markers = [""]
    for _ in expected:
        markers.append(search(client, Vendor.WANGSU, size=2, marker=markers[-1]).next_marker or "")
    assert markers[1:] == expected


@pytest.mark.parametrize("vendor", Vendor)
def test_entries_without_an_id(sandbox: Sandbox, client: ZegoClient, vendor: Vendor) -> None:
    store_seconds(sandbox, "abc", vendor)
    sandbox.next(faults.hide_ids("b"), faults.hide_ids(vendor=vendor))
    some, none = search(client, vendor), search(client, vendor)
    assert (ids(some), some.unnamed) == (["a", "c"], 1)
    assert (ids(none), none.unnamed) == ([], 3)
    assert ids(search(client, vendor)) == ["a", "b", "c"]
