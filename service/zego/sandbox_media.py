"""The files that the sandbox's vendors store, and what DeleteMedia and SearchMedia say of them.

docs/protocol.md, "DeleteMedia" and "SearchMedia".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from service.core.model import Vendor
from service.zego.sandbox_search import TENCENT_LIMIT
from service.zego.sandbox_shelf import Order, Shelf, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from service.zego.sandbox_search import Search

NOT_FOUND = {
    Vendor.TENCENT: ("ResourceNotFound", "the media does not exist"),
    Vendor.WANGSU: ("612", "no such file or directory"),
    Vendor.HUAWEI: ("NoSuchKey", "The specified key does not exist."),
}
"""What each vendor says of a file that it does not have."""

NEVER = "9999-12-31T23:59:59Z"
"""How Tencent's listing says that a file does not expire."""


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
        self._shelves: dict[tuple[str, Vendor], Shelf] = {}
        self.troubles: dict[str, Trouble] = {}

    def shelf(self, app_id: str, vendor: Vendor) -> Shelf:
        """The files of one app at one vendor; changing it changes what is stored."""
        return self._shelves.setdefault((app_id, vendor), Shelf())

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
                shelf.remove(file_id)
            return trouble.code, trouble.message
        return ("", "") if shelf.remove(file_id) else NOT_FOUND[vendor]

    def _take_trouble(self, file_id: str) -> Trouble | None:
        trouble = self.troubles.get(file_id)
        if trouble is not None and trouble.times is not None:
            trouble.times -= 1
            if trouble.times <= 0:
                del self.troubles[file_id]
        return trouble

    def search(self, app_id: str, vendor: Vendor, search: Search, order: Order) -> dict[str, Any]:
        """Return the `Data` of SearchMedia for one page; only Tencent's listing comes in an order that varies."""
        shelf = self.shelf(app_id, vendor)
        section = _tencent_page(shelf, search, order) if vendor is Vendor.TENCENT else _keys_page(shelf, search)
        return {vendor.value: section}


def _tencent_page(shelf: Shelf, search: Search, order: Order) -> dict[str, Any]:
    count = min(shelf.count(search, order), TENCENT_LIMIT)
    return {"TotalCount": count, "MediaInfoSet": [_tencent_item(file) for file in shelf.page(search, order)]}


def _keys_page(shelf: Shelf, search: Search) -> dict[str, Any]:
    found = shelf.keys_after(search.marker, search.prefix, search.size + 1)
    page = found[: search.size]
    return {
        "Keys": [_key_item(file) for file in page],
        "NextMarker": page[-1].file_id if len(found) > len(page) else "",
    }


def _tencent_item(file: StoredFile) -> dict[str, Any]:
    created = _moment(file.created_at)
    basic = {
        "Name": file.listed_name,
        "CreateTime": created,
        "UpdateTime": created,
        "ExpireTime": NEVER if file.expires_at is None else _moment(file.expires_at),
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
