"""The sweep: one pass over everything that is due (docs/sweep.md), each app in a thread of its own.

A pass that dies leaves open calls behind; the next one, or the next leader, closes them as unknown and asks again,
which is harmless.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from service.audit.order import Order, OrderState
from service.audit.store import find_order, finish_order
from service.database import Database, DatabaseUnavailable, Transaction
from service.files.policy import PolicyReader
from service.files.store import find_highest_id
from service.leader.leader import Leader, LeadLost
from service.rules.store import find_current_number
from service.sweep import claim_store, store
from service.sweep.app_pass import AppPass
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits, ask_breaker, share_moved
from service.sweep.claim import Want, find_vendors, set_aside
from service.sweep.claim_store import Due
from service.sweep.gate import Gate
from service.sweep.pace import Pace
from service.sweep.record import close_open_attempts
from service.sweep.records import Plan, PlanState, RunState, Trigger, describe_remedy
from service.zego.client import ZegoClient

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sweeper:
    """Carries out passes, one at a time; only the leader's process does so.

    `catch_up` applies orders, understands callbacks and decides about files. With `confirm_all` only what a listing or
    a person has confirmed is deleted. `jitter` gives numbers in [0, 1).
    """

    database: Database
    leader: Leader
    reader: PolicyReader
    apps: Mapping[str, ZegoClient]
    gate: Gate
    limits: Limits
    retry_policy: RetryPolicy
    confirm_all: bool
    catch_up: Callable[[], None]
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    jitter: Callable[[], float]
    _paces: dict[str, Pace] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, trigger: Trigger, stop: threading.Event, *, request: int | None = None) -> int | None:
        """Carry out one pass; returns its run's number. `stop` ends it after the calls in flight.

        `request` is the order that asks for it; a pass of the trigger `APPROVAL` does what that order approves. While
        the gate refuses, a pass that nobody asks for leaves no run (None), others one that calls nothing; an order that
        has expired leaves none, either. Raises `LeadLost` if another process leads, and `DatabaseUnavailable`.
        """
        with self._lock, self.leader.bound():
            refusals = self.gate.open()
            if refusals and request is None:
                return None
            number = self.leader.look().number
            if not refusals:
                self.catch_up()
            with self.database.read() as tx:
                order = None if request is None else find_order(tx, request)
            if order is not None and order.state is OrderState.EXPIRED:
                return None
            want = self.leader.transact(lambda tx: self._start(tx, trigger, order, number))
            log.info("sweep_started", run=want.run_id, trigger=trigger.value)
            try:
                is_whole = trigger not in (Trigger.RETRY, Trigger.APPROVAL)
                stops = refusals or self._call_apps(want, stop, is_whole=is_whole)
            except Exception:
                # Where what was claimed cannot be given back now, the next pass does it.
                with suppress(LeadLost, DatabaseUnavailable):
                    self.leader.transact(lambda tx: close_open_attempts(tx, self.now(), self.retry_policy, self.jitter))
                raise
            state = RunState.INTERRUPTED if stop.is_set() else RunState.STOPPED if stops else RunState.DONE
            note = "; ".join([*(["stopped by a signal"] if stop.is_set() else []), *stops]) or None
            run = self.leader.transact(lambda tx: store.finish_run(tx, want.run_id, state, self.now(), note))
            counts = {outcome.value: count for outcome, count in run.outcomes.items()}
            log.info("sweep_finished", run=run.id, state=state.value, calls=run.calls, **counts)
            return want.run_id

    def find_due_retries(self) -> bool:
        """Whether a pass of the trigger `RETRY` would find a file to ask for now."""
        now = self.now()
        with self.database.read() as tx:
            highest_id = find_highest_id(tx)
            dues = [Due(app_id, now, highest_id, only_retries=True) for app_id in self.apps]
            return any(find_vendors(tx, due, now, may_probe=False) for due in dues)

    def _start(self, tx: Transaction, trigger: Trigger, order: Order | None, number: int) -> Want:
        """Write down the run, and carry out the order that asks for it; returns what is wanted of any app."""
        now, revision = self.now(), find_current_number(tx)
        close_open_attempts(tx, now, self.retry_policy, self.jitter)
        run_id = store.start_run(tx, trigger, self.leader.name, now)
        approved_run = 0 if trigger is Trigger.APPROVAL else None  # (0: nothing, if the order is not there)
        if order is not None:
            if trigger is Trigger.APPROVAL:
                approved_run = int(order.payload["run_id"])
                apps = store.approve_plans(tx, approved_run, revision, order.payload["by"], now)
                log.info("plan_approved", run=approved_run, apps=apps, by=order.payload["by"])
            finish_order(tx, order.number, now, {"run_id": run_id})
        due = Due("", now, find_highest_id(tx), only_retries=trigger is Trigger.RETRY)
        return Want(run_id, due, revision, 0, self.confirm_all, approved_run, number=number)

    def _call_apps(self, want: Want, stop: threading.Event, *, is_whole: bool) -> list[str]:
        """Call ZEGO for all apps side by side; returns why the breaker stops some, where it is asked."""
        has_failed, apps, stops, others = threading.Event(), list[AppPass](), list[str](), Counter[int]()
        for app_id in self.apps:
            want = replace(want, due=replace(want.due, app_id=app_id), room=0)
            if is_whole:
                room, shares, reason = self._count_due(want, others)
                if reason:
                    stops.append(reason)
                    continue
                want, others = replace(want, room=room, shares=shares), others + shares
            now = self.now()
            with self.database.read() as tx:
                vendors = find_vendors(tx, want.due, now, may_probe=is_whole)
                states = store.list_app_states(tx, app_id)
            if vendors:
                may_probe = {state.vendor for state in states if state.blocked and is_whole}
                pace = self._paces.setdefault(app_id, Pace(self.apps[app_id].calls_per_second))
                app = AppPass(self, pace, want, vendors, may_probe, lambda: stop.is_set() or has_failed.is_set())
                app.note_states(states, now)
                apps.append(app)
        with ThreadPoolExecutor(len(apps) or 1, thread_name_prefix="app") as pool:
            try:
                for done in as_completed([pool.submit(app.run) for app in apps]):
                    done.result()
            finally:
                has_failed.set()  # or all are done
        found = [app.refusal for app in apps if app.refusal]
        if found:
            self.gate.refuse(found)
        return stops + [text for _, text in dict(found).items()]

    def _count_due(self, want: Want, others: Mapping[int, int]) -> tuple[int, Counter[int], str | None]:
        """How many due files of an app count for the breaker, its shares of previews' budgets, and why it is stopped.

        `others` are the shares of the apps before it: together they have no more than there is.
        A plan is written down if it does, and the open plan of the app ended if it does not.
        """
        due, run_id = want.due, want.run_id
        set_aside(self.leader, self.reader, due, self.now, confirm_all=self.confirm_all)
        with self.database.read() as tx:
            budgets = claim_store.read_budgets(tx, due.app_id, want.revision, others=others)
            base = claim_store.count_base(tx, due, budgets.plan)
            counted, stop = ask_breaker(tx, self.limits, due.app_id, want.revision, base, budgets)

        def keep_plan(tx: Transaction) -> None:
            store.expire_plan(tx, due.app_id, f"run {run_id}", self.now())
            if stop:
                facts = (due.moment, want.revision, due.highest_id, counted, stop.present_count, stop.reason)
                store.add_plan(tx, Plan(run_id, due.app_id, *facts, PlanState.OPEN, None, None, 0))

        if stop is None or stop.plan_run is None:
            self.leader.transact(keep_plan)
        if stop is None:
            return counted, share_moved(base, budgets.moved), None
        plan_run = stop.plan_run or run_id
        remedy, facts = describe_remedy(plan_run), {"run": run_id, "plan_of_run": plan_run, "due": counted}
        log.error("sweep_stopped", app=due.app_id, **facts, reason=stop.reason, fix=remedy)
        return 0, Counter(), f"the breaker stopped app {due.app_id}, nothing of it was called: {stop.reason}; {remedy}"
