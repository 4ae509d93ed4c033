"""What the service may forget, and what not: raw bodies of callbacks, and attempts that ended nothing.

Finding only reads, so that it keeps nobody waiting however much it looks at; dropping looks again, under locks that it
never waits for, so that two processes may prune at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import aliased

from service.core.model import END_STATES, Verdict
from service.db import runs
from service.db.models import (
    IS_PASSING,
    IS_PRUNABLE,
    AttemptRow,
    CallbackRow,
    CallRow,
    ListingRow,
    ListingState,
    MediaFileRow,
    RunRow,
    RunState,
    SignatureRow,
)
from service.db.order_models import PlanRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

Place = tuple["datetime", int]
"""Where to go on: the moment and the number of the row seen last."""

_SETTLED: Final = (Verdict.ACCEPTED.value, Verdict.IGNORED.value, Verdict.MISDIRECTED.value)
_DOUBTED: Final = (Verdict.STALE.value, Verdict.CONFLICT.value)
_ENDED_LISTINGS: Final = (ListingState.COMPLETE, ListingState.INCOMPLETE, ListingState.UNUSED)
_LISTINGS_KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many rows went with a batch of attempts."""

    attempts: int
    calls: int


def find_callbacks(session: Session, before: datetime, after: Place | None, limit: int) -> list[Place]:
    """Callbacks received before a moment, oldest first, beyond `after`, whose body nobody will need again.

    Their story is over: they were accepted or concern nobody, or the file that they put in doubt is confirmed or ended.
    What is pending, not understood, set aside or in the quarantine may be judged anew, so its body stays; and so does
    one in doubt that announced no file, since a later release may understand it.
    """
    query = select(CallbackRow.received_at, CallbackRow.id).where(_is_settled(), CallbackRow.received_at < before)
    if after is not None:
        query = query.where(tuple_(CallbackRow.received_at, CallbackRow.id) > after)
    rows = session.execute(query.order_by(CallbackRow.received_at, CallbackRow.id).limit(limit))
    return [(received_at, number) for received_at, number in rows]


def drop_bodies(session: Session, numbers: Sequence[int], now: datetime) -> int:
    """Drop the bodies of those of these callbacks that nobody needs or holds now, and the locks of their signatures.

    A row of `signatures` is a lock alone, and comes back when it is needed (`lock_signature`).
    """
    query = select(CallbackRow.id, CallbackRow.signature).where(CallbackRow.id.in_(numbers), _is_settled())
    rows = session.execute(query.with_for_update(skip_locked=True, of=CallbackRow))
    free = {number: signature for number, signature in rows}  # noqa: C416  (dict() loses the types)
    if not free:
        return 0
    session.execute(update(CallbackRow).where(CallbackRow.id.in_(free)).values(raw=b"", pruned_at=now))
    locks = select(SignatureRow.signature).where(SignatureRow.signature.in_(set(free.values())))
    unused = list(session.scalars(locks.with_for_update(skip_locked=True)))
    session.execute(delete(SignatureRow).where(SignatureRow.signature.in_(unused)))
    return len(free)


def find_attempts(session: Session, before: datetime, after: Place | None, limit: int) -> list[Place]:
    """Attempts opened before a moment, oldest first, beyond `after`, that no proof and no decision needs.

    That is: they ended in `retryable`, `rejected` or `blocked`, and their file was asked for again since. What ended a
    file stays, and so does every attempt of unknown outcome: whoever finds the file gone later credits it.
    """
    query = select(AttemptRow.opened_at, AttemptRow.id).where(_is_passed(), AttemptRow.opened_at < before)
    if after is not None:
        query = query.where(tuple_(AttemptRow.opened_at, AttemptRow.id) > after)
    rows = session.execute(query.order_by(AttemptRow.opened_at, AttemptRow.id).limit(limit))
    return [(opened_at, number) for opened_at, number in rows]


def drop_attempts(session: Session, numbers: Sequence[int]) -> Dropped:
    """Drop those of these attempts that nobody needs or holds now, and the calls that none is left of."""
    # The calls first: of two who drop attempts of one call, one must see that none is left.
    of_them = select(AttemptRow.call_id).where(AttemptRow.id.in_(numbers))
    locked = select(CallRow.id).where(CallRow.id.in_(of_them)).order_by(CallRow.id)
    calls_held = list(session.scalars(locked.with_for_update(skip_locked=True, of=CallRow)))
    is_held = AttemptRow.call_id.in_(calls_held)
    query = select(AttemptRow.id, AttemptRow.call_id).where(AttemptRow.id.in_(numbers), is_held, _is_passed())
    rows = session.execute(query.with_for_update(skip_locked=True, of=AttemptRow))
    free = {number: call_id for number, call_id in rows}  # noqa: C416  (dict() loses the types)
    if not free:
        return Dropped(0, 0)
    session.execute(delete(AttemptRow).where(AttemptRow.id.in_(free)))
    used = select(AttemptRow.id).where(AttemptRow.call_id == CallRow.id).exists()
    empty = select(CallRow.id).where(CallRow.id.in_(set(free.values())), ~used)
    calls = list(session.scalars(empty.with_for_update(skip_locked=True, of=CallRow)))
    session.execute(delete(CallRow).where(CallRow.id.in_(calls)))
    return Dropped(len(free), len(calls))


