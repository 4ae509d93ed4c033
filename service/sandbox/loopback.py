"""The sandbox's HTTP side: a server on loopback that can also break connections."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
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


class LoopbackServer(ThreadingHTTPServer):
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

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, D102 (as in socketserver)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401, D102 (as in socketserver)
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
    server: LoopbackServer

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
