"""Answers in case of trouble: `application/problem+json` (RFC 9457), short, and without anything of the inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

_DETAILS: Final = {
    HTTPStatus.NOT_FOUND: "there is nothing at this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take that method; see the Allow header",
}

RETRY_AFTER_S: Final = 2

log = structlog.get_logger(__name__)


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    retry_after_s: int | None = None,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> Response:
    """An answer that says in one sentence what is wrong; `members` are what a program can use beside it."""
    content = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail} | members
    response = Response(json.dumps(content) + "\n", status.value, headers, content_type="application/problem+json")
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def harden(response: Response) -> Response:
    """Give an answer the headers that every one has; returns it."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def register_problems(app: Flask) -> None:
    """Let every error of `app` be answered as a problem; what nobody expected is logged and stays unexplained."""
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected)


def _answer_http_error(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    response = problem(status, _DETAILS.get(status, status.phrase))
    if (methods := getattr(error, "valid_methods", None)) is not None:
        response.headers["Allow"] = ", ".join(sorted(methods))
    return response


def _answer_unexpected(error: Exception) -> Response:
    log.error("request_failed", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an error on our side; the log says more")
