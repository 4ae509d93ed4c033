"""Counts for the metrics and for what is kept back. Each reads an index only, and no more of it than it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.core.model import FileState
from service.core.purge import NOT_TOLD
from service.db.claims import has_cooled
from service.db.models import IS_OBSERVED, IS_UNPURGED, MediaFileRow, RunRow, RunState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


def count_due(session: Session, now: datetime) -> int:
    """Scheduled files of all apps whose time has come and that have cooled, those that wait for a retry included."""
    # The state as a value, not as the text of the partial index: that index is sorted by app first.
    is_due = (MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at <= now)
    return session.scalar(select(func.count()).where(*is_due, has_cooled(now))) or 0


def oldest_due_at(session: Session, now: datetime) -> datetime | None:
    """When the scheduled file that goes first was due, of those that have cooled; None where none is due."""
    is_due = (MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at <= now)
    query = select(MediaFileRow.due_at).where(*is_due, has_cooled(now))
    return session.scalar(query.order_by(MediaFileRow.due_at).limit(1))


def count_cooling(session: Session, now: datetime) -> tuple[int, datetime | None]:
    """Scheduled files whose date has come but that wait for a cooling-off, and when the last of them is over."""
    is_due = (MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at <= now)
    query = select(func.count(), func.max(MediaFileRow.cooling_until)).where(*is_due, ~has_cooled(now))
    count, until = session.execute(query).one()
    return count, until


def count_held(session: Session, now: datetime) -> int:
    """Held files whose date has come: without the hold they would go."""
    query = select(func.count()).where(MediaFileRow.state == FileState.HELD, MediaFileRow.due_at <= now)
    return session.scalar(query) or 0


def count_observed(session: Session, now: datetime) -> dict[str, int]:
    """How many files each rule that only observes would have let go by now."""
    # (Said by what it is not: SQLite would answer through the index on states, and read every file that is kept.)
    is_kept = MediaFileRow.state.not_in([state for state in FileState if state is not FileState.KEPT])
    query = select(MediaFileRow.rule, func.count()).where(IS_OBSERVED, MediaFileRow.observed_due_at <= now, is_kept)
    rows = session.execute(query.group_by(MediaFileRow.rule).order_by(MediaFileRow.rule))
    return {rule or "": count for rule, count in rows}


def count_failed_purges(session: Session) -> int:
    """Deleted files whose purge from Wangsu's cache failed."""
    return session.scalar(select(func.count()).where(IS_UNPURGED, MediaFileRow.last_cache_code > NOT_TOLD)) or 0


def find_unpurged(session: Session, since: datetime) -> dict[int, str]:
    """Files deleted since then whose purge from Wangsu's cache is not known to be done: its code by their number."""
    query = select(MediaFileRow.id, MediaFileRow.last_cache_code)
    query = query.where(IS_UNPURGED, MediaFileRow.last_attempt_at >= since)
    return dict(sorted((number, code or NOT_TOLD) for number, code in session.execute(query)))


def count_runs_by_state(session: Session) -> dict[RunState, int]:
    """How many passes are in each state."""
    rows = session.execute(select(RunRow.state, func.count()).group_by(RunRow.state))
    return {state: count for state, count in rows}  # noqa: C416  (dict() loses the types)
