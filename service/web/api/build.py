"""The API put together: who may come in, what a request holds, and how errors are answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any, Final, NoReturn

import structlog
from flask import Blueprint, Flask, Response, abort, request
from pydantic import ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.routing import IntegerConverter

from service.audit.checks import BadOrder
from service.audit.order import Order, OrderState
from service.audit.store import list_tokens
from service.audit.tokens import BadToken, Bearer, find_bearer
from service.database import DatabaseUnavailable
from service.files.actions import NotAsExpected
from service.model import Actor, NoSuchThing, NotPossible, Role, may
from service.preview.apply import PreviewNeeded
from service.rules.file import RulesError
from service.units import describe_choice
from service.views.form import MAX_NUMBER, Page, to_json
from service.views.rules import describe_preview
from service.web.api import openapi, resources  # noqa: F401  (they declare the routes)
from service.web.api.routes import PREFIX, ROUTES, Backend, Call, Route, Strict
from service.web.guesses import TooManyGuesses
from service.web.problems import answer_json, problem
from service.wiring import Service

MAX_BODY_BYTES: Final = 1024 * 1024
_MAX_ERRORS: Final = 20
_WORDS: Final = {"extra_forbidden": "is unknown", "missing": "is missing"}
_REALM: Final = 'Bearer realm="zego-retention"'
_HOW_TO_SEND: Final = "send a token of this service, as Authorization: Bearer TOKEN"
_HOW_TO_START: Final = (
    "there is no token yet: set ZEGO_RETENTION_ADMIN_TOKEN (or ZEGO_RETENTION_ADMIN_TOKEN_FILE),"
    " or make one with `zego-retention tokens add`"
)

log = structlog.get_logger(__name__)


class NumberConverter(IntegerConverter):
    """The number of a thing, as the databases count; whatever else stands in a path leads nowhere."""

    regex = r"[1-9][0-9]{0,18}"

    def __init__(self, map: Any) -> None:  # noqa: A002, ANN401  (werkzeug's signature)
        super().__init__(map, max=MAX_NUMBER)


def declared_routes() -> dict[str, Route]:
    """Every route of the API by its endpoint."""
    return {f"api.{route.name}": route for route in ROUTES}


def add_api(app: Flask, backend: Backend) -> None:
    """Let `app` answer under `/api/v1`."""
    app.url_map.converters["number"] = NumberConverter
    blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
    for route in ROUTES:
        view, methods = _make_view(route, backend), [route.method]
        blueprint.add_url_rule(route.path, route.name, view, methods=methods, provide_automatic_options=False)
    blueprint.register_error_handler(DatabaseUnavailable, _answer_unavailable)
    blueprint.register_error_handler(NotPossible, _answer_not_possible)
    blueprint.register_error_handler(RulesError, lambda error: _refuse_fields({"rules": str(error)}))
    app.register_blueprint(blueprint)


def _make_view(route: Route, backend: Backend) -> Callable[..., Response]:
    def view(number: int = 0) -> Response:
        service, bearer = backend.service, Bearer("", Role.VIEWER)
        if route.role is not None:
            backend.prepare()
            bearer = _check_token(backend, route.role)
        query, body = _read_query(route), _read_body(route) if route.method == "POST" else {}
        actor = Actor(bearer.name, "API")
        call = Call(backend, service, service.database, service.now(), actor, bearer.role, number, query, body)
        with backend.for_inventory() if route.reads_all else nullcontext():
            answer = route.view(call)
        return answer if isinstance(answer, Response) else _answer(route, call, answer)

    return view


def _answer(route: Route, call: Call, answer: Any) -> Response:  # noqa: ANN401  (whatever a view returns)
    """The answer in JSON; 202 and where to look, if what was ordered is not applied yet."""
    if isinstance(answer, Page):
        cursor = None if answer.next_cursor is None else str(answer.next_cursor)
        return answer_json({"items": list(map(to_json, answer.items)), "next_cursor": cursor})
    order: Order | None = getattr(answer, "order", None)
    if isinstance(answer, int | tuple):
        concerned, number = answer if isinstance(answer, tuple) else (call.number, answer)
        order = call.report(number)
        answer = order if route.listed is None else route.listed.show(call.database, concerned)
    shown = to_json(answer)
    if route.listed is not None:
        shown["order"] = to_json(order)
    if order is None or order.state is OrderState.APPLIED:
        return answer_json(shown, route.status)
    response = answer_json(shown, HTTPStatus.ACCEPTED)
    response.headers["Location"] = f"{PREFIX}/orders/{order.number}"
    return response


def _check_token(backend: Backend, needed: Role) -> Bearer:
    """Who asks; the request ends here if they may not."""
    service, address = backend.service, request.remote_addr
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        _refuse_token(service, _HOW_TO_SEND, _REALM)
    admin = service.settings.admin_token
    secret = admin.get_secret_value() if admin else None

    def find(admin_token: str | None) -> Bearer:
        return find_bearer(service.database, admin_token, token.strip(), service.now())

    try:
        try:
            bearer = backend.guesses.attempt(address, token.strip(), lambda: find(secret), BadToken)
        except TooManyGuesses as error:
            try:  # those of the database are random: nobody guesses one, so no guesser shuts one out
                bearer = find(None)
            except BadToken:
                raise error from None
    except BadToken as error:
        log.warning("token_refused", reason=error.reason, address=address)
        _refuse_token(service, str(error), f'{_REALM}, error="invalid_token"')
    except TooManyGuesses as error:
        headers = {"Retry-After": str(error.wait_s)}
        abort(problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=headers))
    if not may(bearer.role, needed):
        log.warning("role_too_low", token=bearer.name, role=bearer.role.value, needed=needed.value)
        challenge = f'{_REALM}, error="insufficient_scope", scope="{needed}"'
        detail = f"this needs the role {needed}; the token has the role {bearer.role}"
        abort(problem(HTTPStatus.FORBIDDEN, detail, headers={"WWW-Authenticate": challenge}))
    return bearer


def _refuse_token(service: Service, detail: str, challenge: str) -> NoReturn:
    if service.settings.admin_token is None:
        with service.database.read() as tx:
            detail = detail if list_tokens(tx, 1) else _HOW_TO_START
    abort(problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge}))


def _read_query(route: Route) -> dict[str, Any]:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        abort(_refuse_fields(dict.fromkeys(repeated, "is given more than once")))
    return _validate(route.query, request.args.to_dict())


def _read_body(route: Route) -> dict[str, Any]:
    request.max_content_length = MAX_BODY_BYTES
    try:
        raw = request.get_data()
        if route.body is None:
            if raw.strip() not in (b"", b"{}"):
                abort(_refuse_fields({"": "this request takes no body"}))
            return {}
        if not request.is_json:
            abort(problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json"))
        content = request.get_json()
    except RequestEntityTooLarge:
        abort(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a body has at most 1 MiB"))
    except (BadRequest, ValueError, RecursionError):
        abort(problem(HTTPStatus.BAD_REQUEST, "the body is not valid JSON"))
    if not isinstance(content, dict):
        abort(_refuse_fields({"": "must be a JSON object"}))
    return _validate(route.body, content)


def _validate(model: type[Strict], content: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(model.model_validate(content))
    except ValidationError as error:
        wrong = {".".join(map(str, each["loc"])): _describe(each) for each in error.errors()[:_MAX_ERRORS]}
        abort(_refuse_fields({field: text.removeprefix("Value error, ") for field, text in wrong.items()}))


def _describe(error: Any) -> str:  # noqa: ANN401  (of pydantic)
    """What is wrong with a field; where it takes certain words, which ones."""
    known = re.findall("'([^']+)'", error["ctx"]["expected"]) if error["type"] in ("enum", "literal_error") else ()
    if known and isinstance(error["input"], str):
        return describe_choice(error["input"], known)
    return str(_WORDS.get(error["type"], error["msg"]))


def _refuse_fields(wrong: Mapping[str, str]) -> Response:
    """The answer that names each field that is wrong, and why; the name "" stands for the body itself."""
    errors = [{"field": field[:100], "detail": detail} for field, detail in wrong.items()]
    first = next((f"{error['field']}: {error['detail']}".removeprefix(": ") for error in errors), "see errors")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, first, errors=errors)


def _answer_unavailable(error: DatabaseUnavailable) -> Response:
    log.error("database_unavailable", detail=str(error))
    text = "the database cannot be asked at the moment; the log of this process says why"
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, text)


def _answer_not_possible(error: NotPossible) -> Response:
    if isinstance(error, BadOrder):
        return _refuse_fields({error.field: str(error)})
    members: dict[str, Any] = {}
    if isinstance(error, PreviewNeeded):
        members["preview"] = to_json(describe_preview(error.preview))
    elif isinstance(error, NotAsExpected):
        members["preview"] = to_json(error.preview)
    return problem(
        HTTPStatus.NOT_FOUND if isinstance(error, NoSuchThing) else HTTPStatus.CONFLICT, str(error), **members
    )
