"""How a route is declared: what it takes, who may use it, what it answers. OpenAPI and the tests read it here.

A view takes one `Call` and returns the value that is the answer. What is ordered is answered with what came of it, or
202 and where to look if the leader has not applied it in time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from flask import Response
from pydantic import BaseModel, create_model

from service.audit.order import Order, OrderState
from service.database import Database
from service.model import Actor, Role
from service.orders.wait import wait_for_order
from service.views.form import Form, form_of, to_json
from service.views.listed import Listed, Page
from service.views.rules import Forecast
from service.web.api.fields import Strict, body_of, query_of
from service.web.remembered import Remembered
from service.web.threads import Threads
from service.wiring import Service

PREFIX: Final = "/api/v1"
ORDER_WAIT_S: Final = 2.0
"""How long an answer waits for the leader to apply what was ordered."""
FORECAST_FRESH_S: Final = 60.0
"""How long a forecast is shown to everybody before the inventory is counted again."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes work with; `prepare` makes the database ready, or raises DatabaseUnavailable."""

    service: Service
    threads: Threads
    prepare: Callable[[], None]
    forecast: Remembered[Forecast] = field(default_factory=lambda: Remembered(FORECAST_FRESH_S))


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked: who asks, with which number in the path (0: none), parameters and body."""

    backend: Backend
    service: Service
    database: Database
    now: datetime
    actor: Actor
    role: Role
    number: int
    query: dict[str, Any]
    body: dict[str, Any]

    def report(self, order: int) -> Order:
        """What came of an order, as far as the leader has applied it within two seconds."""
        return wait_for_order(self.database, order, ORDER_WAIT_S, self.service.sleep)


View = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `role` is the least that it takes; None: everybody may.

    `name` is what it is called in OpenAPI, `answer` what its answer looks like (None: it answers by itself). Of routes
    that read the whole inventory (`reads_all`), one at a time is answered.
    """

    method: str
    path: str
    role: Role | None
    name: str
    about: str
    view: View
    answer: type[BaseModel] | None
    status: HTTPStatus = HTTPStatus.OK
    query: type[Strict] = Strict
    body: type[Strict] | None = None
    problems: frozenset[HTTPStatus] = frozenset()
    orders: bool = False
    reads_all: bool = False
    hidden: bool = False

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
            found |= {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
        if self.body is not None:
            found |= {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
        return frozenset(found)


ROUTES: Final[list[Route]] = []


def add_list(
    path: str, listed: Listed[Any, Any, Any], about: str, wanted: type | None = None, role: Role = Role.VIEWER
) -> None:
    """Declare a list with its filter; without one, the number in its path is what it is filtered by."""

    def view(call: Call) -> Page[Any]:
        query = dict(call.query)
        limit, cursor = query.pop("limit"), query.pop("cursor") or 0
        return listed.page(call.database, wanted(**query) if wanted else call.number, limit, cursor)

    name = f"list_{path.strip('/').replace('/<number:number>', '').replace('/', '_')}"
    ROUTES.append(Route("GET", path, role, name, about, view, page_of(listed.row), query=query_of(name, wanted)))


def add_show(path: str, listed: Listed[Any, Any, Any], detail: type, about: str) -> None:
    """Declare how one entry of a list is shown in full."""

    def view(call: Call) -> Any:  # noqa: ANN401  (an entry of any list)
        return listed.show(call.database, call.number)

    ROUTES.append(Route("GET", path, Role.VIEWER, f"show_{listed.name}", about, view, form_of(detail)))


def get(path: str, answer: type[BaseModel], problems: Iterable[HTTPStatus] = (), **more: Any) -> Callable[[View], View]:  # noqa: ANN401  (of Route)
    """Declare what reads."""
    return _declare("GET", path, Role.VIEWER, answer, problems=frozenset(problems), **more)


def post(path: str, role: Role, answer: type[BaseModel], **more: Any) -> Callable[[View], View]:  # noqa: ANN401  (of Route)
    """Declare what changes something; `body` names its fields."""
    return _declare("POST", path, role, answer, **more)


def order(
    path: str,
    role: Role,
    listed: Listed[Any, Any, Any] | None = None,
    detail: type = Order,
    **more: Any,  # noqa: ANN401  (of Route)
) -> Callable[[View], View]:
    """Declare what places an order and returns its number.

    It is answered with what came of the order or, with `listed`, with the entry that the order concerns (its number
    stands in the path, or is returned first) and the order beside it.
    """
    answer = form_of(detail)
    if listed is not None:
        answer = create_model(f"Ordered{detail.__name__}", __base__=answer, order=(form_of(Order), ...))

    def declare(view: View) -> View:
        def carry_out(call: Call) -> Response:
            placed = view(call)
            concerned, number = placed if isinstance(placed, tuple) else (call.number, placed)
            applied = call.report(number)
            if listed is None:
                return answer_order(to_json(applied), applied)
            entry = to_json(listed.show(call.database, concerned))
            return answer_order(entry | {"order": to_json(applied)}, applied, more.get("status", HTTPStatus.OK))

        carry_out.__name__, carry_out.__doc__ = view.__name__, view.__doc__
        return post(path, role, answer, orders=True, **more)(carry_out)

    return declare


def page_of(row: type) -> type[Form]:
    """What a page of a list looks like."""
    form = form_of(row)
    items: Any = list[form]  # type: ignore[valid-type]
    return create_model(f"{row.__name__}Page", __base__=Form, items=(items, ...), next_cursor=(str | None, ...))


def answer_order(content: dict[str, Any], applied: Order | None, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON; 202 and where to look, if an order is not applied yet."""
    if applied is None or applied.state is OrderState.APPLIED:
        return answer_json(content, status)
    response = answer_json(content, HTTPStatus.ACCEPTED)
    response.headers["Location"] = f"{PREFIX}/orders/{applied.number}"
    return response


def answer_json(content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content) + "\n", status.value, content_type="application/json")


def _declare(
    method: str,
    path: str,
    role: Role,
    answer: type[BaseModel],
    body: dict[str, Any] | None = None,
    **more: Any,  # noqa: ANN401  (of Route)
) -> Callable[[View], View]:
    def declare(view: View) -> View:
        name = view.__name__
        model = None if body is None else body_of(name, body)
        ROUTES.append(Route(method, path, role, name, view.__doc__ or "", view, answer, body=model, **more))
        return view

    return declare
