"""Holds: orders to keep, standing until they are released or their time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select

from service.core.model import Hold
from service.db.order_models import IS_STANDING, HoldRow

if TYPE_CHECKING:
    from collections.abc import Iterable
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
