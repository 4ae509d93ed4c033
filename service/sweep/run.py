"""The sweep: one pass over everything that is due (docs/sweep.md).

A pass that dies leaves open calls behind; the next one, or the next leader, closes them as unknown and asks again,
which is harmless.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from service.audit.store import find_block, find_order, finish_order
from service.database import Database, DatabaseUnavailable, Transaction
from service.files.policy import PolicyReader
from service.files.store import find_highest_id
from service.leader.leader import Leader, LeadLost
from service.model import Vendor
from service.rules.store import find_current_number
from service.sweep import claim_store, store
from service.sweep.app_pass import AppPass
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Admission, Limits, ask_breaker, describe_remedy
from service.sweep.calling import Pace, SweepApp
from service.sweep.claim import Want, set_aside
from service.sweep.claim_store import Due
from service.sweep.record import close_open_attempts
from service.sweep.records import Plan, PlanState, RunState, Trigger

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass under way: it takes what was due at `moment` and known by then, or what the plans of a run cover."""

    run_id: int
    trigger: Trigger
    moment: datetime
    highest_id: int
    revision: int
    approved_run: int | None

    @property
    def is_whole(self) -> bool:
        """It takes everything that is due."""
        return self.trigger not in (Trigger.RETRY, Trigger.APPROVAL)


