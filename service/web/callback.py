"""`POST /zego/callback`: the URL to register with ZEGO (docs/callbacks.md).

Every answer other than 2xx makes ZEGO send the callback again, for 62 s in all; then it is lost. So whatever goes wrong
on our side is answered 503, and 2xx only follows a durable write.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.callbacks.receive import Answer, Inbox, Receipt
from service.settings.values import CALLBACK_PATH
from service.web.problems import problem
from service.web.threads import RETRY_AFTER_S, Busy

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.web.threads import Threads

MAX_BODY_BYTES: Final = 64 * 1024

_REFUSALS: Final = {Answer.REFUSED: HTTPStatus.UNAUTHORIZED, Answer.UNREADABLE: HTTPStatus.BAD_REQUEST}

log = structlog.get_logger(__name__)


class _BodyCut(Exception):  # noqa: N818  (a state of the connection, not a defect)
    """The connection ended before the announced body did."""


def callback_blueprint(inbox: Inbox, threads: Threads, count: Callable[[str], None]) -> Blueprint:
    """The callback URL; `count` is called with how each request was answered."""
    blueprint = Blueprint("callback", __name__)

    def receive_callback() -> Receipt:
        raw = _read_body(request)
        with threads.for_callback():
            return inbox.receive_with_reason(raw, request.headers.get("Content-Type", ""))

    @blueprint.post(CALLBACK_PATH, provide_automatic_options=False)
    def receive() -> Response:
        try:
            answer, detail = receive_callback()
        except RequestEntityTooLarge:
            return _refuse(count, "too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a callback has at most 64 KiB")
        except _BodyCut:
            answer, detail = Answer.UNREADABLE, "the body is shorter than its Content-Length"
        except Busy as busy:
            answer, detail = Answer.NOT_STORED, str(busy)
        except Exception as error:
            log.error("callback_not_stored", exc_info=error)
            answer, detail = Answer.NOT_STORED, "an error on our side"
        if answer is Answer.STORED:
            count(answer.value)
            return Response("1", content_type="text/plain; charset=utf-8")
        if answer is Answer.NOT_STORED:
            count(answer.value)
            log.warning("callback_not_stored", detail=detail)
            text = "it could not be stored: send it again"  # what exactly is wrong with the database is not for ZEGO
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
        return _refuse(count, answer.value, _REFUSALS[answer], detail)

    return blueprint


def _read_body(request: Request) -> bytes:
    """The body, whole; however it is framed, no more than the cap and a byte is read.

    Raises:
        RequestEntityTooLarge: it is over the cap.
        _BodyCut: the connection ended within it.
    """
    # Where no length is announced, what lies beyond the library's cap is cut off in silence: one byte more shows it.
    request.max_content_length = MAX_BODY_BYTES + 1
    try:
        raw = request.get_data(cache=False)
    except ClientDisconnected:
        raise _BodyCut from None
    if len(raw) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    if request.content_length is not None and len(raw) < request.content_length:
        raise _BodyCut
    return raw


def _refuse(count: Callable[[str], None], answer: str, status: HTTPStatus, detail: str) -> Response:
    count(answer)
    log.warning("callback_refused", answer=answer, detail=detail, client=request.remote_addr)
    return problem(status, detail)
