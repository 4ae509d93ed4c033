"""The way through the listing of Ws and Huawei: from marker to marker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.listing.walk import Problems
from service.zego.messages import Query

if TYPE_CHECKING:
    from service.listing.walk import Walk
    from service.zego.messages import SearchAnswer

_SIZE: Final = 1_000
_MAX_EMPTY: Final = 100
_SHOWN: Final = 80


def walk_markers() -> Walk:
    """Follow the vendor's marker until it is empty; one that leads back ends the walk."""
    problems, progress = Problems(), _Progress()
    marker = ""
    while True:
        answer = yield Query(size=_SIZE, marker=marker)
        where = f"the page after {marker[:_SHOWN]!r}" if marker else "the first page"
        if answer.unnamed:
            problems.add(f"{where} holds entries without a name: {answer.unnamed:,}")
        if answer.next_marker == "":
            break
        if answer.next_marker is None:
            problems.add(f"{where} does not say where the next one begins")
            break
        if trouble := progress.find_trouble(answer, answer.next_marker):
            problems.add(f"{where} {trouble}: the rest is unknown")
            break
        marker = answer.next_marker
    return tuple(problems.lines)


class _Progress:
    """Whether the pages lead on. How a vendor orders its files is not documented; most do it by their ids."""

    def __init__(self) -> None:
        self._markers = {""}
        self._in_order = True
        self._highest = ""
        self._empty = 0

    def find_trouble(self, page: SearchAnswer, next_marker: str) -> str:
        """What is wrong with a page, if anything."""
        if next_marker in self._markers:
            return "leads back to a marker that was asked with before"
        self._markers.add(next_marker)
        ids = [file.file_id for file in page.files]
        self._empty = 0 if ids or page.unnamed else self._empty + 1
        if self._empty >= _MAX_EMPTY:
            return f"is the {_MAX_EMPTY}th empty one in a row"
        # Only while every page so far was in order by itself, a step back between two pages means something.
        self._in_order = self._in_order and ids == sorted(ids)
        if self._in_order and ids:
            if ids[0] <= self._highest:
                return "shows files of an earlier page again"
            self._highest = ids[-1]
        return ""