@dataclass(slots=True)
class Sweeper:
    """Carries out passes, one at a time; only the leader's process does so.

    `catch_up` applies orders, understands callbacks and decides about files. With `confirm_all` only what a listing or
    a person has confirmed is deleted. `jitter` gives numbers in [0, 1).
    """

    database: Database
    leader: Leader
    reader: PolicyReader
    apps: Mapping[str, SweepApp]
    limits: Limits
    retry_policy: RetryPolicy
    confirm_all: bool
    catch_up: Callable[[], None]
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    jitter: Callable[[], float]
    _paces: dict[str, Pace] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, trigger: Trigger, stop: threading.Event, *, request: int | None = None) -> int:
        """Carry out one pass; returns its run's number. `stop` ends it after the calls in flight.

        `request` is the order that asks for it; a pass of the trigger `APPROVAL` does what that order approves. Raises
        `LeadLost` if another process leads, and `DatabaseUnavailable`.
        """
        with self._lock, self.leader.bound():
            number = self.leader.look().number
            self.catch_up()
            sweep = self.leader.transact(lambda tx: self._start(tx, trigger, request))
            log.info("sweep_started", run=sweep.run_id, trigger=trigger.value)
            has_failed = threading.Event()
            opened = [
                self._open_app(sweep, app_id, number, lambda: stop.is_set() or has_failed.is_set())
                for app_id in self.apps
            ]
            apps = [app for app in opened if isinstance(app, AppPass)]
            try:
                with ThreadPoolExecutor(len(apps) or 1, thread_name_prefix="app") as pool:
                    try:
                        for done in as_completed([pool.submit(app.run) for app in apps]):
                            done.result()
                    finally:
                        has_failed.set()  # or all are done
            except Exception:
                self._give_back()
                raise
            self._finish(sweep, [app for app in opened if isinstance(app, str)], is_interrupted=stop.is_set())
            return sweep.run_id

    def find_due_retries(self) -> bool:
        """Whether a pass of the trigger `RETRY` would find a file to ask for now."""
        now = self.now()
        with self.database.read() as tx:
            highest_id = find_highest_id(tx)
            dues = [Due(app_id, now, highest_id, only_retries=True) for app_id in self.apps]
            return any(_find_vendors(tx, due, now, may_probe=False) for due in dues)

    def is_overdue(self, slot: datetime) -> bool:
        """Whether no scheduled pass has begun since a moment that one was due at, but for those that were cut short."""
        with self.database.read() as tx:
            last = store.find_last_schedule(tx)
        return last is None or last < slot

    def _give_back(self) -> None:
        """Give back what a pass that failed has claimed; where that cannot be done now, the next pass does it."""
        with suppress(LeadLost, DatabaseUnavailable):
            self.leader.transact(lambda tx: close_open_attempts(tx, self.now(), self.retry_policy, self.jitter))

    def _start(self, tx: Transaction, trigger: Trigger, request: int | None) -> Pass:
        now, revision = self.now(), find_current_number(tx)
        close_open_attempts(tx, now, self.retry_policy, self.jitter)
        run_id = store.start_run(tx, trigger, self.leader.name, now)
        approved_run = 0 if trigger is Trigger.APPROVAL else None  # (0: nothing, if the order is not there)
        order = None if request is None else find_order(tx, request)
        if order is not None:
            if trigger is Trigger.APPROVAL:
                approved_run = int(order.payload["run_id"])
                apps = store.approve_plans(tx, approved_run, revision, order.payload["by"], now)
                log.info("plan_approved", run=approved_run, apps=apps, by=order.payload["by"])
            finish_order(tx, order.number, now, {"run_id": run_id})
        return Pass(run_id, trigger, now, find_highest_id(tx), revision, approved_run)

    def _open_app(self, sweep: Pass, app_id: str, number: int, is_ending: Callable[[], bool]) -> AppPass | str | None:
        """The part of an app that has files to ask for and may be called; or why the breaker stops it."""
        due = Due(app_id, sweep.moment, sweep.highest_id, only_retries=sweep.trigger is Trigger.RETRY)
        room = 0
        if sweep.is_whole:
            set_aside(self.leader, self.reader, due, self.now, confirm_all=self.confirm_all)
            admission = self._ask_breaker(sweep, due)
            if admission.reason:
                log.error("sweep_stopped", app=app_id, run=sweep.run_id, due=admission.files_count)
                remedy = describe_remedy(admission.plan_run or sweep.run_id)
                return f"the breaker stopped app {app_id}, nothing of it was called: {admission.reason}; {remedy}"
            room = admission.files_count
        now, app = self.now(), self.apps[app_id]
        with self.database.read() as tx:
            vendors = _find_vendors(tx, due, now, may_probe=sweep.is_whole)
            states = store.list_app_states(tx, app_id)
        if not vendors:
            return None
        pace = self._paces.setdefault(app_id, Pace(app.calls_per_second))
        want = Want(sweep.run_id, due, room, self.confirm_all, sweep.approved_run)
        may_probe = {state.vendor for state in states if state.blocked and sweep.is_whole}
        opened = AppPass(self, app.client, pace, want, vendors, may_probe, is_ending, number)
        opened.note_states(states, now)
        return opened

    def _ask_breaker(self, sweep: Pass, due: Due) -> Admission:
        """Ask the breaker about an app; a plan is written down if it stops that, and its open plan ended if not."""
        with self.database.read() as tx:
            budgets = claim_store.read_budgets(tx, due.app_id, sweep.revision)
            counted = claim_store.count_base(tx, due, budgets.plan)
            admission = ask_breaker(tx, self.limits, due.app_id, sweep.revision, counted, budgets)

        def keep_plan(tx: Transaction) -> None:
            now, reason = self.now(), admission.reason
            store.expire_plan(tx, due.app_id, f"run {sweep.run_id}", now)
            if reason:
                facts = (due.moment, sweep.revision, due.highest_id, admission.files_count, admission.present_count)
                plan = Plan(sweep.run_id, due.app_id, *facts, reason, PlanState.OPEN, None, None, 0)
                store.add_plan(tx, plan)

        if admission.plan_run is None:
            self.leader.transact(keep_plan)
        return admission

    def _finish(self, sweep: Pass, stops: Sequence[str], *, is_interrupted: bool) -> None:
        state = RunState.INTERRUPTED if is_interrupted else RunState.STOPPED if stops else RunState.DONE
        note = "; ".join([*(["stopped by a signal"] if is_interrupted else []), *stops]) or None
        self.leader.transact(lambda tx: store.finish_run(tx, sweep.run_id, state, self.now(), note))
        with self.database.read() as tx:
            totals = store.count_totals(tx, sweep.run_id)
        counts = {outcome.value: count for outcome, count in totals.outcomes.items() if outcome}
        log.info("sweep_finished", run=sweep.run_id, state=state.value, calls=totals.calls, **counts)


def _find_vendors(tx: Transaction, due: Due, now: datetime, *, may_probe: bool) -> list[Vendor]:
    """The vendors of an app that have due files and may be called; blocked ones only where they may be probed."""
    vendors = claim_store.list_due_vendors(tx, due)
    if not vendors or find_block(tx, due.app_id):
        return []
    states = store.list_app_states(tx, due.app_id)
    shut = {state.vendor for state in states if (state.blocked and not may_probe) or state.pauses_at(now)}
    return [] if None in shut else [vendor for vendor in vendors if vendor not in shut]
