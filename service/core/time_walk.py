"""The way through Tencent's listing: windows of creation time that are small enough to be counted."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from service.core.listing import Query
from service.core.second_walk import SecondSplit
from service.core.walk import Problems, check_kind, check_text, read_whole
from service.core.window import CEILING, Limits, Order, Page, find_order, is_whole_second, list_window

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from service.core.listing import ListedFile
    from service.core.walk import JSON
    from service.core.window import Listing

_KIND: Final = "time/1"
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_LATEST: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
_MAX_UNRESOLVED: Final = 20
_FILL: Final = 0.8
_SPARSE: Final = 0.2
_MAX_GROWTH: Final = 8
_BY_TIME: Final = 3


class TimeWalk:
    """Covers the files made from `since` (2015 unless given) to `until`, both included; pages of `size` files.

    What is left to cover is one range, from which windows are taken off: at its newest end, or at its oldest if the
    vendor lists oldest first. A window counts as covered when the vendor's count of it is below `ceiling` and equals
    the distinct files on all its pages; where three tries cannot show that, it is named in `problems`. Neighbouring
    windows share the second between them, so it does not matter whether the end of a window is inclusive.

    To find a window: the last page that can be reached, of everything left, tells where the count would stop. If that
    misleads, the window is halved. A second that is still too full is left to `SecondSplit`, together with `streams`.

    Raises:
        ValueError: `until` is before `since`, or a page has no sensible size.
    """

    def __init__(
        self,
        since: datetime | None,
        until: datetime,
        size: int = 1_000,
        *,
        streams: Sequence[str] = (),
        ceiling: int = CEILING,
    ) -> None:
        if not 1 <= size <= ceiling:
            raise ValueError(f"a page of the listing holds 1 to {ceiling:,} files, not {size}")
        self._limits = Limits(size, ceiling)
        self._streams = tuple(streams)
        self._first = max(0, math.floor((since or _EARLIEST).timestamp()))
        self._last = math.floor(until.timestamp()) + 1
        if self._first >= self._last:
            raise ValueError(f"a listing cannot end ({until.isoformat()}) before it starts")
        self._low, self._high = self._first, self._last
        self._order = Order.UNKNOWN
        self._width = 0
        self._unresolved = 0
        self._problems = Problems()
        self._steps: Generator[Query, Page, None] | None = None
        self._query: Query | None = None

    def next_query(self) -> Query | None:
        """The page to ask for now; None: over."""
        if self._steps is None:
            self._steps = self._cover()
            self._query = next(self._steps, None)
        return self._query

    def take(
        self,
        files: Sequence[ListedFile],
        *,
        total: int | None,
        next_marker: str | None,  # noqa: ARG002 this vendor has none
        unnamed: int = 0,
    ) -> None:
        """Feed the answer to `next_query`.

        Raises:
            ValueError: the walk is over, so nothing was asked.
        """
        if self.next_query() is None or self._steps is None:
            raise ValueError("the listing is over: no answer is expected")
        try:
            self._query = self._steps.send(Page(tuple(files), total, unnamed))
        except StopIteration:
            self._query = None

    def dump(self) -> dict[str, JSON]:
        """A small cursor for `load`: what is left to cover. The window under way is begun again."""
        return {
            "walk": _KIND,
            "size": self._limits.size,
            "ceiling": self._limits.ceiling,
            "first": self._first,
            "last": self._last,
            "low": self._low,
            "high": self._high,
            "order": self._order.value,
            "width": self._width,
            "unresolved": self._unresolved,
            **self._problems.dump(),
        }

    @classmethod
    def load(cls, cursor: Mapping[str, JSON], *, streams: Sequence[str] = ()) -> Self:
        """Go on where a cursor was dumped; `streams` as for a new walk.

        Raises:
            ValueError: it is not a cursor of this walk.
        """
        check_kind(cursor, _KIND, frozenset({"order"}))
        first, last, low, high = (read_whole(cursor, key) for key in ("first", "last", "low", "high"))
        if not first <= low <= high <= last <= _LATEST:
            raise ValueError("the cursor of the listing is damaged: its range")
        since, until = _moment(first), _moment(last - 1)
        walk = cls(since, until, read_whole(cursor, "size"), streams=streams, ceiling=read_whole(cursor, "ceiling"))
        walk._low, walk._high = low, high
        walk._order = Order(check_text(cursor["order"], "order"))
        walk._width = read_whole(cursor, "width")
        walk._unresolved = read_whole(cursor, "unresolved")
        walk._problems = Problems.load(cursor)
        return walk

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the listing cannot be called complete, a line each."""
        return self._problems.lines

    @property
    def progress(self) -> float | None:
        """The part of the time that is covered."""
        return 1 - (self._high - self._low) / (self._last - self._first)

    def _cover(self) -> Generator[Query, Page, None]:
        if self._order is Order.UNKNOWN and self._low < self._high:
            first = yield from self._list_range(self._low, self._high)
            if first is not None:
                self._order = find_order(first) or Order.NEWEST_FIRST
                self._check_filter(first, self._low, self._high)
        while self._low < self._high:
            yield from self._cover_next()

    def _cover_next(self) -> Generator[Query, Page, None]:
        """Take the next window off what is left, or learn how the vendor lists."""
        low, high = self._low, self._high
        if self._order is not Order.MIXED:
            number = self._limits.last_page
            hint = yield self._ask(low, high, number)
            if not self._limits.is_saturated(hint):
                first = yield from self._list_range(low, high, {number: hint})
                if first is None:
                    return
            self._order = find_order(hint) or self._order
            yield from self._shrink_and_list(*self._cut(low, high, hint))
        elif self._width:
            yield from self._shrink_and_list(max(low, high - self._width), high)
        else:
            first = yield from self._list_range(low, high)
            if first is not None:
                self._order = find_order(first) or self._order
                yield from self._shrink_and_list(*self._cut(low, high, first))

    def _shrink_and_list(self, start: int, end: int) -> Generator[Query, Page, None]:
        """List a window, halving it until it can be counted: by the files seen and, for these can mislead, by time."""
        tries = 0
        # Stays so, whatever is learnt of the order: what is cut away must touch what is left.
        at_start = end < self._high
        while end - start > 1:
            first = yield from self._list_range(start, end)
            if first is None or not self._check_filter(first, start, end):
                return
            if find_order(first) not in {None, self._order}:
                self._order, self._width = Order.MIXED, 0
            tries += 1
            middle = (start + end) // 2 if tries % _BY_TIME == 0 else self._find_median(first)
            start, end = _cut(start, end, middle, keep_start=at_start)
        yield from self._list_second(start)

    def _list_range(
        self, start: int, end: int, known: Mapping[int, Page] | None = None
    ) -> Generator[Query, Page, Page | None]:
        """List a window and take it off what is left; its first page, if it is too full for that."""
        listing = yield from list_window(self._ask(start, end), self._limits, known)
        if listing.saturated:
            return listing.first
        self._settle(start, end, listing)
        return None

    def _list_second(self, second: int) -> Generator[Query, Page, None]:
        """List a window of one second: under an inclusive end it holds two, so ask for the one alone as well."""
        first = yield from self._list_range(second, second + 1)
        if first is None or not self._check_filter(first, second, second + 1):
            return
        base = self._ask(second, second + 1)
        if all(file.created_at is None or not file.created_at.microsecond for file in first.files):
            alone = yield from list_window(self._ask(second, second), self._limits)
            if alone.saturated:
                base, first = self._ask(second, second), alone.first
            elif is_whole_second(alone, first, second):
                self._settle(second, second + 1, alone)
                return
        split = SecondSplit(base, self._limits, self._streams)
        yield from split.split(first)
        if not split.resolved:
            self._unresolved += 1
            self._problems.add(
                f"more than {self._limits.ceiling:,} files were made in the second {_show(second)} and names do not"
                f" tell them apart: {split.listed:,} of them were listed"
            )
        self._take_off(second, second + 1, self._limits.ceiling)
        if self._unresolved >= _MAX_UNRESOLVED:
            self._give_up(f"{self._unresolved} seconds could not be listed completely")

    def _settle(self, start: int, end: int, listing: Listing) -> None:
        if listing.problem:
            self._problems.add(f"files made from {_show(start)} to {_show(end)}: {listing.problem}")
        self._take_off(start, end, len(listing.ids))

    def _take_off(self, start: int, end: int, count: int) -> None:
        """A window is done with; the next one is made as wide as its density suggests, a sparse one says nothing."""
        if end == self._high:
            self._high = start
        elif start == self._low:
            self._low = end
        else:
            raise RuntimeError("a window was listed that is not at an end of what is left")
        few = count < _SPARSE * self._limits.ceiling
        span = end - start
        self._width = 0 if few else max(1, min(int(span * _FILL * self._limits.ceiling / count), span * _MAX_GROWTH))

    def _check_filter(self, page: Page, start: int, end: int) -> bool:
        """Whether the times asked for did something; if not, no window will ever do, and the walk ends."""
        times = page.find_seconds()
        astray = sum(not start - 1 <= time <= end + 1 for time in times)
        if 2 * astray > len(times):
            self._give_up(f"asked for {_show(start)} to {_show(end)}, the vendor lists files of other times")
            return False
        return True

    def _give_up(self, reason: str) -> None:
        self._problems.add(f"files made from {_show(self._low)} to {_show(self._high)} were not listed: {reason}")
        self._high = self._low

    def _find_limit(self, hint: Page) -> int:
        """Where to cut so that the files before those of the last page reached, and some of those, can be counted."""
        times = hint.find_seconds()
        if not times:
            return (self._low + self._high) // 2
        if self._order is Order.MIXED:
            return self._find_median(hint)
        return times[-1] - 1 if self._order is Order.OLDEST_FIRST else times[-1] + 1

    def _find_median(self, page: Page) -> int:
        """The middle of the files of a page, beside its second: a crowded one must not stay in every half."""
        times = sorted(page.find_seconds())
        if not times:
            return (self._low + self._high) // 2
        return times[len(times) // 2] + (-1 if self._order is Order.OLDEST_FIRST else 1)

    def _cut(self, low: int, high: int, hint: Page) -> tuple[int, int]:
        """The window to try first: at the end of what is left at which the vendor begins to list."""
        return _cut(low, high, self._find_limit(hint), keep_start=self._order is Order.OLDEST_FIRST)

    def _ask(self, start: int, end: int, page: int = 0) -> Query:
        return Query(size=self._limits.size, start=_moment(start), end=_moment(end), page=page)


def _cut(start: int, end: int, middle: int, *, keep_start: bool) -> tuple[int, int]:
    """A part of a window, with its start or its end; never empty, never all of it unless it is a second."""
    if end - start <= 1:
        return start, end
    middle = min(max(middle, start + 1), end - 1)
    return (start, middle) if keep_start else (middle, end)


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)


def _show(second: int) -> str:
    return _moment(second).strftime("%Y-%m-%dT%H:%M:%SZ")
