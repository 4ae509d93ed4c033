"""Between granian and the application: a request is taken in whole, within a time limit, before a thread works on it.

granian gives a body no time limit. As a plain WSGI server it would let 512 half-sent requests hold all its threads for
good, and the callback URL with them.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from service.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

MOST_BYTES: Final = 1024 * 1024
"""No more of a body is kept; an application that takes bodies has to have a lower limit, as ours has."""

_OWN_KEYS: Final = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE"}

log = structlog.get_logger(__name__)

Reply = tuple[int, list[tuple[str, str]], bytes]


class Scope(Protocol):
    """A request without its body, as granian's RSGI names its parts."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Any


class Exchange(Protocol):
    """The two directions of one request in granian's RSGI."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""


class Front:
    """An RSGI application that hands whole requests to a WSGI application, on a few threads."""

    def __init__(self, app: WSGIApplication, threads: int = 16, body_seconds: float = 15) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _read_body(scope, exchange)
        except TimeoutError:
            log.warning("request_too_slow", client=scope.client, path=scope.path)
            exchange.response_bytes(*_too_slow())
            return
        loop = asyncio.get_running_loop()
        exchange.response_bytes(*await loop.run_in_executor(self._threads, self._work, build_environ(scope, body)))

    def _work(self, environ: WSGIEnvironment) -> Reply:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: object = None, /) -> Any:  # noqa: ANN401
            started[:] = [(status, headers)]

        chunks: Iterable[bytes] = self._app(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        status, headers = started[0]
        return int(status.split(" ", 1)[0]), headers, body


def build_environ(scope: Scope, body: bytes) -> WSGIEnvironment:
    """The WSGI environment of a request. Where no length was announced, the body's own is: it is all there."""
    host, _, port = scope.server.rpartition(":")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if name == "transfer-encoding":  # the body is decoded already
            continue
        key = _OWN_KEYS.get(name, "HTTP_" + name.upper().replace("-", "_"))
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    environ.setdefault("CONTENT_LENGTH", str(len(body)))
    return environ


async def _read_body(scope: Scope, exchange: Exchange) -> bytes:
    """The body; one byte more than is kept where it is longer, nothing where it says itself that it is."""
    announced = scope.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MOST_BYTES:
        return b""
    body = bytearray()
    async for chunk in exchange:
        body += chunk
        if len(body) > MOST_BYTES:
            break
    return bytes(body[: MOST_BYTES + 1])


def _too_slow() -> Reply:
    response = problem(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")
    response.headers["Connection"] = "close"
    return response.status_code, list(response.headers), response.get_data()
