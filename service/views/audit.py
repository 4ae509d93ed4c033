"""The audit and what stands beside it: its entries and their proof, the orders among them, the tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from service.audit import store
from service.audit.chain import verify_chain
from service.audit.order import Order
from service.audit.store import Entry, Head, Token
from service.database import Database, Transaction
from service.filters import AuditFilter
from service.views.form import Listed, show_as, take


@dataclass(frozen=True, slots=True)
class AuditEntry(Entry):
    """One change by a person, a token or the settings; `hash` covers it and everything before it."""

    parsed: Any = None


@dataclass(frozen=True, slots=True)
class AuditProof:
    """How far the audit is right: the head there, to be noted, and the first thing wrong beyond it (null: nothing)."""

    entries: int
    head: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class NewToken(Token):
    """A bearer token with its text, shown this once."""

    token: str = ""


show_as(AuditEntry, detail="parsed")
show_as(Order, payload=None, state="state", summary="summary")
show_as(Token, hash=None)


def verify_audit(database: Database, noted: Head | None = None) -> AuditProof:
    """Follow the whole chain; a `noted` head has to be in it still."""
    found = verify_chain(database, noted)
    return AuditProof(found.head.number, str(found.head), found.fault)


def _describe(entries: Iterable[Entry]) -> Iterator[AuditEntry]:
    for entry in entries:
        try:
            parsed = json.loads(entry.detail)
        except ValueError:  # it was altered; it is to be seen all the same
            parsed = entry.detail
        yield take(AuditEntry, entry, parsed=parsed)


def _list_forward(tx: Transaction, _: AuditFilter, cursor: int, size: int) -> Iterator[AuditEntry]:
    return _describe(islice(store.iterate_entries(tx, cursor), size))


AUDIT = Listed[AuditFilter, AuditEntry, None](
    "audit entry",
    "audit list",
    AuditEntry,
    lambda tx, wanted, cursor, size: _describe(store.list_entries(tx, wanted, size, before=cursor or None)),
    store.count_entries,
    "#: number, at, actor, action, subject, through",
    "through",
    key="number",
)
"""Entries of the audit, the newest first."""

AUDIT_EXPORT = replace(AUDIT, fetch=_list_forward)
"""The same, the oldest first: what a copy elsewhere needs."""

TOKENS = Listed[None, Token, Token](
    "token",
    "tokens list",
    Token,
    lambda tx, _, cursor, size: store.list_tokens(tx, size, after=cursor),
    lambda tx, _: len(store.list_tokens(tx)),
    "id, name, role, expires: expires_at, last used: last_used_at, revoked: revoked_at",
    "last used",
    lambda tx, number: store.find_token(tx, id=number),
)
"""Tokens by number, revoked and expired ones included."""
