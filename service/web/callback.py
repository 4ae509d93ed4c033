"""`POST /zego/callback`: the URL to register with ZEGO (docs/callbacks.md).

Every answer other than 2xx makes ZEGO send the callback again, for 62 s in all; then it is lost. So whatever goes wrong
on our side is answered 503, and 2xx only follows a durable write.

It stands in front of Flask, whose way through routes and contexts costs as much as all that is done here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from flask import Response

from service.callbacks.receive import Answer, Inbox, Receipt
from service.settings.values import CALLBACK_PATH
from service.web.problems import harden, problem
from service.web.threads import RETRY_AFTER_S, Busy, Threads

MAX_BODY_BYTES: Final = 64 * 1024

_TOO_LARGE: Final = "too_large"
_STORED: Final = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", "1"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
)
_REFUSALS: Final = {
    Answer.REFUSED.value: HTTPStatus.UNAUTHORIZED,
    Answer.UNREADABLE.value: HTTPStatus.BAD_REQUEST,
    _TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}

log = structlog.get_logger(__name__)


class _BodyCut(Exception):  # noqa: N818  (a state of the connection, not a defect)
    """The connection ended before the announced body did."""


class _BodyTooLarge(Exception):  # noqa: N818  (an answer to the client, not a defect)
    """The body is over the cap."""


def answer_callbacks(
    application: WSGIApplication, inbox: Inbox, threads: Threads, count: Callable[[str, float], None]
) -> WSGIApplication:
    """The same application with the callback URL in front of it.

    `count` is called with how each request to it was answered, and the seconds that took.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != CALLBACK_PATH:
            return application(environ, start_response)
        if environ["REQUEST_METHOD"] != "POST":
            detail = "this path does not take that method; see the Allow header"
            return harden(problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": "POST"}))(
                environ, start_response
            )
        began = time.monotonic()
        taken, detail = _receive(environ, inbox, threads)
        result = str(taken)
        count(result, time.monotonic() - began)
        if result == Answer.STORED:
            start_response("200 OK", list(_STORED))
            return [b"1"]
        return harden(_refuse(result, detail, environ))(environ, start_response)

    return answer


def _receive(environ: WSGIEnvironment, inbox: Inbox, threads: Threads) -> tuple[str, str]:
    """Take a callback; how it is to be answered, and why. Never raises."""
    try:
        raw = _read_body(environ)
        with threads.for_callback():
            return inbox.receive_with_reason(raw, environ.get("CONTENT_TYPE", ""))
    except _BodyTooLarge:
        return _TOO_LARGE, "a callback has at most 64 KiB"
    except _BodyCut:
        return Receipt(Answer.UNREADABLE, "the body is shorter than its Content-Length")
    except Busy as busy:
        return Receipt(Answer.NOT_STORED, str(busy))
    except Exception as error:
        log.error("callback_not_stored", exc_info=error)
        return Receipt(Answer.NOT_STORED, "an error on our side")


def _read_body(environ: WSGIEnvironment) -> bytes:
    """The body, whole; however it is framed, no more than the cap and a byte is read.

    Raises:
        _BodyTooLarge: it is over the cap.
        _BodyCut: the connection ended within it.
    """
    announced = environ.get("CONTENT_LENGTH") or ""
    length = int(announced) if announced.isdecimal() else None
    if length is not None and length > MAX_BODY_BYTES:
        raise _BodyTooLarge
    # Without a length only a server that ends the body by itself can be read to the end.
    wanted = length if length is not None else MAX_BODY_BYTES + 1 if environ.get("wsgi.input_terminated") else 0
    raw = b""
    while len(raw) < wanted and (part := environ["wsgi.input"].read(wanted - len(raw))):
        raw += part
    if len(raw) > MAX_BODY_BYTES:
        raise _BodyTooLarge
    if length is not None and len(raw) < length:
        raise _BodyCut
    return raw


def _refuse(result: str, detail: str, environ: WSGIEnvironment) -> Response:
    if result in _REFUSALS:
        log.warning("callback_refused", answer=result, detail=detail, client=environ.get("REMOTE_ADDR"))
        return problem(_REFUSALS[result], detail)
    log.warning("callback_not_stored", detail=detail)
    text = "it could not be stored: send it again"  # what exactly is wrong with the database is not for ZEGO
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
