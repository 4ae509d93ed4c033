"""Who may come in: the bearer token, its role, and a body that can be read, checked before any route is entered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import structlog
from flask import Response, g, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from service.audit.store import list_tokens
from service.audit.tokens import BadToken, Bearer, find_bearer
from service.model import Role, may
from service.web.api.fields import NoBody
from service.web.api.routes import Route
from service.web.problems import problem
from service.wiring import Service

MAX_BODY_BYTES: Final = 1024 * 1024
_REALM: Final = 'Bearer realm="zego-retention"'
_HOW_TO_SEND: Final = "send a token of this service, as Authorization: Bearer TOKEN"
_HOW_TO_START: Final = (
    "there is no token yet: set ZEGO_RETENTION_ADMIN_TOKEN (or …_FILE), or make one with `zego-retention tokens add`"
)

log = structlog.get_logger(__name__)


class Guard:
    """Checks every request to the API; `prepare` makes the database ready."""

    def __init__(self, service: Service, prepare: Callable[[], None], routes: Mapping[str, Route]) -> None:
        self._service = service
        self._prepare = prepare
        self._routes = routes

    def __call__(self) -> Response | None:
        """The refusal of the request that Flask works on; None: it may pass.

        Raises:
            DatabaseUnavailable: tokens cannot be looked up.
        """
        route = self._routes[str(request.endpoint)]  # an endpoint that was never declared is a defect, and stays shut
        if route.role is not None:
            self._prepare()
            refusal = self._check_token(route.role)
            if refusal is not None:
                return refusal
        return _check_parameters() or (_check_body(route) if route.method == "POST" else None)

    def _check_token(self, needed: Role) -> Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return self._refuse(_HOW_TO_SEND, _REALM)
        try:
            bearer = self._find(token.strip())
        except BadToken as error:
            log.warning("token_refused", reason=error.reason, address=request.remote_addr)
            return self._refuse(str(error), f'{_REALM}, error="invalid_token"')
        if not may(bearer.role, needed):
            log.warning("role_too_low", token=bearer.name, role=bearer.role.value, needed=needed.value)
            return _refuse_role(bearer.role, needed)
        g.bearer = bearer
        return None

    def _find(self, token: str) -> Bearer:
        admin = self._service.settings.admin_token
        text = admin.get_secret_value() if admin else None
        return find_bearer(self._service.database, text, token, self._service.now())

    def _refuse(self, detail: str, challenge: str) -> Response:
        if self._service.settings.admin_token is None:
            with self._service.database.read() as tx:
                detail = detail if list_tokens(tx, 1) else _HOW_TO_START
        return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def refuse_fields(wrong: Mapping[str, str]) -> Response:
    """The answer that names each field that is wrong, and why; the name "" stands for the body itself."""
    errors = [{"field": field[:100], "detail": detail} for field, detail in wrong.items()]
    first = next((f"{error['field']}: {error['detail']}".removeprefix(": ") for error in errors), "see errors")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, first, errors=errors)


def _refuse_role(has: Role, needed: Role) -> Response:
    detail = f"this needs the role {needed}; the token has the role {has}"
    challenge = f'{_REALM}, error="insufficient_scope", scope="{needed}"'
    return problem(HTTPStatus.FORBIDDEN, detail, headers={"WWW-Authenticate": challenge})


def _check_parameters() -> Response | None:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    return refuse_fields(dict.fromkeys(repeated, "is given more than once")) if repeated else None


def _check_body(route: Route) -> Response | None:
    """Read the body as JSON; flask-openapi, which comes next, would take one that it cannot read for none."""
    request.max_content_length = MAX_BODY_BYTES
    try:
        raw = request.get_data()
        if route.body is NoBody:
            return refuse_fields({"": "this takes no body"}) if raw.strip() not in (b"", b"{}") else None
        if not request.is_json:
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
        is_object = isinstance(request.get_json(), dict)
    except RequestEntityTooLarge:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a body has at most 1 MiB")
    except (BadRequest, ValueError, RecursionError):
        return problem(HTTPStatus.BAD_REQUEST, "the body is not valid JSON")
    return None if is_object else refuse_fields({"": "must be a JSON object"})
