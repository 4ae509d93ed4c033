"""How a route is declared: what it takes, who may use it, what it answers. OpenAPI and the tests read it here.

Every view takes one `Call` (who asks, with which parameters and body) and returns the form that is the answer. What is
ordered is answered with its result, or 202 and where to look if the leader has not applied it in time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from flask import Response, g
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models import OPENAPI3_REF_PREFIX
from flask_openapi.models.schema import Schema
from flask_openapi.models.tag import Tag
from flask_openapi.utils import get_model_schema
from pydantic import BaseModel

from service.audit.tokens import Bearer
from service.database import Database
from service.model import Actor, Role
from service.views.audit import Order, OrderState, report_order
from service.views.form import Form, to_json
from service.views.listed import Listed, Page
from service.views.rules import Forecast
from service.web.api.fields import NoBody, NoQuery, NumberPath, Paging, Problem, Strict
from service.web.remembered import Remembered
from service.web.threads import Threads
from service.wiring import Service

PREFIX: Final = "/api/v1"
ORDER_WAIT_S: Final = 2.0
"""How long an answer waits for the leader to apply what was ordered."""

FORECAST_FRESH_S: Final = 60.0
"""How long a forecast is shown to everybody before the inventory is counted again."""

QueryT = TypeVar("QueryT", bound=Strict)
BodyT = TypeVar("BodyT", bound=Strict)
PagingT = TypeVar("PagingT", bound=Paging)
FilterT = TypeVar("FilterT")
FormT = TypeVar("FormT", bound=Form)
_V = TypeVar("_V", bound="Callable[..., Form]")


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes work with."""

    service: Service
    threads: Threads
    forecast: Remembered[Forecast] = field(default_factory=lambda: Remembered(FORECAST_FRESH_S))


@dataclass(frozen=True, slots=True)
class Call(Generic[QueryT, BodyT]):
    """One request, checked. `number` is that in the path (0: there is none)."""

    backend: Backend
    bearer: Bearer
    number: int
    query: QueryT
    body: BodyT

    @property
    def service(self) -> Service:
        """The service."""
        return self.backend.service

    @property
    def database(self) -> Database:
        """Its database."""
        return self.backend.service.database

    @property
    def actor(self) -> Actor:
        """Who asks, for the audit."""
        return Actor(self.bearer.name, "API")

    def now(self) -> datetime:
        """The time."""
        return self.backend.service.now()

    def report(self, order: int) -> Order:
        """What came of an order, as far as the leader has applied it within two seconds."""
        return report_order(self.database, order, ORDER_WAIT_S, self.service.sleep)


Plain = Call[NoQuery, NoBody]
"""A request without parameters and body."""


def page(call: Call[PagingT, NoBody], listed: Listed[FilterT, FormT, Any], wanted: FilterT) -> Page[FormT]:
    """The page of a list that was asked for."""
    return listed.page(call.database, wanted, call.query.limit, call.query.cursor or 0)


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `role` is the least that it takes; None: everybody may.

    `name` is what it is called in OpenAPI and, behind the blueprint's name, in Flask. `answer` is the form that it
    answers with (None: it answers by itself).
    """

    method: str
    path: str
    role: Role | None
    name: str
    view: Callable[[Call[Any, Any]], Form | Response]
    answer: type[Form] | None
    status: HTTPStatus = HTTPStatus.OK
    query: type[Strict] = NoQuery
    body: type[Strict] = NoBody
    problems: frozenset[HTTPStatus] = frozenset()
    hidden: bool = False

    @property
    def orders(self) -> bool:
        """It answers 202 if what it orders is not applied yet."""
        answer = self.answer
        return self.method == "POST" and answer is not None and (answer is Order or "order" in answer.model_fields)

    @property
    def refusals(self) -> frozenset[HTTPStatus]:
        """Every status of a problem that it answers with, but the one of a defect."""
        found = {HTTPStatus.UNPROCESSABLE_ENTITY, *self.problems}
        if self.role is not None:
            found |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
        if self.role not in (None, Role.VIEWER):
            found.add(HTTPStatus.FORBIDDEN)
        if "<number:" in self.path:
            found.add(HTTPStatus.NOT_FOUND)
        if self.method == "POST":
            found.add(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if self.body is not NoBody:
            found |= {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
        return frozenset(found)


class Routes:
    """The routes of one subject. A view's annotations say what it takes (`Call[query, body]`) and what it answers."""

    def __init__(self, subject: str, about: str) -> None:
        self.tag = Tag(name=subject, description=about)
        self.routes: list[Route] = []

    def get(self, path: str, *, role: Role = Role.VIEWER, problems: Iterable[HTTPStatus] = ()) -> Callable[[_V], _V]:
        """Declare what reads; it is called like its view."""
        return self._declare("GET", path, role, HTTPStatus.OK, problems)

    def post(self, path: str, *, role: Role, status: HTTPStatus = HTTPStatus.OK) -> Callable[[_V], _V]:
        """Declare what orders something, changes tokens, or makes a preview."""
        return self._declare("POST", path, role, status, [HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT])

    def _declare(
        self, method: str, path: str, role: Role, status: HTTPStatus, problems: Iterable[HTTPStatus]
    ) -> Callable[[_V], _V]:
        def declare(view: _V) -> _V:
            hints = get_type_hints(view)
            query, body = get_args(hints["call"])
            route = Route(
                method, path, role, view.__name__, view, hints["return"], status, query, body, frozenset(problems)
            )
            self.routes.append(route)
            return view

        return declare


