"""`POST /zego/callback`: the URL to register with ZEGO (docs/callbacks.md).

Every answer other than 2xx makes ZEGO send the callback again, for 62 s in all; then it is lost. So whatever goes wrong
on our side is answered 503, and 2xx only follows a durable write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final, NoReturn

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from service.callbacks.receive import Inbox, Refused
from service.callbacks.writer import NotStored
from service.model import Verdict
from service.web.entrance import Entrance
from service.web.problems import problem
from service.zego.callback import Unreadable

MAX_BODY_BYTES: Final = 64 * 1024
STORED: Final = "stored"
"""How a callback is counted that was answered 200."""


class NotAllowed(Exception):  # noqa: N818  (an answer to the sender, not a defect)
    """A request to the callback URL from an address that is not to send callbacks."""


_REFUSALS: Final[dict[type[Exception], tuple[str, HTTPStatus, str]]] = {
    Refused: ("refused", HTTPStatus.UNAUTHORIZED, ""),
    NotAllowed: ("not_allowed", HTTPStatus.FORBIDDEN, ""),
    Unreadable: ("unreadable", HTTPStatus.BAD_REQUEST, ""),
    ClientDisconnected: ("unreadable", HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length"),
    RequestEntityTooLarge: ("too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a callback has at most 64 KiB"),
}

log = structlog.get_logger(__name__)


def turn_away(inbox: Inbox, raw: bytes, content_type: str, client: str | None) -> NoReturn:
    """Refuse what came from an address that is not allowed; a callback is kept, as the list may be wrong."""
    with suppress(Unreadable):
        inbox.refuse_misplaced(raw, content_type, Verdict.NOT_ALLOWED, client or "an unknown address")
    raise NotAllowed("callbacks are not taken from this address")


def add_callback_url(
    app: Flask,
    inbox: Inbox,
    count: Callable[[str, float], None],
    entrance: Entrance = Entrance(),  # noqa: B008  (it is frozen)
) -> None:
    """Let an application answer the callback URL with a thread of whatever server it runs under.

    (Ours answers it in front of the application: `web.front`.) `count` is called with how each callback was answered,
    and the seconds that took.
    """

    def receive_callback() -> Response:
        began = time.monotonic()
        result, answer = STORED, Response("1", content_type="text/plain; charset=utf-8")
        request.max_content_length = MAX_BODY_BYTES + 1  # a longer body without a length is cut there, without an error
        try:
            raw = request.get_data(cache=False)
            if len(raw) > MAX_BODY_BYTES:
                raise RequestEntityTooLarge  # noqa: TRY301  (as the line before may)
            if not entrance.allows(request.remote_addr):
                turn_away(inbox, raw, request.content_type or "", request.remote_addr)
            inbox.receive(raw, request.content_type or "")
        except Exception as error:  # noqa: BLE001  (ZEGO must send it again, whatever it is)
            result, answer = refuse(error, request.remote_addr)
        count(result, time.monotonic() - began)
        return answer

    def refuse_elsewhere() -> Response | None:
        """Answer a callback at any other path, served or not, 404; it is kept, and reported with the right path.

        What is no POST is counted, and left to be answered 405.
        """
        began, is_right = time.monotonic(), entrance.takes(request.path)
        is_for_api = request.headers.get("Authorization", "").lower().startswith("bearer ")
        if is_right and request.method != "POST":
            result, detail = "wrong_method", f"{request.method[:20]}: callbacks are sent with POST"
            log.warning("callback_refused", answer=result, detail=detail, client=request.remote_addr)
            count(result, time.monotonic() - began)  # (it is answered 405)
        if request.method != "POST" or is_right or is_for_api:
            return None
        request.max_content_length = MAX_BODY_BYTES
        with suppress(HTTPException, Unreadable):
            client, path, kind = request.remote_addr, entrance.hide_token(request.path), request.content_type or ""
            misplaced = (Verdict.WRONG_PATH, path) if entrance.allows(client) else (Verdict.NOT_ALLOWED, client or "")
            app_id = inbox.refuse_misplaced(request.get_data(), kind, *misplaced)
            log.warning("callback_at_wrong_path", path=path, right=entrance.shown, app=app_id, client=client)
            count("wrong_path", time.monotonic() - began)
            return problem(HTTPStatus.NOT_FOUND, f"callbacks are received at {entrance.shown}: register that path")
        return None

    app.url_map.merge_slashes = False  # (it would answer //callback with a redirect)
    for path in sorted(entrance.paths | {f"{path}/" for path in entrance.paths}):
        app.add_url_rule(path, view_func=receive_callback, methods=["POST"], provide_automatic_options=False)
    app.before_request(refuse_elsewhere)


def refuse(error: Exception, client: str | None) -> tuple[str, Response]:
    """How a callback that was not stored is counted and answered; it is logged."""
    if type(error) in _REFUSALS:
        result, status, detail = _REFUSALS[type(error)]
        detail = detail or str(error)
        log.warning("callback_refused", answer=result, detail=detail, client=client)
        return result, problem(status, detail)
    if isinstance(error, NotStored):
        log.debug("callback_not_stored", detail=str(error))  # (the writer says it once)
    else:
        log.error("callback_not_stored", exc_info=error)
    text = "it could not be stored: send it again"  # what exactly is wrong with the database is not for ZEGO
    return "unavailable", problem(HTTPStatus.SERVICE_UNAVAILABLE, text)
