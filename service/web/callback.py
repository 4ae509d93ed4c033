"""`POST /zego/callback`: the URL to register with ZEGO (docs/callbacks.md).

Every answer other than 2xx makes ZEGO send the callback again, for 62 s in all; then it is lost. So whatever goes wrong
on our side is answered 503, and 2xx only follows a durable write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.callbacks.receive import Answer, Inbox, Receipt
from service.settings.values import CALLBACK_PATH
from service.web.problems import RETRY_AFTER_S, problem

MAX_BODY_BYTES: Final = 64 * 1024

TOO_LARGE: Final = Receipt(Answer.TOO_LARGE, "a callback has at most 64 KiB")
CUT: Final = Receipt(Answer.UNREADABLE, "the body is shorter than its Content-Length")

_REFUSALS: Final = {
    Answer.REFUSED: HTTPStatus.UNAUTHORIZED,
    Answer.UNREADABLE: HTTPStatus.BAD_REQUEST,
    Answer.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}

log = structlog.get_logger(__name__)


def add_callback_url(app: Flask, inbox: Inbox, count: Callable[[Answer, float], None]) -> None:
    """Let an application answer the callback URL with a thread of whatever server it runs under.

    (Ours answers it in front of the application: `web.front`.) `count` is called with each answer and its seconds.
    """

    def receive_callback() -> Response:
        began = time.monotonic()
        receipt = _receive(inbox)
        count(receipt.answer, time.monotonic() - began)
        return respond(receipt, request.remote_addr)

    app.add_url_rule(CALLBACK_PATH, view_func=receive_callback, methods=["POST"], provide_automatic_options=False)


def respond(receipt: Receipt, client: str | None) -> Response:
    """The answer to a callback; what is refused or cannot be stored is logged."""
    if receipt.answer is Answer.STORED:
        return Response("1", content_type="text/plain; charset=utf-8")
    if receipt.answer is Answer.NOT_STORED:
        log.warning("callback_not_stored", detail=receipt.detail)
        text = "it could not be stored: send it again"  # what exactly is wrong with the database is not for ZEGO
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
    log.warning("callback_refused", answer=receipt.answer.value, detail=receipt.detail, client=client)
    return problem(_REFUSALS[receipt.answer], receipt.detail)


def _receive(inbox: Inbox) -> Receipt:
    request.max_content_length = MAX_BODY_BYTES + 1  # a longer body without a length is cut there, without an error
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return TOO_LARGE
    except ClientDisconnected:
        return CUT
    if len(raw) > MAX_BODY_BYTES:
        return TOO_LARGE
    return inbox.receive(raw, request.content_type or "")
