"""Erasures: files that go because a person asked for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from service.core.model import Role
from service.usecases.erasing import (
    MOST_FILES,
    ErasureRequest,
    list_erasures,
    preview_erasure,
    request_erasure,
    show_erasure,
)
from service.usecases.inventory import NoSuchThing
from service.web.api.fields import HIGHEST, AppId, Number, Pattern, Query, Reason, Strict, page_of
from service.web.api.order_forms import ErasureInFull, ErasurePage, ErasurePreview
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

routes = Routes("erasures", "Requests that files go now, whatever the rules say; holds win.")

Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


class ErasureOrder(Strict):
    """Files by their numbers, or every file of the streams of one app that fit a pattern."""

    files: list[Number] = Field(default=[], max_length=MOST_FILES, examples=[[]])
    app_id: AppId | None = Field(None, examples=["1234567890"])
    stream_pattern: Pattern | None = Field(None, examples=["lesson-4711"])
    reason: Reason = Field(examples=["the learner asked for it, ticket 4711"])

    def read(self) -> ErasureRequest:
        """As the use case takes it."""
        return ErasureRequest(tuple(self.files), self.app_id, self.stream_pattern, self.reason)


class ExpectedErasure(ErasureOrder):
    """The same, with the number of files that the preview told, and with its digest: these very files or none."""

    expect: int = Field(ge=0, le=HIGHEST, strict=True, examples=[3], description="`files` of the preview")
    digest: Digest | None = Field(None, examples=["5f2b9e0c41d7a386"], description="`digest` of the preview")


@routes.get("/erasures", role=Role.VIEWER, answer=ErasurePage, query=Query)
def list_all_erasures(service: Service, query: Query) -> JsonObject:
    """List erasures by number."""
    found = list_erasures(service.database, after=query.cursor or 0, limit=query.limit + 1)
    return page_of(found, query.limit)


@routes.get("/erasures/<number:number>", role=Role.VIEWER, answer=ErasureInFull)
def show_one_erasure(service: Service, number: int) -> JsonObject:
    """Show an erasure, with its files by their state now."""
    found = show_erasure(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no erasure {number}")
    return found


@routes.post(
    "/erasures/previews",
    role=Role.ADMIN,
    answer=ErasurePreview,
    body=ErasureOrder,
)
def preview_new_erasure(service: Service, body: ErasureOrder) -> JsonObject:
    """Tell what an erasure would do; changes nothing."""
    return preview_erasure(service.database, body.read(), service.now(), known_apps=service.app_ids)


@routes.post(
    "/erasures",
    role=Role.ADMIN,
    answer=ErasureInFull,
    body=ExpectedErasure,
    status=HTTPStatus.CREATED,
    problems=[HTTPStatus.CONFLICT],
)
def order_erasure(service: Service, body: ExpectedErasure, actor: Actor) -> JsonObject:
    """Order files to go with the next sweep; refused with the new preview if they are not those that are expected."""
    return request_erasure(
        service.database,
        body.read(),
        body.expect,
        actor,
        service.now(),
        known_apps=service.app_ids,
        digest=body.digest,
    )
