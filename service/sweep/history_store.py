"""Queries that drop old history of the sweep, and count what is not applied yet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select

from service.audit.order import RUN_REQUESTS
from service.audit.store import orders
from service.callbacks.store import IS_PENDING, callbacks
from service.database import Transaction
from service.database.schema import count_changed
from service.sweep.records import RunState, Trigger
from service.sweep.store import IS_PRUNABLE, attempts, calls, plans, runs


def drop_attempts(tx: Transaction, before: datetime, after: int, limit: int) -> list[int]:
    """Drop attempts opened before a moment that ended nothing and whose file was asked for again since.

    Those beyond number `after`, up to `limit`, and the calls that none is left of. Returns their numbers, in order.
    """
    later = attempts.alias()
    is_repeated = select(later.c.id).where(
        later.c.media_file_id == attempts.c.media_file_id, later.c.id > attempts.c.id, later.c.outcome.is_not(None)
    )
    query = select(attempts.c.id, attempts.c.call_id).where(
        IS_PRUNABLE, attempts.c.opened_at < before, attempts.c.id > after, is_repeated.exists()
    )
    found = tx.execute(query.order_by(attempts.c.id).limit(limit)).all()
    numbers = [row.id for row in found]
    if numbers:
        tx.execute(delete(attempts).where(attempts.c.id.in_(numbers)))
        is_used = select(attempts.c.id).where(attempts.c.call_id == calls.c.id).exists()
        tx.execute(delete(calls).where(calls.c.id.in_({row.call_id for row in found}), ~is_used))
    return numbers


def drop_runs(tx: Transaction, before: datetime, limit: int) -> int:
    """Drop runs that ended before a moment and left nothing behind; the newest of each trigger stay."""
    newest = select(func.max(runs.c.id)).group_by(runs.c.trigger)
    # (Of schedules the newest that was not cut short says when the next one is due.)
    whole = select(func.coalesce(func.max(runs.c.id), 0)).where(
        runs.c.trigger == Trigger.SCHEDULE, runs.c.state == RunState.DONE
    )
    query = select(runs.c.id).where(
        runs.c.state != RunState.RUNNING,
        runs.c.started_at < before,
        runs.c.id.not_in(newest),
        runs.c.id.not_in(whole),
        ~select(calls.c.id).where(calls.c.run_id == runs.c.id).exists(),
        ~select(attempts.c.id).where(attempts.c.run_id == runs.c.id).exists(),
        ~select(plans.c.run_id).where(plans.c.run_id == runs.c.id).exists(),
    )
    numbers = list(tx.execute(query.order_by(runs.c.id).limit(limit)).scalars())
    return count_changed(tx.execute(delete(runs).where(runs.c.id.in_(numbers)))) if numbers else 0


def count_unapplied(tx: Transaction) -> tuple[int, int]:
    """How many orders are not applied, and how many callbacks are not understood yet."""
    unfinished = (orders.c.applied_at.is_(None), orders.c.kind.not_in(sorted(RUN_REQUESTS)))
    waiting = tx.execute(select(func.count()).select_from(orders).where(*unfinished)).scalar_one()
    pending = tx.execute(select(func.count()).select_from(callbacks).where(IS_PENDING)).scalar_one()
    return waiting, pending
