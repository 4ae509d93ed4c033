"""The dry run: what a pass would do now, decided as the pass would; nothing is written or called (docs/sweep.md)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.core.breaker import judge_plan
from service.core.file_sets import FileSet
from service.core.model import END_STATES, Action, FileState
from service.db import claims, erasures, figures, files, plans, revisions
from service.usecases.breaking import describe_remedy, describe_standing
from service.usecases.deciding import BATCH, decide_rows
from service.usecases.inventory import file_as_json, iso
from service.usecases.reports import KeptBack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from service.core.breaker import Limits, Trip
    from service.core.model import Decision
    from service.core.rules import RuleSet
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow
    from service.usecases.deciding import Decided


@dataclass(frozen=True, slots=True)
class WouldStop:
    """An app that the breaker would stop, why, and the run whose plan is open already, if one is."""

    app_id: str
    trip: Trip
    plan: int | None

    @property
    def sentence(self) -> str:
        """What would happen, and what to do."""
        remedy = (
            "the sweep writes down a plan to look at and approve" if self.plan is None else describe_remedy(self.plan)
        )
        return f"the breaker would stop app {self.app_id}: {self.trip.reason}; {remedy}"

    def as_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        trip = self.trip
        return {
            "app_id": self.app_id,
            "files_count": trip.due,
            "present_count": trip.present,
            "reason": trip.reason,
            "plan": self.plan,
        }


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a pass would delete now: files by rule and lane, and the first of them; then what it would keep back.

    `stops` are the apps of which the breaker would let nothing go; their files are not among the others.
    """

    total: int
    by_rule: dict[str, int]
    by_lane: dict[str, int]
    files: tuple[dict[str, Any], ...]
    kept_back: KeptBack
    stops: tuple[WouldStop, ...]


def dry_run(database: Database, now: datetime, limit: int, limits: Limits) -> DryRun:
    """Decide what is due now as the sweep would, and report it; the first `limit` files are described."""
    with database.read() as session:
        rules = revisions.current_rules(session)
        tally = _Tally(session, now, limit)
        for rows in _batches_to_look_at(session, rules, now):
            for decided in decide_rows(session, rows, rules, now):
                tally.count(decided)
            session.expunge_all()
        return tally.conclude(limits)


@dataclass(slots=True)
class _OfApp:
    """What would go of one app."""

    by_rule: Counter[str] = field(default_factory=Counter)
    by_lane: Counter[str] = field(default_factory=Counter)
    files: list[dict[str, Any]] = field(default_factory=list)
    new: int = 0
    is_planned: bool = False
    """Some of it is in the app's open plan."""


class _Tally:
    """Counts decisions. What is kept back starts from what is on record, which each decision replaces."""

    def __init__(self, session: Session, now: datetime, limit: int) -> None:
        self._session, self._now, self._limit = session, now, limit
        self._apps: dict[str, _OfApp] = {}
        self._plans = {plan.app_id: plan for plan in plans.list_open(session)}
        self._planned = {app_id: FileSet.decode(plan.files) for app_id, plan in self._plans.items()}
        self._cooling, self._cooling_until = figures.count_cooling(session, now)
        self._held = figures.count_held(session, now)
        self._observed = Counter(figures.count_observed(session, now))

    def count(self, decided: Decided) -> None:
        """Take in what is decided of a file."""
        row, decision, approval = decided
        self._forget(row)
        if decision.action is not Action.DELETE:
            self._keep_back(decision)
            return
        app = self._apps.setdefault(row.app_id, _OfApp())
        app.by_rule[decision.rule or ""] += 1
        app.by_lane[f"{row.app_id} {row.vendor.value}"] += 1
        if approval is None and not claims.is_retried(row, decision.due_at):
            app.new += 1
            app.is_planned = app.is_planned or row.id in self._planned.get(row.app_id, ())
        if len(app.files) < self._limit:
            app.files.append(file_as_json(row) | {"rule": decision.rule, "due_at": iso(decision.due_at)})

    def conclude(self, limits: Limits) -> DryRun:
        """Ask the breaker about each app, and put together what is left."""
        stops = [stop for app_id in sorted(self._apps) if (stop := self._judge(app_id, limits))]
        going = [app for app_id, app in self._apps.items() if app_id not in {stop.app_id for stop in stops}]
        by_rule = sum((app.by_rule for app in going), Counter[str]())
        by_lane = sum((app.by_lane for app in going), Counter[str]())
        shown = [file for app in going for file in app.files][: self._limit]
        kept_back = KeptBack(
            self._cooling, self._cooling_until if self._cooling else None, self._held, dict(+self._observed)
        )
        return DryRun(by_rule.total(), dict(by_rule), dict(by_lane), tuple(shown), kept_back, tuple(stops))

    def _judge(self, app_id: str, limits: Limits) -> WouldStop | None:
        app, plan = self._apps[app_id], self._plans.get(app_id)
        if plan is not None and app.is_planned:
            return WouldStop(app_id, describe_standing(plan), plan.run_id)
        present = claims.count_present(self._session, app_id) if limits.needs_present(app.new) else 0
        trip = judge_plan(app.new, present, limits)
        return None if trip is None else WouldStop(app_id, trip, None)

    def _keep_back(self, decision: Decision) -> None:
        now = self._now
        if decision.observed_due_at is not None and decision.observed_due_at <= now:
            self._observed[decision.rule or ""] += decision.action is Action.OBSERVE
        if decision.due_at is None or decision.due_at > now:
            return
        self._held += decision.action is Action.HOLD
        if decision.action is Action.WAIT and decision.cooling_until is not None:
            self._cooling += 1
            self._cooling_until = max(filter(None, (self._cooling_until, decision.cooling_until)))

    def _forget(self, row: MediaFileRow) -> None:
        """What is on record of a file that is decided anew does not count any more."""
        now = self._now
        if row.state is FileState.KEPT and row.observed_due_at is not None and row.observed_due_at <= now:
            self._observed[row.rule or ""] -= 1
        if row.due_at is None or row.due_at > now:
            return
        self._held -= row.state is FileState.HELD
        self._cooling -= row.state is FileState.SCHEDULED and not _has_cooled(row, now)


