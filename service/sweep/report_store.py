"""Queries about what the sweep has ended in a period, in pieces that take little time each."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, select

from service.database import Transaction
from service.files.store import media_files
from service.model import Outcome
from service.sweep.records import Deletion, DeletionTotal
from service.sweep.store import attempts, runs

_ENDED: Final = (Outcome.DELETED, Outcome.GONE)
_REVISION: Final = case((attempts.c.rule.is_not(None), attempts.c.revision))
_SOURCES: Final = {"deleted_at": attempts.c.ended_at, "asked_at": attempts.c.opened_at, "revision": _REVISION}
_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = tuple(
    _SOURCES[name] if name in _SOURCES else (attempts if name in attempts.c else media_files).c[name]
    for name in Deletion.__dataclass_fields__
)


def find_span(tx: Transaction, since: datetime, until: datetime) -> tuple[int, int]:
    """The attempts of the runs of a period are those above the first number, up to the second.

    (There is one run at a time: numbers of runs and of attempts grow with time.)
    """
    is_over = func.coalesce(runs.c.finished_at < since, False)
    first = tx.execute(select(runs.c.id).where(~is_over).order_by(runs.c.id).limit(1)).scalar()
    last = tx.execute(select(runs.c.id).where(runs.c.started_at < until).order_by(runs.c.id.desc()).limit(1)).scalar()
    if first is None or last is None:
        return 0, 0
    run, number = attempts.c.run_id, attempts.c.id
    lowest = tx.execute(select(number).where(run >= first).order_by(run, number).limit(1)).scalar()
    highest = tx.execute(select(number).where(run <= last).order_by(run.desc(), number.desc()).limit(1)).scalar()
    return (lowest or 1) - 1, highest or 0


def list_deletions(
    tx: Transaction, since: datetime, until: datetime, span: tuple[int, int], limit: int
) -> list[Deletion]:
    """What was ended in a period, in the order of the attempts."""
    query = select(*_COLUMNS).join(media_files, media_files.c.id == attempts.c.media_file_id)
    query = query.where(*_conditions(since, until, span)).order_by(attempts.c.id).limit(limit)
    return [Deletion(*row) for row in tx.execute(query)]


def sum_deletions(tx: Transaction, since: datetime, until: datetime, span: tuple[int, int]) -> list[DeletionTotal]:
    """How much of it there is, by outcome, app, rule and revision."""
    by = (attempts.c.outcome, media_files.c.app_id, attempts.c.rule, _REVISION)
    sums = (func.coalesce(func.sum(column), 0) for column in (media_files.c.duration_s, media_files.c.size_bytes))
    query = select(*by, func.count(), *sums).join(media_files, media_files.c.id == attempts.c.media_file_id)
    rows = tx.execute(query.where(*_conditions(since, until, span)).group_by(*by))
    return [
        DeletionTotal(outcome, app_id, rule, revision, files, float(duration), int(size))
        for outcome, app_id, rule, revision, files, duration, size in rows
    ]


def _conditions(since: datetime, until: datetime, span: tuple[int, int]) -> tuple[ColumnElement[bool], ...]:
    at, (above, highest) = attempts.c.ended_at, span
    return (attempts.c.id > above, attempts.c.id <= highest, attempts.c.outcome.in_(_ENDED), at >= since, at < until)
