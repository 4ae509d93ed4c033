"""How a route is declared: what it takes, who may use it, what it answers. OpenAPI and the tests read it here.

A view takes one `Call` and returns the value that is the answer. What is ordered is answered with what came of it, or
202 and where to look if the leader has not applied it in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model

from service.audit.order import Order
from service.database import Database
from service.model import Actor, Role
from service.orders import wait_for_order
from service.views.form import Form, form_of
from service.views.listed import Listed, Page
from service.web.api.fields import Strict, body_of, query_of
from service.web.threads import Threads
from service.wiring import Service

PREFIX: Final = "/api/v1"
ORDER_WAIT_S: Final = 2.0
"""How long an answer waits for the leader to apply what was ordered."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes work with; `prepare` makes the database ready, or raises DatabaseUnavailable."""

    service: Service
    threads: Threads
    prepare: Callable[[], None]


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

    `name` is what it is called in OpenAPI, `answer` what its answer looks like (None: it answers by itself). One that
    `orders` returns the number of an order, and is answered with what came of that; with `listed`, with the entry that
    it concerns (its number stands in the path, or is returned first) and the order beside it. Of those that read the
    whole inventory (`reads_all`), one at a time is answered.
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
    problems: tuple[HTTPStatus, ...] = ()
    listed: Listed[Any, Any, Any] | None = None
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

    path = f"{path}/<number:number>"
    ROUTES.append(Route("GET", path, Role.VIEWER, f"show_{listed.name}", about, view, form_of(detail)))


def get(path: str, **more: Any) -> Callable[[View], View]:  # noqa: ANN401  (of Route)
    """Declare what reads; what it answers is what its view returns."""
    return _declare("GET", path, Role.VIEWER, **more)


def post(path: str, role: Role, **more: Any) -> Callable[[View], View]:  # noqa: ANN401  (of Route)
    """Declare what changes or orders something; `body` names its fields, `detail` what an entry of `listed` is."""
    return _declare("POST", path, role, **more)


def _declare(
    method: str,
    path: str,
    role: Role,
    *,
    body: dict[str, Any] | None = None,
    detail: type | None = None,
    **more: Any,  # noqa: ANN401  (of Route)
) -> Callable[[View], View]:
    def declare(view: View) -> View:
        returned, name = get_type_hints(view)["return"], view.__name__
        is_order = returned in (int, tuple[int, int])
        is_page = get_origin(returned) is Page
        answer = page_of(*get_args(returned)) if is_page else form_of(Order if is_order else returned)
        if detail is not None:
            answer = create_model(f"Ordered{detail.__name__}", __base__=form_of(detail), order=(answer, ...))
        facts = {"body": None if body is None else body_of(name, body), "orders": is_order} | more
        ROUTES.append(Route(method, path, role, name, view.__doc__ or "", view, answer, **facts))
        return view

    return declare


def page_of(row: type) -> type[Form]:
    """What a page of a list looks like."""
    items: Any = list[form_of(row)]  # type: ignore[misc]
    return create_model(f"{row.__name__}Page", __base__=Form, items=(items, ...), next_cursor=(str | None, ...))
