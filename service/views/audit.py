"""The audit and what stands beside it: its entries and their proof, the orders among them, the tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

from service.audit import order as audit_order
from service.audit import store
from service.audit.chain import export_entries, verify_chain
from service.audit.order import OrderKind
from service.audit.store import Entry, Head
from service.database import Database, Transaction
from service.filters import AuditFilter
from service.model import Role
from service.orders.wait import read_order, wait_for_order
from service.views.form import AT, Form, eg
from service.views.listed import Column, Kind, Listed, Page, find_row, read_rows, take_from

_HASH = "5f2b9e0c41d7a3865f2b9e0c41d7a3865f2b9e0c41d7a3865f2b9e0c41d7a386"


class AuditEntry(Form):
    """One change by a person, a token or the settings; `hash` covers it and everything before it."""

    number: int = eg(90)
    at: datetime = eg(AT)
    actor: str = eg("support desk")
    through: str = eg("API")
    action: str = eg("hold.place")
    subject: str = eg("hold 4")
    detail: Any = eg({"stream_pattern": "lesson-*"})
    hash: str = eg(_HASH)


class AuditProof(Form):
    """How far the audit is right: the head there, and the first thing wrong beyond it (null: nothing)."""

    entries: int = eg(90)
    head: str = eg(f"90:{_HASH}", "to be noted elsewhere, and given again as `noted`")
    fault: str | None = eg(None)


class OrderState(StrEnum):
    """How an order stands."""

    APPLIED = "applied"
    FAILED = "failed"
    WAITING = "waiting"


class Order(Form):
    """What came of something that a person asked for; the keys of `result` depend on `kind` (docs/http.md)."""

    number: int = eg(91, "that of its audit entry")
    kind: OrderKind = eg("hold")
    app_id: str | None = eg("1234567890", "the only app that it concerns; null: all")
    state: OrderState = eg("applied")
    applied_at: datetime | None = eg(AT)
    result: dict[str, Any] | None = eg({"hold": 4, "files": 12, "open_calls": {"count": 0, "files": []}})
    failure: str | None = eg(None, "why it could not be applied so far; it is tried again")
    summary: str = eg("applied")


class Token(Form):
    """A bearer token, without its text."""

    id: int = eg(3)
    name: str = eg("dashboard")
    role: Role = eg("viewer")
    created_at: datetime = eg(AT)
    created_by: str = eg("ADMIN_TOKEN")
    expires_at: datetime | None = eg("2027-03-01T12:00:00Z")
    last_used_at: datetime | None = eg(None)
    revoked_at: datetime | None = eg(None)
    revoked_by: str | None = eg(None)


class NewToken(Token):
    """A bearer token with its text, shown this once."""

    token: str = eg("zrt_Zm9yIGV4YW1wbGUgb25seSwgbm90IGEgdG9rZW4")


def verify_audit(database: Database, noted: Head | None = None) -> AuditProof:
    """Follow the whole chain; a `noted` head has to be in it still."""
    found = verify_chain(database, noted)
    return AuditProof(entries=found.head.number, head=str(found.head), fault=found.fault)


def export_audit(database: Database, after: int = 0) -> Iterator[AuditEntry]:
    """Every entry beyond `after`, the oldest first."""
    return (_describe_entry(None, chained) for chained in export_entries(database, after))


def show_order(database: Database, number: int) -> Order:
    """An order as it stands.

    Raises:
        NoSuchThing: there is no such order.
    """
    return describe_order(read_order(database, number))


def report_order(
    database: Database,
    number: int,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Order:
    """An order as it stands once the leader has applied it or could not, or after `timeout_s`.

    Raises:
        NoSuchThing: there is no such order.
    """
    return describe_order(wait_for_order(database, number, timeout_s, sleep, clock))


def describe_order(order: audit_order.Order) -> Order:
    """The form of an order."""
    state, summary = OrderState.WAITING, "recorded, not applied yet: see `zego-retention doctor` if that lasts"
    if order.applied_at is not None:
        state, summary = OrderState.APPLIED, "applied"
    elif order.failure is not None:
        state, summary = OrderState.FAILED, f"recorded, but it could not be applied so far: {order.failure}"
    facts = {name: getattr(order, name) for name in Order.model_fields if name not in ("state", "summary")}
    return Order(**facts, state=state, summary=summary)


def describe_new_token(token: store.Token, text: str) -> NewToken:
    """The form of a token that was just made."""
    return NewToken(**dict(Token.model_validate(token)), token=text)


def _describe_entry(_tx: Transaction | None, chained: tuple[Entry, str]) -> AuditEntry:
    entry, digest = chained
    facts = {name: getattr(entry, name) for name in entry.__dataclass_fields__}
    try:
        facts["detail"] = json.loads(entry.detail)
    except ValueError:  # it was altered; it is to be seen all the same
        facts["detail"] = entry.detail
    return AuditEntry(**facts, hash=digest)


def _find_entry(tx: Transaction, number: int) -> tuple[Entry, str] | None:
    return next((each for each in islice(store.iterate_entries(tx, number - 1), 1) if each[0].number == number), None)


AUDIT = Listed[AuditFilter, AuditEntry, AuditEntry](
    "audit entry",
    "audit list",
    Page[AuditEntry],
    read_rows(
        lambda tx, wanted, cursor, size: store.list_entries(tx, wanted, size, before=cursor or None),
        _describe_entry,
        lambda chained: chained[0].number,
    ),
    store.count_entries,
    find_row(_find_entry, _describe_entry),
    (
        Column("number", lambda entry: entry.number, Kind.NUMBER),
        Column("at", lambda entry: entry.at, Kind.MOMENT),
        Column("actor", lambda entry: entry.actor, Kind.PROSE),
        Column("through", lambda entry: entry.through, priority=1),
        Column("action", lambda entry: entry.action),
        Column("subject", lambda entry: entry.subject, Kind.PROSE),
    ),
)
"""Entries of the audit, the newest first."""

TOKENS = Listed[None, Token, Token](
    "token",
    "tokens list",
    Page[Token],
    read_rows(lambda tx, _, cursor, size: store.list_tokens(tx, size, after=cursor), take_from(Token)),
    lambda tx, _wanted: len(store.list_tokens(tx)),
    find_row(lambda tx, number: store.find_token(tx, id=number), take_from(Token)),
    (
        Column("id", lambda token: token.id, Kind.NUMBER),
        Column("name", lambda token: token.name, Kind.PROSE),
        Column("role", lambda token: token.role),
        Column("expires", lambda token: token.expires_at, Kind.MOMENT),
        Column("last used", lambda token: token.last_used_at, Kind.MOMENT, 1),
        Column("revoked", lambda token: token.revoked_at, Kind.MOMENT),
    ),
)
"""Tokens by number, revoked and expired ones included."""
