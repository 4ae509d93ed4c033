"""The ways through the vendors' listings: every file is shown, in few calls, and what cannot be proven is said."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from service.listing.walks import MAX_FILES, walk_markers, walk_windows
from service.zego.messages import ListedFile, Query, SearchAnswer, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

UNTIL = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOTHING = SearchAnswer(Transport.ANSWERED, code=0)
TWO_YEARS_S: Final = 730 * 86_400


@dataclass
class Windows:
    """Tencent's listing in memory; `most` is how many files a page gives at most."""

    times: list[int]
    order: str = "newest"
    inclusive: bool = True
    most: int = MAX_FILES
    change: Callable[[SearchAnswer, int], SearchAnswer] = lambda answer, _: answer
    calls: int = 0
    shown: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.times.sort()
        self.key = list(range(len(self.times)))
        if self.order != "oldest":
            self.key = [-place for place in self.key]
        if self.order == "shuffled":
            random.Random(3).shuffle(self.key)

    def answer(self, query: Query) -> SearchAnswer:
        assert query.start is not None
        assert query.end is not None
        assert query.page * query.size + query.size <= MAX_FILES
        assert query.start <= query.end
        end = (bisect_right if self.inclusive else bisect_left)(self.times, int(query.end.timestamp()))
        places = range(bisect_left(self.times, int(query.start.timestamp())), end)
        page = sorted(places, key=self.key.__getitem__)[: min(query.size, self.most)]
        files = tuple(ListedFile(f"f{place}", datetime.fromtimestamp(self.times[place], UTC)) for place in page)
        self.calls += 1
        answer = self.change(replace(NOTHING, files=files, total=min(len(places), MAX_FILES)), self.calls)
        self.shown.update(file.file_id for file in answer.files)
        return answer


@dataclass
class Markers:
    """The listing of the other vendors in memory."""

    ids: list[str]
    change: Callable[[SearchAnswer, Query], SearchAnswer] = lambda answer, _: answer
    calls: int = 0
    shown: set[str] = field(default_factory=set)

    def answer(self, query: Query) -> SearchAnswer:
        start = self.ids.index(query.marker) + 1 if query.marker in self.ids else 0
        page = self.ids[start : start + query.size]
        marker = page[-1] if start + query.size < len(self.ids) else ""
        files = tuple(ListedFile(file_id, UNTIL) for file_id in page)
        self.calls += 1
        answer = self.change(replace(NOTHING, files=files, next_marker=marker), query)
        self.shown.update(file.file_id for file in answer.files)
        return answer


def windows(listing: Windows, *, since: datetime | None = None, most_calls: int = 1_000) -> list[str]:
    """Go through the windows of a listing; why it is not complete."""
    return walk_windows(bounded(listing, most_calls), since, UNTIL)


def markers(listing: Markers, *, most_calls: int = 1_000) -> list[str]:
    """Go from marker to marker of a listing; why it is not complete."""
    return walk_markers(bounded(listing, most_calls))


def bounded(listing: Windows | Markers, most_calls: int) -> Callable[[Query], SearchAnswer]:
    def ask(query: Query) -> SearchAnswer:
        assert listing.calls < most_calls, "it asks and asks"
        return listing.answer(query)

    return ask


def spread(count: int, *, crowded: int = 0, seed: int = 0) -> list[int]:
    """Seconds of files that were made within two years, `crowded` of them in one hour."""
    chance, now = random.Random(seed), int(UNTIL.timestamp())
    evenly = [now - chance.randint(60, TWO_YEARS_S) for _ in range(count - crowded)]
    return evenly + [now - 200 * 86_400 + chance.randrange(3_600) for _ in range(crowded)]


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
def test_a_large_account_is_shown_whole_in_at_most_twice_the_calls_that_it_takes(order: str, inclusive: bool) -> None:
    listing = Windows(spread(30_000, crowded=12_000), order, inclusive)
    assert windows(listing) == []
    assert len(listing.shown) == 30_000
    least = 7  # fewer than 5,000 files a window
    assert listing.calls <= 2 * least + (order == "shuffled"), listing.calls


@pytest.mark.parametrize("most", [1_000, 100])
def test_a_vendor_that_gives_fewer_files_a_page_is_asked_for_smaller_windows(most: int) -> None:
    listing = Windows(spread(9_000, crowded=2_000), most=most)
    assert windows(listing) == []
    assert len(listing.shown) == 9_000
    assert listing.calls <= 2.5 * 9_000 / most, listing.calls


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_times_every_file_is_shown(seed: int) -> None:
    chance = random.Random(seed)
    seconds = [chance.randrange(-40, 40) for _ in range(14)]  # about 1,000 a second, in seconds side by side
    times = [int(UNTIL.timestamp()) - 60 + chance.choice(seconds) for _ in range(12_000)]
    order = chance.choice(["newest", "oldest", "shuffled"])
    listing = Windows(times, order, chance.choice([True, False]))
    assert windows(listing) == []
    assert len(listing.shown) == 12_000


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
def test_a_second_with_too_many_files_is_named_and_everything_else_is_shown(order: str) -> None:
    second = int(UNTIL.timestamp()) - 86_400
    listing = Windows(spread(8_000) + [second] * 5_000, order, inclusive=False)
    [problem] = windows(listing)
    assert problem == "5,000 or more files were made in the second 2026-02-28T12:00:00Z: too many to list"
    assert len(listing.shown) == 13_000


