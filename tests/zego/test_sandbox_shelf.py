from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.zego.sandbox_search import Search
from service.zego.sandbox_shelf import Order, Shelf, StoredFile

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)

IDS = st.text("ab/", min_size=1, max_size=3)
NAMES = st.text("ab\U0010ffff", max_size=2)
MOMENTS = st.integers(0, 8).map(lambda halves: NOW + timedelta(seconds=halves / 2))
FILES = st.builds(StoredFile, IDS, MOMENTS, stream_id=NAMES, name=st.none() | NAMES)
SEARCHES = st.builds(
    Search,
    first=st.integers(0, 6),
    size=st.integers(1, 4),
    start=st.none() | MOMENTS,
    before=st.none() | MOMENTS,
    prefix=st.just("") | NAMES,
    file_ids=st.just(()) | st.lists(IDS, max_size=3, unique=True).map(tuple),
    stream_ids=st.just(()) | st.lists(NAMES, max_size=2, unique=True).map(tuple),
)


def plainly(files: list[StoredFile], search: Search, order: Order) -> list[StoredFile]:
    """What a search finds, by looking at every file."""
    found = [
        file
        for file in files
        if (search.start is None or search.start <= file.created_at)
        and (search.before is None or file.created_at < search.before)
        and (not search.file_ids or file.file_id in search.file_ids)
        and (not search.stream_ids or file.stream_id in search.stream_ids)
        and (file.stream_id if file.name is None else file.name).startswith(search.prefix)
    ]
    if order == "shuffled":
        return sorted(found, key=lambda file: (crc32(file.file_id.encode()), file.file_id))
    return sorted(found, key=lambda file: (file.created_at, file.file_id), reverse=order == "newest")


class ShelfLikeAList(RuleBasedStateMachine):
    """Whatever comes and goes between two pages, each page is that of the files there are."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.plain: dict[str, StoredFile] = {}

    @rule(files=st.lists(FILES, max_size=6))
    def add(self, files: list[StoredFile]) -> None:
        self.shelf.add(files)
        self.plain.update({file.file_id: file for file in files})

    @rule(file_id=IDS)
    def remove(self, file_id: str) -> None:
        assert self.shelf.remove(file_id) == self.plain.pop(file_id, None)

    @rule(search=SEARCHES, order=st.sampled_from(["newest", "oldest", "shuffled"]))
    def look(self, search: Search, order: Order) -> None:
        found = plainly(list(self.plain.values()), search, order)
        assert self.shelf.count(search, order) == len(found)
        assert list(self.shelf.page(search, order)) == found[search.first : search.first + search.size]

    @rule(marker=st.just("") | IDS, prefix=st.just("") | IDS, count=st.integers(1, 4))
    def look_after(self, marker: str, prefix: str, count: int) -> None:
        keys = sorted(key for key in self.plain if key > marker and key.startswith(prefix))
        assert [file.file_id for file in self.shelf.keys_after(marker, prefix, count)] == keys[:count]

    @invariant()
    def holds_the_same(self) -> None:
        assert self.shelf.files == self.plain


def test_the_same_question_sees_what_came_and_went() -> None:
    shelf, search = Shelf(), Search(0, 5, stream_ids=("s",))
    shelf.add([StoredFile("a", NOW, stream_id="s")])
    assert shelf.count(search, "newest") == 1
    shelf.add([StoredFile("b", NOW, stream_id="s")])
    assert shelf.count(search, "newest") == 2
    shelf.remove("a")
    assert [file.file_id for file in shelf.page(search, "newest")] == ["b"]


TestShelfLikeAList = ShelfLikeAList.TestCase
TestShelfLikeAList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=20, deadline=None)
@given(st.lists(FILES, max_size=5))
def test_many_files_at_once_are_found_like_few(later: list[StoredFile]) -> None:
    many = [StoredFile(f"m{number}", NOW - timedelta(seconds=number)) for number in range(1500)]
    shelf, search = Shelf(), Search(0, 5000)
    shelf.add(later)
    assert shelf.count(search, "oldest") == len(shelf.files)
    shelf.add(many)
    assert list(shelf.page(search, "oldest")) == plainly(list(shelf.files.values()), search, "oldest")


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
def test_a_page_of_a_big_shelf_is_quick_although_files_come_and_go(order: Order) -> None:
    shelf = Shelf()
    shelf.add(
        StoredFile(f"{number:06}", NOW - timedelta(seconds=number), stream_id=f"r{number % 100}")
        for number in range(200_000)
    )
    window = Search(2000, 1000, start=NOW - timedelta(days=1), before=NOW)
    searches = [Search(4000, 1000), window, Search(0, 10, file_ids=("000007",))]
    for search in searches:
        shelf.page(search, order)
    shelf.keys_after("", "", 1)
    took = []
    for number in range(10):
        for search in searches:
            started = time.perf_counter()
            shelf.remove(f"{number:06}")
            shelf.add([StoredFile(f"new{number}", NOW)])
            shelf.page(search, order)
            shelf.count(search, order)
            shelf.keys_after("1", "1", 1000)
            took.append(time.perf_counter() - started)
    assert sorted(took)[len(took) // 2] < 0.05
