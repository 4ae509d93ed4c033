"""What can be made to go wrong with a call to the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.core.model import Vendor


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a call that has passed every check. `acts` says whether the call does its work all the same.

    `delay_s` passes after the work and before the answer. `app_id`, `vendor`, `more_files_than`
    and `file_id` limit the fault to such calls.
    """

    acts: bool
    code: int | None = None
    message: str = ""
    http_status: int | None = None
    retry_after: str | None = None
    cut: bool = False
    drop: bool = False
    delay_s: float = 0
    app_id: str | None = None
    vendor: Vendor | None = None
    more_files_than: int = -1
    file_id: str | None = None

    @property
    def hides_answer(self) -> bool:
        """No answer of ZEGO reaches the caller whole."""
        return self.http_status is not None or self.cut or self.drop

    def hits(self, app_id: str, vendor: str, file_ids: Sequence[str] = ()) -> bool:
        """Tell whether a call of this app and vendor, for these files, meets the fault."""
        if self.file_id is not None and self.file_id not in file_ids:
            return False
        return self.app_id in (None, app_id) and self.vendor in (None, vendor) and len(file_ids) > self.more_files_than


def answer_code(code: int, message: str = "", *, app_id: str | None = None, vendor: Vendor | None = None) -> Fault:
    """A top-level `Code` for the whole call, which does nothing."""
    return Fault(acts=False, code=code, message=message, app_id=app_id, vendor=vendor)


def answer_html(status: int, *, retry_after: str | None = None, acts: bool = False) -> Fault:
    """The error page of a front end; `retry_after` is sent as the header of that name."""
    return Fault(acts=acts, http_status=status, retry_after=retry_after)


def cut_answer() -> Fault:
    """The call works, but only half of its JSON arrives."""
    return Fault(acts=True, cut=True)


def drop_before() -> Fault:
    """The connection closes without an answer, and nothing was done."""
    return Fault(acts=False, drop=True)


def drop_after() -> Fault:
    """The connection closes without an answer, but the work was done."""
    return Fault(acts=True, drop=True)


def answer_late(seconds: float) -> Fault:
    """The call works, and its answer comes `seconds` later."""
    return Fault(acts=True, delay_s=seconds)
