"""Holds: orders to keep, whatever the rules say."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import Field

from service.core.model import Role
from service.usecases.holding import HoldOrder, list_holds, place_hold, release_hold, show_hold
from service.usecases.inventory import NoSuchThing
from service.web.api.fields import AppId, Moment, Number, Pattern, Query, Reason, Strict, page_of
from service.web.api.order_forms import Hold, HoldPage, PlacedHold, SettledHold
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

routes = Routes("holds", "Orders to keep, which win over every rule.")


class HoldQuery(Query):
    """Which holds."""

    app: AppId | None = None
    released: bool = Field(default=False, description="Those that were released as well")


class NewHold(Strict):
    """One file by its number, or every file of the streams of one app that fit a pattern."""

    file: Number | None = Field(None, examples=[None])
    app_id: AppId | None = Field(None, examples=["1234567890"])
    stream_pattern: Pattern | None = Field(None, examples=["lesson-*"])
    reason: Reason = Field(examples=["audit of the spring term"])
    until: Moment | None = Field(None, examples=["2026-12-31T00:00:00Z"])


@routes.get("/holds", role=Role.VIEWER, answer=HoldPage, query=HoldQuery)
def list_all_holds(service: Service, query: HoldQuery) -> JsonObject:
    """List the holds that stand, by number."""
    found = list_holds(
        service.database,
        app_id=query.app,
        released=query.released,
        after=query.cursor or 0,
        limit=query.limit + 1,
    )
    return page_of(found, query.limit)


@routes.get("/holds/<number:number>", role=Role.VIEWER, answer=Hold)
def show_one_hold(service: Service, number: int) -> JsonObject:
    """Show a hold."""
    found = show_hold(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no hold {number}")
    return found


@routes.post(
    "/holds",
    role=Role.OPERATOR,
    answer=PlacedHold,
    body=NewHold,
    status=HTTPStatus.CREATED,
    problems=[HTTPStatus.CONFLICT],
)
def place_new_hold(service: Service, body: NewHold, actor: Actor) -> JsonObject:
    """Put a hold in force at once; `in_flight` names files that a call may have been sent for before."""
    order = HoldOrder(body.app_id, body.file, body.stream_pattern, body.reason, body.until)
    return place_hold(service.database, order, actor, service.now(), known_apps=service.app_ids)


@routes.post("/holds/<number:number>/release", role=Role.OPERATOR, answer=SettledHold, problems=[HTTPStatus.CONFLICT])
def release_one_hold(service: Service, number: int, actor: Actor) -> JsonObject:
    """End a hold: the rules count again."""
    return release_hold(service.database, number, actor, service.now())
