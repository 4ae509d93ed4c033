"""Counts for the metrics. Each reads an index only, and no more of it than it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.core.model import FileState
from service.db.models import MediaFileRow, RunRow, RunState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


def count_due(session: Session, now: datetime) -> int:
    """Scheduled files of all apps whose time has come, those that wait for a retry included."""
    # The state as a value, not as the text of the partial index: that index is sorted by app first.
    query = select(func.count()).where(MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at <= now)
    return session.scalar(query) or 0


def oldest_due_at(session: Session) -> datetime | None:
    """When the scheduled file that goes first is (or was) due."""
    query = select(MediaFileRow.due_at).where(
        MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at.is_not(None)
    )
    return session.scalar(query.order_by(MediaFileRow.due_at).limit(1))


def count_runs_by_state(session: Session) -> dict[RunState, int]:
    """How many passes are in each state."""
    rows = session.execute(select(RunRow.state, func.count()).group_by(RunRow.state))
    return {state: count for state, count in rows}  # noqa: C416  (dict() loses the types)
