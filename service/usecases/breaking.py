"""The breaker around a pass: who may be swept, the plans of those who may not, and their approval (docs/sweep.md)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from service.core.breaker import Trip, judge_plan
from service.core.file_sets import FileSet
from service.db import audit, claims, locks, plans, revisions, runs
from service.db.order_models import PlanState
from service.usecases.claiming import Admission, approval_of
from service.usecases.inventory import NoSuchThing, NotPossible, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime

    from service.core.breaker import Limits
    from service.core.model import Actor
    from service.db.engine import Database, Session
    from service.db.order_models import PlanRow

_BATCH = 2_000
_BREATH_S = 0.02  # between two batches others get their turn to write

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stop:
    """An app that the breaker keeps out of a pass: why, and the run whose plan waits for approval."""

    app_id: str
    trip: Trip
    plan: int

    @property
    def sentence(self) -> str:
        """What happened, and what to do."""
        remedy = describe_remedy(self.plan)
        return f"the breaker stopped app {self.app_id}, nothing of it was called: {self.trip.reason}; {remedy}"


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one database with its limits, and the clock."""

    database: Database
    limits: Limits
    now: Callable[[], datetime]

    def ask(self, run_id: int, app_id: str) -> Admission | Stop:
        """Before the first call of a pass: count what it would ask for of an app, and write down a plan if too much.

        While a file of an open plan is still due, the app stays stopped, however many are due by now.
        """
        with self.database.read() as session:
            if stop := self._find_standing(session, app_id):
                return _stop(run_id, stop)
            new, present = self._count(session, app_id)
        if judge_plan(new, present, self.limits) is None:
            return Admission(self.limits.allow(present))
        return self.database.transact(partial(self._freeze, run_id=run_id, app_id=app_id))

    def find_room(self, app_id: str) -> int:
        """How many new files a pass for retries may take up after a pause; none of what should be stopped."""
        with self.database.read() as session:
            if app_id in plans.open_runs(session):
                return 0
            new, present = self._count(session, app_id)
        return self.limits.allow(present) if judge_plan(new, present, self.limits) is None else 0

    def lapse(self, run_id: int, but: Collection[str]) -> None:
        """End the open plans of all but these apps: nobody has to decide about them any more."""
        with self.database.read() as session:
            apps = plans.open_runs(session).keys() - set(but)
        if apps:
            self.database.transact(partial(self._lapse, run_id=run_id, app_ids=apps))

    def _lapse(self, session: Session, run_id: int, app_ids: Collection[str]) -> None:
        for app_id, plan in plans.lapse(session, app_ids, f"run {run_id}", self.now()):
            log.info("plan_lapsed", app=app_id, plan=plan, run=run_id)

    def _find_standing(self, session: Session, app_id: str) -> Stop | None:
        plan = plans.find_open(session, app_id)
        if plan is None:
            return None
        batches = FileSet.decode(plan.files).batches(_BATCH)
        is_due = any(claims.has_new(session, batch, self.now()) for batch in batches)
        return Stop(app_id, describe_standing(plan), plan.run_id) if is_due else None

    def _count(self, session: Session, app_id: str) -> tuple[int, int]:
        new = claims.count_new(session, app_id, self.now())
        return new, claims.count_present(session, app_id) if self.limits.needs_present(new) else 0

    def _freeze(self, session: Session, run_id: int, app_id: str) -> Admission | Stop:
        if stop := self._find_standing(session, app_id):
            return _stop(run_id, stop)  # another process was faster
        self._lapse(session, run_id, [app_id])
        now = self.now()
        files = FileSet(claims.list_new(session, app_id, now))
        present = claims.count_present(session, app_id)
        trip = judge_plan(len(files), present, self.limits)
        if trip is None:
            return Admission(self.limits.allow(present))
        if plans.add_plan(session, run_id, app_id, files, trip, now):
            return _stop(run_id, Stop(app_id, trip, run_id))
        # Another process was faster: there is one open plan per app.
        return _stop(run_id, Stop(app_id, trip, plans.open_runs(session).get(app_id, run_id)))


def describe_standing(plan: PlanRow) -> Trip:
    """Why an app stays stopped whose open plan names files that are still due."""
    reason = f"the plan of run {plan.run_id} with {plan.files_count:,} files is open, and some of them are still due"
    return Trip(plan.files_count, plan.present_count, reason)


def describe_remedy(plan: int) -> str:
    """What to do about an open plan."""
    return f"see `zego-retention runs show {plan}`, then `zego-retention sweep --approve {plan}`"


