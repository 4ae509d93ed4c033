"""Tokens: who may use the API, and for what."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from service.core.model import Role
from service.usecases.tokens import create_token, list_tokens, revoke_token
from service.web.api.fields import Moment, Query, Strict, page_of
from service.web.api.forms import NewToken, Token, TokenPage
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

routes = Routes("tokens", "Bearer tokens, which are shown once and kept as hashes.")


class TokenOrder(Strict):
    """A token to make."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(examples=["dashboard"])
    role: Role = Field(examples=["viewer"])
    expires_at: Moment | None = Field(None, examples=["2027-03-01T12:00:00Z"])


@routes.get("/tokens", role=Role.ADMIN, answer=TokenPage, query=Query)
def list_all_tokens(service: Service, query: Query) -> JsonObject:
    """List tokens by number, without their text."""
    return page_of(list_tokens(service.database, after=query.cursor or 0, limit=query.limit + 1), query.limit)


@routes.post(
    "/tokens",
    role=Role.ADMIN,
    answer=NewToken,
    body=TokenOrder,
    status=HTTPStatus.CREATED,
)
def make_token(service: Service, body: TokenOrder, actor: Actor) -> JsonObject:
    """Make a token; the answer holds its text, this once."""
    return create_token(service.database, body.name, body.role, body.expires_at, actor, service.now())


@routes.post("/tokens/<number:number>/revoke", role=Role.ADMIN, answer=Token, problems=[HTTPStatus.CONFLICT])
def revoke_one_token(service: Service, number: int, actor: Actor) -> JsonObject:
    """Make a token useless from now on."""
    return revoke_token(service.database, number, actor, service.now())
