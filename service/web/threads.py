"""Limits of the server's threads, so that no kind of request can take all of them (docs/http.md).

Callbacks wait for commits, and a stalled database lets them wait for seconds: they may hold most threads, never all.
Other routes share a quarter. What is left answers `/healthz` and `/readyz`, and refuses what is too much.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Response
from werkzeug.wsgi import ClosingIterator

from service.web.problems import problem

THREADS: Final = 64
RETRY_AFTER_S: Final = 2

_STALLED_S: Final = 0.75
"""When callbacks have waited so long to be stored, newcomers beyond the limit are refused at once."""

_MAX_CALLBACK_WAIT_S: Final = 2.0
_MAX_WAIT_S: Final = 0.2
_MAX_INVENTORY_WAIT_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.05
_UNLIMITED: Final = frozenset({"/healthz", "/readyz"})
_WITHOUT_BODY: Final = ("204", "304")


class Busy(Exception):  # noqa: N818  (a state of the server, answered 503)
    """Too many requests of this kind at once; the text says so in one line. Ask again after `RETRY_AFTER_S`."""


class Threads:
    """How many of the server's threads each kind of request may hold.

    `oldest_wait_s` says how long the oldest callback has been waiting to be stored.
    """

    def __init__(self, oldest_wait_s: Callable[[], float], count: int = THREADS) -> None:
        self._oldest_wait_s = oldest_wait_s
        self._callbacks = threading.BoundedSemaphore(max(1, count * 3 // 4 - count // 16))
        self._others = threading.BoundedSemaphore(max(1, count // 4))
        self._inventory = threading.Lock()

    @contextmanager
    def for_callback(self) -> Iterator[None]:
        """Hold a thread for a callback.

        Raises:
            Busy: as many as may wait to be stored already.
        """
        deadline = monotonic() + _MAX_CALLBACK_WAIT_S
        while not self._callbacks.acquire(timeout=_LOOK_EVERY_S):
            if self._oldest_wait_s() > _STALLED_S or monotonic() > deadline:
                raise Busy("too many callbacks wait to be stored: send it again")
        try:
            yield
        finally:
            self._callbacks.release()

    @contextmanager
    def for_inventory(self) -> Iterator[None]:
        """Hold a thread for what reads the whole inventory (a forecast, a preview): one at a time.

        Raises:
            Busy: another one is under way.
        """
        if not self._inventory.acquire(timeout=_MAX_INVENTORY_WAIT_S):
            raise Busy("another request reads the whole inventory: ask again")
        try:
            yield
        finally:
            self._inventory.release()

    def limit(self, application: WSGIApplication) -> WSGIApplication:
        """The same application, with all its routes but the probes limited to their share."""

        def limited(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ.get("PATH_INFO") in _UNLIMITED:
                return application(environ, start_response)
            if not self._others.acquire(timeout=_MAX_WAIT_S):
                refusal: WSGIApplication = answer_busy(Busy("too many requests at once: ask again"))
                return refusal(environ, start_response)
            return self._answer(application, environ, start_response)

        return limited

    def _answer(
        self, application: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a request that holds a thread until its answer is made, or sent if it is made while it is sent."""
        is_made = False

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:  # noqa: ANN401
            nonlocal is_made
            is_made = status.startswith(_WITHOUT_BODY) or any(name.lower() == "content-length" for name, _ in headers)
            return start_response(status, headers, *error)

        try:
            body = application(environ, start)
        except BaseException:
            self._others.release()
            raise
        if is_made:
            self._others.release()
            return body
        return ClosingIterator(body, self._others.release)


def answer_busy(busy: Busy) -> Response:
    """The answer to a request that is too much at the moment."""
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(busy), retry_after_s=RETRY_AFTER_S)
