"""Runs, calls and attempts: what was meant to be done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, or_, select, update

from service.core.model import DeleteAnswer, FileState, Lane, Outcome
from service.core.outcomes import CODE_DONE
from service.core.purge import NOT_TOLD, PURGED
from service.db.models import AttemptRow, CallRow, MediaFileRow, RunRow, RunState, Trigger
from service.db.schema import insert_into

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from service.core.outcomes import FileResult

_RAW_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What one run did, counted from its attempts: calls sent, and each file by its last outcome in that run.

    `purges_failed` are files that it deleted without Wangsu's cache being purged of them, though that was asked for.
    """

    calls: int
    outcomes: dict[Outcome | None, int]
    purges_failed: int


def start_run(
    session: Session, trigger: Trigger, slot_at: datetime | None, worker: str, now: datetime
) -> RunRow | None:
    """Write down that a pass begins; None when another process has taken its fire slot."""
    statement = insert_into(session, RunRow).values(
        trigger=trigger, slot_at=slot_at, state=RunState.RUNNING, started_at=now, heartbeat_at=now, worker=worker
    )
    created = session.scalar(statement.on_conflict_do_nothing().returning(RunRow.id))
    return None if created is None else session.get(RunRow, created)


def beat(session: Session, run_id: int, now: datetime) -> None:
    """Give a sign of life."""
    session.execute(update(RunRow).where(RunRow.id == run_id).values(heartbeat_at=now))


def finish_run(session: Session, run_id: int, state: RunState, now: datetime, note: str | None = None) -> None:
    """Write down how a pass ended, unless it was declared lost meanwhile."""
    statement = update(RunRow).where(RunRow.id == run_id, RunRow.state == RunState.RUNNING)
    session.execute(statement.values(state=state, finished_at=now, note=note))


def latest_slot_taken(session: Session) -> datetime | None:
    """The newest fire slot that some pass took."""
    return session.scalar(select(func.max(RunRow.slot_at)))


def last_slot_run(session: Session, now: datetime) -> RunRow | None:
    """The pass that took the newest fire slot up to `now`."""
    query = select(RunRow).where(RunRow.slot_at <= now).order_by(RunRow.slot_at.desc()).limit(1)
    return session.scalar(query)


def newest_slot_run(session: Session) -> RunRow | None:
    """The pass that took the newest fire slot of all."""
    query = select(RunRow).where(RunRow.slot_at.is_not(None)).order_by(RunRow.slot_at.desc()).limit(1)
    return session.scalar(query)


def last_scheduled_run(session: Session) -> RunRow | None:
    """The newest pass that the worker started because it was time."""
    query = select(RunRow).where(RunRow.trigger == Trigger.SCHEDULE).order_by(RunRow.id.desc()).limit(1)
    return session.scalar(query)


def find_run(session: Session, run_id: int) -> RunRow | None:
    """One run."""
    return session.get(RunRow, run_id)


def list_runs(session: Session, limit: int | None = None, *, before: int | None = None) -> list[RunRow]:
    """Runs, the newest first, those below `before`."""
    query = select(RunRow).order_by(RunRow.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(RunRow.id < before)))


def count_runs(session: Session) -> int:
    """How many passes are on record."""
    return session.scalar(select(func.count()).select_from(RunRow)) or 0


def last_full_pass(session: Session) -> RunRow | None:
    """The newest pass over everything that was due (no mere retries, no approved plan) that went through to its end.

    That the breaker stopped an app of it is no reason not to count: it looked at everything.
    """
    whole = RunRow.trigger.not_in([Trigger.RETRY, Trigger.APPROVAL])
    query = select(RunRow).where(RunRow.state.in_([RunState.DONE, RunState.STOPPED]), whole)
    return session.scalar(query.order_by(RunRow.id.desc()).limit(1))


def running_run(session: Session) -> RunRow | None:
    """The newest pass that says it is running."""
    query = select(RunRow).where(RunRow.state == RunState.RUNNING).order_by(RunRow.id.desc()).limit(1)
    return session.scalar(query)


