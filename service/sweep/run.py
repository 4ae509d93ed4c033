"""The sweep: one pass over everything that is due (docs/sweep.md).

A pass that dies leaves open calls behind; the next one, or the next leader, closes them as unknown and asks again,
which is harmless.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from service.audit.store import find_order, finish_order, list_failed_orders
from service.files.store import find_highest_id
from service.model import Vendor
from service.rules.store import find_current_number
from service.sweep import claim_store, store
from service.sweep.app_pass import AppPass
from service.sweep.breaker import Limits, ask_breaker, describe_remedy, keep_plans
from service.sweep.calling import Pace, SweepApp
from service.sweep.claim_store import Due
from service.sweep.loop import Loop
from service.sweep.record import Recorder, close_open_attempts
from service.sweep.records import RunState, Trigger
from service.sweep.set_aside import set_aside_ranked, set_aside_unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from service.database import Database, Transaction
    from service.files.policy import PolicyReader
    from service.leader.leader import Leader
    from service.sweep.backoff import RetryPolicy

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass under way: it takes what was due at `moment` and known by then, or what the plans of a run cover."""

    run_id: int
    trigger: Trigger
    moment: datetime
    highest_id: int
    revision: int
    approved_run: int | None = None


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

        `request` is the order that asks for it; a pass of the trigger `APPROVAL` does what that order approves.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database failed; what is open is repaired by the next pass.
        """
        with self._lock:
            number = self.leader.look().number
            self.catch_up()
            sweep = self.leader.transact(lambda tx: self._start(tx, trigger, request))
            log.info("sweep_started", run=sweep.run_id, trigger=trigger.value)
            apps, stops = self._open_apps(sweep)
            loop = Loop(
                leader=self.leader,
                reader=self.reader,
                recorder=Recorder(self.retry_policy, self.jitter),
                catch_up=self.catch_up,
                now=self.now,
                sleep=self.sleep,
                run_id=sweep.run_id,
                confirm_all=self.confirm_all,
                apps=apps,
                number=number,
            )
            loop.run(stop)
            self._finish(sweep, stops, interrupted=stop.is_set())
            return sweep.run_id

    def find_due_retries(self) -> bool:
        """Whether a pass of the trigger `RETRY` would find a file to ask for now."""
        now = self.now()
        with self.database.read() as tx:
            highest_id = find_highest_id(tx)
            dues = [Due(app_id, now, highest_id, only_retries=True) for app_id in self.apps]
            return any(self._find_vendors(tx, due, now) for due in dues)

    def is_overdue(self, slot: datetime) -> bool:
        """Whether no scheduled pass has begun since a moment that one was due at, but for those that were cut short."""
        with self.database.read() as tx:
            last = store.find_last_run(tx, scheduled=True)
        return last is None or last.started_at < slot

    def _start(self, tx: Transaction, trigger: Trigger, request: int | None) -> Pass:
        now, revision = self.now(), find_current_number(tx)
        close_open_attempts(tx, now, self.retry_policy, self.jitter)
        run_id = store.start_run(tx, trigger, self.leader.name, now)
        approved_run, result = None, {"run_id": run_id}
        order = None if request is None else find_order(tx, request)
        if order is not None:
            if trigger is Trigger.APPROVAL:
                approved_run = int(order.payload["run_id"])
                apps = store.approve_plans(tx, approved_run, revision, order.payload["by"], now)
                log.info("plan_approved", run=approved_run, apps=apps, by=order.payload["by"])
            finish_order(tx, order.number, now, result)
        return Pass(run_id, trigger, now, find_highest_id(tx), revision, approved_run)

    def _open_apps(self, sweep: Pass) -> tuple[list[AppPass], list[str]]:
        """The apps that have files to ask for and may be called, and why the breaker stops others."""
        opened, stops = [], []
        for app_id in self.apps:
            app, stop = self._open_app(sweep, app_id)
            if app is not None:
                opened.append(app)
            if stop is not None:
                stops.append(stop)
        return opened, stops

    def _open_app(self, sweep: Pass, app_id: str) -> tuple[AppPass | None, str | None]:
        is_whole = sweep.trigger not in (Trigger.RETRY, Trigger.APPROVAL)
        due = Due(app_id, sweep.moment, sweep.highest_id, only_retries=sweep.trigger is Trigger.RETRY)
        room = 0
        if is_whole:
            due, room, stop = self._admit(sweep, due)
            if stop is not None:
                return None, stop
        elif sweep.trigger is Trigger.APPROVAL and not self._is_approved(sweep, app_id):
            return None, None
        now = self.now()
        with self.database.read() as tx:
            vendors = self._find_vendors(tx, due, now, may_probe=is_whole)
            states = store.list_app_states(tx, app_id)
        if not vendors:
            return None, None
        pace = self._paces.setdefault(app_id, Pace(self.apps[app_id].calls_per_second))
        app = AppPass(self.apps[app_id], pace, due, room, deque(vendors), sweep.approved_run)
        app.apply_states(states, now)
        app.may_probe = {state.vendor for state in states if state.blocked and is_whole}
        return app, None

    def _admit(self, sweep: Pass, due: Due) -> tuple[Due, int, str | None]:
        """Ask the breaker about an app, once what is kept for its rank, or not confirmed, is out of the way."""
        set_aside_ranked(self.leader, self.reader, due, self.now)
        if self.confirm_all:
            set_aside_unconfirmed(self.leader, due, self.now)
        with self.database.read() as tx:
            admission = ask_breaker(tx, self.limits, due, sweep.revision)
            has_plan = store.find_open_plan(tx, due.app_id) is not None
        if admission.reason is None and not has_plan:
            return due, admission.room, None
        plan_run = self.leader.transact(
            lambda tx: keep_plans(tx, sweep.run_id, due, admission, sweep.revision, self.now())
        )
        if admission.reason is None:
            return due, admission.room, None
        log.error("sweep_stopped", app=due.app_id, run=sweep.run_id, plan=plan_run, due=admission.due)
        remedy = describe_remedy(plan_run or sweep.run_id)
        return due, 0, f"the breaker stopped app {due.app_id}, nothing of it was called: {admission.reason}; {remedy}"

    def _is_approved(self, sweep: Pass, app_id: str) -> bool:
        with self.database.read() as tx:
            return store.find_approved_plan(tx, app_id, sweep.revision, run_id=sweep.approved_run) is not None

    def _find_vendors(self, tx: Transaction, due: Due, now: datetime, *, may_probe: bool = False) -> list[Vendor]:
        """The vendors of an app that have due files and may be called; blocked ones only where they may be probed."""
        vendors = [vendor for vendor in Vendor if claim_store.has_due(tx, due, vendor)]
        if not vendors or any(order.app_id in (None, due.app_id) for order in list_failed_orders(tx)):
            return []
        states = store.list_app_states(tx, due.app_id)
        shut = {state.vendor for state in states if state.blocked and not may_probe}
        shut |= {state.vendor for state in states if state.until is not None and state.since <= now < state.until}
        return [] if None in shut else [vendor for vendor in vendors if vendor not in shut]

    def _finish(self, sweep: Pass, stops: Sequence[str], *, interrupted: bool) -> None:
        state = RunState.INTERRUPTED if interrupted else RunState.STOPPED if stops else RunState.DONE
        note = "; ".join([*(["stopped by a signal"] if interrupted else []), *stops]) or None
        self.leader.transact(lambda tx: store.finish_run(tx, sweep.run_id, state, self.now(), note))
        with self.database.read() as tx:
            totals = store.count_totals(tx, sweep.run_id)
        counts = {outcome.value: count for outcome, count in totals.outcomes.items() if outcome}
        log.info("sweep_finished", run=sweep.run_id, state=state.value, calls=totals.calls, **counts)
