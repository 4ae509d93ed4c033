"""The sandbox itself: apps and their files, and the answer to each call."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import parse_qs, urlencode

from service.model import Vendor
from service.sandbox.request import COMMON, FILE_IDS, Code, RefusedError, authenticate, check_action, read_query
from service.sandbox.storage import Order, StoredFile, Trouble, VendorFiles, newest_first
from service.zego.messages import Query

MAX_TARGET_BYTES: Final = 8192
"""Longest request target taken, as by common front ends (docs/protocol.md, "DeleteMedia")."""

_NOT_FOUND: Final = {
    Vendor.TENCENT: Trouble("ResourceNotFound", "the media does not exist"),
    Vendor.WANGSU: Trouble("612", "no such file or directory"),
    Vendor.HUAWEI: Trouble("NoSuchKey", "The specified key does not exist."),
}


@dataclass(slots=True)
class Reply:
    """What goes back: `content` as JSON or, without any, the error page of a front end.

    Of a `cut` one half arrives; `drop` breaks the connection instead of answering. Both after `delay_s`.
    """

    status: int
    content: dict[str, Any] | None = None
    date: datetime | None = None
    retry_after: str | None = None
    cut: bool = False
    drop: bool = False
    delay_s: float = 0


Work: TypeAlias = "Callable[[], Reply]"


@dataclass(slots=True)
class Call:
    """One request as the sandbox saw it.

    `tick` is its arrival in monotonic seconds, `in_last_second` how many calls its app made in the second up to then.
    `page` is what a SearchMedia asked for, in order of names ("EndTime=2&PageNumber=0&…").
    `acted` says that its files were worked on, `removed` which of them it took away; `code` is the top-level code
    that was answered (None: none arrived).
    """

    number: int
    at: datetime
    tick: float
    app_id: str
    action: str
    vendor: str
    file_ids: tuple[str, ...]
    page: str
    target_bytes: int
    in_last_second: int
    stage: Literal["arrived", "done"] = "arrived"
    acted: bool = False
    removed: list[str] = field(default_factory=list)
    code: int | None = None


@dataclass
class Sandbox:
    """A ZEGO for the given apps (`app_id` -> server secret); a context manager that serves on 127.0.0.1 while open.

    `now` is the clock that calls are checked against; `troubles` are those that single files cause. In which order
    Tencent lists is not documented: `listing_order` says it here. Any part may be changed while it runs.
    """

    apps: Mapping[str, str] = field(repr=False)
    now: Callable[[], datetime]
    calls_per_second: int = 20
    port: int = 0
    monotonic: Callable[[], float] = time.monotonic
    listing_order: Order = newest_first
    troubles: dict[str, Trouble] = field(default_factory=dict)
    _calls: list[Call] = field(default_factory=list)
    _recent: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _nonces: set[tuple[str, str]] = field(default_factory=set)
    _files: dict[tuple[str, str], VendorFiles] = field(default_factory=lambda: defaultdict(VendorFiles))
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: _Server | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self.port, self._answer).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.__exit__()

    @property
    def url(self) -> str:
        """The API URL to give to a client, valid while the sandbox is open."""
        if self._server is None:
            raise RuntimeError("the sandbox is not open: use it in a with statement")
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every request so far, in order of arrival."""
        return tuple(self._calls)

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
            self._files[app_id, vendor].add(files)

    def remove_file(self, app_id: str, vendor: Vendor | str, file_id: str) -> None:
        """Let somebody else delete a file."""
        with self._lock:
            self._files[app_id, vendor].by_id.pop(file_id, None)

    def files(self, app_id: str, vendor: Vendor | str) -> dict[str, StoredFile]:
        """What is stored, by file id."""
        with self._lock:
            return dict(self._files[app_id, vendor].by_id)

    def carry_out(self, call: Call, work: Work) -> Reply:  # noqa: ARG002  (for those who override it)
        """Answer a call that has passed every check: `work` does what it asks for. Override it to let things fail."""
        return work()

    def reply(self, call: Call, code: int, message: str = "", data: dict[str, Any] | None = None) -> Reply:
        """An answer of ZEGO with this top-level code."""
        call.code = int(code)
        content = {
            "Code": call.code,
            "Message": message or ("success" if code == Code.DONE else "failed"),
            "RequestId": f"sandbox-{call.number}",
            "Data": data or {},
        }
        return Reply(200, content, date=call.at)

    def _answer(self, target: str) -> Reply:
        path, _, text = target.partition("?")
        parameters = parse_qs(text, keep_blank_values=True, errors="replace")
        asked = {name: values[-1] for name, values in parameters.items() if name != FILE_IDS}
        query: Query | None = None
        with self._lock:
            call = self._note_call(target, asked, tuple(parameters.get(FILE_IDS, ())))
            if call.target_bytes > MAX_TARGET_BYTES or path != "/":
                return Reply(404 if path != "/" else 414)
            try:
                self._check_caller(call, asked)
                check_action(parameters)
                query = read_query(asked) if call.action == "SearchMedia" else None
            except RefusedError as refused:
                return self.reply(call, refused.code, str(refused))
        if query is None:
            return self.carry_out(call, lambda: self._delete(call, clears_cache=asked.get("ClearCache") == "true"))
        return self.carry_out(call, lambda: self._list(call, query))

    def _note_call(self, target: str, asked: Mapping[str, str], file_ids: tuple[str, ...]) -> Call:
        app_id, action = asked.get("AppId", ""), asked.get("Action", "")
        tick, recent = self.monotonic(), self._recent[app_id]
        recent.append(tick)
        while tick - recent[0] >= 1:
            recent.popleft()
        page = urlencode(sorted((name, value) for name, value in asked.items() if name not in COMMON))
        call = Call(
            number=len(self._calls) + 1,
            at=self.now(),
            tick=tick,
            app_id=app_id,
            action=action,
            vendor=asked.get("Vendor", ""),
            file_ids=file_ids,
            page=page if action == "SearchMedia" else "",
            target_bytes=len(target.encode("latin-1", "replace")),
            in_last_second=len(recent),
        )
        self._calls.append(call)
        return call

    def _check_caller(self, call: Call, asked: Mapping[str, str]) -> None:
        authenticate(asked, self.apps, call.at)
        used = (call.app_id, asked["SignatureNonce"])
        if used in self._nonces:
            raise RefusedError(Code.SIGNATURE_WRONG, "SignatureNonce was used before")
        self._nonces.add(used)
        if call.in_last_second > self.calls_per_second:
            raise RefusedError(Code.TOO_FREQUENT, f"more than {self.calls_per_second} calls in a second")

    def _list(self, call: Call, query: Query) -> Reply:
        with self._lock:
            files = self._files[call.app_id, call.vendor]
            is_tencent = call.vendor == Vendor.TENCENT
            section = files.list_window(query, self.listing_order) if is_tencent else files.list_after(query)
        return self.reply(call, Code.DONE, data={call.vendor: section})

    def _delete(self, call: Call, *, clears_cache: bool) -> Reply:
        data: dict[str, Any] = {"Deleted": [], "Errors": []}
        with self._lock:
            for file_id in call.file_ids:
                trouble = self.troubles.get(file_id)
                if trouble is not None and isinstance(trouble.code, int):
                    return self.reply(call, trouble.code)
            call.acted = True
            for file_id in call.file_ids:
                trouble = self._delete_file(call, file_id)
                if trouble is None:
                    data["Deleted"].append(file_id)
                elif trouble.code is not None:
                    error = {"Code": trouble.code, "Message": trouble.message, "Key": file_id}
                    data["Errors"].append(error | {"RequestId": f"{call.vendor}-{call.number}"})
        if clears_cache:
            data["WsItemIdReceiverResp"] = {"Code": 1, "Message": "done"}
        return self.reply(call, Code.DONE, data=data)

    def _delete_file(self, call: Call, file_id: str) -> Trouble | None:
        stored, trouble = self._files[call.app_id, call.vendor].by_id, self.troubles.get(file_id)
        is_removed = (trouble is None or trouble.acts) and stored.pop(file_id, None) is not None
        if is_removed:
            call.removed.append(file_id)
        if trouble is None:
            return None if is_removed else _NOT_FOUND[Vendor(call.vendor)]
        if trouble.times is not None:
            trouble.times -= 1
            if trouble.times <= 0:
                del self.troubles[file_id]
        return trouble


