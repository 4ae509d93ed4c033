from __future__ import annotations

import json
import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.core.listing import ListedFile, Query
from service.core.time_walk import TimeWalk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = int((UNTIL - SINCE).total_seconds())
START = int(SINCE.timestamp())
ORDERS = ["newest", "oldest", "shuffled"]
ENDS = [False, True]


@dataclass
class Vendor:
    """Tencent's listing in memory: a count that stops at `ceiling`, an end that is inclusive or not, any order."""

    files: list[tuple[int, str, str]]  # second since SINCE, id, name
    order: str = "newest"
    inclusive: bool = False
    ceiling: int = 5_000
    count: Callable[[int], int] = lambda found: found
    fold: bool = False
    streams: dict[str, str] = field(default_factory=dict)
    asked: list[Query] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files.sort()
        self.times = [second for second, _, _ in self.files]
        self.place = {file_id: place for place, (_, file_id, _) in enumerate(self.files)}
        random.Random(7).shuffle(shuffled := list(range(len(self.files))))
        self.key = {"newest": lambda place: -place, "oldest": lambda place: place, "shuffled": shuffled.__getitem__}

    def find(self, query: Query) -> list[int]:
        assert query.start is not None
        assert query.end is not None
        cut = bisect_right if self.inclusive else bisect_left
        low = bisect_left(self.times, query.start.timestamp() - START)
        high = cut(self.times, query.end.timestamp() - START)
        places = list(range(low, high))
        if query.prefix:
            places = [place for place in places if self.names(place).startswith(self.bend(query.prefix))]
        if query.stream_ids:
            places = [place for place in places if self.streams.get(self.files[place][1]) in query.stream_ids]
        return sorted(places, key=self.key[self.order])

    def names(self, place: int) -> str:
        return self.bend(self.files[place][2])

    def bend(self, name: str) -> str:
        return name.casefold() if self.fold else name

    def answer(self, query: Query) -> tuple[list[ListedFile], int]:
        assert query.page * query.size + query.size <= self.ceiling
        assert len(query.prefix.encode()) <= 20
        self.asked.append(query)
        places = self.find(query)
        total = min(self.count(len(places)), self.ceiling)
        page = places[: self.ceiling][query.page * query.size : (query.page + 1) * query.size]
        return [self.show(place) for place in page], total

    def show(self, place: int) -> ListedFile:
        second, file_id, name = self.files[place]
        return ListedFile(file_id, SINCE + timedelta(seconds=second), name)


def make(seconds: Iterable[int], name: Callable[[int], str] = str) -> list[tuple[int, str, str]]:
    return [(second, f"f{number}", name(number)) for number, second in enumerate(seconds)]


def run(vendor: Vendor, walk: TimeWalk | None = None, limit: int = 20_000) -> tuple[set[str], TimeWalk]:
    walk = walk or TimeWalk(SINCE, UNTIL)
    seen: set[str] = set()
    for _ in range(limit):
        query = walk.next_query()
        if query is None:
            return seen, walk
        assert walk.next_query() is query
        files, total = vendor.answer(query)
        walk.take(files, total=total, next_marker=None)
        seen |= {file.file_id for file in files}
    raise AssertionError(f"not over after {limit} calls")


def everything(vendor: Vendor) -> set[str]:
    return {file_id for _, file_id, _ in vendor.files}


