"""The files that the sandbox's vendors store, and what DeleteMedia and SearchMedia say of them.

docs/protocol.md, "DeleteMedia" and "SearchMedia".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.core.model import Vendor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOT_FOUND = {
    Vendor.TENCENT: ("ResourceNotFound", "the media does not exist"),
    Vendor.WANGSU: ("612", "no such file or directory"),
    Vendor.HUAWEI: ("NoSuchKey", "The specified key does not exist."),
}
"""What each vendor says of a file that it does not have."""

_TENCENT_LIMIT = 5000
_MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file at a vendor."""

    file_id: str
    size_bytes: int
    created_at: datetime
    stream_id: str


@dataclass(slots=True)
class Trouble:
    """What happens to one file instead of being deleted. `code` None: the answer mentions it in neither list."""

    code: str | None
    message: str = ""
    times: int | None = None
    acts: bool = False


class Media:
    """The files of every app and vendor, and the trouble that single files make."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, Vendor], dict[str, StoredFile]] = {}
        self.troubles: dict[str, Trouble] = {}

    def shelf(self, app_id: str, vendor: Vendor) -> dict[str, StoredFile]:
        """The files of one app at one vendor, by id; changing it changes what is stored."""
        return self._files.setdefault((app_id, vendor), {})

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
        shelf = self.shelf(app_id, vendor)
        if trouble := self._take_trouble(file_id):
            if trouble.acts:
                shelf.pop(file_id, None)
            return trouble.code, trouble.message
        return ("", "") if shelf.pop(file_id, None) else NOT_FOUND[vendor]

    def _take_trouble(self, file_id: str) -> Trouble | None:
        trouble = self.troubles.get(file_id)
        if trouble is not None and trouble.times is not None:
            trouble.times -= 1
            if trouble.times <= 0:
                del self.troubles[file_id]
        return trouble

    def search(self, app_id: str, vendor: Vendor, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the `Data` of SearchMedia for one page, or None where a paging parameter is out of range."""
        if vendor is Vendor.TENCENT:
            return self._search_tencent(app_id, query)
        return self._search_keys(app_id, vendor, query)

    def _search_tencent(self, app_id: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        number, size = _whole(query.get("PageNumber", "0")), _whole(query.get("PageSize", "10"))
        if number is None or not size or (number + 1) * size > _TENCENT_LIMIT:
            return None
        files = self.shelf(app_id, Vendor.TENCENT).values()
        found = sorted(files, key=lambda file: (file.created_at, file.file_id), reverse=True)
        page = found[number * size : (number + 1) * size]
        count = min(len(found), _TENCENT_LIMIT)
        return {"Tencent": {"TotalCount": count, "MediaInfoSet": [_tencent_item(file) for file in page]}}

    def _search_keys(self, app_id: str, vendor: Vendor, query: Mapping[str, str]) -> dict[str, Any] | None:
        size = _whole(query.get("MaxKeys", str(_MAX_KEYS)))
        if not size or size > _MAX_KEYS:
            return None
        prefix, marker = query.get("NamePrefix", ""), query.get("Marker", "")
        shelf = self.shelf(app_id, vendor)
        keys = sorted(key for key in shelf if key.startswith(prefix) and key > marker)
        page = keys[:size]
        next_marker = page[-1] if len(keys) > size else ""
        return {vendor.value: {"Keys": [_key_item(shelf[key]) for key in page], "NextMarker": next_marker}}


def _tencent_item(file: StoredFile) -> dict[str, Any]:
    created = f"{file.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    basic = {
        "Name": file.stream_id,
        "CreateTime": created,
        "UpdateTime": created,
        "ExpireTime": "9999-12-31T23:59:59Z",
        "Type": "mp4",
        "MediaUrl": f"https://media.invalid/{file.file_id}.mp4",
        "Category": "Video",
        "Status": "Normal",
        "StorageClass": "STANDARD",
    }
    original = {"Definition": 0, "Height": 720, "Size": file.size_bytes, "Duration": 60}
    return {"FileId": file.file_id, "BasicInfo": basic, "TranscodeInfo": {"TranscodeSet": [original]}}


def _key_item(file: StoredFile) -> dict[str, Any]:
    return {
        "Key": file.file_id,
        "LastModified": f"{file.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}",
        "Size": file.size_bytes,
        "ETag": "",
        "MediaUrl": f"https://media.invalid/{file.file_id}",
    }


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004
