"""Claims: which files a run has taken in hand. A claim names its run, and only that run may use it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_, update

from service.core.model import FileState, Lane, Outcome, Vendor
from service.db.models import IS_CLAIMED, IS_OPEN, IS_RETRYING, IS_SCHEDULED, AttemptRow, MediaFileRow, RunRow, RunState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import InstrumentedAttribute, Session

Cursor = tuple[datetime, int]
"""The due date and number of the last file looked at: a pass goes through what is due once, in this order."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the due files to look at: all, or only those that a condition leaves.

    `only_retries`: those whose time for another attempt has come; `only_passed`: those that the breaker has let through
    before; `approval`: those that this approved.
    """

    only_retries: bool = False
    only_passed: bool = False
    approval: str | None = None


def was_passed() -> ColumnElement[bool]:
    """The breaker has let it through before: a person approved its deletion, or it is being retried."""
    was_asked = (MediaFileRow.last_attempt_at.is_not(None), MediaFileRow.last_attempt_at >= MediaFileRow.due_at)
    return or_(MediaFileRow.approval.is_not(None), and_(MediaFileRow.retry_at.is_not(None), *was_asked))


def is_retried(row: MediaFileRow, due_at: datetime | None) -> bool:
    """A file waits for another attempt, or its time for that has come, and was asked for under its present date.

    One whose date was moved later since is new to the breaker once it is due again. So is one that only waits for its
    app to be let in, or whose run died: these are few, and were counted once before.
    """
    if row.retry_at is None or row.last_attempt_at is None or due_at is None:
        return False
    return row.last_attempt_at >= due_at


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
    wanted: Wanted | None = None,
    *,
    lock: bool = True,
) -> list[MediaFileRow]:
    """The next files of a lane whose time has come, oldest first; locked ones of somebody else are passed over."""
    wanted = wanted or Wanted()
    query = select(MediaFileRow).where(*_is_due(lane, now))
    query = query.where(MediaFileRow.retry_at <= now) if wanted.only_retries else query.where(may_be_asked(now))
    if wanted.only_passed:
        query = query.where(was_passed())
    if wanted.approval is not None:
        query = query.where(MediaFileRow.approval == wanted.approval)
    if after is not None:
        query = query.where(tuple_(MediaFileRow.due_at, MediaFileRow.id) > tuple_(*after))
    query = query.order_by(MediaFileRow.due_at, MediaFileRow.id).limit(limit)
    return list(session.scalars(query.with_for_update(skip_locked=True) if lock else query))


def next_held(session: Session, now: datetime, after: Cursor | None, limit: int) -> list[MediaFileRow]:
    """The next held files whose time has come, oldest first."""
    query = select(MediaFileRow).where(MediaFileRow.state == FileState.HELD, MediaFileRow.due_at <= now)
    if after is not None:
        query = query.where(tuple_(MediaFileRow.due_at, MediaFileRow.id) > tuple_(*after))
    return list(session.scalars(query.order_by(MediaFileRow.due_at, MediaFileRow.id).limit(limit)))


def count_due(session: Session, lane: Lane, now: datetime) -> int:
    """How many files of a lane are due, those that wait for a retry included."""
    return session.scalar(select(func.count()).where(*_is_due(lane, now)).select_from(MediaFileRow)) or 0


def count_new(session: Session, app_id: str, now: datetime) -> int:
    """How many files of an app a pass would ask for now that the breaker has not let through yet."""
    return sum(session.scalar(query) or 0 for query in _queries_of_new(func.count(), app_id, now))


def list_new(session: Session, app_id: str, now: datetime) -> Iterator[int]:
    """The numbers of the files of an app that a pass would ask for now and the breaker has not let through yet."""
    for query in _queries_of_new(MediaFileRow.id, app_id, now):
        yield from session.scalars(query.execution_options(yield_per=10_000))


def has_new(session: Session, numbers: Sequence[int], now: datetime) -> bool:
    """A pass would ask for one of these files now, and the breaker has not let it through yet."""
    is_due = (MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at <= now, has_cooled(now))
    query = select(MediaFileRow.id).where(MediaFileRow.id.in_(numbers), *is_due, may_be_asked(now), ~was_passed())
    return session.scalar(query.limit(1)) is not None


def count_present(session: Session, app_id: str) -> int:
    """How many files of an app are there, as far as anybody knows."""
    ended = MediaFileRow.state.in_([FileState.DELETED, FileState.GONE])
    return session.scalar(select(func.count()).where(MediaFileRow.app_id == app_id, ~ended)) or 0


def count_waiting(session: Session, now: datetime) -> int:
    """How many due files wait for another attempt."""
    query = select(func.count()).select_from(MediaFileRow)
    return session.scalar(query.where(IS_SCHEDULED, IS_RETRYING, MediaFileRow.due_at <= now, has_cooled(now))) or 0


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


def _is_due(lane: Lane, now: datetime) -> tuple[ColumnElement[bool], ...]:
    app_id, vendor = lane
    is_of_lane = (MediaFileRow.app_id == app_id, MediaFileRow.vendor == vendor)
    return (IS_SCHEDULED, *is_of_lane, MediaFileRow.due_at <= now, has_cooled(now))  # type: ignore[return-value]


def may_be_asked(now: datetime) -> ColumnElement[bool]:
    """It does not wait for another attempt."""
    # An attempt in the future was made under a clock that has jumped back since; its retry may be years away.
    ahead = MediaFileRow.last_attempt_at > now
    return or_(MediaFileRow.retry_at.is_(None), MediaFileRow.retry_at <= now, ahead)


def _queries_of_new(
    what: ColumnElement[int] | InstrumentedAttribute[int], app_id: str, now: datetime
) -> Iterator[Select[int]]:
    # One query per vendor: due dates are sorted within those, and only what is due is read.
    for vendor in Vendor:
        yield (
            select(what)
            .select_from(MediaFileRow)
            .where(*_is_due((app_id, vendor), now), may_be_asked(now), ~was_passed())
        )
