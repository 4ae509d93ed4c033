"""The sandbox itself: apps and their files, what is made to go wrong, and the answer to each call."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, Self

from service.model import Vendor
from service.sandbox.faults import Fault
from service.sandbox.loopback import LoopbackServer, Reply
from service.sandbox.request import (
    Code,
    RefusedError,
    Request,
    Search,
    authenticate,
    check_action,
    read_request,
    read_search,
)
from service.sandbox.storage import Order, Storage, StoredFile, Trouble

MAX_TARGET_BYTES: Final = 8192
"""Longest request target taken, as by common front ends (docs/protocol.md, "DeleteMedia")."""


@dataclass(slots=True)
class Call:
    """One request as the sandbox saw it.

    `tick` is its arrival in monotonic seconds, `in_last_second` how many calls its app made in the second up to then.
    `page` is what a SearchMedia asked for, in order of names ("EndTime=2&PageNumber=0&…").
    `acted` says that its files were worked on; `code` is the top-level code that was answered (None: none arrived).
    """

    number: int
    at: datetime
    tick: float
    app_id: str
    action: str
    vendor: str
    file_ids: tuple[str, ...]
    target_bytes: int
    in_last_second: int
    page: str = ""
    stage: Literal["arrived", "done"] = "arrived"
    acted: bool = False
    code: int | None = None


@dataclass(slots=True)
class Sandbox:
    """A ZEGO for the given apps (`app_id` -> server secret); a context manager that serves on 127.0.0.1 while open.

    `now` is the clock that calls are checked against. Every answer is delayed by `latency_s`. `on_request` is called
    with each call when it has arrived and again when it is done, before its answer leaves (`Call.stage`).
    `data_as_text` and `code_as_text` choose between the spellings that ZEGO's docs know. With `knows_search=False` it
    stands for a ZEGO that knows DeleteMedia only. `listing_order` (of Tencent) stands for what ZEGO does not document.
    Any part may be changed while it runs.
    """

    apps: Mapping[str, str] = field(repr=False)
    now: Callable[[], datetime]
    calls_per_second: int = 20
    latency_s: float = 0
    port: int = 0
    monotonic: Callable[[], float] = time.monotonic
    knows_search: bool = True
    listing_order: Order = "newest"
    data_as_text: bool = False
    code_as_text: bool = False
    purge_code: int | None = 1
    on_request: Callable[[Call], object] | None = None
    _calls: list[Call] = field(default_factory=list)
    _recent: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _nonces: set[tuple[str, str]] = field(default_factory=set)
    _storage: Storage = field(default_factory=Storage)
    _poisons: dict[str, int] = field(default_factory=dict)
    _next: deque[Fault] = field(default_factory=deque)
    _standing: list[Fault] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: LoopbackServer | None = None

    def __enter__(self) -> Self:
        self._server = LoopbackServer(self.port, self._answer)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def url(self) -> str:
        """The API URL to give to a client, valid while the sandbox is open."""
        if self._server is None:
            raise RuntimeError("the sandbox is not open: use it in a with statement")
        return self._server.url

    # Files

    def add_file(
        self,
        app_id: str,
        vendor: Vendor | str,
        file_id: str,
        *,
        created_at: datetime | None = None,
        **facts: Any,  # noqa: ANN401  (as StoredFile has them)
    ) -> None:
        """Store a file, created now unless said otherwise; `facts` are the other fields of `StoredFile`."""
        self.add_files(app_id, vendor, [StoredFile(file_id, created_at or self.now(), **facts)])

    def add_files(self, app_id: str, vendor: Vendor | str, files: Iterable[StoredFile]) -> None:
        """Store many files at once."""
        with self._lock:
            self._storage.files(app_id, Vendor(vendor)).add(files)

    def remove_file(self, app_id: str, vendor: Vendor | str, file_id: str) -> None:
        """Let somebody else delete a file."""
        with self._lock:
            self._storage.files(app_id, Vendor(vendor)).remove(file_id)

    def files(self, app_id: str, vendor: Vendor | str) -> dict[str, StoredFile]:
        """A copy of the files stored at this moment, by id."""
        with self._lock:
            return dict(self._storage.files(app_id, Vendor(vendor)).by_id)

    # Faults

    def fail_file(self, file_id: str, code: str, message: str = "", times: int | None = None) -> None:
        """Answer DeleteMedia for this file with a per-file error, `times` times (None: until healed)."""
        with self._lock:
            self._storage.troubles[file_id] = Trouble(code, message, times)

    def omit_file(self, file_id: str, *, acts: bool = False, times: int | None = None) -> None:
        """Mention this file in neither list; `acts` says whether it is deleted all the same."""
        with self._lock:
            self._storage.troubles[file_id] = Trouble(None, times=times, acts=acts)

    def poison(self, file_id: str, code: int) -> None:
        """Fail every whole call that asks for this file with a top-level code, until it is healed."""
        with self._lock:
            self._poisons[file_id] = code

    def heal(self, file_id: str) -> None:
        """Take back whatever trouble this file was made to cause."""
        with self._lock:
            self._poisons.pop(file_id, None)
            self._storage.troubles.pop(file_id, None)

    def next(self, *faults: Fault) -> None:
        """Let the next calls that pass the checks meet these faults, one each."""
        with self._lock:
            self._next.extend(faults)

    def always(self, *faults: Fault) -> None:
        """Let every call meet the first of these faults that hits it, until `end_faults`."""
        with self._lock:
            self._standing.extend(faults)

    def end_faults(self) -> None:
        """Take back every fault of `next` and `always`."""
        with self._lock:
            self._next.clear()
            self._standing.clear()

    # What was seen

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every request so far, in order of arrival."""
        return tuple(self._calls)

    def max_calls_in_any_second(self, app_id: str | None = None) -> int:
        """The most calls that arrived within any second, of one app or of the busiest."""
        apps = self.apps if app_id is None else [app_id]
        return max((call.in_last_second for call in self.calls if call.app_id in apps), default=0)

    # Answering

    def _answer(self, target: str) -> Reply:
        path, _, text = target.partition("?")
        request = read_request(text)
        with self._lock:
            call = self._note_call(target, request)
        self._report(call)
        with self._lock:
            reply = self._judge(path, request, call)
        call.stage = "done"
        self._report(call)
        return replace(reply, delay_s=reply.delay_s + self.latency_s)

    def _note_call(self, target: str, request: Request) -> Call:
        tick, recent = self.monotonic(), self._recent[request.get("AppId")]
        recent.append(tick)
        while tick - recent[0] >= 1:
            recent.popleft()
        call = Call(
            number=len(self._calls) + 1,
            at=self.now(),
            tick=tick,
            app_id=request.get("AppId"),
            action=request.get("Action"),
            vendor=request.get("Vendor"),
            file_ids=request.file_ids,
            target_bytes=len(target.encode("latin-1", "replace")),
            in_last_second=len(recent),
            page=request.page if request.get("Action") == "SearchMedia" else "",
        )
        self._calls.append(call)
        return call

    def _report(self, call: Call) -> None:
        if self.on_request is not None:
            self.on_request(call)

    def _judge(self, path: str, request: Request, call: Call) -> Reply:
        if call.target_bytes > MAX_TARGET_BYTES:
            return Reply.html(414)
        if path != "/":
            return Reply.html(404)
        try:
            asked = self._check(request, call)
        except RefusedError as refused:
            return self._reply(call, refused.code, str(refused))
        return self._meet_fault(request, call, asked)

    def _check(self, request: Request, call: Call) -> Search | None:
        authenticate(request, self.apps, self._nonces, call.at)
        if call.in_last_second > self.calls_per_second:
            raise RefusedError(Code.TOO_FREQUENT, f"more than {self.calls_per_second} calls in a second")
        check_action(request, knows_search=self.knows_search)
        return read_search(request) if call.action == "SearchMedia" else None

    def _meet_fault(self, request: Request, call: Call, asked: Search | None) -> Reply:
        fault = self._take_fault(call) or Fault(acts=True)
        if not fault.acts:
            reply = self._reply(call, fault.code or Code.DONE, fault.message)
        elif asked is None:
            reply = self._delete(request, call)
        else:
            reply = self._list(call, asked, fault)
        if fault.http_status is not None:
            reply = Reply.html(fault.http_status, fault.retry_after)
        if fault.http_status is not None or fault.cut or fault.drop:
            call.code = None  # no answer of ZEGO reaches the caller whole
        body = reply.body[: len(reply.body) // 2] if fault.cut else reply.body
        return replace(reply, body=body, drop=fault.drop, delay_s=fault.delay_s)

    def _take_fault(self, call: Call) -> Fault | None:
        for queue in (self._next, self._standing):
            for fault in queue:
                if fault.hits(call.action, call.app_id, call.vendor, call.file_ids):
                    if queue is self._next:
                        self._next.remove(fault)
                    return fault
        return None

    def _list(self, call: Call, asked: Search, fault: Fault) -> Reply:
        data = self._storage.search(call.app_id, Vendor(call.vendor), asked, self.listing_order)
        if fault.change is not None:
            fault.change(data[call.vendor], asked)
        return self._reply(call, Code.DONE, data=data)

    def _delete(self, request: Request, call: Call) -> Reply:
        for file_id in call.file_ids:
            if file_id in self._poisons:
                return self._reply(call, self._poisons[file_id], "failed")
        call.acted = True
        data = self._storage.delete(call.app_id, Vendor(call.vendor), call.file_ids, str(call.number))
        if request.get("ClearCache") == "true" and self.purge_code is not None:
            data["WsItemIdReceiverResp"] = {"Code": self.purge_code, "Message": "done"}
        return self._reply(call, Code.DONE, data=data)

    def _reply(self, call: Call, code: int, message: str = "", data: dict[str, Any] | None = None) -> Reply:
        call.code = int(code)
        content = {
            "Code": str(int(code)) if self.code_as_text else int(code),
            "Message": message or ("success" if code == Code.DONE else "failed"),
            "RequestId": f"sandbox-{call.number}",
            "Data": json.dumps(data or {}) if self.data_as_text else data or {},
        }
        return Reply(200, json.dumps(content, ensure_ascii=False).encode(), date=call.at)
