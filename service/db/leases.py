"""Leases: one process at a time, and a fence that tells a late one that its time is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from service.db.models import LeaseRow
from service.db.schema import insert_into

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease, since which renewal, until when."""

    name: str
    holder: str
    fence: int
    renewed_at: datetime
    expires_at: datetime

    def is_held(self, now: datetime, duration: timedelta) -> bool:
        """Somebody holds it. A renewal well in the future was made under a clock that has jumped back since."""
        return bool(self.holder) and self.expires_at > now and self.renewed_at <= now + duration


def take_lease(session: Session, name: str, holder: str, now: datetime, duration: timedelta) -> int | None:
    """Take a lease that is free or expired; returns its new fence, or None while somebody else holds it."""
    free = insert_into(session, LeaseRow).values(name=name, holder="", fence=0, renewed_at=now, expires_at=now)
    session.execute(free.on_conflict_do_nothing())
    row = session.scalars(select(LeaseRow).where(LeaseRow.name == name).with_for_update()).one()
    if _lease(row).is_held(now, duration):
        return None
    row.holder, row.fence, row.renewed_at, row.expires_at = holder, row.fence + 1, now, now + duration
    session.flush()
    return row.fence


def renew_lease(session: Session, name: str, fence: int, now: datetime, duration: timedelta) -> bool:
    """Extend a lease; False when it went to somebody else."""
    return _update(session, name, fence, renewed_at=now, expires_at=now + duration)


def release_lease(session: Session, name: str, fence: int, now: datetime) -> None:
    """Give a lease back before it expires."""
    _update(session, name, fence, holder="", expires_at=now)


def find_lease(session: Session, name: str) -> Lease | None:
    """How a lease stands."""
    row = session.get(LeaseRow, name)
    return _lease(row) if row else None


def holds_lease(session: Session, name: str, fence: int) -> bool:
    """The lease still carries this fence."""
    return session.scalar(select(LeaseRow.fence).where(LeaseRow.name == name)) == fence


def list_leases(session: Session, prefix: str) -> list[Lease]:
    """How the leases stand whose names begin with `prefix`."""
    rows = session.scalars(
        select(LeaseRow).where(LeaseRow.name.startswith(prefix, autoescape=True)).order_by(LeaseRow.name)
    )
    return [Lease(row.name, row.holder, row.fence, row.renewed_at, row.expires_at) for row in rows]


def forget_leases(session: Session, prefix: str, expired_before: datetime) -> None:
    """Drop the leases whose names begin with `prefix` and that expired before a moment."""
    session.execute(
        delete(LeaseRow).where(LeaseRow.name.startswith(prefix, autoescape=True), LeaseRow.expires_at < expired_before)
    )


def leave_mark(session: Session, name: str, holder: str, now: datetime) -> None:
    """Write down who was here last: a small write that proves that writing works."""
    mark = insert_into(session, LeaseRow).values(name=name, holder=holder, fence=0, renewed_at=now, expires_at=now)
    session.execute(
        mark.on_conflict_do_update(
            index_elements=[LeaseRow.name], set_={"holder": holder, "renewed_at": now, "expires_at": now}
        )
    )


def take_marks(session: Session, prefix: str) -> list[tuple[str, str]]:
    """Take away the marks whose names begin with `prefix`: each is given, as name and holder, to one caller only."""
    taken = delete(LeaseRow).where(LeaseRow.name.startswith(prefix, autoescape=True))
    return sorted((name, holder) for name, holder in session.execute(taken.returning(LeaseRow.name, LeaseRow.holder)))


def _update(session: Session, name: str, fence: int, **values: object) -> bool:
    query = (
        update(LeaseRow).where(LeaseRow.name == name, LeaseRow.fence == fence, LeaseRow.holder != "").values(**values)
    )
    return bool(session.execute(query).rowcount)  # type: ignore[attr-defined]


def _lease(row: LeaseRow) -> Lease:
    return Lease(row.name, row.holder, row.fence, row.renewed_at, row.expires_at)
