"""How a route is declared: what it takes, who may use it, what it answers. OpenAPI and the tests read it here.

A view takes one `Call` and returns the value that is the answer. What is ordered is answered with what came of it, or
202 and where to look if the leader has not applied it in time. Requests are refused, field by field, for whatever in
them is not known.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import structlog
from flask import abort
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from service.audit.order import Order
from service.database import Database
from service.model import Actor, Role
from service.orders import wait_for_order
from service.units import parse_moment
from service.views.form import MAX_NUMBER, Form, Listed, Page, form_of
from service.views.wanted import check_wanted
from service.web.guesses import Guesses
from service.web.problems import problem
from service.wiring import Service

log = structlog.get_logger(__name__)

T = TypeVar("T")

PREFIX: Final = "/api/v1"
ORDER_WAIT_S: Final = 2.0
"""How long an answer waits for the leader to apply what was ordered."""

_QUICK_S: Final = 0.1
FIGURES_FRESH_S: Final = 60.0
"""How long figures are shown to everybody before the inventory is counted again."""

_MAX_INVENTORY_WAIT_S: Final = 1.0
_MAX_FIRST_LOOK_S: Final = 3.0
_MAX_LOOK_S: Final = 0.2
_REFUSALS: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}
    | {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
)
_REFUSALS_OF_BODIES: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
)
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NO_NUL: Final = r"^[^\x00]*$"
_MOMENT: Final = {"type": "string", "format": "date-time", "examples": ["2026-12-31T18:00:00Z"]}


def _read_moment(value: object) -> datetime:
    # A duration would count from now, which a request does not say.
    if not isinstance(value, str) or value[-1:] in tuple("smhdw"):
        raise ValueError("must be a time in text, for example 2026-12-31T18:00:00Z")
    return parse_moment(value, _ANY_TIME)


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Moment = Annotated[datetime, BeforeValidator(_read_moment), WithJsonSchema(_MOMENT)]
Text = Annotated[str, Field(min_length=1, max_length=255, pattern=_NO_NUL)]
Pattern = Annotated[Text, Field(description="`*` and `?` are special, as in rules", examples=["trial-*"])]
Reason = Annotated[str, Field(min_length=1, max_length=1000, pattern=_NO_NUL), AfterValidator(_refuse_blank)]
AppId = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}$", examples=["1234567890"])]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER, strict=True)]

_KINDS: Final = {str: Text, int: Annotated[int, Field(ge=1, le=MAX_NUMBER)], datetime: Moment}
_PAGING: Final = {
    "cursor": (int | None, Field(None, ge=0, le=MAX_NUMBER, description="`next_cursor` of the page before")),
    "limit": (int, Field(100, ge=1, le=500, description="The most entries of one page")),
}


def rest_for(took_s: float) -> float:
    """How many seconds figures are shown that took so long to count: callbacks need database and interpreter, too.

    What is counted quickly may be counted again soon. Else it takes so little of the time that not one callback in a
    hundred meets it; or, where the figures would be older than a minute, a twentieth at most.
    """
    return 20 * took_s if took_s < _QUICK_S else max(20 * took_s, min(300 * took_s, FIGURES_FRESH_S))


class Strict(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Backend:
    """What the routes work with; `prepare` makes the database ready, or raises DatabaseUnavailable.

    What reads the whole inventory is answered for one request at a time, the forecast from memory (docs/http.md).
    """

    def __init__(self, service: Service, prepare: Callable[[], None]) -> None:
        self.service, self.prepare, self.guesses = service, prepare, Guesses()
        self._inventory, self._places = threading.Lock(), threading.Semaphore(2)
        self._figures: dict[str, tuple[float, Any]] = {}
        self._counting: dict[str, threading.Thread] = {}
        self._starting = threading.Lock()

    @contextmanager
    def for_inventory(self) -> Iterator[None]:
        """Hold a thread for what reads the whole inventory (a forecast, a preview); 503 if another one does.

        One more may wait for a moment: where callbacks need threads, too, these are at most two of them.
        """
        busy = problem(HTTPStatus.SERVICE_UNAVAILABLE, "another request is reading the whole inventory: ask again")
        if not self._places.acquire(blocking=False):
            abort(busy)
        try:
            if not self._inventory.acquire(timeout=_MAX_INVENTORY_WAIT_S):
                abort(busy)
            try:
                yield
            finally:
                self._inventory.release()
        finally:
            self._places.release()

    def find_figures(self, name: str, make: Callable[[], T]) -> T:
        """Figures that take long to count: the last ones of that name if they are fresh, or new ones."""
        kept = self._figures.get(name)
        if kept is None or time.monotonic() >= kept[0]:
            with self.for_inventory():
                if self._figures.get(name) is kept:  # nobody counted them meanwhile
                    self._figures[name] = time.monotonic() + FIGURES_FRESH_S, make()
                kept = self._figures[name]
        found: T = kept[1]
        return found

    def show_figures(self, name: str, make: Callable[[], T]) -> T | None:
        """Figures for a page, which they hold up for a moment only: then it shows the last ones, or None before any.

        A thread beside the pages counts them, and then rests (`rest_for`).
        """
        wait_s = _MAX_LOOK_S
        with self._starting:
            kept, counting = self._figures.get(name), self._counting.get(name)
            if kept is None and counting is None:
                wait_s = _MAX_FIRST_LOOK_S
            if counting is None and (kept is None or time.monotonic() >= kept[0]):
                counting = threading.Thread(target=self._count, args=(name, make), daemon=True)
                self._counting[name] = counting
                counting.start()
        if counting is not None:
            counting.join(wait_s)
            kept = self._figures.get(name)
        return None if kept is None else kept[1]

    def _count(self, name: str, make: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            made = make()
            ended = time.monotonic()
            self._figures[name] = ended + rest_for(ended - began), made
        except Exception as error:  # noqa: BLE001  (whatever it is: the next page that needs them has them counted)
            log.warning("figures_not_counted", figures=name, reason=str(error))
        finally:
            del self._counting[name]


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
    listed: Listed[Any, Any, Any] | None = None
    orders: bool = False
    reads_all: bool = False
    hidden: bool = False

    @property
    def refusals(self) -> frozenset[HTTPStatus]:
        """Every status of a problem that it may answer with, but the one of a defect."""
        if self.role is None:
            return frozenset({HTTPStatus.UNPROCESSABLE_ENTITY})
        return _REFUSALS if self.method == "GET" else _REFUSALS | _REFUSALS_OF_BODIES


ROUTES: Final[list[Route]] = []


def add_list(
    path: str,
    listed: Listed[Any, Any, Any],
    about: str,
    wanted: type | None = None,
    detail: type | None = None,
    role: Role = Role.VIEWER,
) -> None:
    """Declare a list with its filter (without one, the number in its path is what it is filtered by).

    With `detail`, also that one of its entries is shown in full, so.
    """

    def list_page(call: Call) -> Page[Any]:
        query = dict(call.query)
        limit, cursor = query.pop("limit"), query.pop("cursor") or 0
        chosen = wanted(**query) if wanted else call.number
        page = listed.page(call.database, chosen, limit, cursor)
        if not page.items and not cursor:
            check_wanted(call.database, chosen)
        return page

    def show(call: Call) -> Any:  # noqa: ANN401  (an entry of any list)
        return listed.show(call.database, call.number)

    name = f"list_{path.strip('/').replace('/<number:number>', '').replace('/', '_')}"
    ROUTES.append(Route("GET", path, role, name, about, list_page, page_of(listed.row), query=query_of(name, wanted)))
    if detail is not None:
        name, about = f"show_{listed.name}", f"Show one {listed.name} with everything that is known of it."
        ROUTES.append(Route("GET", f"{path}/<number:number>", role, name, about, show, form_of(detail)))


def get(path: str, **more: Any) -> Callable[[View], View]:  # noqa: ANN401  (of Route)
    """Declare what reads; what it answers is what its view returns."""
    return post(path, Role.VIEWER, method="GET", **more)


def post(
    path: str,
    role: Role,
    *,
    method: str = "POST",
    body: dict[str, Any] | None = None,
    detail: type | None = None,
    **more: Any,  # noqa: ANN401  (of Route)
) -> Callable[[View], View]:
    """Declare what changes or orders something; `body` names its fields, `detail` what an entry of `listed` is."""

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


def body_of(name: str, fields: dict[str, Any]) -> type[Strict]:
    """The model of a body, from kinds of fields or kinds with defaults; one that may be None may be left out."""
    made = {
        field: kind if isinstance(kind, tuple) else (kind, None if type(None) in get_args(kind) else ...)
        for field, kind in fields.items()
    }
    return create_model(name.title().replace("_", ""), __base__=Strict, **made)  # type: ignore[call-overload, no-any-return]


def query_of(name: str, wanted: type | None) -> type[Strict]:
    """The parameters of a list: the fields of its filter, and which page."""
    kind: Any
    fields: dict[str, Any] = {}
    for each in dataclasses.fields(wanted) if wanted else ():
        hint = get_type_hints(wanted)[each.name]
        kind = next(iter(get_args(hint)), hint)
        kind = AppId if each.name == "app_id" else _KINDS.get(kind, kind)
        kind = Literal[each.metadata["one_of"]] if "one_of" in each.metadata else kind
        about = Field(each.default, alias=each.metadata.get("name"), description=each.metadata["help"])
        fields[each.name] = (kind | None if each.default is None else kind, about)
    return create_model(name, __base__=Strict, **fields, **_PAGING)  # type: ignore[call-overload, no-any-return]
