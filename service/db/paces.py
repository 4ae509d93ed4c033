"""The pace of an app's calls, shared by every process through one row on the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Integer, case, func, literal_column
from sqlalchemy.dialects import postgresql, sqlite

from service.db.models import PaceRow

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.orm import Session

_FURTHEST_AHEAD_US = 10_000_000
_SQLITE_CLOCK = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_POSTGRESQL_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


def reserve_slot(session: Session, app_id: str, interval: timedelta) -> float:
    """Reserve the next moment at which a call of this app may leave; returns the seconds from now until then.

    A moment implausibly far ahead (a clock that jumped back since) is taken as now.
    """
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    # The clock is read inside the statement, after the row's lock was waited for: a slot must not be old when had.
    clock: ColumnElement[int] = literal_column(_SQLITE_CLOCK if is_sqlite else _POSTGRESQL_CLOCK, Integer)
    step = round(interval.total_seconds() * 1_000_000)
    insert = sqlite.insert(PaceRow) if is_sqlite else postgresql.insert(PaceRow)
    latest = func.max if is_sqlite else func.greatest
    sane = case((PaceRow.next_us <= clock + _FURTHEST_AHEAD_US, latest(PaceRow.next_us, clock)), else_=clock)
    statement = (
        insert.values(app_id=app_id, next_us=clock + step)
        .on_conflict_do_update(index_elements=[PaceRow.app_id], set_={"next_us": sane + step})
        .returning(PaceRow.next_us - step, clock)
    )
    slot_us, now_us = session.execute(statement).one()
    return max(int(slot_us) - int(now_us), 0) / 1_000_000