def find_runs(session: Session, before: datetime, after: int, limit: int) -> list[int]:
    """Passes that ended before a moment and left nothing behind: no call, no plan, no claim; beyond number `after`.

    The newest of each kind that the schedule looks at stay.
    """
    query = select(RunRow.id).where(RunRow.id > after, RunRow.heartbeat_at < before, _is_empty())
    newest = (runs.newest_slot_run(session), runs.last_scheduled_run(session), runs.last_full_pass(session))
    # (And the highest number, which SQLite would give again.)
    highest = session.scalar(select(func.max(RunRow.id)))
    kept = [*(row.id for row in newest if row is not None), highest]
    return list(session.scalars(query.where(RunRow.id.not_in(kept)).order_by(RunRow.id).limit(limit)))


def drop_runs(session: Session, numbers: Sequence[int]) -> int:
    """Drop those of these passes that are still empty."""
    query = select(RunRow.id).where(RunRow.id.in_(numbers), _is_empty())
    free = list(session.scalars(query.with_for_update(skip_locked=True, of=RunRow)))
    session.execute(delete(RunRow).where(RunRow.id.in_(free)))
    return len(free)


def drop_listings(session: Session, before: datetime) -> int:
    """Drop records of listings that ended before a moment.

    Of each app and vendor the newest ten stay, and the last complete one.
    """
    ended = aliased(ListingRow)
    rank = func.row_number().over(partition_by=(ended.app_id, ended.vendor), order_by=ended.id.desc())
    ranked = select(ended.id, rank.label("place")).subquery()
    old = select(ranked.c.id).where(ranked.c.place > _LISTINGS_KEPT)
    complete = select(func.max(ListingRow.id)).where(ListingRow.state == ListingState.COMPLETE)
    complete = complete.group_by(ListingRow.app_id, ListingRow.vendor)
    found = list(
        session.scalars(
            select(ListingRow.id).where(
                ListingRow.id.in_(old),
                ListingRow.id.not_in(complete),
                ListingRow.state.in_(_ENDED_LISTINGS),
                ListingRow.finished_at < before,
            )
        )
    )
    session.execute(delete(ListingRow).where(ListingRow.id.in_(found)))
    return len(found)


def _is_settled() -> ColumnElement[bool]:
    file = select(MediaFileRow.id).where(
        MediaFileRow.id == CallbackRow.media_file_id,
        or_(MediaFileRow.suspicion.is_(None), MediaFileRow.state.in_(END_STATES)),
    )
    # The verdict in a form that no index answers: SQLite would prefer the one on verdicts, and read them all. And a
    # value, not an EXISTS: PostgreSQL would think of reading all files first.
    verdict = func.lower(CallbackRow.verdict, type_=Text())
    is_cleared = file.limit(1).scalar_subquery().is_not(None)
    return and_(IS_PRUNABLE, or_(verdict.in_(_SETTLED), and_(verdict.in_(_DOUBTED), is_cleared)))


def _is_passed() -> ColumnElement[bool]:
    later = aliased(AttemptRow)
    # One without an outcome may be taken back: its call was never sent.
    is_later = (later.media_file_id == AttemptRow.media_file_id, later.id > AttemptRow.id, later.outcome.is_not(None))
    asked_again = select(later.id).where(*is_later)
    running = select(RunRow.id).where(RunRow.id == AttemptRow.run_id, RunRow.state == RunState.RUNNING)
    return and_(IS_PASSING, asked_again.exists(), ~running.exists())


def _is_empty() -> ColumnElement[bool]:
    left = (
        select(CallRow.id).where(CallRow.run_id == RunRow.id),
        select(AttemptRow.id).where(AttemptRow.run_id == RunRow.id),
        select(PlanRow.run_id).where(PlanRow.run_id == RunRow.id),
        select(MediaFileRow.id).where(MediaFileRow.claim_run_id == RunRow.id),
    )
    return and_(RunRow.state != RunState.RUNNING, *(~each.exists() for each in left))
