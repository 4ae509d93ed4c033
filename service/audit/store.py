"""The tables of the audit: its entries and their head, the orders among them, and the tokens of the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Column, Integer, Select, String, Table, Text, func, insert, select, update
from sqlalchemy import text as sql

from service.audit.order import RUN_REQUESTS, Order, OrderKind
from service.database import Transaction
from service.database.columns import (
    BigId,
    UtcDateTime,
    count_changed,
    enum_column,
    insert_into,
    metadata,
    partial_index,
)
from service.filters import AuditFilter
from service.model import Role

_BATCH: Final = 500

audit_entries: Final = Table(
    "audit_entries",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("through", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_head: Final = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigId, nullable=False),
    Column("hash", String(64), nullable=False),
)

_IS_UNFINISHED: Final = sql("applied_at IS NULL")

orders: Final = Table(
    "orders",
    metadata,
    # The number of its audit entry: orders are applied in the order of the audit.
    Column("number", BigId, primary_key=True, autoincrement=False),
    Column("kind", enum_column(OrderKind), nullable=False),
    Column("app_id", String(20)),
    Column("payload", JSON, nullable=False),
    Column("applied_at", UtcDateTime),
    Column("result", JSON(none_as_null=True)),
    Column("failure", Text),
    partial_index("ix_orders_unfinished", _IS_UNFINISHED, "number"),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", enum_column(Role), nullable=False),
    # The SHA-256 of its text, which is kept nowhere.
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", Text),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the audit; `detail` is the JSON text as it is stored, `hash` covers it and everything before it."""

    number: int
    at: datetime
    actor: str
    through: str
    action: str
    subject: str
    detail: str
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain of entries ends: its text is what people note down elsewhere."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


START: Final = Head(0, "0" * 64)
"""The head of a chain without entries."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, without its text."""

    id: int
    name: str
    role: Role
    hash: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


def find_head(tx: Transaction, *, lock: bool = False) -> Head:
    """The head of the audit as it stands."""
    query = select(audit_head.c.number, audit_head.c.hash)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return START if row is None else Head(*row)


def lock_head(tx: Transaction) -> Head:
    """The head of the audit; whoever wants to write the next entry waits until this transaction ends."""
    head = find_head(tx, lock=True)
    if head == START:  # the first entry of all; several may be about to write it
        first = insert_into(tx, audit_head).values(id=1, number=START.number, hash=START.hash)
        tx.execute(first.on_conflict_do_nothing())
        head = find_head(tx, lock=True)
    return head


def add_entry(tx: Transaction, entry: Entry) -> None:
    """Store an entry, which is the head from now on."""
    tx.execute(insert(audit_entries).values(asdict(entry)))
    tx.execute(update(audit_head).values(number=entry.number, hash=entry.hash))


def list_entries(tx: Transaction, wanted: AuditFilter, limit: int, *, before: int | None = None) -> list[Entry]:
    """Entries, the newest first, those below `before`."""
    query = _filter(select(audit_entries), wanted)
    if before is not None:
        query = query.where(audit_entries.c.number < before)
    return [Entry(*row) for row in tx.execute(query.order_by(audit_entries.c.number.desc()).limit(limit))]


def count_entries(tx: Transaction, wanted: AuditFilter) -> int:
    """How many entries there are to list."""
    return int(tx.execute(_filter(select(func.count(audit_entries.c.number)), wanted)).scalar_one())


def iterate_entries(tx: Transaction, after: int = 0) -> Iterator[Entry]:
    """Entries, the oldest first, those beyond `after`; each is read when it is asked for.

    A ValueError means that the next entry holds a time that is none.
    """
    query = select(audit_entries).order_by(audit_entries.c.number).limit(_BATCH)
    count = _BATCH
    while count == _BATCH:
        count = 0
        for row in tx.execute(query.where(audit_entries.c.number > after)):
            yield Entry(*row)
            after, count = row.number, count + 1


def add_order(tx: Transaction, order: Order) -> None:
    """Store an order beside its audit entry."""
    tx.execute(insert(orders).values(number=order.number, kind=order.kind, app_id=order.app_id, payload=order.payload))


