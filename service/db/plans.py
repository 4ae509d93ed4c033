"""Plans: what a pass wanted to delete of one app when the breaker stopped it, frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select, update

from service.core.model import FileState
from service.db.claims import has_cooled
from service.db.models import MediaFileRow
from service.db.order_models import IS_OPEN_PLAN, PlanRow, PlanState
from service.db.schema import insert_into

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from service.core.breaker import Trip
    from service.core.file_sets import FileSet


def add_plan(session: Session, run_id: int, app_id: str, files: FileSet, trip: Trip, now: datetime) -> bool:
    """Write down an open plan; False when the app has one already."""
    statement = insert_into(session, PlanRow).values(
        run_id=run_id,
        app_id=app_id,
        made_at=now,
        files=files.encode(),
        files_count=len(files),
        present_count=trip.present,
        reason=trip.reason,
        state=PlanState.OPEN,
    )
    return session.scalar(statement.on_conflict_do_nothing().returning(PlanRow.run_id)) is not None


def list_open(session: Session) -> list[PlanRow]:
    """The open plans, by app."""
    return list(session.scalars(select(PlanRow).where(IS_OPEN_PLAN).order_by(PlanRow.app_id)))


def open_runs(session: Session) -> dict[str, int]:
    """The run of each app's open plan."""
    rows = session.execute(select(PlanRow.app_id, PlanRow.run_id).where(IS_OPEN_PLAN))
    return {app_id: run_id for app_id, run_id in rows}  # noqa: C416  (dict() loses the types)


def find_open(session: Session, app_id: str) -> PlanRow | None:
    """The open plan of an app."""
    return session.scalar(select(PlanRow).where(IS_OPEN_PLAN, PlanRow.app_id == app_id))


def list_of_run(session: Session, run_id: int, *, lock: bool = False) -> list[PlanRow]:
    """The plans of one run, by app."""
    query = select(PlanRow).where(PlanRow.run_id == run_id).order_by(PlanRow.app_id)
    return list(session.scalars(query.with_for_update() if lock else query))


def lapse(session: Session, app_ids: Collection[str], by: str, now: datetime) -> list[tuple[str, int]]:
    """End the open plans of these apps, which nobody has to decide about any more; returns app and run of each."""
    statement = update(PlanRow).where(IS_OPEN_PLAN, PlanRow.app_id.in_(list(app_ids)))
    ended = statement.values(state=PlanState.LAPSED, settled_at=now, settled_by=by)
    options = {"synchronize_session": False}
    rows = session.execute(ended.returning(PlanRow.app_id, PlanRow.run_id), execution_options=options)
    return [(app_id, run_id) for app_id, run_id in rows]


def mark_files(session: Session, numbers: Iterable[int], approval: str, now: datetime) -> int:
    """Note on these files, as far as they are due now, what approved their deletion; returns on how many anew."""
    is_due = (MediaFileRow.state == FileState.SCHEDULED, MediaFileRow.due_at <= now, has_cooled(now))
    is_news = or_(MediaFileRow.approval.is_(None), MediaFileRow.approval != approval)
    query = select(MediaFileRow.id).where(MediaFileRow.id.in_(list(numbers)), *is_due, is_news)
    found = list(session.scalars(query.order_by(MediaFileRow.id).with_for_update()))
    session.execute(update(MediaFileRow).where(MediaFileRow.id.in_(found)).values(approval=approval))
    return len(found)