def count_totals(session: Session, run_id: int) -> RunTotals:
    """Count what a run did."""
    last = select(func.max(AttemptRow.id)).where(AttemptRow.run_id == run_id).group_by(AttemptRow.media_file_id)
    rows = session.execute(
        select(AttemptRow.outcome, func.count()).where(AttemptRow.id.in_(last)).group_by(AttemptRow.outcome)
    )
    outcomes = {outcome: count for outcome, count in rows}  # noqa: C416  (dict() loses the types)
    calls = session.scalar(select(func.count()).select_from(CallRow).where(CallRow.run_id == run_id)) or 0
    return RunTotals(calls, outcomes, _count_failed_purges(session, run_id))


def _count_failed_purges(session: Session, run_id: int) -> int:
    query = (
        select(func.count())
        .select_from(CallRow)
        .join(AttemptRow, AttemptRow.call_id == CallRow.id)
        .where(CallRow.run_id == run_id, CallRow.cache_code.not_in([PURGED, NOT_TOLD]), *_was_deleted_by_its_call())
    )
    return session.scalar(query) or 0


def _was_deleted_by_its_call() -> tuple[ColumnElement[bool], ...]:
    # Not credited with the deletion of an earlier call: such an attempt carries the code of what was not found.
    return (AttemptRow.outcome == Outcome.DELETED, AttemptRow.code == str(CODE_DONE))


def open_call(session: Session, run_id: int, lane: Lane, files: Sequence[MediaFileRow], now: datetime) -> int:
    """Write down a call and an attempt for each of its files, with the decision behind it, before it is sent."""
    app_id, vendor = lane
    call = CallRow(run_id=run_id, app_id=app_id, vendor=vendor, opened_at=now)
    session.add(call)
    session.flush()
    session.add_all(
        AttemptRow(
            call_id=call.id,
            run_id=run_id,
            media_file_id=row.id,
            opened_at=now,
            rule=row.rule,
            revision=row.revision,
            due_at=row.due_at,
            reason=row.state_reason,
        )
        for row in files
    )
    session.flush()
    return call.id


def is_answered(session: Session, call_id: int) -> bool:
    """The answer of this call is on record."""
    return session.scalar(select(CallRow.answered_at).where(CallRow.id == call_id)) is not None


def record_answer(
    session: Session, call_id: int, answer: DeleteAnswer, now: datetime, *, cache_code: str | None = None
) -> None:
    """Keep an answer of ZEGO as it came (cut to 20,000 characters), and what came of purging the cache."""
    statement = update(CallRow).where(CallRow.id == call_id)
    session.execute(
        statement.values(
            answered_at=now,
            http_status=answer.http_status,
            code=None if answer.code is None else str(answer.code),
            message=_storable(answer.message),
            request_id=_storable(answer.request_id),
            cache_code=None if cache_code is None else _storable(cache_code),
            raw=_storable(answer.raw)[:_RAW_LIMIT],
        )
    )


def open_attempts(session: Session, call_id: int) -> dict[int, AttemptRow]:
    """The attempts of a call by file, locked."""
    query = select(AttemptRow).where(AttemptRow.call_id == call_id).order_by(AttemptRow.id).with_for_update()
    return {row.media_file_id: row for row in session.scalars(query)}


def record_result(attempt: AttemptRow, result: FileResult, now: datetime) -> None:
    """Complete an attempt with what came of it."""
    attempt.outcome, attempt.charged, attempt.ended_at = result.outcome, result.charged, now
    attempt.code, attempt.message = _storable(result.code), _storable(result.message)
    attempt.request_id = _storable(result.request_id)


def maybe_deleted_before(session: Session, file_keys: Sequence[int], call_id: int) -> set[int]:
    """Those of these files that an earlier call may have deleted: its answer was never seen, or lost again."""
    query = select(AttemptRow.media_file_id).where(
        AttemptRow.media_file_id.in_(file_keys), AttemptRow.call_id < call_id, _may_have_deleted()
    )
    return set(session.scalars(query))


