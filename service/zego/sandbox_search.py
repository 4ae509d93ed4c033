"""A question to the sandbox's listing, read strictly (docs/protocol.md, "SearchMedia")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from service.core.model import Vendor
from service.zego.sandbox_gate import Code, RefusedError

if TYPE_CHECKING:
    from service.zego.sandbox_gate import Query
    from service.zego.sandbox_shelf import StoredFile

TENCENT_LIMIT = 5000
MAX_KEYS = 1000
_MAX_IDS = 10
_MAX_PREFIX_BYTES = 20
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Search:
    """What a call of SearchMedia asks for: `size` files from the `first` on, or beyond the marker.

    Files count from `start` on and if created before `before`.
    """

    first: int
    size: int
    start: datetime | None = None
    before: datetime | None = None
    prefix: str = ""
    marker: str = ""
    file_ids: tuple[str, ...] = ()
    stream_ids: tuple[str, ...] = ()

    @property
    def only_window(self) -> bool:
        """Nothing but time decides which files it finds."""
        return not (self.prefix or self.file_ids or self.stream_ids)

    @property
    def without_page(self) -> Search:
        """The same question whatever the page."""
        return replace(self, first=0, size=0)

    def fits(self, file: StoredFile) -> bool:
        """Whether Tencent's filters let a file through."""
        return (
            (self.start is None or file.created_at >= self.start)
            and (self.before is None or file.created_at < self.before)
            and (not self.file_ids or file.file_id in self.file_ids)
            and (not self.stream_ids or file.stream_id in self.stream_ids)
            and file.listed_name.startswith(self.prefix)
        )


def read_search(query: Query, *, end_is_inclusive: bool) -> Search:
    """Read the parameters of SearchMedia, whose names the gate has checked.

    Raises:
        RefusedError: one of them is wrong.
    """
    _require(len(query.get("NamePrefix").encode()) <= _MAX_PREFIX_BYTES, "NamePrefix is longer than 20 bytes")
    if query.get("Vendor") != Vendor.TENCENT:
        size = _whole(query, "MaxKeys", MAX_KEYS)
        _require(1 <= size <= MAX_KEYS, "MaxKeys is not 1 to 1000")
        return Search(0, size, prefix=query.get("NamePrefix"), marker=query.get("Marker"))
    for name, ids in (("FileId[]", query.file_ids), ("StreamId[]", query.stream_ids)):
        right = len(ids) <= _MAX_IDS and all(ids) and len(set(ids)) == len(ids)
        _require(right, f"{name} is given more than 10 times, twice the same or empty")
    number, size = _whole(query, "PageNumber", 0), _whole(query, "PageSize", 10)
    _require(size >= 1 and (number + 1) * size <= TENCENT_LIMIT, "paging is out of range")
    start, end = _moment(query, "StartTime"), _moment(query, "EndTime")
    _require(start is None or end is None or start <= end, "EndTime is before StartTime")
    before = end + timedelta(seconds=1) if end is not None and end_is_inclusive else end
    return Search(
        first=number * size,
        size=size,
        start=start,
        before=before,
        prefix=query.get("NamePrefix"),
        file_ids=query.file_ids,
        stream_ids=query.stream_ids,
    )


def _moment(query: Query, name: str) -> datetime | None:
    return datetime.fromtimestamp(_whole(query, name, 0), UTC) if name in query.single else None


def _whole(query: Query, name: str, default: int) -> int:
    text = query.single.get(name, str(default))
    _require(text.isascii() and text.isdigit() and len(text) <= _DIGITS, f"{name} is not a whole number")
    return int(text)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise RefusedError(Code.BAD_PARAMETER, message)
