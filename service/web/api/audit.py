"""The audit, the orders in it, and the tokens: who may do what, and who did."""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from typing import Annotated

from pydantic import Field, StringConstraints

from service.audit.chain import parse_head
from service.audit.tokens import make_token, revoke_token
from service.filters import AuditFilter
from service.model import Role
from service.views.audit import (
    AUDIT,
    TOKENS,
    AuditEntry,
    AuditProof,
    NewToken,
    Order,
    Token,
    describe_new_token,
    export_audit,
    show_order,
    verify_audit,
)
from service.views.listed import Page, cut, encode_cursor
from service.web.api.fields import Moment, NoBody, NoQuery, Paging, Strict, Text
from service.web.api.routes import Call, Plain, Routes, page

routes = Routes("audit", "Every change by a person, a token or the settings.")
token_routes = Routes("tokens", "Bearer tokens, which are shown once and kept as hashes.")


class AuditQuery(Paging):
    """Which entries; every condition must hold."""

    action: Text | None = None
    actor: Text | None = None
    subject: Text | None = None


class ProofQuery(Strict):
    """Against what the audit is proved."""

    noted: str | None = Field(None, pattern=r"^[0-9]{1,19}:[0-9a-f]{64}$", description="A head that was noted earlier")


class TokenOrder(Strict):
    """A token to make."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(examples=["dashboard"])
    role: Role = Field(examples=["viewer"])
    expires_at: Moment | None = Field(None, examples=["2027-03-01T12:00:00Z"])


@routes.get("/audit")
def list_audit(call: Call[AuditQuery, NoBody]) -> Page[AuditEntry]:
    """List entries, the newest first."""
    return page(call, AUDIT, AuditFilter(call.query.action, call.query.actor, call.query.subject))


@routes.get("/audit/export")
def export_entries(call: Call[Paging, NoBody]) -> Page[AuditEntry]:
    """List every entry, the oldest first: what a copy elsewhere needs."""
    limit = call.query.limit
    found = list(islice(export_audit(call.database, call.query.cursor or 0), limit + 1))
    items, resume = cut(found, limit, lambda entry: entry.number)
    return Page[AuditEntry](items=items, next_cursor=encode_cursor(resume))


@routes.get("/audit/proof")
def prove_audit(call: Call[ProofQuery, NoBody]) -> AuditProof:
    """Follow the whole chain of hashes, and say whether anything in it was altered."""
    noted = call.query.noted
    with call.backend.threads.for_inventory():
        return verify_audit(call.database, None if noted is None else parse_head(noted))


@routes.get("/orders/<number:number>")
def show_one_order(call: Plain) -> Order:
    """Show what came of an order."""
    return show_order(call.database, call.number)


@token_routes.get("/tokens", role=Role.ADMIN)
def list_tokens(call: Call[Paging, NoBody]) -> Page[Token]:
    """List tokens by number, without their text."""
    return page(call, TOKENS, None)


@token_routes.post("/tokens", role=Role.ADMIN, status=HTTPStatus.CREATED)
def make_new_token(call: Call[NoQuery, TokenOrder]) -> NewToken:
    """Make a token; the answer holds its text, this once."""
    body = call.body
    return describe_new_token(*make_token(call.database, body.name, body.role, body.expires_at, call.actor, call.now()))


@token_routes.post("/tokens/<number:number>/revoke", role=Role.ADMIN)
def revoke_one_token(call: Plain) -> Token:
    """Make a token useless from now on."""
    return Token.model_validate(revoke_token(call.database, call.number, call.actor, call.now()))
