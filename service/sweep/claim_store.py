"""Queries over the due files of the inventory: finding, counting, claiming and releasing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, false, func, insert, literal, or_, select, update

from service.database import Transaction
from service.database.schema import count_changed
from service.files.store import COLUMNS, IS_ELIGIBLE, IS_RETRIED, media_files, read_file
from service.model import END_STATES, FileState, MediaFile, Outcome, Vendor, WaitReason
from service.rules.latest import Span
from service.sweep.records import Plan
from service.sweep.store import attempts

MAX_ID: Final = 2**63 - 1
_PAGE: Final = 20
_NOTHING_COUNTS: Final = END_STATES | {FileState.DELETING, FileState.UNCONFIRMED}
_OUTCOME: Final = (
    *("state", "state_reason", "state_at", "wait_until", "wait_reason", "call_after"),
    *("attempts", "first_attempt_at", "last_outcome"),
)


@dataclass(frozen=True, slots=True)
class Due:
    """Which files of an app are meant: those due by `moment` and known by then, that is up to the number `highest_id`.

    `only_retries` are those that were asked for before.
    """

    app_id: str
    moment: datetime
    highest_id: int
    only_retries: bool = False


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Which due files may still go where the breaker has no room: those that these budgets cover, or that never count.

    `moved_by` are previewed revisions that have not used up what their preview showed, `plan` is an approved plan that
    has not either. With `only_plan`, nothing but what the plan covers.
    """

    moved_by: Collection[int] = ()
    plan: Plan | None = None
    only_plan: bool = False


def list_due(
    tx: Transaction,
    due: Due,
    vendor: Vendor,
    limit: int,
    *,
    uncounted: Uncounted | None = None,
    after: tuple[datetime, int] | None = None,
) -> list[MediaFile]:
    """The due files of one vendor that are next, those due first; `uncounted`: only such."""
    query = select(*COLUMNS).where(*_is_due(due, vendor))
    if uncounted is not None:
        query = query.where(_is_uncounted(uncounted))
    if after is not None:
        at, number = after
        later = or_(media_files.c.call_after > at, and_(media_files.c.call_after == at, media_files.c.id > number))
        query = query.where(media_files.c.call_after >= at, later)
    rows = tx.execute(query.order_by(media_files.c.call_after, media_files.c.id).limit(limit))
    return [read_file(row) for row in rows]


def has_due(tx: Transaction, due: Due, vendor: Vendor) -> bool:
    """Whether any file of one vendor is due."""
    return tx.execute(select(media_files.c.id).where(*_is_due(due, vendor)).limit(1)).first() is not None


def list_due_apps(tx: Transaction, moment: datetime) -> dict[str, int]:
    """How many files are due, by app."""
    # App by app, each found with one look at an index: a GROUP BY would read every scheduled file.
    found: dict[str, int] = {}
    query = select(func.min(media_files.c.app_id)).where(media_files.c.app_id > bindparam("after"))
    app_id = tx.execute(query, {"after": ""}).scalar()
    while app_id is not None:
        count = _count(tx, Due(app_id, moment, MAX_ID))
        found |= {app_id: count} if count else {}
        app_id = tx.execute(query, {"after": app_id}).scalar()
    return found


def count_base(tx: Transaction, due: Due) -> Counter[int | None]:
    """How many due files of an app no erasure names and nobody asked for before, by what moved their date."""
    found: Counter[int | None] = Counter()
    for vendor in Vendor:
        query = select(media_files.c.moved_by, func.count()).where(*_is_due(due, vendor), _is_base())
        for moved_by, count in tx.execute(query.group_by(media_files.c.moved_by)):
            found[moved_by] += count
    return found


def count_covered(tx: Transaction, due: Due, plan: Plan) -> int:
    """How many of them an approved plan covers, whatever is left of its budget."""
    return _count(tx, due, _is_base(), _is_in_plan(plan))


def count_overdue(tx: Transaction, state: FileState, now: datetime) -> int:
    """How many files of one state have a date that has come."""
    query = select(func.count()).where(media_files.c.state == state, media_files.c.due_at <= now)
    return int(tx.execute(query).scalar_one())