def evenly(count: int) -> list[int]:
    return [number * SPAN // count for number in range(count)]


def crowded() -> list[tuple[int, str, str]]:
    """30,000 files over two years, 12,000 of them in one hour, 6,000 of those in one second."""
    rng = random.Random(1)
    hour = SPAN // 2
    seconds = [rng.randrange(SPAN) for _ in range(18_000)] + [hour + rng.randrange(3_600) for _ in range(6_000)]
    return make(seconds + [hour + 1_234] * 6_000, lambda number: f"{number % 36:x}-{number}")


def bursts(a_day: int) -> list[int]:
    rng = random.Random(2)
    return [day * 86_400 + 64_800 + rng.randrange(300) for day in range(700) for _ in range(a_day)]


DISTRIBUTIONS: dict[str, Callable[[], list[tuple[int, str, str]]]] = {
    "crowded": crowded,
    "1,000 evenly": lambda: make(evenly(1_000)),
    "6,000 evenly": lambda: make(evenly(6_000)),
    "30,000 evenly": lambda: make(evenly(30_000)),
    "100,000 evenly": lambda: make(evenly(100_000)),
    "100 in bursts every day": lambda: make(bursts(100)),
    "12,000 on three days": lambda: make(
        [day * 86_400 + number * 3 for day in (10, 300, 650) for number in range(12_000)]
    ),
}


@pytest.mark.parametrize("inclusive", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_few_calls_are_needed(name: str, order: str, inclusive: bool) -> None:
    vendor = Vendor(DISTRIBUTIONS[name](), order, inclusive)
    seen, walk = run(vendor)
    assert walk.problems == ()
    assert seen == everything(vendor)
    crowd = [second for second, count in Counter(vendor.times).items() if count >= 5_000]
    counted = [query for query in vendor.asked if not is_about(query, crowd)]
    least = math.ceil((len(vendor.files) - 6_000 * len(crowd)) / 1_000)
    print(f"{name}, {order}, {inclusive=}: {len(counted)} calls of {len(vendor.asked)}, least {least}")
    if name != "6,000 evenly" and order != "shuffled":
        assert len(counted) <= max(1.5 * least, least + 1)  # a last page that is full is asked beyond


def is_about(query: Query, crowd: list[int]) -> bool:
    """It asks for a crowded second only."""
    assert query.start is not None
    assert query.end is not None
    low, high = (int(moment.timestamp()) - START for moment in (query.start, query.end))
    return high - low <= 1 and any(low <= second <= high for second in crowd)


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (1, 1), (999, 1), (4_999, 5)])
def test_what_can_be_counted_at_once_takes_the_least_possible(count: int, calls: int) -> None:
    vendor = Vendor(make(evenly(count)))
    seen, walk = run(vendor)
    assert (len(seen), len(vendor.asked), walk.problems, walk.progress) == (count, calls, (), 1.0)


def test_a_range_is_asked_from_2015_with_both_ends() -> None:
    first = TimeWalk(None, UNTIL).next_query()
    assert first == Query(1_000, datetime(2015, 1, 1, tzinfo=UTC), UNTIL + timedelta(seconds=1))
    for inclusive in ENDS:
        assert len(run(Vendor(make([0, SPAN]), inclusive=inclusive))[0]) == 2


SMALL = st.lists(
    st.one_of(st.integers(0, 10), st.integers(0, 2_000), st.sampled_from([3, 4, 5, 1_999, 2_000])), max_size=150
)


@settings(deadline=None, max_examples=300)
@given(
    seconds=SMALL, order=st.sampled_from(ORDERS), inclusive=st.booleans(), cuts=st.sets(st.integers(0, 400), max_size=9)
)
@example(
    seconds=[0, *[3] * 7, *[4] * 18, *[5] * 6, 6, 8, 962, *[1_999] * 3, *[2_000] * 4],
    order="shuffled",
    inclusive=False,
    cuts=set(),
)
@example(seconds=[4] * 30, order="newest", inclusive=True, cuts=set())
@example(seconds=[4] * 19 + [5] * 19 + [6] * 19, order="oldest", inclusive=True, cuts={3})
def test_nothing_is_missed_however_it_lies_and_is_listed(
    seconds: list[int], order: str, inclusive: bool, cuts: set[int]
) -> None:
    vendor = Vendor(make(seconds, lambda number: f"{number:03}"), order, inclusive, ceiling=20)
    walk = TimeWalk(SINCE, SINCE + timedelta(seconds=2_000), 4, ceiling=20)
    seen: set[str] = set()
    for step in range(60 * len(seconds) + 4_000):
        query = walk.next_query()
        if query is None:
            break
        if step in cuts:
            walk = TimeWalk.load(json.loads(json.dumps(walk.dump())))
            query = walk.next_query()
            assert query is not None
        files, total = vendor.answer(query)
        walk.take(files, total=total, next_marker=None)
        seen |= {file.file_id for file in files}
    assert walk.next_query() is None
    assert walk.problems == ()
    assert seen == everything(vendor)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("inclusive", ENDS)
def test_neighbouring_seconds_are_told_apart_whatever_the_end(order: str, inclusive: bool) -> None:
    vendor = Vendor(make([10] * 12 + [11] * 12 + [12] * 12 + [13] * 3), order, inclusive, ceiling=20)
    seen, walk = run(vendor, TimeWalk(SINCE, UNTIL, 5, ceiling=20))
    assert (seen, walk.problems) == (everything(vendor), ())
    assert not inclusive or not any(query.prefix for query in vendor.asked)


