"""Claims: which files a run has taken in hand. A claim names its run, and only that run may use it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, or_, select, tuple_, update

from service.core.model import FileState, Lane, Outcome, Vendor
from service.db.models import IS_CLAIMED, IS_OPEN, IS_RETRYING, IS_SCHEDULED, AttemptRow, MediaFileRow, RunRow, RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

Cursor = tuple[datetime, int]
"""The due date and number of the last file looked at: a pass goes through what is due once, in this order."""


def has_cooled(now: datetime) -> ColumnElement[bool]:
    """No change of rules keeps a file waiting any more."""
    return or_(MediaFileRow.cooling_until.is_(None), MediaFileRow.cooling_until <= now)


def list_due_lanes(session: Session, now: datetime, *, only_retries: bool = False) -> list[Lane]:
    """The apps and vendors that have files to delete now."""
    query = select(MediaFileRow.app_id, MediaFileRow.vendor).distinct()
    if only_retries:
        # State and due date in forms that no index answers: SQLite would prefer the one on states, and read them all.
        is_scheduled = MediaFileRow.state.not_in([state for state in FileState if state is not FileState.SCHEDULED])
        is_due = func.coalesce(MediaFileRow.due_at, now) <= now
        query = query.where(IS_RETRYING, MediaFileRow.retry_at <= now, is_scheduled, is_due)
    else:
        query = query.where(IS_SCHEDULED, MediaFileRow.due_at <= now)
    query = query.where(has_cooled(now))
    return sorted((app_id, vendor) for app_id, vendor in session.execute(query))


def next_due(
    session: Session,
    lane: Lane,
    now: datetime,
    after: Cursor | None,
    limit: int,
    *,
    only_retries: bool = False,
    lock: bool = True,
) -> list[MediaFileRow]:
    """The next files of a lane whose time has come, oldest first; locked ones of somebody else are passed over."""
    app_id, vendor = lane
    query = select(MediaFileRow).where(
        IS_SCHEDULED,
        MediaFileRow.app_id == app_id,
        MediaFileRow.vendor == vendor,
        MediaFileRow.due_at <= now,
        has_cooled(now),
    )
    if only_retries:
        query = query.where(MediaFileRow.retry_at <= now)
    else:
        # An attempt in the future was made under a clock that has jumped back since; its retry may be years away.
        ahead = MediaFileRow.last_attempt_at > now
        query = query.where(or_(MediaFileRow.retry_at.is_(None), MediaFileRow.retry_at <= now, ahead))
    if after is not None:
        query = query.where(tuple_(MediaFileRow.due_at, MediaFileRow.id) > tuple_(*after))
    query = query.order_by(MediaFileRow.due_at, MediaFileRow.id).limit(limit)
    return list(session.scalars(query.with_for_update(skip_locked=True) if lock else query))


def count_due(session: Session, lane: Lane, now: datetime) -> int:
    """How many files of a lane are due, those that wait for a retry included."""
    app_id, vendor = lane
    query = select(func.count()).where(
        IS_SCHEDULED,
        MediaFileRow.app_id == app_id,
        MediaFileRow.vendor == vendor,
        MediaFileRow.due_at <= now,
        has_cooled(now),
    )
    return session.scalar(query.select_from(MediaFileRow)) or 0


def count_waiting(session: Session, now: datetime) -> int:
    """How many due files wait for another attempt."""
    query = select(func.count()).select_from(MediaFileRow)
    return session.scalar(query.where(IS_SCHEDULED, IS_RETRYING, MediaFileRow.due_at <= now)) or 0


def claim(session: Session, rows: Sequence[MediaFileRow], run_id: int, now: datetime) -> list[MediaFileRow]:
    """Take scheduled files for a run; returns those that were really free."""
    condition = update(MediaFileRow).where(
        MediaFileRow.id.in_([row.id for row in rows]),
        MediaFileRow.state == FileState.SCHEDULED,
        MediaFileRow.claim_run_id.is_(None),
    )
    statement = condition.values(state=FileState.DELETING, claim_run_id=run_id, claimed_at=now)
    options = {"synchronize_session": False}
    taken = list(session.scalars(statement.returning(MediaFileRow.id), execution_options=options))
    return claimed_by(session, run_id, taken)


def claimed_by(session: Session, run_id: int, file_keys: Sequence[int]) -> list[MediaFileRow]:
    """Those of these files that the run still has in hand, locked, in one order for every transaction."""
    query = select(MediaFileRow).where(
        MediaFileRow.id.in_(file_keys), MediaFileRow.claim_run_id == run_id, MediaFileRow.state == FileState.DELETING
    )
    query = query.order_by(MediaFileRow.id).with_for_update().execution_options(populate_existing=True)
    return list(session.scalars(query))


def count_claimed(session: Session, run_id: int, file_keys: Sequence[int]) -> int:
    """How many of these files the run still has in hand."""
    query = select(func.count()).where(
        MediaFileRow.id.in_(file_keys), MediaFileRow.claim_run_id == run_id, MediaFileRow.state == FileState.DELETING
    )
    return session.scalar(query) or 0


def release(row: MediaFileRow, reason: str, now: datetime) -> None:
    """Give one claimed file back; it is due as before."""
    row.state, row.state_reason, row.decided_at = FileState.SCHEDULED, reason, now
    row.claim_run_id = row.claimed_at = None


def release_claims(session: Session, run_id: int, reason: str, now: datetime) -> int:
    """Give back whatever a run still has in hand; the files are due as before."""
    statement = (
        update(MediaFileRow)
        .where(MediaFileRow.claim_run_id == run_id, MediaFileRow.state == FileState.DELETING)
        .values(state=FileState.SCHEDULED, state_reason=reason, claim_run_id=None, claimed_at=None, decided_at=now)
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def close_open_attempts(session: Session, run_id: int, now: datetime) -> int:
    """Attempts of a run that ended without recording an answer: ZEGO may have acted, so their outcome is unknown."""
    message = "the process ended before it could record an answer"
    files = select(AttemptRow.media_file_id).where(AttemptRow.run_id == run_id, IS_OPEN)
    session.execute(
        update(MediaFileRow)
        .where(MediaFileRow.id.in_(files), MediaFileRow.state.not_in([FileState.DELETED, FileState.GONE]))
        .values(
            last_outcome=Outcome.UNKNOWN, last_code="", last_message=message, last_request_id="", last_attempt_at=now
        )
    )
    statement = (
        update(AttemptRow)
        .where(AttemptRow.run_id == run_id, IS_OPEN)
        .values(outcome=Outcome.UNKNOWN, charged=False, message=message, ended_at=now)
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def list_stale_runs(session: Session, now: datetime, patience: timedelta) -> list[int]:
    """Runs that look alive but have been silent for longer than `patience`, and ended ones that left claims behind.

    A sign of life from the future was given under a clock that has jumped back since.
    """
    silent = or_(RunRow.heartbeat_at <= now - patience, RunRow.heartbeat_at > now + patience)
    query = select(RunRow.id).where(RunRow.state == RunState.RUNNING, silent)
    orphaned = (
        select(RunRow.id)
        .join(MediaFileRow, MediaFileRow.claim_run_id == RunRow.id)
        .where(IS_CLAIMED, RunRow.state != RunState.RUNNING)
    )
    return sorted({*session.scalars(query), *session.scalars(orphaned)})


def lanes_with_claims(session: Session) -> list[tuple[str, Vendor, int]]:
    """App, vendor and count of the files that are in some run's hands."""
    query = (
        select(MediaFileRow.app_id, MediaFileRow.vendor, func.count())
        .where(IS_CLAIMED)
        .group_by(MediaFileRow.app_id, MediaFileRow.vendor)
    )
    return [(app_id, vendor, count) for app_id, vendor, count in session.execute(query)]
