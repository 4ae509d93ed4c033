"""The way through Tencent's listing: windows of creation time, cut until one page shows all that the vendor counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from service.zego.messages import Query, SearchAnswer

Walk: TypeAlias = Generator[Query, SearchAnswer, tuple[str, ...]]
"""A way through a listing: asks for pages, is sent the answers, returns why it is not complete (nothing: it is).

The files of every answer are the caller's to take; a file may come more than once.
"""

MAX_FILES: Final = 5_000
"""Files of a page, and the number at which the vendor's count of a window stops."""

MAX_PROBLEMS: Final = 20
"""After so many windows that do not agree, the listing is given up."""

_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_MIN_LIMIT: Final = 100
_TRIES: Final = 3


def walk_windows(since: datetime | None, until: datetime) -> Walk:
    """Cover the files made from `since` (2015 unless given) to `until`, both included.

    A window is covered when the vendor counts fewer files than a page holds, and shows as many. Windows that touch
    share the second between them, so it does not matter whether the end of a window is inclusive.
    """
    first, last = math.floor((since or _EARLIEST).timestamp()), math.floor(until.timestamp()) + 1
    left = [(first, last)] if first < last else []
    problems: list[str] = []
    limit = _PageLimit()
    while left:
        start, end = left.pop()
        page = yield from _list_window(start, end, limit)
        times = [int(file.created_at.timestamp()) for file in page.files if file.created_at is not None]
        if 2 * sum(not start - 1 <= time <= end + 1 for time in times) > len(times):
            problems.append(f"asked for {_show(start)} to {_show(end)}, the vendor shows files of other times")
            break
        if not limit.is_exceeded(page):
            if problem := _find_problem(page):
                problems.append(f"files made from {_show(start)} to {_show(end)}: {problem}")
        elif end - start > 1:
            cut = _choose_cut(times, start, end)
            left += [(start, cut), (cut, end)]
        else:
            problems.append(
                f"{page.total or 0:,} or more files were made in the second {_show(start)}: too many to list"
            )
        if len(problems) >= MAX_PROBLEMS:
            problems.append("the rest was not listed")
            break
    return tuple(problems)


@dataclass(slots=True)
class _PageLimit:
    """How many files the vendor gives at most: as many as were asked for, unless a page shows otherwise."""

    files: int = MAX_FILES

    def is_exceeded(self, page: SearchAnswer) -> bool:
        """The window holds more files than a page shows."""
        total, entries = page.total or 0, len(page.files) + page.unnamed
        if self.files == MAX_FILES and _MIN_LIMIT <= entries < total:
            self.files = entries
        return entries >= self.files and total >= min(entries + 1, MAX_FILES)


def _list_window(start: int, end: int, limit: _PageLimit) -> Generator[Query, SearchAnswer, SearchAnswer]:
    """Ask for a window, again if what is shown and counted does not agree: files may have come or gone meanwhile."""
    query = Query(size=MAX_FILES, start=_moment(start), end=_moment(end))
    page = yield query
    for _ in range(1, _TRIES):
        if limit.is_exceeded(page) or not _find_problem(page):
            break
        page = yield query
    return page


def _find_problem(page: SearchAnswer) -> str:
    if page.unnamed:
        return f"entries without a file id: {page.unnamed:,}"
    shown = len({file.file_id for file in page.files})
    if page.total != shown:
        return f"the vendor counts {page.total:,}, and shows {shown:,}"
    return ""


def _choose_cut(times: list[int], start: int, end: int) -> int:
    """Where to cut an overfull window, by the times of the files that its page shows.

    How the vendor orders is not documented. Ordered by time, the page shows one side of its last file whole; else it
    is a sample, and the middle of it will do. A crowded second must not stay in both parts.
    """
    if not times:
        cut = (start + end) // 2
    elif all(one >= other for one, other in itertools.pairwise(times)):
        cut = times[-1] + 1
    elif all(one <= other for one, other in itertools.pairwise(times)):
        cut = times[-1] - 1
    else:
        cut = sorted(times)[len(times) // 2]
    return min(max(cut, start + 1), end - 1)


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)


def _show(second: int) -> str:
    return _moment(second).strftime("%Y-%m-%dT%H:%M:%SZ")
