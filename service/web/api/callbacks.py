"""Callbacks: the inbox with its quarantine, and judging stored callbacks again."""

from __future__ import annotations

from pydantic import Field

from service.callbacks.replay import place_replay
from service.filters import CallbackFilter
from service.model import Role, Verdict
from service.views.audit import Order
from service.views.callbacks import CALLBACKS, Callback, CallbackDetail, show_callback
from service.views.listed import Page
from service.web.api.fields import AppId, NoBody, NoQuery, Paging, Strict
from service.web.api.routes import Call, Plain, Routes, page

routes = Routes("callbacks", "What ZEGO sent: the inbox with its quarantine.")


class CallbackQuery(Paging):
    """Which callbacks."""

    verdict: Verdict | None = None
    app: AppId | None = None
    file: int | None = Field(None, ge=1, description="Only those of the file of this number")


class NewReplay(Strict):
    """Which callbacks to judge again: all of a verdict, of one app or of all."""

    verdict: Verdict = Field(examples=["forged"])
    app_id: AppId | None = Field(None, examples=[None])


@routes.get("/callbacks")
def list_callbacks(call: Call[CallbackQuery, NoBody]) -> Page[Callback]:
    """List stored callbacks, the newest first."""
    return page(call, CALLBACKS, CallbackFilter(call.query.verdict, call.query.app, call.query.file))


@routes.get("/callbacks/<number:number>")
def show_one_callback(call: Plain) -> CallbackDetail:
    """Show a callback; from the role operator on with its signature and its body, as it came."""
    return show_callback(call.database, call.number, call.bearer.role)


@routes.post("/callbacks/<number:number>/replay", role=Role.OPERATOR)
def replay_callback(call: Plain) -> Order:
    """Judge a stored callback again, with the settings and the code of today; nothing is doubled."""
    return call.report(place_replay(call.database, call.actor, call.now(), ids=[call.number]))


@routes.post("/callbacks/replay", role=Role.OPERATOR)
def replay_verdict(call: Call[NoQuery, NewReplay]) -> Order:
    """Judge all callbacks of a verdict again."""
    body = call.body
    return call.report(place_replay(call.database, call.actor, call.now(), verdict=body.verdict, app_id=body.app_id))
