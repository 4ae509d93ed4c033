"""Answers in case of trouble: `application/problem+json` (RFC 9457), short, and without anything of the inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

_RETRY_AFTER_S: Final = 2
_DETAILS: Final = {
    HTTPStatus.NOT_FOUND: "there is nothing at this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take that method; see the Allow header",
}

log = structlog.get_logger(__name__)


def answer_json(content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content) + "\n", status.value, content_type="application/json")


def problem(
    status: HTTPStatus, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """An answer that says in one sentence what is wrong; `members` are what a program can use beside it."""
    detail = detail or _DETAILS.get(status, status.phrase)
    content = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail} | members
    response = Response(json.dumps(content) + "\n", status.value, headers, content_type="application/problem+json")
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    return harden(response)


def harden(response: Response) -> Response:
    """Give an answer the headers that every one has; returns it."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def register_problems(app: Flask) -> None:
    """Let every error of `app` be answered as a problem; what nobody expected is logged and stays unexplained."""
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected)


def answer_http_error(error: HTTPException) -> Response:
    """An error of the framework as a problem."""
    methods = getattr(error, "valid_methods", None)
    headers = None if methods is None else {"Allow": ", ".join(sorted(methods))}
    return problem(HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR), headers=headers)


def _answer_unexpected(error: Exception) -> Response:
    log.error("request_failed", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an error on our side; the log says more")