def count_kept_back(tx: Transaction, now: datetime) -> list[tuple[FileState, WaitReason | None, int, datetime | None]]:
    """Files whose date has come and that are not due all the same: state, what they wait for, count, until when."""
    states = [FileState.HELD, FileState.UNCONFIRMED, FileState.KEPT, FileState.SCHEDULED]
    is_kept_back = or_(media_files.c.state != FileState.SCHEDULED, media_files.c.call_after > now)
    columns = (media_files.c.state, media_files.c.wait_reason)
    query = select(*columns, func.count(), func.max(media_files.c.wait_until)).where(
        media_files.c.state.in_(states), media_files.c.due_at <= now, is_kept_back
    )
    return [(state, reason, count, until) for state, reason, count, until in tx.execute(query.group_by(*columns))]


def list_ranked_streams(tx: Transaction, due: Due, rules: Collection[str]) -> list[tuple[str, str]]:
    """The rules (of these) and streams of an app that have due files."""
    found: set[tuple[str, str]] = set()
    for vendor in Vendor:
        query = select(media_files.c.rule, media_files.c.stream_id).distinct()
        rows = tx.execute(query.where(*_is_due(due, vendor), media_files.c.rule.in_(sorted(rules))))
        found.update((rule, stream_id) for rule, stream_id in rows)
    return sorted(found)


def list_unconfirmed(tx: Transaction, due: Due, vendor: Vendor, limit: int) -> list[MediaFile]:
    """Due files of one vendor that neither a listing nor a person has confirmed."""
    query = select(*COLUMNS).where(*_is_due(due, vendor), media_files.c.confirmed_at.is_(None)).limit(limit)
    return [read_file(row) for row in tx.execute(query)]


_SPANS: Final = (
    select(media_files.c.id, media_files.c.began_at, media_files.c.ended_at)
    .where(
        media_files.c.app_id == bindparam("app"),
        media_files.c.stream_id == bindparam("stream"),
        media_files.c.rule == bindparam("by_rule"),
        media_files.c.due_at.is_not(None),  # else the rule could not be judged: it decides no such file
        media_files.c.state.not_in(sorted(_NOTHING_COUNTS)),
        media_files.c.suspicion.is_(None),
        media_files.c.erasure_id.is_(None),
        or_(media_files.c.last_outcome.is_(None), media_files.c.last_outcome != Outcome.UNKNOWN),
        or_(
            media_files.c.wait_reason.is_(None),
            media_files.c.wait_reason != WaitReason.ADOPTION,
            media_files.c.wait_until.is_(None),
            media_files.c.wait_until <= bindparam("now"),
        ),
    )
    .order_by(media_files.c.ended_at.desc(), media_files.c.id.desc())
    .limit(_PAGE)
    .offset(bindparam("skip"))
)


def iterate_spans(tx: Transaction, app_id: str, stream_id: str, rule: str, now: datetime) -> Iterator[Span]:
    """The recordings of a stream that one rule decides and that count, newest first (`latest.counts_as_recording`)."""
    skip = 0
    while True:
        values = {"app": app_id, "stream": stream_id, "by_rule": rule, "now": now, "skip": skip}
        page = [Span(*row) for row in tx.execute(_SPANS, values)]
        yield from page
        if len(page) < _PAGE:
            return
        skip += _PAGE


def flag_outranked(tx: Transaction, app_id: str, stream_id: str, rule: str, newest: Collection[int]) -> None:
    """Let files of a stream be decided again that are kept for their rank, but are not among these."""
    kept = update(media_files).where(
        media_files.c.app_id == app_id,
        media_files.c.stream_id == stream_id,
        media_files.c.rule == rule,
        media_files.c.state == FileState.KEPT,
        media_files.c.due_at.is_not(None),
        media_files.c.id.not_in(sorted(newest)),
    )
    tx.execute(kept.values(decide_again=True))


def claim_files(
    tx: Transaction, run_id: int, call_id: int, numbers: Sequence[int], revision: int, now: datetime
) -> None:
    """Write an attempt for each of these files, with the decision that stands in its row, and set it `deleting`."""
    wanted = media_files.c.id.in_(numbers)
    copied = ("call_id", "run_id", "media_file_id", "opened_at", "rule", "revision", "due_at", "reason")
    source = select(
        literal(call_id),
        literal(run_id),
        media_files.c.id,
        literal(now, attempts.c.opened_at.type),
        media_files.c.rule,
        literal(revision),
        media_files.c.due_at,
        media_files.c.state_reason,
    )
    tx.execute(insert(attempts).from_select(copied, source.where(wanted).order_by(media_files.c.id)))
    claimed = update(media_files).where(wanted)
    tx.execute(claimed.values(state=FileState.DELETING, state_at=now, last_attempt_id=_find_last_attempt()))


