"""`POST /zego/callback`: the URL to register with ZEGO (docs/callbacks.md).

Every answer other than 2xx makes ZEGO send the callback again, for 62 s in all; then it is lost. So whatever goes wrong
on our side is answered 503, and 2xx only follows a durable write.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.db.engine import DatabaseUnavailable
from service.usecases.ingest import Answer, Ingest, Receipt, receive_callback
from service.web.problems import problem

if TYPE_CHECKING:
    from service.web.health import Readiness
    from service.web.metrics import Metrics

MAX_BODY_BYTES: Final = 64 * 1024
RETRY_AFTER_S: Final = 2

log = structlog.get_logger(__name__)


class _BodyCut(Exception):  # noqa: N818  (a state of the connection, not a defect)
    """The connection ended before the announced body did."""


def callback_blueprint(ingest: Ingest, readiness: Readiness, metrics: Metrics) -> Blueprint:
    """The callback URL, taking callbacks in through `ingest`."""
    blueprint = Blueprint("callback", __name__)
    # SQLite's own way of waiting for another writer is neither quick nor fair: some would wait for seconds.
    turn = threading.Lock() if ingest.database.is_sqlite else nullcontext()

    def take_in() -> Response:
        raw = _read_body(request)
        with turn:
            readiness.ensure_prepared()
            return _answer(receive_callback(ingest, raw, request.headers.get("Content-Type", "")), metrics)

    @blueprint.post("/zego/callback", provide_automatic_options=False)
    def receive() -> Response:
        with metrics.callback_seconds.time():
            try:
                return take_in()
            except RequestEntityTooLarge:
                return _refuse(
                    metrics, "too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a callback has at most 64 KiB"
                )
            except _BodyCut:
                detail = "the body is shorter than its Content-Length"
                return _refuse(metrics, "unreadable", HTTPStatus.BAD_REQUEST, detail)
            except Exception as error:  # noqa: BLE001  (whatever it is, ZEGO must try again)
                return _ask_again(metrics, error)

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


def _answer(receipt: Receipt, metrics: Metrics) -> Response:
    match receipt.answer:
        case Answer.REFUSED:
            return _refuse(metrics, receipt.answer.value, HTTPStatus.UNAUTHORIZED, receipt.detail)
        case Answer.UNREADABLE:
            return _refuse(metrics, receipt.answer.value, HTTPStatus.BAD_REQUEST, receipt.detail)
    metrics.callbacks.labels(answer="stored").inc()
    verdict = receipt.verdict.value if receipt.verdict else None
    log.info(
        "callback_stored", app=receipt.app_id, verdict=verdict, callback=receipt.callback_id, detail=receipt.detail
    )
    return Response("1", content_type="text/plain; charset=utf-8")


def _refuse(metrics: Metrics, answer: str, status: HTTPStatus, detail: str) -> Response:
    metrics.callbacks.labels(answer=answer).inc()
    log.warning("callback_refused", answer=answer, detail=detail, client=request.remote_addr)
    return problem(status, detail)


def _ask_again(metrics: Metrics, error: Exception) -> Response:
    metrics.callbacks.labels(answer="unavailable").inc()
    if isinstance(error, DatabaseUnavailable):
        log.error("callback_not_stored", detail=str(error))
    else:
        log.error("callback_not_stored", exc_info=error)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "it could not be stored: send it again", retry_after_s=RETRY_AFTER_S)
