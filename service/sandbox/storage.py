"""The files that the sandbox's vendors store, and what DeleteMedia and SearchMedia answer about them.

docs/protocol.md, "DeleteMedia" and "SearchMedia".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias
from zlib import crc32

from service.model import Vendor
from service.sandbox.request import TENCENT_LIMIT, Search

NOT_FOUND: Final = {
    Vendor.TENCENT: ("ResourceNotFound", "the media does not exist"),
    Vendor.WANGSU: ("612", "no such file or directory"),
    Vendor.HUAWEI: ("NoSuchKey", "The specified key does not exist."),
}
"""What each vendor says of a file that it does not have."""
NEVER: Final = "9999-12-31T23:59:59Z"
"""How Tencent's listing says that a file does not expire."""

Order: TypeAlias = Literal["newest", "oldest", "shuffled"]
"""How Tencent lists, which ZEGO does not document. `shuffled` is not by time, and the same for the same ids."""


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


_Key: TypeAlias = "Callable[[StoredFile], Any]"
_BY_TIME: _Key = attrgetter("created_at", "file_id")
_BY_ID: _Key = attrgetter("file_id")


class VendorFiles:
    """The files of one app at one vendor. Not safe to share between threads by itself.

    Sorted lists are made when a listing first asks for them. A removed file leaves them when the next page is asked
    for, so that deleting stays cheap however many files there are.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, StoredFile] = {}
        self._sorted: dict[_Key, list[StoredFile]] = {}
        self._outdated: set[_Key] = set()

    def add(self, files: Iterable[StoredFile]) -> None:
        """Store files; one with an id that is there already takes its place."""
        self.by_id.update((file.file_id, file) for file in files)
        self._sorted.clear()

    def remove(self, file_id: str) -> StoredFile | None:
        """Take a file away and return it, or None where there is none."""
        self._outdated.update(self._sorted)
        return self.by_id.pop(file_id, None)

    def list_window(self, search: Search, order: Order) -> tuple[int, Sequence[StoredFile]]:
        """How many files a time window holds, and those of one page of it."""
        in_time = self._in_order(_BY_TIME)
        start = bisect_left(in_time, (search.start, ""), key=_BY_TIME) if search.start else 0
        end = bisect_left(in_time, (search.before, ""), key=_BY_TIME) if search.before else len(in_time)
        window = in_time[start:end]
        if order == "newest":
            window.reverse()
        elif order == "shuffled":
            window.sort(key=lambda file: (crc32(file.file_id.encode()), file.file_id))
        return len(window), window[search.first : search.first + search.size]

    def list_after(self, marker: str, count: int) -> Sequence[StoredFile]:
        """Up to `count` files in order of their ids, beyond the marker."""
        in_order = self._in_order(_BY_ID)
        start = bisect_right(in_order, marker, key=_BY_ID) if marker else 0
        return in_order[start : start + count]

    def _in_order(self, key: _Key) -> list[StoredFile]:
        if key not in self._sorted:
            self._sorted[key] = sorted(self.by_id.values(), key=key)
        elif key in self._outdated:
            self._sorted[key] = [file for file in self._sorted[key] if file.file_id in self.by_id]
        self._outdated.discard(key)
        return self._sorted[key]


@dataclass(slots=True)
class Trouble:
    """What happens to one file instead of being deleted. `code` None: the answer mentions it in neither list."""

    code: str | None
    message: str = ""
    times: int | None = None
    acts: bool = False


class Storage:
    """The files of every app and vendor, and the trouble that single files make."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, Vendor], VendorFiles] = {}
        self.troubles: dict[str, Trouble] = {}

    def files(self, app_id: str, vendor: Vendor) -> VendorFiles:
        """The files of one app at one vendor; changing it changes what is stored."""
        return self._files.setdefault((app_id, vendor), VendorFiles())

    def delete(self, app_id: str, vendor: Vendor, file_ids: Iterable[str], request_id: str) -> dict[str, Any]:
        """Delete files and return the `Data` of DeleteMedia."""
        deleted: list[str] = []
        errors: list[dict[str, str]] = []
        for file_id in file_ids:
            code, message = self._delete_one(app_id, vendor, file_id)
            if code == "":
                deleted.append(file_id)
            elif code is not None:
                errors.append({"Code": code, "Message": message, "Key": file_id, "RequestId": f"{vendor}-{request_id}"})
        return {"Deleted": deleted, "Errors": errors}

    def _delete_one(self, app_id: str, vendor: Vendor, file_id: str) -> tuple[str | None, str]:
        """Return an error code and message: an empty code for deleted, None for not to be mentioned."""
        files, trouble = self.files(app_id, vendor), self.troubles.get(file_id)
        if trouble is None:
            return ("", "") if files.remove(file_id) else NOT_FOUND[vendor]
        if trouble.times is not None:
            trouble.times -= 1
            if trouble.times <= 0:
                del self.troubles[file_id]
        if trouble.acts:
            files.remove(file_id)
        return trouble.code, trouble.message

    def search(self, app_id: str, vendor: Vendor, search: Search, order: Order) -> dict[str, Any]:
        """Return the `Data` of SearchMedia for one page; only Tencent's listing comes in an order that varies."""
        files = self.files(app_id, vendor)
        if vendor is Vendor.TENCENT:
            count, page = files.list_window(search, order)
            section = {"TotalCount": min(count, TENCENT_LIMIT), "MediaInfoSet": [_media_item(file) for file in page]}
        else:
            found = files.list_after(search.marker, search.size + 1)
            page = found[: search.size]
            next_marker = page[-1].file_id if len(found) > len(page) else ""
            section = {"Keys": [_key_item(file) for file in page], "NextMarker": next_marker}
        return {vendor.value: section}


def _media_item(file: StoredFile) -> dict[str, Any]:
    created = _moment(file.created_at)
    basic = {
        "Name": file.stream_id if file.name is None else file.name,
        "CreateTime": created,
        "UpdateTime": created,
        "ExpireTime": NEVER,
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
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
