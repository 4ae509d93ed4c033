"""The one row of the notifications: what was reported and what waits, and which process looks at present."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import JSON, Column, Integer, String, Table, select, update

from service.database import Transaction
from service.database.columns import UtcDateTime, count_changed, insert_into, metadata
from service.notify.changes import State

LEASE: Final = timedelta(minutes=5)
"""Longer than a look with all its sending takes."""

notifications: Final = Table(
    "notifications",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("claimed_by", String(200), nullable=False),
    Column("claimed_until", UtcDateTime, nullable=False),
    Column("state", JSON, nullable=False),
)

_STATES: Final = TypeAdapter(State)


def read_state(tx: Transaction) -> State:
    """What was reported, and what waits."""
    row = tx.execute(select(notifications.c.state)).scalar_one_or_none()
    return State() if row is None else _STATES.validate_python(row)


def is_claimed(tx: Transaction, now: datetime) -> bool:
    """Whether a process looks now, or has done so just before; a claim from a clock that was set back counts not."""
    until = tx.execute(select(notifications.c.claimed_until)).scalar_one_or_none()
    return until is not None and now < until <= now + 2 * LEASE


def claim(tx: Transaction, name: str, now: datetime) -> State | None:
    """Let this process look, and nobody else; None if another one does."""
    row = insert_into(tx, notifications).values(id=1, claimed_by="", claimed_until=now, state=_dump(State()))
    tx.execute(row.on_conflict_do_nothing())
    tx.execute(select(notifications.c.id).with_for_update())
    if is_claimed(tx, now):
        return None
    tx.execute(update(notifications).values(claimed_by=name, claimed_until=now + LEASE))
    return read_state(tx)


def save(tx: Transaction, name: str, state: State, until: datetime) -> bool:
    """Write down where it stands; False, and nothing, if another process has taken over. Nobody looks `until` then."""
    ours = update(notifications).where(notifications.c.claimed_by == name)
    return count_changed(tx.execute(ours.values(state=_dump(state), claimed_until=until))) == 1


def _dump(state: State) -> object:
    return _STATES.dump_python(state, mode="json")
