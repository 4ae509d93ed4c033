"""The sandbox's SearchMedia, asked through the client."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.model import Vendor
from service.sandbox import StoredFile
from service.zego.client import ZegoClient
from service.zego.messages import ListedFile, Query, SearchAnswer, Transport
from tests import faults
from tests.faults import FaultySandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

APP, SECRET = "1234567890", "server-secret"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def now() -> datetime:
    return NOW


@pytest.fixture
def sandbox() -> Iterator[FaultySandbox]:
    with FaultySandbox({APP: SECRET}, now, calls_per_second=1000) as opened:
        yield opened


@pytest.fixture
def client(sandbox: FaultySandbox) -> Iterator[ZegoClient]:
    with ZegoClient(APP, SECRET, sandbox.url, now=now) as opened:
        yield opened


def search(client: ZegoClient, vendor: Vendor = Vendor.TENCENT, *, size: int = 10, **asked: Any) -> SearchAnswer:
    answer = client.search_media(vendor, Query(size, **asked))
    assert (answer.transport, answer.code, answer.unreadable) == (Transport.ANSWERED, 0, False)
    return answer


def ids(answer: SearchAnswer) -> str:
    return " ".join(file.file_id for file in answer.files)


def store_seconds(sandbox: FaultySandbox, names: Sequence[str], vendor: Vendor = Vendor.TENCENT) -> None:
    """Store files, each a second older than the one before."""
    sandbox.add_files(APP, vendor, (StoredFile(name, NOW - place * SECOND) for place, name in enumerate(names)))


def test_what_listings_show_of_a_file(sandbox: FaultySandbox, client: ZegoClient) -> None:
    created_at = (NOW - timedelta(days=1, microseconds=-900_000)).astimezone()
    facts: dict[str, Any] = {"size_bytes": 5, "created_at": created_at, "duration_s": 1.5, "media_url": "https://u/"}
    for vendor in Vendor:
        sandbox.add_file(APP, vendor, "a/b.mp4", stream_id="s", name="n", **facts)
    to_the_second = created_at.replace(microsecond=0)
    assert search(client).files == (ListedFile("a/b.mp4", to_the_second, "n", 5, 1.5, "https://u/"),)
    for vendor in (Vendor.WANGSU, Vendor.HUAWEI):
        only = ListedFile("a/b.mp4", to_the_second, size_bytes=5, media_url="https://u/")
        assert search(client, vendor).files == (only,)


def test_pages_and_windows_of_tencent(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde")
    assert [ids(search(client, size=2, page=page)) for page in range(4)] == ["a b", "c d", "e", ""]
    assert search(client, size=2, page=3).total == 5
    window: dict[str, Any] = {"start": NOW - 3 * SECOND, "end": NOW - SECOND}
    assert (ids(search(client, **window)), search(client, **window).total) == ("b c d", 3)
    assert ids(search(client, start=NOW, end=NOW)) == "a"
    sandbox.listing_order = faults.oldest_first
    assert [ids(search(client, size=2, page=page)) for page in range(3)] == ["e d", "c b", "a"]
    sandbox.listing_order = faults.shuffled
    shuffled = " ".join(ids(search(client, size=2, page=page)) for page in range(3))
    assert sorted(shuffled.split()) == list("abcde")
    assert shuffled not in ("a b c d e", "e d c b a")


def test_the_count_of_tencent_stops_at_5000(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, [f"{number:05}" for number in range(5001)])
    assert search(client).total == 5000
    assert search(client, start=NOW - 4998 * SECOND).total == 4999
    assert search(client, size=1000, page=4).files[-1].file_id == "04999"


def test_pages_by_marker_see_files_that_come_and_go(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, ["d", "b", "a", "c"], Vendor.WANGSU)
    first = search(client, Vendor.WANGSU, size=2)
    assert (ids(first), first.next_marker) == ("a b", "b")
    sandbox.remove_file(APP, Vendor.WANGSU, "c")
    sandbox.add_file(APP, Vendor.WANGSU, "e/ü+& %")
    client.delete_media(Vendor.WANGSU, ["b"])
    last = search(client, Vendor.WANGSU, size=2, marker=first.next_marker)
    assert (ids(last), last.next_marker) == ("d e/ü+& %", "")
    assert ids(search(client, Vendor.WANGSU, marker="e/ü+& %")) == ""


def test_files_that_go_move_tencents_pages(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcd")
    assert ids(search(client, size=2)) == "a b"
    client.delete_media(Vendor.TENCENT, ["a"])
    second = search(client, size=2, page=1)
    assert (ids(second), second.total) == ("d", 3)
    sandbox.add_file(APP, "Tencent", "a", created_at=NOW - 9 * SECOND)
    assert ids(search(client)) == "b c d a"


def test_deleting_and_listing_stay_cheap_with_many_files(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, [f"{number:06}" for number in range(200_000)])
    search(client)
    started = time.process_time()
    for call in range(20):
        client.delete_media(Vendor.TENCENT, [f"{call * 100 + number:06}" for number in range(100)])
    assert time.process_time() - started < 1
    assert ids(search(client, size=1)) == "002000"


# Faults


def test_a_fault_of_the_listing_waits_for_one(sandbox: FaultySandbox, client: ZegoClient) -> None:
    sandbox.next(faults.cut_answer(action="SearchMedia"))
    assert client.delete_media(Vendor.TENCENT, ["b"]).code == 0
    assert client.search_media(Vendor.TENCENT, Query(1)).unreadable
    assert search(client, start=NOW, page=1).files == ()
    assert sandbox.calls[-1].page == "PageNumber=1&PageSize=10&StartTime=1785585600"


def test_listings_that_are_too_short(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde")
    store_seconds(sandbox, "abcde", Vendor.WANGSU)
    sandbox.always(faults.list_fewer(3))
    pages = [search(client, size=2, page=page) for page in range(3)]
    assert [(ids(page), page.total) for page in pages] == [("a b", 3), ("c", 3), ("", 3)]
    page = search(client, Vendor.WANGSU, size=4)
    assert (ids(page), page.next_marker) == ("a b c", "")
    sandbox.end_faults()
    sandbox.always(faults.understate_total(3))
    pages = [search(client, size=2, page=page) for page in range(3)]
    assert [(ids(page), page.total) for page in pages] == [("a b", 3), ("c d", 3), ("e", 3)]


def test_a_marker_that_stands_still(sandbox: FaultySandbox, client: ZegoClient) -> None:
    store_seconds(sandbox, "abcde", Vendor.WANGSU)
    sandbox.always(faults.repeat_marker())
    markers = [search(client, Vendor.WANGSU, size=2, marker=marker).next_marker for marker in ("", "b", "d")]
    assert markers == ["b", "b", "d"]


@pytest.mark.parametrize("vendor", Vendor)
def test_entries_without_an_id(sandbox: FaultySandbox, client: ZegoClient, vendor: Vendor) -> None:
    store_seconds(sandbox, "abc", vendor)
    sandbox.next(faults.hide_ids("b"), faults.hide_ids(vendor=vendor))
    some, none = search(client, vendor), search(client, vendor)
    assert (ids(some), some.unnamed) == ("a c", 1)
    assert (ids(none), none.unnamed) == ("", 3)
    assert ids(search(client, vendor)) == "a b c"
