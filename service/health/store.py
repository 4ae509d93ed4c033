"""What doctor, metrics and readiness ask the database, over the tables of all rooms; and a row to prove a write."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Integer, Table, and_, case, delete, false, func, or_, select

from service.audit.store import audit_entries, orders
from service.callbacks.store import callbacks
from service.database import Database, Transaction
from service.database.columns import UtcDateTime, insert_into, metadata
from service.files.store import IS_ELIGIBLE, media_files
from service.listing.store import listings
from service.model import END_STATES, QUARANTINE_VERDICTS, FileState, Verdict, WaitReason
from service.sweep import store as sweep_store
from service.sweep.records import AppState, Run, RunState, Trigger
from service.sweep.store import IS_OPEN, attempts, calls, runs

_ROWS_OF_PROOF: Final = 2_000

readiness: Final = Table(
    "readiness",
    metadata,
    # The number of a process modulo 32: processes do not wait for each other, and rows do not pile up.
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("proved_at", UtcDateTime, nullable=False),
)


def prove_durable(database: Database, now: datetime) -> None:
    """Write and commit a row, as storing a callback does; DatabaseUnavailable if that does not work.

    The inbox has to be as this release knows it: another one may have migrated it since this process has started.
    """

    def write(tx: Transaction) -> None:
        tx.execute(select(callbacks).where(false()))
        row = insert_into(tx, readiness).values(slot=os.getpid() % 32, proved_at=now)
        tx.execute(row.on_conflict_do_update(index_elements=[readiness.c.slot], set_={"proved_at": now}))

    database.transact(write)


def prove_room(database: Database, now: datetime) -> None:
    """Write and commit so much that the database needs new space, and take it back."""
    rows = [{"slot": -number, "proved_at": now} for number in range(1, _ROWS_OF_PROOF)]
    database.transact(lambda tx: tx.execute(insert_into(tx, readiness).on_conflict_do_nothing(), rows))
    database.transact(lambda tx: tx.execute(delete(readiness).where(readiness.c.slot < 0)))


@dataclass(frozen=True, slots=True)
class Due:
    """Files of one app that could be deleted now, and since when the first could be: it was due, and known."""

    app_id: str
    count: int
    oldest: datetime


def list_due(tx: Transaction, now: datetime) -> list[Due]:
    """Scheduled files whose date has come and whose waits are over, by app."""
    columns = media_files.c
    since = case((columns.received_at > columns.call_after, columns.received_at), else_=columns.call_after)
    query = select(columns.app_id, func.count(), func.min(since))
    query = query.where(IS_ELIGIBLE, media_files.c.call_after <= now)
    return [Due(*row) for row in tx.execute(query.group_by(media_files.c.app_id).order_by(media_files.c.app_id))]


def count_waiting(tx: Transaction, now: datetime) -> tuple[int, datetime | None]:
    """Files whose date has come, but that wait for a cooling-off or because of their adoption; and until when."""
    query = select(func.count(), func.max(media_files.c.call_after)).where(
        IS_ELIGIBLE,
        media_files.c.call_after > now,
        media_files.c.due_at <= now,
        media_files.c.wait_reason.in_([WaitReason.COOLING_OFF, WaitReason.ADOPTION]),
    )
    count, until = tx.execute(query).one()
    return count, until


def count_cooling(tx: Transaction, now: datetime) -> int:
    """Files that wait for the cooling-off of a change of rules."""
    columns = media_files.c
    waits = (columns.wait_reason == WaitReason.COOLING_OFF, columns.wait_until > now)
    return int(tx.execute(select(func.count()).where(IS_ELIGIBLE, *waits)).scalar_one())


def count_adopted_soon(tx: Transaction, now: datetime, until: datetime) -> tuple[int, datetime | None]:
    """Adopted files that are deleted between two moments, and when the first of them is."""
    columns = media_files.c
    query = select(func.count(), func.min(columns.call_after)).where(IS_ELIGIBLE, columns.event == "")
    count, first = tx.execute(query.where(columns.call_after > now, columns.call_after <= until)).one()
    return count, first


def count_adopted_kept(tx: Transaction) -> int:
    """Adopted files that are kept: under rules that only KEEP applied, those that wait (its rule matches them all)."""
    adopted = (media_files.c.state == FileState.KEPT, media_files.c.event == "")
    return int(tx.execute(select(func.count()).where(*adopted)).scalar_one())


def count_present_of_others(tx: Transaction, app_ids: Collection[str]) -> dict[str, int]:
    """How many files are there of each app that is none of these."""
    of_others = (media_files.c.app_id.not_in(app_ids), media_files.c.state.not_in(END_STATES))
    query = select(media_files.c.app_id, func.count()).where(*of_others).group_by(media_files.c.app_id)
    return {app_id: count for app_id, count in tx.execute(query)}  # noqa: C416  (dict() loses the types)


def count_callbacks(tx: Transaction) -> dict[Verdict, int]:
    """Stored callbacks by verdict."""
    query = select(callbacks.c.verdict, func.count()).group_by(callbacks.c.verdict)
    return {verdict: count for verdict, count in tx.execute(query)}  # noqa: C416  (dict() loses the types)


class Troubled(NamedTuple):
    """Callbacks of one verdict; of one app, where a good one of it shows that the trouble is over, else of any."""

    verdict: Verdict
    app_id: str | None
    number: int
    newest: datetime
    reason: str  # of one of them


def list_troubled_callbacks(
    tx: Transaction, verdicts: Collection[Verdict], since: datetime, pending_since: datetime
) -> list[Troubled]:
    """Callbacks of these verdicts that were received since a moment; those that are pending for too long."""
    columns = callbacks.c
    is_late = columns.received_at <= pending_since
    is_concerned = case((columns.verdict == Verdict.PENDING, is_late), else_=columns.received_at >= since)
    of_app = case((columns.verdict.in_(sorted(QUARANTINE_VERDICTS - {Verdict.UNKNOWN_APP})), columns.app_id))
    query = select(
        columns.verdict, of_app.label("of_app"), func.count(), func.max(columns.received_at), func.max(columns.reason)
    )
    query = query.where(columns.verdict.in_(sorted(verdicts)), is_concerned)
    rows = tx.execute(query.group_by(columns.verdict, "of_app").order_by(columns.verdict, "of_app"))
    return [Troubled(*row) for row in rows]


def find_last_sweep(tx: Transaction, *, is_finished: bool = False) -> Run | None:
    """The newest run that was more than a pass for retries; with `is_finished`, the newest that has ended by itself."""
    query = select(runs).where(runs.c.trigger != Trigger.RETRY, runs.c.state != RunState.LOST)
    if is_finished:
        query = query.where(runs.c.state.in_([RunState.DONE, RunState.STOPPED]))
    row = tx.execute(query.order_by(runs.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else Run(*row)


def find_highest_call(tx: Transaction) -> int:
    """The number of the newest call; 0 before there was any."""
    return tx.execute(select(func.max(calls.c.id))).scalar() or 0


def list_open_calls(tx: Transaction) -> list[int]:
    """Calls of which something is not recorded yet."""
    return list(tx.execute(select(attempts.c.call_id).where(IS_OPEN).distinct()).scalars())


def _has_ended(after: int, up_to: int, numbers: Sequence[int], still_open: Sequence[int]) -> ColumnElement[bool]:
    number = calls.c.id
    return and_(or_(and_(number > after, number <= up_to), number.in_(numbers)), number.not_in(still_open))


def count_ended_calls(tx: Transaction, *ended: Any) -> dict[tuple[str, ...], int]:  # noqa: ANN401  (of `_has_ended`)
    """Calls by app and code (that of HTTP, or "none", where ZEGO sent none)."""
    columns = (calls.c.app_id, calls.c.code, calls.c.http_status)
    found = Counter[tuple[str, ...]]()
    for app_id, code, status, count in tx.execute(
        select(*columns, func.count()).where(_has_ended(*ended)).group_by(*columns)
    ):
        found[app_id, code or (f"http_{status}" if status else "none")] += count
    return found


def count_outcomes(tx: Transaction, *ended: Any) -> dict[tuple[str, ...], int]:  # noqa: ANN401  (of `_has_ended`)
    """Files in these calls by app, outcome and the vendor's code."""
    columns = (calls.c.app_id, attempts.c.outcome, attempts.c.code)
    query = select(*columns, func.count()).join(attempts, attempts.c.call_id == calls.c.id)
    rows = tx.execute(query.where(_has_ended(*ended), attempts.c.outcome.is_not(None)).group_by(*columns))
    return {(app_id, outcome.value, code or "none"): count for app_id, outcome, code, count in rows}


def list_app_states(tx: Transaction, now: datetime) -> list[AppState]:
    """Apps and vendors that are not called now: blocked, or pausing."""
    return [state for state in sweep_store.list_app_states(tx) if state.stops_calls_at(now)]


def count_lost_callbacks(tx: Transaction, since: datetime | None = None) -> dict[str, int]:
    """By app, adopted files whose callback must have been lost, of all listings or of those since a moment."""
    lost = func.sum(listings.c.lost)
    query = select(listings.c.app_id, lost).group_by(listings.c.app_id).having(lost > 0)
    if since is not None:
        query = query.where(listings.c.started_at >= since)
    return {app_id: int(count) for app_id, count in tx.execute(query)}


def count_late_orders(tx: Transaction, before: datetime) -> int:
    """Orders that were placed before a moment and are not applied yet, without those that failed."""
    waiting = (orders.c.applied_at.is_(None), orders.c.failure.is_(None))
    late = select(func.count()).select_from(orders).join(audit_entries, audit_entries.c.number == orders.c.number)
    return int(tx.execute(late.where(*waiting, audit_entries.c.at < before)).scalar_one())
