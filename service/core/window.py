"""Listing one window of Tencent's listing, page by page, until its count is proven or cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from service.core.listing import ListedFile, Query

CEILING: Final = 5_000
"""Files that can be reached by paging, and the number at which the vendor's count stops."""
_TRIES: Final = 3


class Order(Enum):
    """How the vendor seems to list; a hint for where to split, which nothing else depends on."""

    UNKNOWN = "unknown"
    NEWEST_FIRST = "newest"
    OLDEST_FIRST = "oldest"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to one question."""

    files: tuple[ListedFile, ...]
    total: int | None
    unnamed: int = 0

    def is_full(self, size: int) -> bool:
        """It holds as many entries as were asked for."""
        return len(self.files) + self.unnamed >= size

    def find_seconds(self) -> list[int]:
        """When its files were made, Unix seconds, in the order listed, as far as told."""
        return [int(file.created_at.timestamp()) for file in self.files if file.created_at is not None]


@dataclass(frozen=True, slots=True)
class Limits:
    """The size of a page, and how many files can be counted and reached."""

    size: int
    ceiling: int = CEILING

    @property
    def last_page(self) -> int:
        """The number of the last page that can be reached, from 0."""
        return self.ceiling // self.size - 1

    def is_saturated(self, page: Page) -> bool:
        """There may be more files than can be counted or reached. A first page that is not full belies such a count."""
        return page.total is not None and (page.total >= self.ceiling or page.total > (self.last_page + 1) * self.size)


@dataclass(slots=True)
class Listing:
    """What came of listing a window: all of it, if `problem` is empty and it is not `saturated`.

    `first` is its first page. `ids` are the distinct files of the last try; `matched`: as many entries as counted.
    """

    first: Page
    matched: bool = False
    saturated: bool = False
    problem: str = ""
    ids: set[str] = field(default_factory=set)


Steps: TypeAlias = "Generator[Query, Page, Listing]"
"""Asks questions, is sent the answers, and returns what came of it."""


def list_window(query: Query, limits: Limits, known: Mapping[int, Page] | None = None) -> Steps:
    """Ask for all pages of a window, up to three times, until as many distinct files were seen as are counted.

    Ends early where the count is saturated. `known` are pages just asked for, by number. A count that changes between
    pages proves nothing: a file that vanished moves the next one to a page already read.
    """
    listing = Listing(Page((), None))
    for _ in range(_TRIES):
        listing = yield from _list_once(query, limits, known or {})
        known = None
        if listing.saturated or not listing.problem or listing.matched:
            break
    return listing


def find_order(page: Page) -> Order | None:
    """How a page is ordered; None: it does not tell."""
    times = page.find_seconds()
    if len(set(times)) < 2:  # noqa: PLR2004 nothing to compare
        return None
    if times == sorted(times):
        return Order.OLDEST_FIRST
    return Order.NEWEST_FIRST if times == sorted(times, reverse=True) else Order.MIXED


def is_whole_second(alone: Listing, both: Page, second: int) -> bool:
    """Whether a window that starts and ends in the same second was answered with all of that second.

    An exclusive end leaves it empty. Empty it is believed only if nothing of that second was seen in the window up to
    the next one, but files of the next one were: then ends are inclusive.
    """
    if not alone.matched:
        return False
    times = both.find_seconds()
    if not alone.ids:
        return len(times) == len(both.files) and bool(times) and min(times) > second
    seen = {
        file.file_id for file in both.files if file.created_at is not None and file.created_at.timestamp() == second
    }
    return seen <= alone.ids


def _list_once(query: Query, limits: Limits, known: Mapping[int, Page]) -> Steps:
    pages: list[Page] = []
    totals: set[int | None] = set()
    listing: Listing | None = None
    number, page = 0, Page((), None)
    while number <= limits.last_page:
        page = known[number] if number in known else (yield replace(query, page=number))
        listing = listing or Listing(page)
        totals.add(page.total)
        listing.ids.update(file.file_id for file in page.files)
        pages.append(page)
        if limits.is_saturated(page) and listing.first.is_full(limits.size):
            listing.saturated = True
            return listing
        number += 1
        if number * limits.size >= (page.total or 0) and not page.is_full(limits.size):
            break
    assert listing is not None  # noqa: S101 there is at least one page
    unnamed = sum(page.unnamed for page in pages)
    listing.matched = totals == {len(listing.ids) + unnamed}
    listing.problem = _find_problem(listing.ids, totals, unnamed)
    return listing


def _find_problem(ids: set[str], totals: set[int | None], unnamed: int) -> str:
    if totals == {None}:
        return f"{len(ids):,} files were listed, and their number is not told"
    told = " then ".join(f"{total:,}" for total in sorted(total for total in totals if total is not None))
    if len(totals) > 1:
        return f"{len(ids):,} files were listed, and their number changed meanwhile: {told}"
    if totals != {len(ids) + unnamed}:
        return f"{len(ids):,} files were listed, but {told} counted"
    return f"entries without a file id: {unnamed:,}" if unnamed else ""
