"""The files that a vendor stores for an app, and how SearchMedia shows them (docs/protocol.md, "SearchMedia")."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias

from service.sandbox.request import TENCENT_LIMIT
from service.zego.messages import Query


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file at a vendor. `name` None is the stream's id; `media_url` None is made up."""

    file_id: str
    created_at: datetime
    size_bytes: int = 1000
    stream_id: str = ""
    name: str | None = None
    duration_s: float = 60
    media_url: str | None = None


@dataclass(slots=True)
class Trouble:
    """What a file causes instead of being deleted, `times` times (None: always).

    `code` is a per-file error; a number fails every whole call that asks for the file; None: the answer mentions it in
    neither list. `acts` says whether it is deleted all the same.
    """

    code: str | int | None
    message: str = ""
    times: int | None = None
    acts: bool = False


Order: TypeAlias = "Callable[[list[StoredFile]], list[StoredFile]]"
_Key: TypeAlias = "Callable[[StoredFile], Any]"
_BY_TIME: Final[_Key] = attrgetter("created_at", "file_id")
_BY_ID: Final[_Key] = attrgetter("file_id")


class VendorFiles:
    """The files of one app at one vendor. Not safe to share between threads by itself."""

    def __init__(self) -> None:
        self.by_id: dict[str, StoredFile] = {}
        self._sorted: dict[_Key, list[StoredFile]] = {}

    def add(self, files: Iterable[StoredFile]) -> None:
        """Store files; one with an id that is there already takes its place."""
        self.by_id.update((file.file_id, file) for file in files)
        self._sorted.clear()

    def list_window(self, query: Query, order: Order) -> dict[str, Any]:
        """A page of Tencent's listing. Whether a window holds the second of its end is not known; here it does."""
        in_time = self._in_order(_BY_TIME)
        start = bisect_left(in_time, (query.start, ""), key=_BY_TIME) if query.start else 0
        end = len(in_time)
        if query.end:
            end = bisect_left(in_time, (query.end + timedelta(seconds=1), ""), key=_BY_TIME)
        window = order(in_time[start:end])
        page = window[query.page * query.size :][: query.size]
        return {"TotalCount": min(len(window), TENCENT_LIMIT), "MediaInfoSet": [_media_item(file) for file in page]}

    def list_after(self, query: Query) -> dict[str, Any]:
        """A page of the other vendors' listing: in order of ids, beyond the marker."""
        in_order = self._in_order(_BY_ID)
        start = bisect_right(in_order, query.marker, key=_BY_ID) if query.marker else 0
        page = in_order[start : start + query.size]
        has_more = start + query.size < len(in_order)
        return {"Keys": [_key_item(file) for file in page], "NextMarker": page[-1].file_id if has_more else ""}

    def _in_order(self, key: _Key) -> list[StoredFile]:
        in_order = self._sorted.get(key)
        if in_order is None:
            in_order = sorted(self.by_id.values(), key=key)
        elif len(in_order) > len(self.by_id):  # some were deleted since, which is to stay cheap
            in_order = [file for file in in_order if file.file_id in self.by_id]
        self._sorted[key] = in_order
        return in_order


def newest_first(files: list[StoredFile]) -> list[StoredFile]:
    """The order in which Tencent may list."""
    return files[::-1]


def _media_item(file: StoredFile) -> dict[str, Any]:
    created = _moment(file.created_at)
    basic = {
        "Name": file.stream_id if file.name is None else file.name,
        "CreateTime": created,
        "UpdateTime": created,
        "ExpireTime": "9999-12-31T23:59:59Z",
        "Type": "mp4",
        "MediaUrl": file.media_url or f"https://media.invalid/{file.file_id}.mp4",
        "Category": "Video",
        "Status": "Normal",
        "StorageClass": "STANDARD",
    }
    original = {"Definition": 0, "Height": 720, "Size": file.size_bytes, "Duration": file.duration_s}
    return {"FileId": file.file_id, "BasicInfo": basic, "TranscodeInfo": {"TranscodeSet": [original]}}


def _key_item(file: StoredFile) -> dict[str, Any]:
    return {
        "Key": file.file_id,
        "LastModified": _moment(file.created_at).replace("Z", ".000Z"),
        "Size": file.size_bytes,
        "ETag": "",
        "MediaUrl": file.media_url or f"https://media.invalid/{file.file_id}",
    }


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