def test_since_bounds_what_is_asked_for() -> None:
    listing = Windows(spread(3_000))
    since = UNTIL - timedelta(days=30)
    assert windows(listing, since=since) == []
    assert listing.shown == {f"f{place}" for place, time in enumerate(listing.times) if time >= since.timestamp()}
    assert windows(Windows([]), since=UNTIL + timedelta(days=1)) == []


def test_a_count_that_does_not_agree_at_once_is_asked_for_again() -> None:
    def change(answer: SearchAnswer, call: int) -> SearchAnswer:
        return replace(answer, total=(answer.total or 0) + 1) if call < 3 else answer

    listing = Windows(spread(50), change=change)
    assert windows(listing) == []
    assert listing.calls == 3


def without_ids(answer: SearchAnswer, _: int) -> SearchAnswer:
    return replace(answer, files=answer.files[1:], unnamed=1) if answer.files else answer


LIES = [
    (lambda answer, _: replace(answer, total=min(answer.total, 10)), "the vendor counts 10, and shows 3,000"),
    (lambda answer, _: replace(answer, total=answer.total + 1), "the vendor counts"),
    (lambda answer, _: replace(answer, files=()), "the vendor counts 3,000, and shows 0"),
    (lambda answer, _: replace(answer, files=(), total=5_000), "the vendor counts 5,000, and shows 0"),
    (lambda answer, _: replace(answer, files=answer.files[:-1] * 2), "the vendor counts"),
    (without_ids, "entries without a file id: 1"),
]


@pytest.mark.parametrize(("lie", "says"), LIES)
def test_a_listing_that_contradicts_itself_is_not_complete(
    lie: Callable[[SearchAnswer, int], SearchAnswer], says: str
) -> None:
    listing = Windows(spread(3_000), change=lie)
    problems = windows(listing, most_calls=40)
    assert says in problems[0]


def test_a_vendor_that_ignores_the_times_is_noticed_soon() -> None:
    everything = tuple(ListedFile(f"f{number}", UNTIL) for number in range(5_000))
    listing = Windows([], change=lambda answer, _: replace(answer, files=everything, total=5_000))
    problems = windows(listing)
    assert "the vendor shows files of other times" in problems[-1]
    assert listing.calls < 10


# Markers


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 25_000])
def test_markers_are_followed_to_the_end(count: int) -> None:
    listing = Markers([f"record/{number:06}.mp4" for number in range(count)])
    assert markers(listing) == []
    assert (len(listing.shown), listing.calls) == (count, max(1, -(-count // 1_000)))


def test_the_order_of_a_listing_by_marker_does_not_matter() -> None:
    ids = [f"record/{number:06}.mp4" for number in range(5_000)]
    random.Random(1).shuffle(ids)
    listing = Markers(ids)
    assert markers(listing) == []
    assert len(listing.shown) == 5_000


def lead_back(answer: SearchAnswer, query: Query) -> SearchAnswer:
    """After some pages, the next marker is an earlier one."""
    return replace(answer, next_marker="record/000999.mp4") if query.marker > "record/003" else answer


def test_a_circle_is_noticed_in_a_listing_without_order_as_well() -> None:
    ids = [f"record/{number:06}.mp4" for number in range(5_000)]
    random.Random(1).shuffle(ids)
    listing = Markers(ids, change=lambda answer, _: replace(answer, next_marker=answer.next_marker or ids[999]))
    [problem] = markers(listing, most_calls=20)
    assert "leads back" in problem


MARKER_LIES = [
    (lambda answer, query: replace(answer, next_marker=query.marker or answer.next_marker), "leads back"),
    (lambda answer, _: replace(answer, next_marker=answer.files[0].file_id), "leads back"),
    (lead_back, "leads back"),
    (lambda answer, query: replace(answer, files=(), next_marker=f"{query.marker}x"), "leads back"),
    (lambda answer, _: replace(answer, next_marker=None), "does not say where the next one begins"),
    (lambda answer, _: replace(answer, files=answer.files[1:], unnamed=1), "entries without a name: 1"),
]


@pytest.mark.parametrize(("lie", "says"), MARKER_LIES)
def test_markers_that_lead_nowhere_are_not_complete(
    lie: Callable[[SearchAnswer, Query], SearchAnswer], says: str
) -> None:
    listing = Markers([f"record/{number:06}.mp4" for number in range(8_000)], change=lie)
    problems = markers(listing, most_calls=200)
    assert says in problems[0]
