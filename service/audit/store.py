"""The tables of the audit: its entries and their head, and the orders among them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Column, Integer, Select, String, Table, Text, func, insert, select, update
from sqlalchemy import text as sql

from service.audit.chain import START, Entry, Head
from service.audit.order import RUN_REQUESTS, Order, OrderKind
from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, enum_column, insert_into, metadata, partial_index
from service.filters import AuditFilter

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


def lock_head(tx: Transaction) -> Head:
    """The head of the audit; whoever wants to write the next entry waits until this transaction ends."""
    query = select(audit_head.c.number, audit_head.c.hash).with_for_update()
    row = tx.execute(query).one_or_none()
    if row is None:  # the first entry of all; several may be about to write it
        first = insert_into(tx, audit_head).values(id=1, number=START.number, hash=START.hash)
        tx.execute(first.on_conflict_do_nothing())
        row = tx.execute(query).one()
    return Head(row.number, row.hash)


def find_head(tx: Transaction) -> Head:
    """The head of the audit as it stands."""
    row = tx.execute(select(audit_head.c.number, audit_head.c.hash)).one_or_none()
    return START if row is None else Head(row.number, row.hash)


def add_entry(tx: Transaction, entry: Entry, head: Head) -> None:
    """Store an entry and the head that it makes."""
    tx.execute(
        insert(audit_entries).values(
            number=entry.number,
            at=entry.at,
            actor=entry.actor,
            through=entry.through,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
            hash=head.hash,
        )
    )
    tx.execute(update(audit_head).values(number=head.number, hash=head.hash))


def list_entries(
    tx: Transaction, wanted: AuditFilter, limit: int, *, before: int | None = None
) -> list[tuple[Entry, str]]:
    """Entries with their hashes, the newest first, those below `before`."""
    query = _filter(select(audit_entries), wanted)
    if before is not None:
        query = query.where(audit_entries.c.number < before)
    rows = tx.execute(query.order_by(audit_entries.c.number.desc()).limit(limit))
    return [_read_entry(row) for row in rows]


def count_entries(tx: Transaction, wanted: AuditFilter) -> int:
    """How many entries there are to list."""
    return int(tx.execute(_filter(select(func.count(audit_entries.c.number)), wanted)).scalar_one())


def list_forward(tx: Transaction, after: int, limit: int) -> list[tuple[Entry, str]]:
    """Entries with their hashes, the oldest first, those beyond `after`."""
    query = select(audit_entries).where(audit_entries.c.number > after).order_by(audit_entries.c.number).limit(limit)
    return [_read_entry(row) for row in tx.execute(query)]


def add_order(tx: Transaction, order: Order) -> None:
    """Store an order beside its audit entry."""
    tx.execute(insert(orders).values(number=order.number, kind=order.kind, app_id=order.app_id, payload=order.payload))


def find_order(tx: Transaction, number: int) -> Order | None:
    """One order."""
    row = tx.execute(select(orders).where(orders.c.number == number)).one_or_none()
    return _read_order(row) if row is not None else None


def list_orders(tx: Transaction, after: int, limit: int) -> list[Order]:
    """Orders beyond `after`, the oldest first."""
    query = select(orders).where(orders.c.number > after).order_by(orders.c.number).limit(limit)
    return [_read_order(row) for row in tx.execute(query)]


def list_failed_orders(tx: Transaction) -> list[Order]:
    """Orders that could not be applied; until they are, the apps that they concern are not called."""
    query = select(orders).where(_IS_UNFINISHED, orders.c.failure.is_not(None)).order_by(orders.c.number)
    return [_read_order(row) for row in tx.execute(query)]


def list_run_requests(tx: Transaction) -> list[Order]:
    """Orders that ask for a run that has not started yet, the oldest first."""
    query = select(orders).where(_IS_UNFINISHED, orders.c.kind.in_(sorted(RUN_REQUESTS))).order_by(orders.c.number)
    return [_read_order(row) for row in tx.execute(query)]


def finish_order(tx: Transaction, number: int, now: datetime, result: dict[str, Any]) -> None:
    """Write down what came of an order."""
    tx.execute(update(orders).where(orders.c.number == number).values(applied_at=now, result=result, failure=None))


def fail_order(tx: Transaction, number: int, failure: str) -> None:
    """Write down why an order could not be applied."""
    tx.execute(update(orders).where(orders.c.number == number).values(failure=failure))


def _filter(query: Select[Any], wanted: AuditFilter) -> Select[Any]:
    for column in ("action", "actor", "subject"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(audit_entries.c[column] == value)
    return query


def _read_entry(row: Any) -> tuple[Entry, str]:  # noqa: ANN401  (a row has no better type)
    entry = Entry(row.number, row.at, row.actor, row.through, row.action, row.subject, row.detail)
    return entry, row.hash


def _read_order(row: Any) -> Order:  # noqa: ANN401  (a row has no better type)
    return Order(row.number, row.kind, row.app_id, row.payload, row.applied_at, row.result, row.failure)