def maybe_deleted_since_listed(session: Session, file_keys: Sequence[int]) -> set[int]:
    """Those of these files that a call may have deleted after a listing showed them for the last time."""
    query = (
        select(AttemptRow.media_file_id)
        .join(MediaFileRow, MediaFileRow.id == AttemptRow.media_file_id)
        .where(AttemptRow.media_file_id.in_(file_keys), _may_have_deleted())
        .where(or_(MediaFileRow.listed_at.is_(None), AttemptRow.opened_at >= MediaFileRow.listed_at))
    )
    return set(session.scalars(query))


def list_streams_left(session: Session, run_id: int) -> list[tuple[str, str]]:
    """The streams of the files that a run asked for and that are still there, as far as anybody knows."""
    query = (
        select(MediaFileRow.app_id, MediaFileRow.stream_id)
        .join(AttemptRow, AttemptRow.media_file_id == MediaFileRow.id)
        .where(AttemptRow.run_id == run_id, MediaFileRow.state.not_in([FileState.DELETED, FileState.GONE]))
        .distinct()
    )
    return [(app_id, stream_id) for app_id, stream_id in session.execute(query)]


def drop_call(session: Session, call_id: int) -> None:
    """Forget a call that was never sent."""
    for attempt in open_attempts(session, call_id).values():
        session.delete(attempt)
    session.flush()
    call = session.get(CallRow, call_id)
    if call is not None:
        session.delete(call)


def list_attempts(session: Session, *, file_key: int | None = None, run_id: int | None = None) -> Iterator[AttemptRow]:
    """Attempts on one file or of one run, oldest first."""
    query = select(AttemptRow).order_by(AttemptRow.id)
    if file_key is not None:
        query = query.where(AttemptRow.media_file_id == file_key)
    if run_id is not None:
        query = query.where(AttemptRow.run_id == run_id)
    yield from session.scalars(query.execution_options(yield_per=500))


def find_cache_codes(session: Session, *, file_key: int | None = None, run_id: int | None = None) -> dict[int, str]:
    """What came of purging the cache, by call, in the calls of one run or about one file; those that asked for it."""
    query = select(CallRow.id, CallRow.cache_code).where(CallRow.cache_code.is_not(None))
    if file_key is not None:
        query = query.join(AttemptRow, AttemptRow.call_id == CallRow.id).where(AttemptRow.media_file_id == file_key)
    if run_id is not None:
        query = query.where(CallRow.run_id == run_id)
    return {call_id: code or "" for call_id, code in session.execute(query)}


def list_run_attempts(
    session: Session, run_id: int, limit: int | None, *, after: int = 0
) -> Iterator[tuple[AttemptRow, MediaFileRow]]:
    """The attempts of one run with their files, in the order they were opened, beyond the attempt `after`."""
    query = select(AttemptRow, MediaFileRow).join(MediaFileRow, MediaFileRow.id == AttemptRow.media_file_id)
    query = query.where(AttemptRow.run_id == run_id, AttemptRow.id > after).order_by(AttemptRow.id).limit(limit)
    yield from session.execute(query.execution_options(yield_per=500))


def count_attempts(session: Session, run_id: int) -> int:
    """How many attempts one run made."""
    return session.scalar(select(func.count()).select_from(AttemptRow).where(AttemptRow.run_id == run_id)) or 0


def list_calls(session: Session, run_id: int, limit: int | None = None, *, after: int = 0) -> list[CallRow]:
    """The calls of one run, in the order they were opened, beyond the call `after`."""
    query = select(CallRow).where(CallRow.run_id == run_id, CallRow.id > after).order_by(CallRow.id)
    return list(session.scalars(query.limit(limit)))


def _storable(text: str) -> str:
    # PostgreSQL stores neither NUL nor lone surrogates; an answer may hold anything.
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _may_have_deleted() -> ColumnElement[bool]:
    return AttemptRow.outcome.is_(None) | AttemptRow.outcome.in_([Outcome.UNKNOWN, Outcome.DELETED])
