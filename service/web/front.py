"""What the web side's server runs: the callback URL on its event loop, every other route in one of a few threads.

A callback waits for its commit without holding a thread. So neither any number of callbacks, nor a database that is
held, nor slow requests to other routes keep the callback URL and `/healthz` from being answered (docs/http.md).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from a2wsgi import WSGIMiddleware
from flask import Flask, Response
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.callbacks.receive import Inbox
from service.web.api import build as api
from service.web.callback import MAX_BODY_BYTES, STORED, refuse, turn_away
from service.web.entrance import Entrance
from service.web.problems import harden, problem

THREADS: Final = 16
"""Requests to other routes that are worked on at once."""

_THREADS_OF_PROBES: Final = 2
_PROBES: Final = frozenset({"/readyz"})
_MAX_WAIT_S: Final = 0.2
_SIGN_INS: Final = 2
_MAX_SIGN_IN_WAIT_S: Final = 5.0
"""Checking a password takes long: a crowd waits for it here, without holding threads that others need."""

_MAX_STALL_S: Final = 60
GONE: Final = "zego-retention.gone"
"""What is set in the scope of a request once nobody reads its answer any more: the answer then ends early."""

_STORED: Final = (
    {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"1"),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ],
    },
    {"type": "http.response.body", "body": b"1"},
)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def create_front(app: Flask) -> Front:
    """The front of an application that `create_app` built."""
    found = app.extensions
    return Front(app, found["zego-retention"].inbox, found["zego-retention.count"], found["zego-retention.entrance"])


class Front:
    """An ASGI application in front of a WSGI one."""

    def __init__(
        self,
        app: Flask,
        inbox: Inbox,
        count: Callable[[str, float], None],
        entrance: Entrance = Entrance(),  # noqa: B008  (it is frozen)
    ) -> None:
        wsgi: Any = app
        self._inbox, self._count, self._entrance = inbox, count, entrance
        self._others: Any = WSGIMiddleware(wsgi, workers=THREADS + _SIGN_INS)
        self._probes: Any = WSGIMiddleware(wsgi, workers=_THREADS_OF_PROBES)
        self._places = asyncio.Semaphore(THREADS)
        self._sign_ins = asyncio.Semaphore(_SIGN_INS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] == "POST" and self._entrance.takes(scope["path"]):
            await self._answer_callback(scope, receive, send)
        elif scope["path"] == "/healthz" and scope["method"] in ("GET", "HEAD"):
            await _send(send, Response("alive\n", content_type="text/plain; charset=utf-8"))
        else:
            await self._answer_other(scope, receive, send)

    async def _answer_callback(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, refusal = time.monotonic(), None
        headers, result, client = dict(scope["headers"]), STORED, self._find_client(scope)
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        try:
            raw = await _read_body(receive, MAX_BODY_BYTES)
            if not self._entrance.allows(client):
                turn_away(self._inbox, raw, content_type, client)
            await self._inbox.receive_async(raw, content_type)
        except Exception as error:  # noqa: BLE001  (ZEGO must send it again, whatever it is)
            result, refusal = refuse(error, client)
        self._count(result, time.monotonic() - began)
        if refusal is None:
            await send(_STORED[0])
            await send(_STORED[1])
        else:
            await _send(send, refusal)

    def _find_client(self, scope: Scope) -> str | None:
        forwarded = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
        return self._entrance.find_client((scope.get("client") or [None])[0], forwarded)

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to a thread once it has arrived whole: no slow client holds one."""
        signs_in = scope["path"] == "/sign-in" and scope["method"] == "POST"
        try:
            raw = await _read_body(receive, MAX_BODY_BYTES if signs_in else api.MAX_BODY_BYTES)
        except ClientDisconnected:
            return
        except RequestEntityTooLarge:
            await _send(send, problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large"))
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in _FRAMING]
        gone = threading.Event()
        whole = scope | {"headers": [*headers, (b"content-length", str(len(raw)).encode())], GONE: gone}

        async def receive_whole() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        if scope["path"] in _PROBES:
            await self._probes(whole, receive_whole, send)
            return
        places, wait_s = (self._sign_ins, _MAX_SIGN_IN_WAIT_S) if signs_in else (self._places, _MAX_WAIT_S)
        try:
            async with asyncio.timeout(wait_s):
                await places.acquire()
        except TimeoutError:
            busy = "too many requests at once: ask again"
            await _send(send, problem(HTTPStatus.SERVICE_UNAVAILABLE, busy))
            return
        watching = asyncio.create_task(_watch(receive, gone))
        try:
            await self._others(whole, receive_whole, _drop_when_stalled(send, gone))
        finally:
            watching.cancel()
            places.release()


_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


async def _watch(receive: Receive, gone: threading.Event) -> None:
    await receive()  # the request has arrived whole: this is its end
    gone.set()


def _drop_when_stalled(send: Send, gone: threading.Event) -> Send:
    """Send, but not to a client that does not read for a minute: it would hold a thread."""

    async def send_or_drop(message: dict[str, Any]) -> None:
        if gone.is_set():
            return
        try:
            async with asyncio.timeout(_MAX_STALL_S):
                await send(message)
        except TimeoutError:
            gone.set()

    return send_or_drop


async def _read_body(receive: Receive, limit: int) -> bytes:
    raw: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        raw += message.get("body", b"")
        if len(raw) > limit:
            raise RequestEntityTooLarge
        if not message.get("more_body", False):
            return raw


async def _send(send: Send, response: Response) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in harden(response).headers]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.get_data()})