def second_of(names: Callable[[int], str], count: int = 60, **facts: bool) -> tuple[Vendor, set[str], TimeWalk]:
    vendor = Vendor(make([10] * count + [500], names), ceiling=20, **facts)  # type: ignore[arg-type]
    seen, walk = run(vendor, TimeWalk(SINCE, UNTIL, 5, ceiling=20))
    return vendor, seen, walk


@pytest.mark.parametrize("inclusive", ENDS)
def test_names_tell_a_crowded_second_apart(inclusive: bool) -> None:
    vendor, seen, walk = second_of(lambda number: f"rec-é{number:02}", inclusive=inclusive)
    assert (seen, walk.problems) == (everything(vendor), ())


def test_a_vendor_that_ignores_case_is_not_asked_for_every_spelling() -> None:
    vendor, seen, walk = second_of(lambda number: f"ReCording-{number:02}", fold=True)
    assert (seen, walk.problems) == (everything(vendor), ())
    assert len(vendor.asked) < 3_000


@pytest.mark.parametrize(
    "name",
    [
        lambda _: "same",
        lambda number: "twenty-bytes-and-more" + str(number),
        lambda number: "a" if number < 30 else f"b{number}",
        lambda number: "\ud800" if number == 59 else str(number),
    ],
)
def test_a_second_that_names_do_not_tell_apart_is_named(name: Callable[[int], str]) -> None:
    vendor, seen, walk = second_of(name)
    assert "f60" in seen
    assert len(walk.problems) == 1
    listed = len(seen - {"f60"})
    assert walk.problems[0] == (
        "more than 20 files were made in the second 2024-01-01T00:00:10Z and names do not tell them apart:"
        f" {listed} of them were listed"
    )
    assert TimeWalk.load(walk.dump()).problems == walk.problems
    assert vendor.asked[-1].prefix == "" or len(vendor.asked) < 3_000


def test_a_file_without_a_name_leaves_its_second_unresolved() -> None:
    vendor = Vendor(make([10] * 60), ceiling=20)
    walk = TimeWalk(SINCE, UNTIL, 5, ceiling=20)
    while (query := walk.next_query()) is not None:
        files, total = vendor.answer(query)
        nameless = [ListedFile(file.file_id, file.created_at) if file.file_id == "f50" else file for file in files]
        walk.take(nameless, total=total, next_marker=None)
    assert len(walk.problems) == 1


@pytest.mark.parametrize("unnamed", [0, 1])
def test_a_file_that_prefixes_do_not_find_or_that_has_no_id_leaves_its_second_unresolved(unnamed: int) -> None:
    vendor = Vendor(make([10] * 60), ceiling=20)
    walk = TimeWalk(SINCE, UNTIL, 5, ceiling=20)
    while (query := walk.next_query()) is not None:
        files, total = vendor.answer(query)
        hidden = bool(query.prefix) and not unnamed and "59".startswith(query.prefix)
        kept = [file for file in files if not hidden or file.file_id != "f59"]
        extra = unnamed if query.page == 1 and total >= 20 and not query.prefix else 0
        walk.take(kept, total=total - hidden, next_marker=None, unnamed=extra)
    assert len(walk.problems) == 1


def test_streams_add_files_but_prove_nothing() -> None:
    vendor = Vendor(make([10] * 60, lambda _: "same"), ceiling=20, streams={f"f{n}": f"s{n % 6}" for n in range(60)})
    seen, walk = run(vendor, TimeWalk(SINCE, UNTIL, 5, ceiling=20, streams=[f"s{n}" for n in range(6)]))
    assert seen == everything(vendor)
    assert walk.problems[0].endswith("60 of them were listed")


