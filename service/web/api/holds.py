"""Holds and erasures: orders to keep, and orders to delete, whatever the rules say."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import Field

from service.audit.checks import MAX_FILES
from service.files.actions import ErasureRequest, erase_files, preview_erasure
from service.filters import HoldFilter
from service.holds.holds import place_hold, release_hold
from service.model import Role
from service.views.audit import Order
from service.views.holds import ERASURES, HOLDS, Erasure, ErasureDetail, ErasurePreview, Hold
from service.views.listed import MAX_NUMBER, Page
from service.web.api.fields import AppId, Moment, NoBody, NoQuery, Number, Paging, Pattern, Reason, Strict
from service.web.api.routes import Call, Plain, Routes, page

routes = Routes("holds", "Orders to keep, which win over every rule.")
erasure_routes = Routes("erasures", "Requests that files be deleted, whatever the rules say; holds win.")


class HoldQuery(Paging):
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


class NewErasure(Strict):
    """Files by their numbers, or every file of the streams of one app that fit a pattern."""

    files: list[Number] = Field(default=[], max_length=MAX_FILES, examples=[[]])
    app_id: AppId | None = Field(None, examples=["1234567890"])
    stream_pattern: Pattern | None = Field(None, examples=["lesson-4711"])
    reason: Reason = Field(examples=["the learner asked for it, ticket 4711"])

    def read(self) -> ErasureRequest:
        """As the order takes it."""
        return ErasureRequest(self.reason, tuple(self.files), self.app_id, self.stream_pattern)


class ExpectedErasure(NewErasure):
    """The same, with the number of files that the preview shows."""

    expect: int = Field(ge=0, le=MAX_NUMBER, strict=True, examples=[3], description="`files` of the preview")


class OrderedHold(Hold):
    """A hold, and what came of the order for it: `open_calls` names files that a call may have been sent for before."""

    order: Order


class OrderedErasure(ErasureDetail):
    """An erasure, and what came of the order for it."""

    order: Order


@routes.get("/holds")
def list_holds(call: Call[HoldQuery, NoBody]) -> Page[Hold]:
    """List the holds that stand, by number."""
    return page(call, HOLDS, HoldFilter(call.query.app, call.query.released))


@routes.get("/holds/<number:number>")
def show_hold(call: Plain) -> Hold:
    """Show a hold."""
    return HOLDS.show(call.database, call.number)


@routes.post("/holds", role=Role.OPERATOR, status=HTTPStatus.CREATED)
def place_new_hold(call: Call[NoQuery, NewHold]) -> OrderedHold:
    """Put a hold in force at once."""
    body = call.body
    hold, order = place_hold(
        call.database,
        call.actor,
        reason=body.reason,
        now=call.now(),
        known_apps=call.service.app_ids,
        app_id=body.app_id,
        file=body.file,
        stream_pattern=body.stream_pattern,
        until=body.until,
    )
    reported = call.report(order)
    return OrderedHold(**dict(HOLDS.show(call.database, hold)), order=reported)


@routes.post("/holds/<number:number>/release", role=Role.OPERATOR)
def release_one_hold(call: Plain) -> OrderedHold:
    """End a hold: the rules count again."""
    order = call.report(release_hold(call.database, call.actor, call.number, call.now()))
    return OrderedHold(**dict(HOLDS.show(call.database, call.number)), order=order)


@erasure_routes.get("/erasures")
def list_erasures(call: Call[Paging, NoBody]) -> Page[Erasure]:
    """List erasures, the newest first."""
    return page(call, ERASURES, None)


@erasure_routes.get("/erasures/<number:number>")
def show_erasure(call: Plain) -> ErasureDetail:
    """Show an erasure, with its files by their state now."""
    return ERASURES.show(call.database, call.number)


@erasure_routes.post("/erasures/previews", role=Role.ADMIN)
def preview_new_erasure(call: Call[NoQuery, NewErasure]) -> ErasurePreview:
    """Show what an erasure would take; changes nothing."""
    found = preview_erasure(call.database, call.body.read(), known_apps=call.service.app_ids)
    return ErasurePreview.model_validate(found)


@erasure_routes.post("/erasures", role=Role.ADMIN, status=HTTPStatus.CREATED)
def order_erasure(call: Call[NoQuery, ExpectedErasure]) -> OrderedErasure:
    """Order files to be deleted by the next sweep; refused with a new preview if they are not as many as expected."""
    body = call.body
    erasure, order = erase_files(
        call.database, call.actor, body.read(), call.now(), known_apps=call.service.app_ids, expect=body.expect
    )
    reported = call.report(order)
    return OrderedErasure(**dict(ERASURES.show(call.database, erasure)), order=reported)
