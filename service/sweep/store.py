"""The tables of the sweep; queries about runs, calls, attempts, plans and app states; dropping old history."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import text as sql

from service.audit.store import audit_entries
from service.callbacks.store import callbacks
from service.database import Transaction
from service.database.columns import BigId, columns_of, count_changed, insert_into, metadata, partial_index
from service.leader.leader import Leader
from service.model import Outcome, Vendor
from service.sweep.records import AppState, Attempt, Call, Plan, PlanState, Run, RunState, Trigger

IS_OPEN: Final = sql("outcome IS NULL")
_IS_PRUNABLE: Final = sql("outcome IN ('retryable', 'rejected', 'blocked')")
_IS_OPEN_PLAN: Final = sql("state = 'open'")

runs: Final = Table(
    "runs",
    metadata,
    *columns_of(Run, id=Column("id", BigId, primary_key=True)),
    Index("ix_runs_state", "state"),
)

calls: Final = Table(
    "calls",
    metadata,
    *columns_of(
        Call,
        id=Column("id", BigId, primary_key=True),
        run_id=Column("run_id", BigInteger, ForeignKey("runs.id"), nullable=False, index=True),
        app_id=String(20),
        http_status=Integer,
    ),
)

attempts: Final = Table(
    "attempts",
    metadata,
    *columns_of(
        Attempt,
        id=Column("id", BigId, primary_key=True),
        call_id=Column("call_id", BigInteger, ForeignKey("calls.id"), nullable=False, index=True),
        run_id=Column("run_id", BigInteger, ForeignKey("runs.id"), nullable=False, index=True),
        media_file_id=Column("media_file_id", BigInteger, ForeignKey("media_files.id"), nullable=False),
        revision=Integer,
    ),
    Index("ix_attempts_file", "media_file_id", "id"),
    partial_index("ix_attempts_open", IS_OPEN, "call_id"),
    partial_index("ix_attempts_prunable", _IS_PRUNABLE, "opened_at", "id"),
)

plans: Final = Table(
    "plans",
    metadata,
    *columns_of(
        Plan,
        run_id=Column("run_id", BigInteger, ForeignKey("runs.id"), primary_key=True),
        app_id=Column("app_id", String(20), primary_key=True),
        revision=Integer,
    ),
    partial_index("ix_plans_open", _IS_OPEN_PLAN, "app_id", unique=True),
)

app_states: Final = Table(
    "app_states",
    metadata,
    *columns_of(
        AppState,
        app_id=Column("app_id", String(20), primary_key=True),
        vendor=Column("vendor", String(16), primary_key=True),  # empty: the whole app
        failures=Integer,
    ),
)

_PRUNED_AT_ONCE: Final = 500
_TOTALS: Final = ("calls", "unanswered", *Outcome, "purges_failed", "freed_s", "freed_bytes")


def start_run(tx: Transaction, trigger: Trigger, worker: str, now: datetime) -> int:
    """Write down that a run begins; returns its number, the next one.

    (Only the leader does, so not a sequence: those leave a gap for each transaction that fails. The newest run is never
    dropped.)
    """
    number = select(func.coalesce(func.max(runs.c.id), 0) + 1).scalar_subquery()
    row = insert(runs).values(id=number, trigger=trigger, state=RunState.RUNNING, started_at=now, worker=worker)
    nothing = dict.fromkeys(_TOTALS, 0)
    return int(tx.execute(row.values(nothing).returning(runs.c.id)).scalar_one())


def find_newest_moment(tx: Transaction) -> datetime | None:
    """The newest time on record: of the last callback, audit entry and run, and of the last call of that run."""
    last_run = select(func.max(runs.c.id)).scalar_subquery()
    called_at = func.max(func.coalesce(calls.c.answered_at, calls.c.opened_at))
    newest = (
        select(callbacks.c.received_at).order_by(callbacks.c.id.desc()).limit(1),
        select(audit_entries.c.at).order_by(audit_entries.c.number.desc()).limit(1),
        select(func.coalesce(runs.c.finished_at, runs.c.started_at)).order_by(runs.c.id.desc()).limit(1),
        select(called_at).where(calls.c.run_id == last_run),
    )
    found = tx.execute(select(*(each.scalar_subquery() for each in newest))).one()
    return max(filter(None, found), default=None)


def add_to_totals(tx: Transaction, run_id: int, more: Mapping[str, float]) -> None:
    """Add to the totals of a run what one transaction changes about its attempts."""
    totals = {name: runs.c[name] + count for name, count in more.items()}
    tx.execute(update(runs).where(runs.c.id == run_id).values(totals))


def finish_run(tx: Transaction, run_id: int, state: RunState, now: datetime, note: str | None) -> Run:
    """Write down how a run ended; returns its record."""
    ended = update(runs).where(runs.c.id == run_id).values(state=state, finished_at=now, note=note)
    return Run(*tx.execute(ended.returning(*runs.c)).one())


def find_run(tx: Transaction, run_id: int) -> Run | None:
    """One run."""
    row = tx.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
    return None if row is None else Run(*row)


def list_runs(tx: Transaction, limit: int | None = None, *, before: int | None = None) -> list[Run]:
    """Runs, the newest first, those below `before`."""
    query = select(runs).order_by(runs.c.id.desc()).limit(limit)
    return [Run(*row) for row in tx.execute(query if before is None else query.where(runs.c.id < before))]


def count_runs(tx: Transaction) -> dict[RunState, int]:
    """How many runs there are in each state."""
    query = select(runs.c.state, func.count()).group_by(runs.c.state)
    return {state: count for state, count in tx.execute(query)}  # noqa: C416  (dict() loses the types)


def find_last_schedule(tx: Transaction) -> datetime | None:
    """When the newest run on schedule that was not cut short has begun."""
    is_whole = (runs.c.trigger == Trigger.SCHEDULE, runs.c.state.not_in([RunState.LOST, RunState.INTERRUPTED]))
    return tx.execute(select(runs.c.started_at).where(*is_whole).order_by(runs.c.id.desc()).limit(1)).scalar()


def list_deleted(tx: Transaction, since: datetime) -> list[tuple[datetime, int, float, int]]:
    """How many files each run since a moment has deleted, with when it began; and their seconds and bytes."""
    columns = (runs.c.started_at, runs.c.deleted, runs.c.freed_s, runs.c.freed_bytes)
    return [tuple(row) for row in tx.execute(select(*columns).where(runs.c.started_at >= since, runs.c.deleted > 0))]


def list_calls(tx: Transaction, run_id: int, limit: int | None = None, *, after: int = 0) -> list[Call]:
    """The calls of a run in their order, beyond the call `after`."""
    query = select(calls).where(calls.c.run_id == run_id, calls.c.id > after).order_by(calls.c.id).limit(limit)
    return [Call(*row) for row in tx.execute(query)]


def list_attempts(
    tx: Transaction, limit: int | None = None, *, run_id: int | None = None, file: int | None = None, after: int = 0
) -> list[Attempt]:
    """The attempts of a run or on a file (its number) in their order, beyond the attempt `after`."""
    query = select(attempts).where(attempts.c.id > after).order_by(attempts.c.id).limit(limit)
    for column, value in ((attempts.c.run_id, run_id), (attempts.c.media_file_id, file)):
        query = query if value is None else query.where(column == value)
    return [Attempt(*row) for row in tx.execute(query)]


def find_attempts(tx: Transaction, numbers: Collection[int]) -> dict[int, Attempt]:
    """Attempts by number (`MediaFile.last_attempt_id`)."""
    query = select(attempts).where(attempts.c.id.in_(sorted(numbers)))
    return {row.id: Attempt(*row) for row in tx.execute(query)} if numbers else {}


def count_attempts(tx: Transaction, run_id: int) -> int:
    """How many attempts of a run are on record."""
    return int(tx.execute(select(func.count()).where(attempts.c.run_id == run_id)).scalar_one())


def count_calls(tx: Transaction, run_id: int) -> int:
    """How many calls of a run are on record."""
    return int(tx.execute(select(func.count()).where(calls.c.run_id == run_id)).scalar_one())


def add_plan(tx: Transaction, plan: Plan) -> None:
    """Store a plan."""
    tx.execute(insert(plans).values(asdict(plan)))


def list_plans(
    tx: Transaction, *, app_id: str | None = None, run_id: int | None = None, only_open: bool = False
) -> list[Plan]:
    """Plans by run and app: those of one app, of one run, or those that are open, of which each app has one at most."""
    query = select(plans).order_by(plans.c.run_id, plans.c.app_id)
    for column, value in ((plans.c.app_id, app_id), (plans.c.run_id, run_id)):
        query = query if value is None else query.where(column == value)
    return [Plan(*row) for row in tx.execute(query.where(_IS_OPEN_PLAN) if only_open else query)]


def approve_plans(tx: Transaction, run_id: int, revision: int, by: str, now: datetime) -> list[str]:
    """Approve the open plans of a run that were made under these rules; returns the apps."""
    opened = update(plans).where(_IS_OPEN_PLAN, plans.c.run_id == run_id, plans.c.revision == revision)
    approved = opened.values(state=PlanState.APPROVED, ended_at=now, ended_by=by)
    return sorted(tx.execute(approved.returning(plans.c.app_id)).scalars())


def expire_plan(tx: Transaction, app_id: str, by: str, now: datetime) -> None:
    """End the open plan of an app, if there is one: nobody has to decide about it any more."""
    opened = update(plans).where(_IS_OPEN_PLAN, plans.c.app_id == app_id)
    tx.execute(opened.values(state=PlanState.EXPIRED, ended_at=now, ended_by=by))


def use_plan(tx: Transaction, run_id: int, app_id: str, count: int) -> None:
    """Count files that were called because a plan was approved."""
    of_app = update(plans).where(plans.c.run_id == run_id, plans.c.app_id == app_id)
    tx.execute(of_app.values(called=plans.c.called + count))


def list_app_states(tx: Transaction, app_id: str | None = None) -> list[AppState]:
    """Why apps (or one app) are not called at the moment, by app and vendor."""
    query = select(app_states).order_by(app_states.c.app_id, app_states.c.vendor)
    rows = tx.execute(query if app_id is None else query.where(app_states.c.app_id == app_id))
    return [AppState(app, Vendor(vendor) if vendor else None, *rest) for app, vendor, *rest in rows]


def save_app_state(tx: Transaction, state: AppState) -> None:
    """Write down why an app, or one vendor of it, is not called; what stood there before is replaced."""
    row = asdict(state) | {"vendor": state.vendor or ""}
    insertion = insert_into(tx, app_states).values(row)
    tx.execute(insertion.on_conflict_do_update(index_elements=["app_id", "vendor"], set_=row))


def clear_app_states(tx: Transaction, app_id: str, vendor: Vendor) -> bool:
    """A call of this app and vendor worked: nothing stands in the way of either any more. True if something did."""
    stood = delete(app_states).where(app_states.c.app_id == app_id, app_states.c.vendor.in_(["", vendor.value]))
    return bool(count_changed(tx.execute(stood)))


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


def _drop_attempts(tx: Transaction, before: datetime, after: int) -> list[int]:
    """Drop the next attempts beyond number `after` whose file was asked for again since; returns their numbers."""
    later = attempts.alias()
    is_repeated = select(later.c.id).where(
        later.c.media_file_id == attempts.c.media_file_id, later.c.id > attempts.c.id, later.c.outcome.is_not(None)
    )
    query = select(attempts.c.id, attempts.c.call_id).where(
        _IS_PRUNABLE, attempts.c.opened_at < before, attempts.c.id > after, is_repeated.exists()
    )
    found = tx.execute(query.order_by(attempts.c.id).limit(_PRUNED_AT_ONCE)).all()
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
    numbers = list(tx.execute(query.order_by(runs.c.id).limit(_PRUNED_AT_ONCE)).scalars())
    return count_changed(tx.execute(delete(runs).where(runs.c.id.in_(numbers)))) if numbers else 0
