"""The table of holds."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Select, String, Table, and_, func, insert, or_, select, text, update

from service.database import Transaction
from service.database.columns import BigId, UtcDateTime, columns_of, count_changed, metadata, partial_index
from service.model import Hold

_IS_STANDING: Final = text("released_at IS NULL")

holds: Final = Table(
    "holds",
    metadata,
    *columns_of(
        Hold,
        id=Column("id", BigId, primary_key=True),
        app_id=String(20),
        placed_at=Column("placed_at", UtcDateTime, nullable=False),
    ),
    # When its files were flagged because it had ended by itself.
    Column("ended_at", UtcDateTime),
    partial_index("ix_holds_standing", _IS_STANDING, "app_id"),
)

_FIELDS: Final = tuple(holds.c[name] for name in Hold.__dataclass_fields__)


def add_hold(tx: Transaction, hold: Hold) -> int:
    """Store a hold; returns its number. In force when the transaction commits."""
    facts = asdict(hold)
    del facts["id"]
    return int(tx.execute(insert(holds).values(facts).returning(holds.c.id)).scalar_one())


def find_hold(tx: Transaction, hold_id: int) -> Hold | None:
    """One hold."""
    row = tx.execute(select(*_FIELDS).where(holds.c.id == hold_id)).one_or_none()
    return None if row is None else Hold(*row)


def list_holds(
    tx: Transaction, limit: int | None = None, *, after: int = 0, only_standing: bool = False, app_id: str | None = None
) -> list[Hold]:
    """Holds by number, beyond `after`; without those that were released, if asked so (those that ended are there)."""
    query = _filter(select(*_FIELDS), only_standing=only_standing, app_id=app_id)
    return [Hold(*row) for row in tx.execute(query.where(holds.c.id > after).order_by(holds.c.id).limit(limit))]


def count_holds(tx: Transaction, *, only_standing: bool = False, app_id: str | None = None) -> int:
    """How many holds there are to list."""
    query = _filter(select(func.count(holds.c.id)), only_standing=only_standing, app_id=app_id)
    return int(tx.execute(query).scalar_one())


def release_hold(tx: Transaction, hold_id: int, released_by: str, now: datetime) -> bool:
    """Release a hold; False if it was released before, or never was."""
    standing = update(holds).where(holds.c.id == hold_id, _IS_STANDING)
    return count_changed(tx.execute(standing.values(released_at=now, released_by=released_by))) == 1


def list_turned_holds(tx: Transaction, now: datetime) -> list[Hold]:
    """Holds that have ended by themselves, or had by a clock that was set back since, and that is not noted yet."""
    has_ended = and_(holds.c.until <= now, holds.c.ended_at.is_(None))
    is_revived = and_(holds.c.until > now, holds.c.ended_at.is_not(None))
    query = select(*_FIELDS).where(_IS_STANDING, or_(has_ended, is_revived))
    return [Hold(*row) for row in tx.execute(query)]


def note_end(tx: Transaction, hold_id: int, now: datetime | None) -> None:
    """Write down that the files of a hold that has ended were flagged; None: it is in force again."""
    tx.execute(update(holds).where(holds.c.id == hold_id).values(ended_at=now))


def _filter(query: Select[Any], *, only_standing: bool, app_id: str | None) -> Select[Any]:
    if only_standing:
        query = query.where(_IS_STANDING)
    return query if app_id is None else query.where(holds.c.app_id == app_id)
