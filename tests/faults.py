"""A sandbox in which things can be made to go wrong, with single files and with whole calls."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl
from zlib import crc32

from service.model import Vendor
from service.sandbox import Call, Sandbox, StoredFile, Trouble
from service.sandbox.request import Code
from service.sandbox.sandbox import Reply, Work

ListingChange: TypeAlias = "Callable[[dict[str, Any], dict[str, str]], None]"
"""Changes a vendor's section of a listing, which was asked for with these parameters, before it is answered."""

_LISTING = "SearchMedia"


def oldest_first(files: list[StoredFile]) -> list[StoredFile]:
    """An order of Tencent's listing."""
    return files


def shuffled(files: list[StoredFile]) -> list[StoredFile]:
    """An order of Tencent's listing that is not by time, and the same for the same ids."""
    return sorted(files, key=lambda file: (crc32(file.file_id.encode()), file.file_id))


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

    def hits(self, call: Call) -> bool:
        """Whether the call meets the fault."""
        return (
            self.action in (None, call.action)
            and self.app_id in (None, call.app_id)
            and self.vendor in (None, call.vendor)
            and (self.file_id is None or self.file_id in call.file_ids)
            and len(call.file_ids) > self.more_files_than
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

    def change(section: dict[str, Any], asked: dict[str, str]) -> None:
        if "TotalCount" in section:
            section["TotalCount"] = min(count, section["TotalCount"])
            first = int(asked["PageNumber"]) * int(asked["PageSize"])
            section["MediaInfoSet"] = section["MediaInfoSet"][: max(0, count - first)]
        else:
            section["Keys"], section["NextMarker"] = section["Keys"][:count], ""

    return Fault(acts=True, change=change, action=_LISTING, vendor=vendor)


def understate_total(count: int) -> Fault:
    """A Tencent listing whose `TotalCount` is too small, while every page holds what it should."""

    def change(section: dict[str, Any], _: dict[str, str]) -> None:
        if "TotalCount" in section:
            section["TotalCount"] = min(count, section["TotalCount"])

    return Fault(acts=True, change=change, action=_LISTING)


def repeat_marker(*, vendor: Vendor | None = None) -> Fault:
    """A listing by marker that never ends: from the second page on, `NextMarker` is the request's own."""

    def change(section: dict[str, Any], asked: dict[str, str]) -> None:
        if "NextMarker" in section:
            section["NextMarker"] = asked.get("Marker") or section["NextMarker"]

    return Fault(acts=True, change=change, action=_LISTING, vendor=vendor)


def hide_ids(*file_ids: str, vendor: Vendor | None = None) -> Fault:
    """A listing whose entries for these files (none given: for all) have no id."""

    def change(section: dict[str, Any], _: dict[str, str]) -> None:
        for entries, key in (("MediaInfoSet", "FileId"), ("Keys", "Key")):
            for entry in section.get(entries, ()):
                if not file_ids or entry[key] in file_ids:
                    del entry[key]

    return Fault(acts=True, change=change, action=_LISTING, vendor=vendor)


@dataclass
class FaultySandbox(Sandbox):
    """A sandbox that fails on command, and slows every answer that passed the checks by `latency_s`.

    `on_request` is called with each such call when it has arrived and again when it is done, before its answer leaves
    (`Call.stage`). `data_as_text` and `code_as_text` choose between the spellings that ZEGO's docs know.
    """

    latency_s: float = 0
    data_as_text: bool = False
    code_as_text: bool = False
    purge_code: int = 1
    on_request: Callable[[Call], object] | None = None
    _next: deque[Fault] = field(default_factory=deque)
    _standing: list[Fault] = field(default_factory=list)

    def fail_file(self, file_id: str, code: str, message: str = "", times: int | None = None) -> None:
        """Answer DeleteMedia for this file with a per-file error, `times` times (None: until healed)."""
        self.troubles[file_id] = Trouble(code, message, times)

    def omit_file(self, file_id: str, *, acts: bool = False, times: int | None = None) -> None:
        """Mention this file in neither list; `acts` says whether it is deleted all the same."""
        self.troubles[file_id] = Trouble(None, times=times, acts=acts)

    def poison(self, file_id: str, code: int) -> None:
        """Fail every whole call that asks for this file with a top-level code, until it is healed."""
        self.troubles[file_id] = Trouble(code)

    def heal(self, file_id: str) -> None:
        """Take back whatever trouble this file was made to cause."""
        self.troubles.pop(file_id, None)

    def next(self, *faults: Fault) -> None:
        """Let the next calls that pass the checks meet these faults, one each."""
        self._next.extend(faults)

    def always(self, *faults: Fault) -> None:
        """Let every call meet the first of these faults that hits it, until `end_faults`."""
        self._standing.extend(faults)

    def end_faults(self) -> None:
        """Take back every fault of `next` and `always`."""
        self._next.clear()
        self._standing.clear()

    def max_calls_in_any_second(self, app_id: str | None = None) -> int:
        """The most calls that arrived within any second, of one app or of the busiest."""
        apps = self.apps if app_id is None else [app_id]
        return max((call.in_last_second for call in self.calls if call.app_id in apps), default=0)

    def carry_out(self, call: Call, work: Work) -> Reply:
        self._report(call)
        fault = self._take_fault(call) or Fault(acts=True)
        reply = work() if fault.acts else self.reply(call, fault.code or Code.DONE, fault.message)
        self._change(reply, call, fault)
        if fault.http_status is not None:
            reply = Reply(fault.http_status, retry_after=fault.retry_after)
        reply.cut, reply.drop, reply.delay_s = fault.cut, fault.drop, fault.delay_s + self.latency_s
        if fault.http_status is not None or fault.cut or fault.drop:
            call.code = None  # no answer of ZEGO reaches the caller whole
        call.stage = "done"
        self._report(call)
        return reply

    def _report(self, call: Call) -> None:
        if self.on_request is not None:
            self.on_request(call)

    def _take_fault(self, call: Call) -> Fault | None:
        with self._lock:
            for queue in (self._next, self._standing):
                for fault in queue:
                    if fault.hits(call):
                        if queue is self._next:
                            self._next.remove(fault)
                        return fault
        return None

    def _change(self, reply: Reply, call: Call, fault: Fault) -> None:
        content = reply.content
        assert content is not None
        if fault.change is not None:
            fault.change(content["Data"][call.vendor], dict(parse_qsl(call.page)))
        if "WsItemIdReceiverResp" in content["Data"]:
            content["Data"]["WsItemIdReceiverResp"]["Code"] = self.purge_code
        content["Data"] = json.dumps(content["Data"]) if self.data_as_text else content["Data"]
        content["Code"] = str(content["Code"]) if self.code_as_text else content["Code"]
