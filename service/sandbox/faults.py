"""What can be made to go wrong with a call to the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.model import Vendor
from service.sandbox.request import Search

ListingChange: TypeAlias = "Callable[[dict[str, Any], Search], None]"
"""Changes a vendor's section of a listing before it is answered."""

_LISTING = "SearchMedia"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a call that has passed every check. `acts` says whether the call does its work all the same.

    `delay_s` passes after the work and before the answer. `action`, `app_id`, `vendor`, `more_files_than` and `file_id`
    limit the fault to such calls. `change` changes what a listing says.
    """

    acts: bool
    code: int | None = None
    message: str = ""
    http_status: int | None = None
    retry_after: str | None = None
    cut: bool = False
    drop: bool = False
    delay_s: float = 0
    change: ListingChange | None = None
    action: str | None = None
    app_id: str | None = None
    vendor: Vendor | None = None
    more_files_than: int = -1
    file_id: str | None = None

    def hits(self, action: str, app_id: str, vendor: str, file_ids: Sequence[str] = ()) -> bool:
        """Whether such a call of this app and vendor, for these files, meets the fault."""
        return (
            self.action in (None, action)
            and self.app_id in (None, app_id)
            and self.vendor in (None, vendor)
            and (self.file_id is None or self.file_id in file_ids)
            and len(file_ids) > self.more_files_than
        )


def answer_code(
    code: int,
    message: str = "",
    *,
    app_id: str | None = None,
    vendor: Vendor | None = None,
    action: str | None = None,
) -> Fault:
    """A top-level `Code` for the whole call, which does nothing: 4 for a vendor that the app does not use."""
    return Fault(acts=False, code=code, message=message, app_id=app_id, vendor=vendor, action=action)


def answer_html(status: int, *, retry_after: str | None = None, acts: bool = False, action: str | None = None) -> Fault:
    """The error page of a front end; `retry_after` is sent as the header of that name."""
    return Fault(acts=acts, http_status=status, retry_after=retry_after, action=action)


def cut_answer(*, action: str | None = None) -> Fault:
    """The call works, but only half of its JSON arrives."""
    return Fault(acts=True, cut=True, action=action)


def drop_before(*, action: str | None = None) -> Fault:
    """The connection closes without an answer, and nothing was done."""
    return Fault(acts=False, drop=True, action=action)


def drop_after(*, action: str | None = None) -> Fault:
    """The connection closes without an answer, but the work was done."""
    return Fault(acts=True, drop=True, action=action)


def answer_late(seconds: float, *, action: str | None = None) -> Fault:
    """The call works, and its answer comes `seconds` later."""
    return Fault(acts=True, delay_s=seconds, action=action)


def list_fewer(count: int, *, vendor: Vendor | None = None) -> Fault:
    """A listing that ends after `count` files and says that these are all.

    Tencent's `TotalCount` is no more, and pages beyond are empty; the others end with their first page.
    """

    def change(section: dict[str, Any], asked: Search) -> None:
        if "TotalCount" in section:
            section["TotalCount"] = min(count, section["TotalCount"])
            section["MediaInfoSet"] = section["MediaInfoSet"][: max(0, count - asked.first)]
        else:
            section["Keys"], section["NextMarker"] = section["Keys"][:count], ""

    return Fault(acts=True, change=change, action=_LISTING, vendor=vendor)


def understate_total(count: int) -> Fault:
    """A Tencent listing whose `TotalCount` is too small, while every page holds what it should."""

    def change(section: dict[str, Any], _: Search) -> None:
        if "TotalCount" in section:
            section["TotalCount"] = min(count, section["TotalCount"])

    return Fault(acts=True, change=change, action=_LISTING)


def repeat_marker(*, vendor: Vendor | None = None) -> Fault:
    """A listing by marker that never ends: from the second page on, `NextMarker` is the request's own."""

    def change(section: dict[str, Any], asked: Search) -> None:
        if "NextMarker" in section:
            section["NextMarker"] = asked.marker or section["NextMarker"]

    return Fault(acts=True, change=change, action=_LISTING, vendor=vendor)


def hide_ids(*file_ids: str, vendor: Vendor | None = None) -> Fault:
    """A listing whose entries for these files (none given: for all) have no id."""

    def change(section: dict[str, Any], _: Search) -> None:
        for entries, key in (("MediaInfoSet", "FileId"), ("Keys", "Key")):
            for entry in section.get(entries, ()):
                if not file_ids or entry[key] in file_ids:
                    del entry[key]

    return Fault(acts=True, change=change, action=_LISTING, vendor=vendor)