def release_files(tx: Transaction, numbers: Sequence[int], now: datetime) -> None:
    """Give back files whose call was not sent and whose attempts were taken away: they are due as before."""
    claimed = update(media_files).where(media_files.c.id.in_(numbers), media_files.c.state == FileState.DELETING)
    tx.execute(claimed.values(state=FileState.SCHEDULED, state_at=now, last_attempt_id=_find_last_attempt()))


def release_all(tx: Transaction, until: datetime, reason: str, now: datetime) -> int:
    """Give back every file with an open call, whose outcome is unknown: it is asked for again after `until`.

    One that something else lets wait for longer, since it was claimed, waits for that.
    """
    claimed = update(media_files).where(media_files.c.state == FileState.DELETING)
    released = {
        "state": FileState.SCHEDULED,
        "state_reason": reason,
        "state_at": now,
        "last_outcome": Outcome.UNKNOWN,
    }
    waits = media_files.c.wait_until > until
    longer = tx.execute(claimed.where(waits).values(**released, call_after=media_files.c.wait_until))
    others = claimed.values(**released, wait_until=until, wait_reason=WaitReason.RETRY, call_after=until)
    return count_changed(longer) + count_changed(tx.execute(others))


def end_files(
    tx: Transaction, numbers: Sequence[int], state: FileState, reason: str, now: datetime, *, charged: bool
) -> None:
    """Write down that files have ended, unless they have before. An empty `reason`: what let them be deleted."""
    ended: dict[str, Any] = {"state": state, "state_at": now, "last_outcome": Outcome(state.value)}
    ended["state_reason"] = reason or literal("deleted: ").concat(media_files.c.state_reason)
    if charged:
        ended["attempts"] = media_files.c.attempts + 1
        ended["first_attempt_at"] = func.coalesce(media_files.c.first_attempt_at, now)
    open_files = update(media_files).where(media_files.c.id.in_(numbers), media_files.c.state.not_in(END_STATES))
    tx.execute(open_files.values(ended))


_SAVE_OUTCOME: Final = (
    update(media_files)
    .where(media_files.c.id == bindparam("file"))
    .values({name: bindparam(f"new_{name}") for name in _OUTCOME})
)


def save_outcomes(tx: Transaction, files: Sequence[MediaFile]) -> None:
    """Write what an attempt that ended nothing has changed of these files."""
    if files:
        rows = [{"file": file.id} | {f"new_{name}": getattr(file, name) for name in _OUTCOME} for file in files]
        tx.execute(_SAVE_OUTCOME, rows)


def _find_last_attempt() -> ColumnElement[int]:
    last = select(func.max(attempts.c.id)).where(attempts.c.media_file_id == media_files.c.id)
    return last.scalar_subquery()


def _count(tx: Transaction, due: Due, *conditions: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(media_files)
    return sum(tx.execute(query.where(*_is_due(due, vendor), *conditions)).scalar_one() for vendor in Vendor)


def _is_due(due: Due, vendor: Vendor) -> tuple[ColumnElement[bool], ...]:
    # For one vendor at a time: then both databases read the index of what is due, and no more of it than that.
    return (
        IS_RETRIED if due.only_retries else IS_ELIGIBLE,  # type: ignore[return-value]
        media_files.c.app_id == due.app_id,
        media_files.c.vendor == vendor,
        media_files.c.call_after <= due.moment,
        media_files.c.id <= due.highest_id,
    )


def _is_base() -> ColumnElement[bool]:
    return and_(media_files.c.erasure_id.is_(None), media_files.c.last_outcome.is_(None))


def _is_in_plan(plan: Plan) -> ColumnElement[bool]:
    return and_(media_files.c.call_after <= plan.made_at, media_files.c.id <= plan.highest_id)


def _is_uncounted(uncounted: Uncounted) -> ColumnElement[bool]:
    plan = uncounted.plan
    in_plan = false() if plan is None else and_(_is_base(), _is_in_plan(plan))
    if uncounted.only_plan:
        return in_plan
    ways = [media_files.c.erasure_id.is_not(None), media_files.c.last_outcome.is_not(None)]
    if uncounted.moved_by:
        ways.append(media_files.c.moved_by.in_(sorted(uncounted.moved_by)))
    return or_(*ways, in_plan)