def _batches_to_look_at(session: Session, rules: RuleSet, now: datetime) -> Iterator[Sequence[MediaFileRow]]:
    """What a sweep would look at; the files of erasures that it would tell first as they would be then."""
    orders = _Orders(session, now)
    for rows in _batches_on_record(session, rules, now):
        yield [row for row in rows if orders.find(row) is None]
    yield from orders.batches()


def _batches_on_record(session: Session, rules: RuleSet, now: datetime) -> Iterator[Sequence[MediaFileRow]]:
    """What is due, what the rules in force have yet to decide, and what holds kept."""
    for lane in claims.list_due_lanes(session, now):
        cursor = None
        while rows := claims.next_due(session, lane, now, cursor, BATCH, lock=False):
            cursor = (rows[-1].due_at or now, rows[-1].id)
            yield rows
    after = 0
    while rows := files.list_older_than(session, rules.revision, after, BATCH):
        after = rows[-1].id
        # Files that were due before are among those above, or wait for a retry.
        yield [row for row in rows if not _was_due(row, now)]
    cursor = None
    while rows := claims.next_held(session, now, cursor, BATCH):
        cursor = (rows[-1].due_at or now, rows[-1].id)
        yield [row for row in rows if row.revision >= rules.revision]


class _Orders:
    """Erasures that a pass tells their files at its start (see settle_erasures)."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session, self._now = session, now
        waiting = [erasures.find_erasure(session, number) for number in erasures.list_unsettled(session, now)]
        self._files = {row.id: FileSet.decode(row.files) for row in waiting if row is not None}

    def find(self, row: MediaFileRow) -> int | None:
        """The erasure that a pass would tell a file, the newest of several; None: it would tell it none."""
        if row.state in END_STATES:
            return None
        numbers = [number for number, named in self._files.items() if row.id in named and self._would_take(row, number)]
        return max(numbers, default=None)

    def batches(self) -> Iterator[Sequence[MediaFileRow]]:
        """Their files as they would be once told, but for those in the hands of a run or waiting for a retry."""
        for number, named in self._files.items():
            for batch in named.batches(BATCH):
                found = files.find_files(self._session, batch).values()
                told = [row for row in found if self.find(row) == number and self._may_go(row)]
                for row in told:
                    self._session.expunge(row)  # so that nothing is written
                    row.erasure_id = number
                yield told

    def _would_take(self, row: MediaFileRow, number: int) -> bool:
        if row.erasure_id == number:  # told by a clock that ran ahead
            return row.state is not FileState.FAILED and row.due_at is not None and row.due_at > self._now
        return (row.erasure_id or 0) < number

    def _may_go(self, row: MediaFileRow) -> bool:
        if row.state is FileState.DELETING:
            return False
        is_ahead = row.last_attempt_at is not None and row.last_attempt_at > self._now  # the clock has jumped back
        return row.retry_at is None or row.retry_at <= self._now or is_ahead


def _was_due(row: MediaFileRow, now: datetime) -> bool:
    is_due = row.due_at is not None and row.due_at <= now
    return is_due and row.state is FileState.SCHEDULED and _has_cooled(row, now)


def _has_cooled(row: MediaFileRow, now: datetime) -> bool:
    return row.cooling_until is None or row.cooling_until <= now
