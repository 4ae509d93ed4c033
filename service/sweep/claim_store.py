"""Queries over the due files of the inventory: finding, counting, claiming, releasing and ending them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import count
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, false, func, insert, literal, or_, select, update

from service.audit.order import RUN_REQUESTS
from service.audit.store import orders
from service.callbacks.store import count_pending
from service.database import Transaction
from service.database.columns import count_changed
from service.files.store import COLUMNS, IS_ELIGIBLE, IS_RETRIED, media_files
from service.model import END_STATES, FileState, MediaFile, Outcome, Vendor, WaitReason
from service.rules.latest import Span
from service.rules.store import list_moved_budgets
from service.sweep.answers import FileResult
from service.sweep.records import Plan, PlanState, RunState
from service.sweep.store import IS_OPEN, add_to_totals, attempts, calls, list_plans, runs
from service.zego.messages import DeleteAnswer

_PAGE: Final = 20
_AT_ONCE: Final = 200
_NOTHING_COUNTS: Final = END_STATES | {FileState.DELETING, FileState.UNCONFIRMED}
_FILE: Final = media_files.c
_IS_BASE: Final = and_(_FILE.erasure_id.is_(None), _FILE.last_outcome.is_(None))  # as `is_base`
_LAST_ATTEMPT: Final = select(func.max(attempts.c.id)).where(attempts.c.media_file_id == _FILE.id).scalar_subquery()


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
class Budgets:
    """What covers files that the breaker does not count: what is left of previews, by revision, and an approved plan.

    With `only_plan`, nothing but what the plan covers may go.
    """

    moved: dict[int, int]
    plan: Plan | None
    only_plan: bool = False

    def is_in_plan(self, file: MediaFile) -> bool:
        """Whether the plan covers a file, were there no limit to how many."""
        return self.plan is not None and self.plan.covers(file)


def is_base(file: MediaFile) -> bool:
    """Neither to be erased nor asked for before: only such files count for the breaker."""
    return file.erasure_id is None and file.last_outcome is None


def read_budgets(
    tx: Transaction,
    app_id: str,
    revision: int,
    *,
    approved_run: int | None = None,
    shares: Mapping[int, int] | None = None,
    others: Mapping[int, int] = MappingProxyType({}),
) -> Budgets:
    """What covers files of an app under these rules; with `approved_run`, only what was approved of that run.

    Apps share the budgets of previews: this one has no more of them than `shares`, nor what is the part of `others`.
    """
    approved = None
    for plan in list_plans(tx, app_id=app_id, run_id=approved_run):
        if plan.state is PlanState.APPROVED and plan.revision == revision and plan.budget:
            approved = plan
    moved = {number: left - others.get(number, 0) for number, left in list_moved_budgets(tx).items()}
    if shares is not None:
        moved = {number: min(left, shares.get(number, 0)) for number, left in moved.items()}
    return Budgets(moved, approved, only_plan=approved_run is not None)


def list_due(
    tx: Transaction,
    due: Due,
    vendor: Vendor,
    limit: int,
    *,
    within: Budgets | None = None,
    after: tuple[datetime, int] | None = None,
) -> list[MediaFile]:
    """The due files of one vendor that are next, those due first; `within`: only such as these budgets may cover."""
    query = select(*COLUMNS).where(*_is_due(due, vendor))
    if within is not None:
        query = query.where(_is_within(within))
    if after is not None:
        at, number = after
        later = or_(_FILE.call_after > at, and_(_FILE.call_after == at, _FILE.id > number))
        query = query.where(_FILE.call_after >= at, later)
    return [MediaFile._make(row) for row in tx.execute(query.order_by(_FILE.call_after, _FILE.id).limit(limit))]


def list_due_vendors(tx: Transaction, due: Due) -> list[Vendor]:
    """The vendors of which any file is due."""
    first = {vendor: select(_FILE.id).where(*_is_due(due, vendor)).limit(1) for vendor in Vendor}
    return [vendor for vendor, query in first.items() if tx.execute(query).first() is not None]


def count_due(tx: Transaction, moment: datetime) -> dict[str, int]:
    """How many files are due, by app."""
    query = select(_FILE.app_id, func.count()).where(IS_ELIGIBLE, _FILE.call_after <= moment).group_by(_FILE.app_id)
    return {app_id: number for app_id, number in tx.execute(query)}  # noqa: C416  (dict() loses the types)


def count_base(tx: Transaction, due: Due, plan: Plan | None) -> Counter[tuple[int | None, bool]]:
    """How many due files of an app count for the breaker unless a budget covers them.

    By the revision that moved their date, and by whether the plan covers them.
    """
    found: Counter[tuple[int | None, bool]] = Counter()
    for vendor in Vendor:
        query = select(_FILE.moved_by, _is_in_plan(plan).label("in_plan"), func.count())
        query = query.where(*_is_due(due, vendor), _IS_BASE).group_by(_FILE.moved_by, "in_plan")
        for moved_by, in_plan, number in tx.execute(query):
            found[moved_by, bool(in_plan)] += number
    return found


def list_planned(tx: Transaction, plans: Sequence[Plan], after: int, limit: int) -> list[MediaFile]:
    """The files that an approval of these plans covers, by number beyond `after`."""
    query = select(*COLUMNS).where(_is_planned(plans), _FILE.id > after).order_by(_FILE.id).limit(limit)
    return [MediaFile._make(row) for row in tx.execute(query)]


def count_planned(tx: Transaction, plans: Sequence[Plan]) -> int:
    """How many files `list_planned` has."""
    return tx.execute(select(func.count(_FILE.id)).where(_is_planned(plans))).scalar_one()


def count_overdue(tx: Transaction, state: FileState, now: datetime) -> int:
    """How many files of one state have a date that has come."""
    return int(tx.execute(select(func.count()).where(_FILE.state == state, _FILE.due_at <= now)).scalar_one())


def count_kept_back(tx: Transaction, now: datetime) -> list[tuple[FileState, WaitReason | None, int, datetime | None]]:
    """Files whose date has come and that are not due all the same: state, what they wait for, count, until when."""
    states = [FileState.HELD, FileState.UNCONFIRMED, FileState.KEPT, FileState.SCHEDULED]
    is_kept_back = or_(_FILE.state != FileState.SCHEDULED, _FILE.call_after > now)
    columns = (_FILE.state, _FILE.wait_reason)
    query = select(*columns, func.count(), func.max(_FILE.wait_until)).group_by(*columns)
    query = query.where(_FILE.state.in_(states), _FILE.due_at <= now, is_kept_back)
    return [tuple(row) for row in tx.execute(query)]


def list_waiting(tx: Transaction, rules: Collection[str], now: datetime, after: int, limit: int) -> list[MediaFile]:
    """Files of these rules whose date has come, and that wait all the same, by number beyond `after`."""
    is_waiting = (IS_ELIGIBLE, _FILE.due_at <= now, _FILE.call_after > now, _FILE.rule.in_(sorted(rules)))
    query = select(*COLUMNS).where(*is_waiting, _FILE.id > after).order_by(_FILE.id).limit(limit)
    return [MediaFile._make(row) for row in tx.execute(query)]


def count_unapplied(tx: Transaction) -> tuple[int, int]:
    """How many orders are not applied, and how many callbacks are not understood yet."""
    unfinished = (orders.c.applied_at.is_(None), orders.c.kind.not_in(sorted(RUN_REQUESTS)))
    waiting = tx.execute(select(func.count()).select_from(orders).where(*unfinished)).scalar_one()
    return waiting, count_pending(tx)


_SPANS: Final = (
    select(_FILE.id, _FILE.began_at, _FILE.ended_at)
    .where(
        _FILE.app_id == bindparam("app"),
        _FILE.stream_id == bindparam("stream"),
        _FILE.rule == bindparam("by_rule"),
        _FILE.due_at.is_not(None),  # else the rule could not be judged: it decides no such file
        _FILE.state.not_in(sorted(_NOTHING_COUNTS)),
        _FILE.suspicion.is_(None),
        _FILE.erasure_id.is_(None),
        or_(_FILE.last_outcome.is_(None), _FILE.last_outcome != Outcome.UNKNOWN),
        or_(
            _FILE.wait_reason.is_(None),
            _FILE.wait_reason != WaitReason.ADOPTION,
            _FILE.wait_until.is_(None),
            _FILE.wait_until <= bindparam("now"),
        ),
    )
    .order_by(_FILE.ended_at.desc(), _FILE.id.desc())
    .limit(_PAGE)
    .offset(bindparam("skip"))
)


def iterate_spans(tx: Transaction, app_id: str, stream_id: str, rule: str, now: datetime) -> Iterator[Span]:
    """The recordings of a stream that one rule decides and that count, newest first (`latest.counts_as_recording`)."""
    for skip in count(0, _PAGE):
        values = {"app": app_id, "stream": stream_id, "by_rule": rule, "now": now, "skip": skip}
        page = [Span(*row) for row in tx.execute(_SPANS, values)]
        yield from page
        if len(page) < _PAGE:
            return


def list_ranked_streams(tx: Transaction, due: Due, rules: Collection[str]) -> list[tuple[str, str]]:
    """The rules (of these) and streams of an app that have due files."""
    found: set[tuple[str, str]] = set()
    for vendor in Vendor:
        query = select(_FILE.rule, _FILE.stream_id).where(*_is_due(due, vendor), _FILE.rule.in_(sorted(rules)))
        found.update((rule, stream_id) for rule, stream_id in tx.execute(query.distinct()))
    return sorted(found)


def flag_outranked(tx: Transaction, app_id: str, stream_id: str, rule: str, newest: Collection[int]) -> None:
    """Let files of a stream be decided again that are kept for their rank, but are not among these."""
    is_ranked = (_FILE.app_id == app_id, _FILE.stream_id == stream_id, _FILE.rule == rule, _FILE.due_at.is_not(None))
    kept = update(media_files).where(*is_ranked, _FILE.state == FileState.KEPT, _FILE.id.not_in(sorted(newest)))
    tx.execute(kept.values(decide_again=True))


def refuse_unconfirmed(tx: Transaction, due: Due, reason: str, now: datetime) -> int:
    """Let the next due files that neither a listing nor a person has confirmed wait for that; returns how many."""
    refused, values = 0, {"state": FileState.UNCONFIRMED, "state_reason": reason, "state_at": now}
    for vendor in Vendor:
        batch = select(_FILE.id).where(*_is_due(due, vendor), _FILE.confirmed_at.is_(None)).limit(_AT_ONCE)
        refused += count_changed(tx.execute(update(media_files).where(_FILE.id.in_(batch)).values(values)))
    return refused


def open_call(
    tx: Transaction, run_id: int, app_id: str, vendor: Vendor, files: Sequence[MediaFile], revision: int, now: datetime
) -> int:
    """Write down a call with an attempt for each file and the decision behind it; the files are `deleting` from now on.

    Returns the call's number.
    """
    call = insert(calls).values(run_id=run_id, app_id=app_id, vendor=vendor, opened_at=now)
    call_id = int(tx.execute(call.returning(calls.c.id)).scalar_one())
    numbers, before = [file.id for file in files], [file.last_attempt_id for file in files if file.last_attempt_id]
    superseded = _count_outcomes(tx, run_id, before) if before else {}
    more = {outcome: -count for outcome, count in superseded.items()}
    add_to_totals(tx, run_id, {"calls": 1, "unanswered": len(numbers), **more})
    copied = ("call_id", "run_id", "media_file_id", "opened_at", "rule", "revision", "due_at", "reason")
    opened_at = literal(now, attempts.c.opened_at.type)
    facts = (_FILE.id, opened_at, _FILE.rule, literal(revision), _FILE.due_at, _FILE.state_reason)
    source = select(literal(call_id), literal(run_id), *facts).where(_FILE.id.in_(numbers)).order_by(_FILE.id)
    tx.execute(insert(attempts).from_select(copied, source))
    claimed = update(media_files).where(_FILE.id.in_(numbers))
    tx.execute(claimed.values(state=FileState.DELETING, state_at=now, last_attempt_id=_LAST_ATTEMPT))
    return call_id


def drop_call(tx: Transaction, call_id: int, numbers: Sequence[int], now: datetime) -> bool:
    """Forget a call that was not sent, with its attempts: its files are due as before. False: it is forgotten."""
    dropped = delete(attempts).where(attempts.c.call_id == call_id, IS_OPEN).returning(attempts.c.run_id)
    run_ids = tx.execute(dropped).scalars().all()
    if not run_ids:
        return False
    tx.execute(delete(calls).where(calls.c.id == call_id))
    claimed = update(media_files).where(_FILE.id.in_(numbers), _FILE.state == FileState.DELETING)
    tx.execute(claimed.values(state=FileState.SCHEDULED, state_at=now, last_attempt_id=_LAST_ATTEMPT))
    before = _count_outcomes(tx, run_ids[0], select(_FILE.last_attempt_id).where(_FILE.id.in_(numbers)))
    add_to_totals(tx, run_ids[0], {"calls": -1, "unanswered": -len(run_ids), **before})
    return True


def _count_outcomes(tx: Transaction, run_id: int, numbers: Sequence[int] | Select[Any]) -> dict[str, int]:
    """How many of these attempts belong to this run, by outcome."""
    # No condition on the run: SQLite would read all of its attempts for that.
    by = (attempts.c.run_id, attempts.c.outcome)
    rows = tx.execute(select(*by, func.count()).where(attempts.c.id.in_(numbers)).group_by(*by))
    return {outcome: number for of_run, outcome, number in rows if of_run == run_id}


def close_open(tx: Transaction, until: datetime, reason: str, now: datetime) -> int:
    """Close what a process left open: attempts as unknown, their files due again after `until`, runs as lost.

    A file that something else lets wait for longer, since it was claimed, waits for that. Returns how many attempts.
    """
    message = "the process ended before it could record an answer"
    unknown = {"outcome": Outcome.UNKNOWN, "charged": False, "message": message, "ended_at": now}
    left_open = select(attempts.c.run_id, func.count()).where(IS_OPEN).group_by(attempts.c.run_id)
    for run_id, number in tx.execute(left_open).all():
        add_to_totals(tx, run_id, {"unanswered": -number, Outcome.UNKNOWN: number})
    closed = count_changed(tx.execute(update(attempts).where(IS_OPEN).values(unknown)))
    released = {"state": FileState.SCHEDULED, "state_reason": reason, "state_at": now, "last_outcome": Outcome.UNKNOWN}
    claimed = update(media_files).where(_FILE.state == FileState.DELETING)
    tx.execute(claimed.where(_FILE.wait_until > until).values(**released, call_after=_FILE.wait_until))
    tx.execute(claimed.values(**released, wait_until=until, wait_reason=WaitReason.RETRY, call_after=until))
    note = "its process ended, or lost the lead; what it had claimed was given back"
    running = update(runs).where(runs.c.state == RunState.RUNNING)
    tx.execute(running.values(state=RunState.LOST, finished_at=now, note=note))
    return closed


def save_answer(tx: Transaction, call_id: int, answer: DeleteAnswer, now: datetime) -> int | None:
    """Keep an answer of ZEGO as it came; returns the run's number, or None if one is on record already."""
    values = {name: getattr(answer, name) for name in ("http_status", "message", "request_id", "cache_code", "raw")}
    values["code"] = None if answer.code is None else str(answer.code)
    unanswered = update(calls).where(calls.c.id == call_id, calls.c.answered_at.is_(None))
    answered = unanswered.values(answered_at=now, **values).returning(calls.c.run_id)
    return tx.execute(answered).scalar_one_or_none()


