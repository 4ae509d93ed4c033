"""Dropping history that no proof and no decision needs (HISTORY_KEEP), and counting what is not applied yet."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, select

from service.audit.order import RUN_REQUESTS
from service.audit.store import orders
from service.callbacks.store import IS_PENDING, callbacks
from service.database import Transaction
from service.database.schema import count_changed
from service.leader.leader import Leader
from service.sweep.records import RunState, Trigger
from service.sweep.store import IS_PRUNABLE, attempts, calls, plans, runs

_BATCH: Final = 500


def prune_history(leader: Leader, before: datetime) -> int:
    """Drop old attempts that ended nothing, calls that none is left of, and runs that did nothing; returns how many.

    What ended a file stays, and so does every attempt of unknown outcome: whoever finds the file gone later credits it.
    """
    dropped, after = 0, 0
    while numbers := leader.transact(lambda tx: _drop_attempts(tx, before, after)):  # noqa: B023  (called at once)
        dropped, after = dropped + len(numbers), numbers[-1]
    while count := leader.transact(lambda tx: _drop_runs(tx, before)):
        dropped += count
    return dropped


def count_unapplied(tx: Transaction) -> tuple[int, int]:
    """How many orders are not applied, and how many callbacks are not understood yet."""
    unfinished = (orders.c.applied_at.is_(None), orders.c.kind.not_in(sorted(RUN_REQUESTS)))
    waiting = tx.execute(select(func.count()).select_from(orders).where(*unfinished)).scalar_one()
    pending = tx.execute(select(func.count()).select_from(callbacks).where(IS_PENDING)).scalar_one()
    return waiting, pending


def _drop_attempts(tx: Transaction, before: datetime, after: int) -> list[int]:
    """Drop the next attempts beyond number `after` whose file was asked for again since; returns their numbers."""
    later = attempts.alias()
    is_repeated = select(later.c.id).where(
        later.c.media_file_id == attempts.c.media_file_id, later.c.id > attempts.c.id, later.c.outcome.is_not(None)
    )
    query = select(attempts.c.id, attempts.c.call_id).where(
        IS_PRUNABLE, attempts.c.opened_at < before, attempts.c.id > after, is_repeated.exists()
    )
    found = tx.execute(query.order_by(attempts.c.id).limit(_BATCH)).all()
    numbers = [row.id for row in found]
    if numbers:
        tx.execute(delete(attempts).where(attempts.c.id.in_(numbers)))
        is_used = select(attempts.c.id).where(attempts.c.call_id == calls.c.id).exists()
        tx.execute(delete(calls).where(calls.c.id.in_({row.call_id for row in found}), ~is_used))
    return numbers


def _drop_runs(tx: Transaction, before: datetime) -> int:
    """Drop runs that left nothing behind; of each trigger the newest stays, which says when the next one is due."""
    # (Of schedules also the newest that was not cut short.)
    is_whole = (runs.c.trigger == Trigger.SCHEDULE, runs.c.state == RunState.DONE)
    query = select(runs.c.id).where(
        runs.c.state != RunState.RUNNING,
        runs.c.started_at < before,
        runs.c.id.not_in(select(func.max(runs.c.id)).group_by(runs.c.trigger)),
        runs.c.id.not_in(select(func.coalesce(func.max(runs.c.id), 0)).where(*is_whole)),
        *(~select(table.c.run_id).where(table.c.run_id == runs.c.id).exists() for table in (calls, attempts, plans)),
    )
    numbers = list(tx.execute(query.order_by(runs.c.id).limit(_BATCH)).scalars())
    return count_changed(tx.execute(delete(runs).where(runs.c.id.in_(numbers)))) if numbers else 0
