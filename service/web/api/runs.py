"""Runs: the record of every pass, asking for one, and approving what the breaker stopped."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from service.core.model import Role
from service.usecases.breaking import approve_plans, show_plans
from service.usecases.inventory import NoSuchThing
from service.usecases.listing import list_run_calls, list_run_files, list_runs
from service.usecases.reports import show_run
from service.usecases.requesting import request_pass
from service.web.api.fields import Query, page_of
from service.web.api.forms import RunFilePage
from service.web.api.routes import JsonObject, Routes
from service.web.api.run_forms import Approval, CallPage, PassRequest, RunInFull, RunPage

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

routes = Routes("runs", "Every pass of the sweep.")

_PLANNED = 1_000


@routes.get("/runs", role=Role.VIEWER, answer=RunPage, query=Query)
def list_all_runs(service: Service, query: Query) -> JsonObject:
    """List passes, the newest first."""
    return page_of(list_runs(service.database, query.limit + 1, before=query.cursor), query.limit)


@routes.get("/runs/<number:number>", role=Role.VIEWER, answer=RunInFull)
def show_one_run(service: Service, number: int) -> JsonObject:
    """Show a pass with its totals, and the plans that wait for approval; each names its first 1,000 files."""
    return _find(service, number) | {"plans": show_plans(service.database, number, _PLANNED)}


@routes.get("/runs/<number:number>/files", role=Role.VIEWER, answer=RunFilePage, query=Query)
def list_files_of_run(service: Service, number: int, query: Query) -> JsonObject:
    """List what a pass did to each file, in the order of its attempts."""
    _find(service, number)
    found = list_run_files(service.database, number, query.limit + 1, after=query.cursor or 0)
    return page_of(found, query.limit)


@routes.get("/runs/<number:number>/calls", role=Role.VIEWER, answer=CallPage, query=Query)
def list_calls_of_run(service: Service, number: int, query: Query) -> JsonObject:
    """List the calls of a pass, with ZEGO's answers."""
    _find(service, number)
    found = list_run_calls(service.database, number, query.limit + 1, after=query.cursor or 0)
    return page_of(found, query.limit)


@routes.post("/runs", role=Role.OPERATOR, answer=PassRequest, status=HTTPStatus.ACCEPTED)
def request_run(service: Service, actor: Actor) -> JsonObject:
    """Ask the worker for a pass: it starts within seconds, or when the worker is back."""
    return request_pass(service.database, actor, service.now())


@routes.post(
    "/runs/<number:number>/approval",
    role=Role.ADMIN,
    answer=Approval,
    status=HTTPStatus.ACCEPTED,
    problems=[HTTPStatus.CONFLICT],
)
def approve_run(service: Service, number: int, actor: Actor) -> JsonObject:
    """Approve what the breaker stopped in a pass, and ask the worker to carry out just that."""
    apps = approve_plans(service.database, number, actor, service.now())
    return request_pass(service.database, actor, service.now(), approved_run=number) | {"apps": apps}


def _find(service: Service, number: int) -> JsonObject:
    found = show_run(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no run {number}")
    return found
