"""The breaker around a pass: who may be swept, the plans of those who may not, and their approval (docs/sweep.md)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from service.core.breaker import judge_plan
from service.core.file_sets import FileSet
from service.db import audit, claims, plans, runs
from service.db.order_models import PlanState
from service.usecases.claiming import Admission, approval_of
from service.usecases.inventory import NoSuchThing, NotPossible, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime

    from service.core.breaker import Limits, Trip
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
        """Before the first call of a pass: count what it would ask for of an app, and write down a plan if too much."""
        with self.database.read() as session:
            new, present = self._count(session, app_id)
            plan = plans.open_runs(session).get(app_id)
        trip = judge_plan(new, present, self.limits)
        if trip is None:
            return Admission(self.limits.allow(present))
        if plan is not None:
            return _stop(run_id, Stop(app_id, trip, plan))
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
            by = f"run {run_id}"
            lapsed = self.database.transact(lambda session: plans.lapse(session, apps, by, self.now()))
            for app_id, plan in lapsed:
                log.info("plan_lapsed", app=app_id, plan=plan, run=run_id)

    def _count(self, session: Session, app_id: str) -> tuple[int, int]:
        new = claims.count_new(session, app_id, self.now())
        return new, claims.count_present(session, app_id) if self.limits.needs_present(new) else 0

    def _freeze(self, session: Session, run_id: int, app_id: str) -> Admission | Stop:
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


def describe_remedy(plan: int) -> str:
    """What to do about an open plan."""
    return f"see `zego-retention runs show {plan}`, then `zego-retention sweep --approve {plan}`"


def approve_plans(
    database: Database, run_id: int, actor: Actor, now: datetime, progress: Callable[[int], None] | None = None
) -> list[str]:
    """Approve the plans of a run, and mark their files that are still scheduled; returns the apps.

    Asked for again, it finishes the marking that a kill cut short. `progress` hears the size of each batch.

    Raises:
        NotPossible: there is no such run, or no plan of it that can be approved.
    """
    approved = database.transact(lambda session: _approve(session, run_id, actor, now))
    marked = 0
    for _, files in approved:
        for batch in files.batches(_BATCH):
            marked += database.transact(partial(plans.mark_files, numbers=batch, approval=approval_of(run_id)))
            if progress:
                progress(len(batch))
            time.sleep(_BREATH_S)
    log.info("plan_approved", run=run_id, apps=[app_id for app_id, _ in approved], files=marked, by=actor.name)
    return [app_id for app_id, _ in approved]


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


def _approve(session: Session, run_id: int, actor: Actor, now: datetime) -> list[tuple[str, FileSet]]:
    found = _approvable(session, run_id)
    for row in found:
        if row.state is PlanState.OPEN:
            row.state, row.settled_at, row.settled_by = PlanState.APPROVED, now, actor.name
            told = {"app_id": row.app_id, "files_count": row.files_count, "reason": row.reason}
            audit.add_entry(session, actor, "approve_plan", f"run {run_id}, app {row.app_id}", now, told)
    return [(row.app_id, FileSet.decode(row.files)) for row in found]


def _approvable(session: Session, run_id: int) -> list[PlanRow]:
    if runs.find_run(session, run_id) is None:
        raise NoSuchThing(f"there is no run {run_id}: see `zego-retention runs list`")
    found = plans.list_of_run(session, run_id, lock=True)
    if not found:
        raise NotPossible(f"the breaker stopped nothing in run {run_id}; {_describe_open(plans.list_open(session))}")
    standing = [row for row in found if row.state is not PlanState.LAPSED]
    if not standing:
        ended = ", ".join(sorted({f"{row.settled_by}" for row in found}))
        raise NotPossible(
            f"the plan of run {run_id} lapsed: {ended} found no more files due than the breaker lets through; "
            f"{_describe_open(plans.list_open(session))}"
        )
    return standing


def _describe_open(found: Iterable[PlanRow]) -> str:
    told = ", ".join(f"that of run {row.run_id} for app {row.app_id}" for row in found)
    return f"open is {told}" if told else "no plan is open"
