"""The ways through the vendors' listings: every file is shown, in few calls, and what cannot be proven is said.

A way asks for page after page (what they show is the asker's to take; a file may be shown more than once) and returns
why the listing is not complete; nothing: it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, TypeAlias

from service.zego.messages import Query, SearchAnswer

Ask: TypeAlias = "Callable[[Query], SearchAnswer]"

MAX_FILES: Final = 5_000
"""Files of a page of Tencent, and the number at which its count of a window stops."""

_MAX_PROBLEMS: Final = 20
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_MIN_LIMIT: Final = 100
_TRIES: Final = 3
_KEYS: Final = 1_000
_MAX_EMPTY: Final = 100


def walk_windows(ask: Ask, since: datetime | None, until: datetime) -> list[str]:
    """Cover the files that Tencent made from `since` (2015 at the earliest) to `until`, both included.

    Windows of creation time are cut until the vendor counts fewer files than a page holds, and shows as many. Windows
    that touch share the second between them, so it does not matter whether the end of a window is inclusive.
    """
    first, last = math.floor(max(since or _EARLIEST, _EARLIEST).timestamp()), math.floor(until.timestamp()) + 1
    left = [(first, last)] if first < last else []
    problems: list[str] = []
    limit = MAX_FILES  # the vendor gives as many files a page as were asked for, unless one shows otherwise
    while left and len(problems) < _MAX_PROBLEMS:
        start, end = left.pop()
        tries = 0
        while True:  # files may come or go between what is counted and what is shown
            tries += 1
            page = ask(Query(size=MAX_FILES, start=_moment(start), end=_moment(end)))
            total, entries = page.total or 0, len(page.files) + page.unnamed
            if limit == MAX_FILES and _MIN_LIMIT <= entries < total:
                limit = entries
            is_overfull = entries >= limit and total >= min(entries + 1, MAX_FILES)
            problem = "" if is_overfull else _find_problem(page)
            if not problem or tries == _TRIES:
                break
        times = [int(file.created_at.timestamp()) for file in page.files if file.created_at is not None]
        if 2 * sum(not start - 1 <= time <= end + 1 for time in times) > len(times):
            return [*problems, f"asked for {_show(start)} to {_show(end)}, the vendor shows files of other times"]
        if problem:
            problems.append(f"files made from {_show(start)} to {_show(end)}: {problem}")
        elif is_overfull and end - start > 1:
            cut = _choose_cut(times, start, end)
            left += [(start, cut), (cut, end)]
        elif is_overfull:
            problems.append(f"{total:,} or more files were made in the second {_show(start)}: too many to list")
    return [*problems, "the rest was not listed"] if len(problems) >= _MAX_PROBLEMS else problems


def walk_markers(ask: Ask) -> list[str]:
    """Follow the marker of Ws or Huawei until it is empty; one that leads back ends the way: the rest is unknown.

    How a vendor orders its files is not documented, most do it by their ids: while every page so far was in order by
    itself, a page that begins before the end of the one before shows files again.
    """
    problems: list[str] = []
    marker, markers, highest, in_order, empty = "", {""}, "", True, 0
    while True:
        page = ask(Query(size=_KEYS, marker=marker))
        where = f"the page after {marker[:80]!r}" if marker else "the first page"
        ids = [file.file_id for file in page.files]
        in_order = in_order and ids == sorted(ids)
        empty = 0 if ids or page.unnamed else empty + 1
        if page.unnamed:
            problems.append(f"{where} holds entries without a name: {page.unnamed:,}")
        if page.next_marker == "":
            return problems
        if page.next_marker is None:
            return [*problems, f"{where} does not say where the next one begins"]
        if page.next_marker in markers or empty >= _MAX_EMPTY or (in_order and ids and ids[0] <= highest):
            return [*problems, f"{where} leads back to where the listing was before: the rest is unknown"]
        highest = ids[-1] if ids else highest
        marker = page.next_marker
        markers.add(marker)


def _find_problem(page: SearchAnswer) -> str:
    if page.unnamed:
        return f"entries without a file id: {page.unnamed:,}"
    shown = len({file.file_id for file in page.files})
    return "" if page.total == shown else f"the vendor counts {page.total:,}, and shows {shown:,}"


def _choose_cut(times: list[int], start: int, end: int) -> int:
    """Where to cut an overfull window, by the times of the files that its page shows.

    How the vendor orders is not documented. Ordered by time, the page shows one side of its last file whole; else it
    is a sample, and the middle of it will do. A crowded second must not stay in both parts.
    """
    if not times:
        cut = (start + end) // 2
    elif all(one >= other for one, other in pairwise(times)):
        cut = times[-1] + 1
    elif all(one <= other for one, other in pairwise(times)):
        cut = times[-1] - 1
    else:
        cut = sorted(times)[len(times) // 2]
    return min(max(cut, start + 1), end - 1)


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)


def _show(second: int) -> str:
    return f"{_moment(second):%Y-%m-%dT%H:%M:%SZ}"
