"""Holds: orders to keep, standing until they are released or their time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select, update

from service.core.model import Hold
from service.db.order_models import IS_STANDING, HoldRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session


def list_in_force(session: Session, app_ids: Iterable[str], now: datetime) -> list[Hold]:
    """The holds of these apps that are in force, oldest first."""
    in_time = or_(HoldRow.until.is_(None), HoldRow.until > now)
    query = select(HoldRow).where(IS_STANDING, HoldRow.app_id.in_(list(app_ids)), in_time)
    return [hold_of(row) for row in session.scalars(query.order_by(HoldRow.id))]


def newest_number(session: Session, app_id: str) -> int:
    """The number of the newest hold of an app, released ones included; 0 while there is none."""
    return session.scalar(select(func.max(HoldRow.id)).where(HoldRow.app_id == app_id)) or 0


def hold_of(row: HoldRow) -> Hold:
    """A hold as decisions look at it; one that says neither file nor pattern holds the whole app."""
    file = (row.vendor, row.file_id) if row.vendor is not None and row.file_id is not None else None
    pattern = row.stream_pattern if file is not None or row.stream_pattern else "*"
    return Hold(row.app_id, row.reason, file, pattern, row.until, row.id)


def add_hold(session: Session, hold: HoldRow) -> HoldRow:
    """Put a hold in force; it has a number afterwards."""
    session.add(hold)
    session.flush()
    return hold


def find_hold(session: Session, number: int, *, lock: bool = False) -> HoldRow | None:
    """One hold, released ones included."""
    return session.get(HoldRow, number, with_for_update=lock or None)


def list_holds(
    session: Session, app_id: str | None, limit: int, *, after: int = 0, released: bool = False
) -> Sequence[HoldRow]:
    """Holds by number, beyond `after`; those that were released only if asked for."""
    query = select(HoldRow).where(HoldRow.id > after)
    if app_id is not None:
        query = query.where(HoldRow.app_id == app_id)
    if not released:
        query = query.where(IS_STANDING)
    return session.scalars(query.order_by(HoldRow.id).limit(limit)).all()


def list_turns(session: Session) -> list[tuple[int, datetime | None, list[datetime]]]:
    """Of every hold: its number, when its files were last decided, and the moments at which it begins and ends."""
    columns = (HoldRow.id, HoldRow.settled_at, HoldRow.placed_at, HoldRow.released_at, HoldRow.until)
    rows = session.execute(select(*columns).order_by(HoldRow.id))
    return [(number, settled, [turn for turn in turns if turn]) for number, settled, *turns in rows]


def mark_settled(session: Session, hold: HoldRow, now: datetime) -> bool:
    """Note that the files of a hold are decided as of `now`, unless it was released since it was read."""
    as_read = HoldRow.released_at.is_not_distinct_from(hold.released_at)
    statement = update(HoldRow).where(HoldRow.id == hold.id, as_read).values(settled_at=now)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]