@pytest.mark.parametrize(
    ("lie", "count"),
    [
        (lambda found: max(0, found - 1), 100),
        (lambda found: min(found, 7), 100),
        (lambda found: found + 1, 15),
        (lambda _: 0, 100),
        (lambda _: 20, 30),
        (lambda found: min(found, 10), 15),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_a_count_that_lies_is_noticed(lie: Callable[[int], int], count: int, order: str) -> None:
    vendor = Vendor(make(range(0, 2_000, 2_000 // count)), order, count=lie, ceiling=20)
    _, walk = run(vendor, TimeWalk(SINCE, SINCE + timedelta(seconds=2_000), 5, ceiling=20))
    assert walk.problems
    assert TimeWalk.load(json.loads(json.dumps(walk.dump()))).problems == walk.problems


def test_a_file_that_goes_while_paging_makes_the_window_be_listed_again() -> None:
    vendor = Vendor(make(range(12)), ceiling=20)
    walk = TimeWalk(SINCE, UNTIL, 5, ceiling=20)
    seen: list[str] = []
    for step in range(99):
        query = walk.next_query()
        if query is None:
            break
        files, total = vendor.answer(query)
        walk.take(files, total=total, next_marker=None)
        seen += [file.file_id for file in files]
        if step == 0:
            vendor.files, vendor.times = vendor.files[:-1], vendor.times[:-1]
    assert everything(vendor) <= set(seen)
    assert [query.page for query in vendor.asked] == [0, 1, 2, 0, 1, 2]
    assert walk.problems == ()


def test_windows_that_the_vendor_ignores_end_the_walk() -> None:
    vendor = Vendor(make(range(100)), ceiling=20)
    walk = TimeWalk(SINCE, UNTIL, 5, ceiling=20)
    while (query := walk.next_query()) is not None:
        files, total = vendor.answer(Query(query.size, SINCE, UNTIL, page=query.page))
        walk.take(files, total=total, next_marker=None)
        assert len(vendor.asked) < 100
    assert "were not listed: asked for" in walk.problems[-1]


def test_entries_that_cannot_be_named_and_counts_that_are_not_told_are_problems() -> None:
    for total, unnamed, calls in ((2, 1, 1), (None, 0, 3)):
        walk = TimeWalk(SINCE, UNTIL)
        for _ in range(calls):
            assert walk.next_query() is not None
            walk.take([ListedFile("a", SINCE, "a")], total=total, next_marker=None, unnamed=unnamed)
        assert walk.next_query() is None
        assert len(walk.problems) == 1


def test_fractions_of_a_second_are_not_taken_for_a_whole_one() -> None:
    vendor = Vendor(make([10] * 60 + [11]), inclusive=True, ceiling=20)
    seconds: list[float] = [10.0] * 10 + [10.5] * 50 + [11.0]
    vendor.times = seconds  # type: ignore[assignment]
    vendor.files = [(at, *file[1:]) for at, file in zip(seconds, vendor.files, strict=True)]  # type: ignore[misc]
    seen, walk = run(vendor, TimeWalk(SINCE, UNTIL, 5, ceiling=20))
    assert (seen, walk.problems) == (everything(vendor), ())


def test_after_many_hopeless_seconds_the_walk_ends_and_says_so() -> None:
    vendor = Vendor(make((second for second in range(100, 160, 2) for _ in range(30)), lambda _: "s"), ceiling=20)
    _, walk = run(vendor, TimeWalk(SINCE, UNTIL, 5, ceiling=20))
    assert len(walk.problems) == 21
    assert "were not listed: 20 seconds could not be listed completely" in walk.problems[-1]


def test_an_answer_to_nothing_is_refused() -> None:
    _, walk = run(Vendor([]))
    with pytest.raises(ValueError, match="over"):
        walk.take([], total=0, next_marker=None)


@pytest.mark.parametrize(
    "change",
    [
        {"walk": "marker/1"},
        {"low": -1},
        {"high": 10**12},
        {"last": 10**20},
        {"order": "odd"},
        {"order": 1},
        {"size": 0},
        {"size": True},
        {"width": "1"},
        {"problems": [1]},
        {"problems": None},
        {"ceiling": 0},
    ],
)
def test_a_cursor_that_is_none_is_refused(change: dict[str, object]) -> None:
    cursor = TimeWalk(SINCE, UNTIL).dump()
    with pytest.raises(ValueError, match=r".+"):
        TimeWalk.load({**cursor, **change})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="cursor"):
        TimeWalk.load({})


def test_a_walk_that_cannot_start_is_refused() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        TimeWalk(UNTIL + timedelta(seconds=1), UNTIL)
    with pytest.raises(ValueError, match="1 to 5,000"):
        TimeWalk(SINCE, UNTIL, 0)