def find_order(tx: Transaction, number: int) -> Order | None:
    """One order."""
    row = tx.execute(select(orders).where(orders.c.number == number)).one_or_none()
    return None if row is None else Order(*row)


def list_orders(tx: Transaction, after: int, limit: int) -> list[Order]:
    """Orders beyond `after`, the oldest first."""
    query = select(orders).where(orders.c.number > after).order_by(orders.c.number).limit(limit)
    return [Order(*row) for row in tx.execute(query)]


def list_failed_orders(tx: Transaction) -> list[Order]:
    """Orders that could not be applied; until they are, the apps that they concern are not called."""
    query = select(orders).where(_IS_UNFINISHED, orders.c.failure.is_not(None)).order_by(orders.c.number)
    return [Order(*row) for row in tx.execute(query)]


def find_block(tx: Transaction, app_id: str) -> str | None:
    """Why an app may not be called: an order that concerns it could not be applied. None: it may."""
    for order in list_failed_orders(tx):
        if order.kind not in RUN_REQUESTS and order.app_id in (None, app_id):
            return f"order {order.number} ({order.kind}) could not be applied: {order.failure}"
    return None


def list_run_requests(tx: Transaction) -> list[Order]:
    """Orders that ask for a run that has not started yet, the oldest first."""
    query = select(orders).where(_IS_UNFINISHED, orders.c.kind.in_(sorted(RUN_REQUESTS))).order_by(orders.c.number)
    return [Order(*row) for row in tx.execute(query)]


def expire_run_requests(tx: Transaction, placed_before: datetime, now: datetime, reason: str) -> list[int]:
    """Finish orders for a run that were placed before a moment and have not begun, with the reason; their numbers."""
    placed_at = select(audit_entries.c.at).where(audit_entries.c.number == orders.c.number).scalar_subquery()
    old = (_IS_UNFINISHED, orders.c.kind.in_(sorted(RUN_REQUESTS)), placed_at < placed_before)
    expired = update(orders).where(*old).values(applied_at=now, failure=reason).returning(orders.c.number)
    return sorted(tx.execute(expired).scalars())


def finish_order(tx: Transaction, number: int, now: datetime, result: dict[str, Any]) -> None:
    """Write down what came of an order."""
    tx.execute(update(orders).where(orders.c.number == number).values(applied_at=now, result=result, failure=None))


def fail_order(tx: Transaction, number: int, failure: str) -> None:
    """Write down why an order could not be applied."""
    tx.execute(update(orders).where(orders.c.number == number).values(failure=failure))


def add_token(tx: Transaction, token: Token) -> int:
    """Store a new token; returns its number."""
    facts = {name: value for name, value in asdict(token).items() if name != "id"}
    return int(tx.execute(insert(tokens).values(facts).returning(tokens.c.id)).scalar_one())


def find_token(tx: Transaction, **facts: object) -> Token | None:
    """The token with these facts, by their columns."""
    row = tx.execute(select(tokens).filter_by(**facts)).first()
    return None if row is None else Token(*row)


def list_tokens(tx: Transaction, limit: int | None = None, *, after: int = 0) -> list[Token]:
    """Tokens by number beyond `after`, revoked ones included."""
    query = select(tokens).where(tokens.c.id > after).order_by(tokens.c.id).limit(limit)
    return [Token(*row) for row in tx.execute(query)]


def mark_used(tx: Transaction, number: int, now: datetime) -> None:
    """Write down when a token was used last."""
    tx.execute(update(tokens).where(tokens.c.id == number).values(last_used_at=now))


def revoke_token(tx: Transaction, number: int, revoked_by: str, now: datetime) -> bool:
    """Revoke a token; False if it was revoked before."""
    standing = update(tokens).where(tokens.c.id == number, tokens.c.revoked_at.is_(None))
    return count_changed(tx.execute(standing.values(revoked_at=now, revoked_by=revoked_by))) == 1


def _filter(query: Select[Any], wanted: AuditFilter) -> Select[Any]:
    return query.filter_by(**{name: value for name, value in asdict(wanted).items() if value is not None})