class _Server(ThreadingHTTPServer):
    """Serves `answer(request target)` on 127.0.0.1 within a `with` block; its end also breaks open connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[str], Reply]) -> None:
        self.answer = answer
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        for connection in tuple(self._open):  # a client must find nobody there any more
            _break(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as in socketserver)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 (as in socketserver)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as in socketserver)
        """Stay silent about clients that hang up: tests make them do so."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, as ZEGO's front end does
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece
    server: _Server

    def do_GET(self) -> None:
        reply = self.server.answer(self.path)
        self.server.stopping.wait(reply.delay_s)
        if reply.drop or self.server.stopping.is_set():
            self.close_connection = True
            _break(self.connection)
            return
        content_type, text = "application/json; charset=utf-8", json.dumps(reply.content, ensure_ascii=False)
        if reply.content is None:
            content_type, text = "text/html", f"<html><body><h1>{reply.status}</h1><hr>front end</body></html>"
        body = text.encode()
        body = body[: len(body) // 2] if reply.cut else body
        self.send_response_only(reply.status)
        self.send_header("Date", format_datetime(reply.date, usegmt=True) if reply.date else self.date_time_string())
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if reply.retry_after is not None:
            self.send_header("Retry-After", reply.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as in http.server)
        """Write nothing: whoever runs the sandbox reads its record of calls."""


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        connection.shutdown(socket.SHUT_RDWR)