def approve_plans(
    database: Database, run_id: int, actor: Actor, now: datetime, progress: Callable[[int], None] | None = None
) -> list[str]:
    """Approve the plans of a run, and mark their files that are due now; returns the apps.

    Asked for again under the same rules, it finishes the marking that a kill cut short; that is audited as well.
    `progress` hears the size of each batch.

    Raises:
        NotPossible: there is no such run, or no plan of it that can be approved, or the rules were changed since.
    """
    approved = database.transact(lambda session: _approve(session, run_id, actor, now))
    marked = 0
    for approval in approved:
        is_told = approval.is_first
        for batch in approval.files.batches(_BATCH):
            count = database.transact(partial(_mark, approval=approval, numbers=batch, tell=not is_told))
            marked, is_told = marked + count, is_told or count > 0
            if progress:
                progress(len(batch))
            time.sleep(_BREATH_S)
    apps = [approval.app_id for approval in approved]
    log.info("plan_approved", run=run_id, apps=apps, files=marked, by=actor.name)
    return apps


def show_plans(database: Database, run_id: int, limit: int | None) -> list[dict[str, Any]]:
    """The plans of a run as JSON objects, each with the numbers of its first files (None: of all)."""
    with database.read() as session:
        found = plans.list_of_run(session, run_id)
    return [plan_as_json(row) | {"files": list(islice(FileSet.decode(row.files), limit))} for row in found]


def plan_as_json(row: PlanRow) -> dict[str, Any]:
    """A plan without its files, as the API and `--json` show it."""
    return {
        "run": row.run_id,
        "app_id": row.app_id,
        "state": row.state.value,
        "reason": row.reason,
        "files_count": row.files_count,
        "present_count": row.present_count,
        "made_at": iso(row.made_at),
        "settled_at": iso(row.settled_at),
        "settled_by": row.settled_by,
    }


def _stop(run_id: int, stop: Stop) -> Stop:
    log.error(
        "sweep_stopped", app=stop.app_id, run=run_id, plan=stop.plan, due=stop.trip.due, present=stop.trip.present
    )
    return stop


@dataclass(frozen=True, slots=True)
class _Approval:
    """A plan that a person approves under a revision of the rules; `is_first`: nobody had approved it before."""

    run_id: int
    app_id: str
    revision: int
    files: FileSet
    reason: str
    actor: Actor
    at: datetime
    is_first: bool

    def tell(self, session: Session) -> None:
        """Write it into the audit."""
        told = {"app_id": self.app_id, "files_count": len(self.files), "reason": self.reason, "revision": self.revision}
        audit.add_entry(session, self.actor, "approve_plan", f"run {self.run_id}, app {self.app_id}", self.at, told)


def _approve(session: Session, run_id: int, actor: Actor, now: datetime) -> list[_Approval]:
    locks.lock_policy_shared(session)
    revision = revisions.current_number(session)
    approved = []
    for row in _approvable(session, run_id, revision):
        is_first, files = row.state is PlanState.OPEN, FileSet.decode(row.files)
        approval = _Approval(run_id, row.app_id, revision, files, row.reason, actor, now, is_first)
        if is_first:
            row.state, row.settled_at, row.settled_by = PlanState.APPROVED, now, actor.name
            row.approved_revision = revision
            approval.tell(session)
        approved.append(approval)
    return approved


def _mark(session: Session, approval: _Approval, numbers: list[int], *, tell: bool) -> int:
    locks.lock_policy_shared(session)
    revision = revisions.current_number(session)
    if revision != approval.revision:
        raise NotPossible(_describe_change(approval.run_id, approval.revision, revision))
    marked = plans.mark_files(session, numbers, approval_of(approval.run_id), approval.at)
    if marked and tell:
        approval.tell(session)
    return marked


def _approvable(session: Session, run_id: int, revision: int) -> list[PlanRow]:
    if runs.find_run(session, run_id) is None:
        raise NoSuchThing(f"there is no run {run_id}: see `zego-retention runs list`")
    found = plans.list_of_run(session, run_id, lock=True)
    if not found:
        raise NotPossible(f"the breaker stopped nothing in run {run_id}; {_describe_open(plans.list_open(session))}")
    standing = [row for row in found if row.state is not PlanState.LAPSED]
    if not standing:
        ended = ", ".join(sorted({f"{row.settled_by}" for row in found}))
        raise NotPossible(
            f"the plan of run {run_id} lapsed: {ended} found none of its files due any more; "
            f"{_describe_open(plans.list_open(session))}"
        )
    current = [row for row in standing if row.state is PlanState.OPEN or row.approved_revision == revision]
    if not current:
        raise NotPossible(_describe_change(run_id, standing[0].approved_revision, revision))
    return current


def _describe_change(run_id: int, approved: int | None, revision: int) -> str:
    return (
        f"the plan of run {run_id} was approved under rules revision {approved}, and {revision} is in force now: "
        "nothing more of it is approved; `zego-retention sweep` looks at what is due now, and stops again if it is "
        "too much"
    )


def _describe_open(found: Iterable[PlanRow]) -> str:
    told = ", ".join(f"that of run {row.run_id} for app {row.app_id}" for row in found)
    return f"open is {told}" if told else "no plan is open"
