"""Erasures: requests that files go now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select, update

from service.core.model import Erasure
from service.db.order_models import ErasureRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session


def find_orders(session: Session, numbers: Iterable[int]) -> dict[int, Erasure]:
    """These erasures as decisions look at them, by number."""
    query = select(ErasureRow.id, ErasureRow.requested_at, ErasureRow.reason).where(ErasureRow.id.in_(list(numbers)))
    return {number: Erasure(number, at, reason) for number, at, reason in session.execute(query)}


def add_erasure(session: Session, erasure: ErasureRow) -> ErasureRow:
    """Write an erasure down; it has a number afterwards."""
    session.add(erasure)
    session.flush()
    return erasure


def find_erasure(session: Session, number: int) -> ErasureRow | None:
    """One erasure."""
    return session.get(ErasureRow, number)


def list_erasures(session: Session, limit: int, *, after: int = 0) -> Sequence[ErasureRow]:
    """Erasures by number, beyond `after`."""
    return session.scalars(select(ErasureRow).where(ErasureRow.id > after).order_by(ErasureRow.id).limit(limit)).all()


def list_unsettled(session: Session, now: datetime) -> Sequence[int]:
    """The numbers of the erasures whose files have not all been told yet, or were told by a clock that ran ahead."""
    unsettled = or_(ErasureRow.settled_at.is_(None), ErasureRow.settled_at > now)
    return session.scalars(select(ErasureRow.id).where(unsettled).order_by(ErasureRow.id)).all()


def mark_settled(session: Session, number: int, now: datetime) -> None:
    """Note that every file of an erasure has been told."""
    session.execute(update(ErasureRow).where(ErasureRow.id == number).values(settled_at=now))