def add_route(blueprint: APIBlueprint, tag: Tag, route: Route, backend: Backend) -> None:
    """Put a declared route into the blueprint and into its OpenAPI."""
    add = blueprint.get if route.method == "GET" else blueprint.post
    answers = {route.status, HTTPStatus.ACCEPTED} if route.orders else {route.status}
    add(
        route.path,
        tags=[tag],
        operation_id=route.name,
        description="Needs no token." if route.role is None else f"Needs the role {route.role}, or one above it.",
        security=[{"bearer": []}] if route.role else None,
        openapi_extensions={"x-role": route.role.value if route.role else None},
        responses={
            **{str(status.value): _describe_answer(blueprint, route.answer, status) for status in answers},
            **{str(status.value): _describe_problem(blueprint, status) for status in sorted(route.refusals)},
        },
        doc_ui=not route.hidden,
        endpoint=route.name,
        provide_automatic_options=False,
    )(_make_view(route, backend))


def answer_json(content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content) + "\n", status.value, content_type="application/json")


def _make_view(route: Route, backend: Backend) -> Callable[..., Response]:
    """The view as Flask calls it; flask-openapi checks what its annotations name, and hands that over."""

    def view(query: Strict, path: NumberPath | None = None, body: Strict | None = None) -> Response:
        number = 0 if path is None else path.number
        call: Call[Any, Any] = Call(backend, g.get("bearer"), number, query, NoBody() if body is None else body)
        answer = route.view(call)
        return answer if isinstance(answer, Response) else _answer(answer, route)

    view.__name__, view.__doc__ = route.name, route.view.__doc__
    view.__annotations__ = {"query": route.query}
    if "<number:" in route.path:
        view.__annotations__["path"] = NumberPath
    if route.body is not NoBody:
        view.__annotations__["body"] = route.body
    return view


def _answer(form: Form, route: Route) -> Response:
    order = form if isinstance(form, Order) else getattr(form, "order", None)
    if not route.orders or order is None or order.state is OrderState.APPLIED:
        return answer_json(to_json(form), route.status)
    response = answer_json(to_json(form), HTTPStatus.ACCEPTED)
    response.headers["Location"] = f"{PREFIX}/orders/{order.number}"
    return response


def _describe_answer(blueprint: APIBlueprint, form: type[Form] | None, status: HTTPStatus) -> dict[str, Any]:
    schema = {"type": "object"} if form is None else _add_schema(blueprint, form)
    return {"description": status.phrase, "content": {"application/json": {"schema": schema}}}


def _describe_problem(blueprint: APIBlueprint, status: HTTPStatus) -> dict[str, Any]:
    schema = _add_schema(blueprint, Problem)
    example = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": status.phrase}
    content = {"application/problem+json": {"schema": schema, "example": example}}
    return {"description": status.phrase, "content": content}


def _add_schema(blueprint: APIBlueprint, model: type[BaseModel]) -> dict[str, str]:
    schema = get_model_schema(model, mode="serialization")
    for name, definition in {**schema.pop("$defs", {}), model.__name__: schema}.items():
        blueprint.components_schemas[name] = Schema(**definition)
    return {"$ref": f"{OPENAPI3_REF_PREFIX}/{model.__name__}"}
