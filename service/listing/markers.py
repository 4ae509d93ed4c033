"""The way through the listing of Ws and Huawei: from marker to marker."""

from __future__ import annotations

from typing import Final

from service.listing.tencent import Walk
from service.zego.messages import Query

_SIZE: Final = 1_000
_MAX_EMPTY: Final = 100
_SHOWN: Final = 80


def walk_markers() -> Walk:
    """Follow the vendor's marker until it is empty; one that leads back ends the walk: the rest is unknown.

    How a vendor orders its files is not documented, most do it by their ids: while every page so far was in order by
    itself, a page that begins before the end of the one before shows files again.
    """
    problems: list[str] = []
    marker, markers, highest, in_order, empty = "", {""}, "", True, 0
    while True:
        page = yield Query(size=_SIZE, marker=marker)
        where = f"the page after {marker[:_SHOWN]!r}" if marker else "the first page"
        ids = [file.file_id for file in page.files]
        in_order = in_order and ids == sorted(ids)
        empty = 0 if ids or page.unnamed else empty + 1
        if page.unnamed:
            problems.append(f"{where} holds entries without a name: {page.unnamed:,}")
        if page.next_marker == "":
            break
        if page.next_marker is None:
            problems.append(f"{where} does not say where the next one begins")
            break
        if page.next_marker in markers or empty >= _MAX_EMPTY or (in_order and ids and ids[0] <= highest):
            problems.append(f"{where} leads back to where the listing was before: the rest is unknown")
            break
        highest = ids[-1] if ids else highest
        marker = page.next_marker
        markers.add(marker)
    return tuple(problems)
