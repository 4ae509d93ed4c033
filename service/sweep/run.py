"""The sweep: one pass over everything that is due (docs/sweep.md).

A pass that dies leaves open calls behind; the next one, or the next leader, closes them as unknown and asks again,
which is harmless.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from service.audit.store import find_order, finish_order
from service.database import Database, Transaction
from service.files.policy import PolicyReader
from service.files.store import find_highest_id
from service.leader.leader import Leader
from service.model import Vendor
from service.rules.store import find_current_number
from service.sweep import claim_store, store
from service.sweep.app_pass import AppPass
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits, ask_breaker, describe_remedy, keep_plans
from service.sweep.calling import Pace, SweepApp
from service.sweep.claim import is_blocked_by_order, set_aside_ranked, set_aside_unconfirmed
from service.sweep.claim_store import Due
from service.sweep.loop import Loop
from service.sweep.record import Recorder, close_open_attempts
from service.sweep.records import RunState, Trigger

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

        `request` is the order that asks for it; a pass of the trigger `APPROVAL` does what that order approves.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database failed; what is open is repaired by the next pass.
        """
        with self._lock, self.leader.bound():
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
                apps=deque(apps),
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
        approved_run = 0 if trigger is Trigger.APPROVAL else None  # (0: nothing, if the order is not there)
        order = None if request is None else find_order(tx, request)
        if order is not None:
            if trigger is Trigger.APPROVAL:
                approved_run = int(order.payload["run_id"])
                apps = store.approve_plans(tx, approved_run, revision, order.payload["by"], now)
                log.info("plan_approved", run=approved_run, apps=apps, by=order.payload["by"])
            finish_order(tx, order.number, now, {"run_id": run_id})
        return Pass(run_id, trigger, now, find_highest_id(tx), revision, approved_run)

    def _open_apps(self, sweep: Pass) -> tuple[list[AppPass], list[str]]:
        """The apps that have files to ask for and may be called, and why the breaker stops others."""
        opened, stops = [], []
        for app_id in self.apps:
            due = Due(app_id, sweep.moment, sweep.highest_id, only_retries=sweep.trigger is Trigger.RETRY)
            room, stop = self._admit(sweep, due) if sweep.is_whole else (0, None)
            app = None if stop else self._open_app(sweep, due, room)
            opened += [app] if app else []
            stops += [stop] if stop else []
        return opened, stops

    def _open_app(self, sweep: Pass, due: Due, room: int) -> AppPass | None:
        now = self.now()
        with self.database.read() as tx:
            vendors = self._find_vendors(tx, due, now, may_probe=sweep.is_whole)
            states = store.list_app_states(tx, due.app_id)
            if sweep.approved_run is not None:
                plan = store.find_approved_plan(tx, due.app_id, sweep.revision, run_id=sweep.approved_run)
                vendors = vendors if plan else []
        if not vendors:
            return None
        app = self.apps[due.app_id]
        pace = self._paces.setdefault(due.app_id, Pace(app.calls_per_second))
        opened = AppPass(app, pace, due, room, deque(vendors), sweep.approved_run)
        opened.apply_states(states, now)
        opened.may_probe = {state.vendor for state in states if state.blocked and sweep.is_whole}
        return opened

    def _admit(self, sweep: Pass, due: Due) -> tuple[int, str | None]:
        """How many files of an app may be called that count, or why the breaker stops it.

        What is kept for its rank, or not confirmed, is put out of the way before it counts.
        """
        set_aside_ranked(self.leader, self.reader, due, self.now)
        if self.confirm_all:
            set_aside_unconfirmed(self.leader, due, self.now)
        with self.database.read() as tx:
            admission = ask_breaker(tx, self.limits, due, sweep.revision)
            has_plan = store.find_open_plan(tx, due.app_id) is not None
        if admission.reason is None and not has_plan:
            return admission.room, None
        run_id = sweep.run_id
        plan = self.leader.transact(lambda tx: keep_plans(tx, run_id, due, admission, sweep.revision, self.now()))
        if admission.reason is None:
            return admission.room, None
        log.error("sweep_stopped", app=due.app_id, run=run_id, plan=plan, due=admission.due)
        remedy = describe_remedy(plan or run_id)
        return 0, f"the breaker stopped app {due.app_id}, nothing of it was called: {admission.reason}; {remedy}"

    def _find_vendors(self, tx: Transaction, due: Due, now: datetime, *, may_probe: bool = False) -> list[Vendor]:
        """The vendors of an app that have due files and may be called; blocked ones only where they may be probed."""
        vendors = [vendor for vendor in Vendor if claim_store.has_due(tx, due, vendor)]
        if not vendors or is_blocked_by_order(tx, due.app_id):
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
