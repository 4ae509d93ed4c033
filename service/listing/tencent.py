"""The way through Tencent's listing: windows of creation time, cut until the vendor can count the files of each."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from service.listing.walk import Problems
from service.zego.messages import Query

if TYPE_CHECKING:
    from collections.abc import Generator

    from service.listing.walk import Walk
    from service.zego.messages import SearchAnswer

CEILING: Final = 5_000
"""Files that can be reached by paging, and the number at which the vendor's count stops."""

PLAIN_SIZE: Final = 1_000
"""Files of a page where the vendor does not give as many as it could."""

_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_TRIES: Final = 3


@dataclass(slots=True)
class _Window:
    """What came of listing one window: all of it, unless it is `overfull` or has a `problem`.

    `first` is its first page, `ids` are its distinct files, `unnamed` are entries without an id.
    """

    first: SearchAnswer
    ids: set[str] = field(default_factory=set)
    unnamed: int = 0
    overfull: bool = False
    problem: str = ""


def walk_windows(since: datetime | None, until: datetime) -> Walk:
    """Cover the files made from `since` (2015 unless given) to `until`, both included.

    A window is covered when the vendor's count of it is below the ceiling and equals the distinct files shown. Windows
    that touch share the second between them, so it does not matter whether the end of a window is inclusive.
    """
    return _WindowWalk().run(since, until)


@dataclass(slots=True)
class _WindowWalk:
    _size: int = CEILING
    _problems: Problems = field(default_factory=Problems)

    def run(self, since: datetime | None, until: datetime) -> Walk:
        first, last = math.floor((since or _EARLIEST).timestamp()), math.floor(until.timestamp()) + 1
        left = [(first, last)] if first < last else []
        while left:
            start, end = left.pop()
            window = yield from self._list_window(start, end)
            if _is_astray(window.first, start, end):
                self._problems.add(f"asked for {_show(start)} to {_show(end)}, the vendor shows files of other times")
                break
            if not window.overfull:
                self._note(window, start, end)
            elif end - start > 1:
                cut = _choose_cut(window.first, start, end)
                left += [(start, cut), (cut, end)]
            else:
                self._problems.add(
                    f"{CEILING:,} or more files were made in the second {_show(start)}, too many to list"
                )
            if self._problems.are_many:
                self._problems.add("the rest was not listed")
                break
        return tuple(self._problems.lines)

    def _note(self, window: _Window, start: int, end: int) -> None:
        if window.problem:
            self._problems.add(f"files made from {_show(start)} to {_show(end)}: {window.problem}")

    def _list_window(self, start: int, end: int) -> Generator[Query, SearchAnswer, _Window]:
        """List a window, again if the count does not agree: files may have come or gone meanwhile."""
        window = yield from self._read_pages(start, end)
        for _ in range(1, _TRIES):
            if window.overfull or not window.problem or window.unnamed:
                break
            window = yield from self._read_pages(start, end)
        return window

    def _read_pages(self, start: int, end: int) -> Generator[Query, SearchAnswer, _Window]:
        """Read the pages of a window once; where the vendor shows less than a page could hold, with smaller ones."""
        answer = yield self._ask(start, end, 0)
        if self._size > PLAIN_SIZE and _is_short(answer, self._size):
            self._size = PLAIN_SIZE
            answer = yield self._ask(start, end, 0)
        window, totals, page = _Window(answer), set(), 0
        while True:
            entries = len(answer.files) + answer.unnamed
            window.ids.update(file.file_id for file in answer.files)
            window.unnamed += answer.unnamed
            totals.add(answer.total)
            page += 1
            if answer.total is not None and answer.total >= CEILING and entries >= self._size:
                window.overfull = True
                return window
            if entries < self._size or page * self._size >= CEILING:
                break
            if page * self._size >= (answer.total or 0):
                break
            answer = yield self._ask(start, end, page)
        window.problem = _find_problem(window, totals)
        return window

    def _ask(self, start: int, end: int, page: int) -> Query:
        return Query(size=self._size, start=_moment(start), end=_moment(end), page=page)


def _is_short(answer: SearchAnswer, size: int) -> bool:
    """A first page that does not hold what the vendor counts, or none at all: it may not give so many at once."""
    return answer.total is None or len(answer.files) + answer.unnamed < min(answer.total, size)


def _is_astray(page: SearchAnswer, start: int, end: int) -> bool:
    """Whether the times asked for did nothing; then no window will ever be small enough."""
    times = _find_seconds(page)
    return 2 * sum(not start - 1 <= time <= end + 1 for time in times) > len(times)


def _choose_cut(page: SearchAnswer, start: int, end: int) -> int:
    """Where to cut an overfull window, by the times of the files that its first page shows.

    How the vendor orders is not documented. Ordered by time, the page shows one side of its last file whole; else it
    is a sample, and the middle of it will do. A crowded second must not stay in both parts.
    """
    times = _find_seconds(page)
    if not times:
        cut = (start + end) // 2
    elif all(one >= other for one, other in itertools.pairwise(times)):
        cut = times[-1] + 1
    elif all(one <= other for one, other in itertools.pairwise(times)):
        cut = times[-1] - 1
    else:
        cut = sorted(times)[len(times) // 2]
    return min(max(cut, start + 1), end - 1)


def _find_problem(window: _Window, totals: set[int | None]) -> str:
    if window.unnamed:
        return f"entries without a file id: {window.unnamed:,}"
    if totals != {len(window.ids)}:
        counts = " then ".join("no number" if total is None else f"{total:,}" for total in sorted(totals, key=str))
        return f"the vendor counts {counts}, and shows {len(window.ids):,}"
    return ""


def _find_seconds(page: SearchAnswer) -> list[int]:
    return [int(file.created_at.timestamp()) for file in page.files if file.created_at is not None]


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)


def _show(second: int) -> str:
    return _moment(second).strftime("%Y-%m-%dT%H:%M:%SZ")
