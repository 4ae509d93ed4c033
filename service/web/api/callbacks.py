"""Callbacks: the inbox with its quarantine, and judging stored callbacks again."""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import Field

from service.core.model import Role, Verdict
from service.db.inbox import CallbackFilter
from service.usecases.inventory import NoSuchThing, NotPossible
from service.usecases.listing import list_callbacks
from service.usecases.replaying import page_to_replay, replay_callbacks, show_callback
from service.web.api.fields import Cursor, Query, Strict, Text, encode_cursor, page_of
from service.web.api.forms import CallbackInFull, CallbackPage, Replayed, ReplayedPage
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.usecases import replaying
    from service.wiring import Service

routes = Routes("callbacks", "What ZEGO sent: the inbox with its quarantine.")


class CallbackQuery(Query):
    """Which callbacks."""

    verdict: Verdict | None = None
    app: Text | None = None


class ReplayOrder(Strict):
    """Which callbacks to judge again."""

    verdict: Verdict = Field(examples=["forged"])
    cursor: Cursor | None = Field(None, description="`next_cursor` of the answer before", examples=[None])
    limit: int = Field(100, ge=1, le=100, strict=True, description="The most to judge now", examples=[100])


@routes.get("/callbacks", role=Role.VIEWER, answer=CallbackPage, query=CallbackQuery)
def list_all_callbacks(service: Service, query: CallbackQuery) -> JsonObject:
    """List stored callbacks, the newest first."""
    wanted = CallbackFilter(query.verdict, query.app)
    return page_of(list_callbacks(service.database, wanted, query.limit + 1, before=query.cursor), query.limit)


@routes.get("/callbacks/<number:number>", role=Role.VIEWER, answer=CallbackInFull)
def show_one_callback(service: Service, number: int) -> JsonObject:
    """Show a callback with its body, as it came."""
    found = show_callback(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no callback {number}")
    return found.facts | {
        "fields": found.fields,
        "raw_base64": base64.b64encode(found.raw).decode(),
        "text": found.raw.decode("utf-8", "backslashreplace"),
    }


@routes.post("/callbacks/<number:number>/replay", role=Role.OPERATOR, answer=Replayed, problems=[HTTPStatus.CONFLICT])
def replay_one_callback(service: Service, number: int, actor: Actor) -> JsonObject:
    """Judge a stored callback again, with today's settings and code; nothing is doubled."""
    if show_one_callback(service, number)["pruned_at"]:
        raise NotPossible(f"callback {number} cannot be judged again: its body was dropped after INBOX_KEEP")
    # To its end: what came of it is written down only then.
    replayed = list(replay_callbacks(service.ingest, [number], actor))
    if not replayed:
        raise NoSuchThing(f"there is no callback {number} any more")
    return _as_json(replayed[0])


@routes.post("/callbacks/replay", role=Role.OPERATOR, answer=ReplayedPage, body=ReplayOrder)
def replay_verdict(service: Service, body: ReplayOrder, actor: Actor) -> JsonObject:
    """Judge the next callbacks of a verdict again, oldest first; go on with `next_cursor` until it is null."""
    numbers = page_to_replay(service.database, body.verdict, body.limit, after=body.cursor or 0)
    items = [_as_json(each) for each in replay_callbacks(service.ingest, numbers, actor)] if numbers else []
    return {"items": items, "next_cursor": encode_cursor(numbers[-1]) if len(numbers) == body.limit else None}


def _as_json(replayed: replaying.Replayed) -> JsonObject:
    return {
        "id": replayed.callback_id,
        "old": replayed.before.value,
        "new": replayed.after.value,
        "reason": replayed.reason,
    }