def close_attempts(tx: Transaction, call_id: int, numbers: Sequence[int], result: FileResult, now: datetime) -> None:
    """Complete the attempts of a call on these files with what came of them."""
    closed = update(attempts).where(attempts.c.call_id == call_id, attempts.c.media_file_id.in_(numbers))
    tx.execute(closed.values(ended_at=now, **asdict(result)))


def find_unknown_before(tx: Transaction, numbers: Collection[int], call_id: int, now: datetime) -> set[int]:
    """Those of these files that an earlier call may have deleted: its outcome is unknown, and nobody saw them since.

    (The clock may have been wrong for a while: what is seen at a time in the future was seen nobody knows when, and an
    answer can be recorded at a time before its call.)
    """
    seen_at = _FILE.confirmed_at
    query = select(attempts.c.media_file_id).join(media_files, _FILE.id == attempts.c.media_file_id)
    query = query.where(
        attempts.c.media_file_id.in_(sorted(numbers)),
        attempts.c.call_id < call_id,
        attempts.c.outcome == Outcome.UNKNOWN,
        or_(seen_at.is_(None), seen_at <= attempts.c.ended_at, seen_at <= attempts.c.opened_at, seen_at > now),
    )
    return set(tx.execute(query).scalars()) if numbers else set()


def end_files(
    tx: Transaction, numbers: Sequence[int], state: FileState, reason: str, now: datetime, *, charged: bool
) -> tuple[float, int]:
    """Write down that files have ended, unless they have before. An empty `reason`: what let them be deleted.

    Returns how many seconds and bytes they held, as far as known.
    """
    ended: dict[str, Any] = {"state": state, "state_at": now, "last_outcome": Outcome(state.value)}
    ended["state_reason"] = reason or literal("deleted: ").concat(_FILE.state_reason)
    if charged:
        ended["attempts"] = _FILE.attempts + 1
        ended["first_attempt_at"] = func.coalesce(_FILE.first_attempt_at, now)
    open_files = update(media_files).where(_FILE.id.in_(numbers), _FILE.state.not_in(END_STATES))
    facts = (_FILE.duration_s, _FILE.size_bytes)
    rows = tx.execute(open_files.values(ended).returning(*facts)).all()
    if len(rows) < len(numbers):  # what had ended before was deleted by this call all the same
        rows = tx.execute(select(*facts).where(_FILE.id.in_(numbers))).all()
    return sum(row.duration_s or 0.0 for row in rows), sum(row.size_bytes or 0 for row in rows)


def _is_due(due: Due, vendor: Vendor) -> tuple[ColumnElement[bool], ...]:
    # For one vendor at a time: then both databases read the index of what is due, and no more of it than that.
    return (
        IS_RETRIED if due.only_retries else IS_ELIGIBLE,  # type: ignore[return-value]
        _FILE.app_id == due.app_id,
        _FILE.vendor == vendor,
        _FILE.call_after <= due.moment,
        _FILE.id <= due.highest_id,
    )


def _is_in_plan(plan: Plan | None) -> ColumnElement[bool]:
    return false() if plan is None else and_(_FILE.call_after <= plan.made_at, _FILE.id <= plan.highest_id)


def _is_planned(plans: Sequence[Plan]) -> ColumnElement[bool]:
    in_plans = (and_(_FILE.app_id == plan.app_id, _is_in_plan(plan)) for plan in plans)
    return and_(IS_ELIGIBLE, _IS_BASE, or_(false(), *in_plans))


def _is_within(budgets: Budgets) -> ColumnElement[bool]:
    in_plan = and_(_IS_BASE, _is_in_plan(budgets.plan))
    if budgets.only_plan:
        return in_plan
    return or_(~_IS_BASE, _FILE.moved_by.in_(sorted(budgets.moved)), in_plan)
