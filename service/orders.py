"""Applying what people ordered, in the order of the audit; catching up, taking over the lead, waiting for an order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import structlog

from service.audit import store
from service.audit.order import EXPIRED, REQUESTS_LAST, RUN_REQUESTS, Order, OrderKind, Step
from service.callbacks import store as callbacks_store
from service.database import Database, DatabaseUnavailable, Transaction
from service.files.actions_store import let_unconfirmed_wait
from service.filters import AuditFilter
from service.leader.leader import Leader, LeadLost
from service.leader.store import find_leader, note_applied, set_progress
from service.listing.store import interrupt_running
from service.model import NoSuchThing, NotPossible
from service.sweep.backoff import RetryPolicy
from service.sweep.record import close_open_attempts
from service.units import count_of

Handler: TypeAlias = Callable[[Transaction, Order, int, dict[str, Any]], Step]
"""Applies one kind of order, one transaction at a time; `service.audit.order.Step` says how it continues."""

T = TypeVar("T")

RETRY_FAILED_S: Final = 60.0
"""An order that could not be applied is tried again this often."""

PAUSE_S: Final = 1.0
"""As long as a call may be sent after a look: what the last leader still sends arrives before our calls."""

_BATCH: Final = 100
_TRIES: Final = 3
_SHOWN: Final = 300
_MAX_FAILURE: Final = 500
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.2

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ApplyOrders:
    """Applies orders, one by one, in the order of their numbers. It can be killed and started again at any point."""

    leader: Leader
    handlers: Mapping[OrderKind, Handler]
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    _retried_at: float | None = None
    _ran_at: datetime | None = None

    def run(self) -> int:
        """Apply every order that was written before this call, however fast people order; returns how many.

        One that raises changes nothing, is marked with the reason, and is tried again once a minute.
        """
        self._expire_requests()
        failed: list[Order] = []
        with self.leader.database.read() as tx:
            if self._retried_at is None or self.clock() - self._retried_at >= RETRY_FAILED_S:
                self._retried_at = self.clock()
                failed = [order for order in store.list_failed_orders(tx) if order.kind not in RUN_REQUESTS]
            head, leader = store.find_head(tx).number, find_leader(tx)
        reached = 0 if leader is None else leader.applied
        applied = sum(map(self._apply, failed))
        while reached < head:
            with self.leader.database.read() as tx:
                orders = [order for order in store.list_orders(tx, reached, _BATCH) if order.number <= head]
            applied += sum(map(self._apply, orders))
            reached = orders[-1].number if orders else head
            if not orders:
                self.leader.transact(lambda tx: note_applied(tx, head))
        self._ran_at = self.now()
        return applied

    def _expire_requests(self) -> None:
        """Let orders for a run expire that are too old; none does while it waits for a run of this very process."""
        now = self.now()
        if self._ran_at is None or now - self._ran_at > REQUESTS_LAST:
            too_old = now - REQUESTS_LAST
            expired = self.leader.transact(lambda tx: store.expire_run_requests(tx, too_old, now, EXPIRED))
            for number in expired:
                self._report("order_expired", number)

    def _apply(self, order: Order) -> bool:
        if order.kind in RUN_REQUESTS or order.applied_at is not None:
            self.leader.transact(lambda tx: note_applied(tx, order.number))
            if order.applied_at is None:
                self._report("run_requested", order.number)
            return False
        for number in range(_TRIES):
            try:
                step = Step({}, 0)
                while step.resume_after is not None:
                    step = self.leader.transact(lambda tx: self._take_step(tx, order, step))  # noqa: B023
            except LeadLost:
                raise
            except Exception as error:  # noqa: BLE001  (whatever it is: it is reported, and the next order applied)
                # One that says nothing of the order, such as a lock that somebody held for too long: once more.
                is_passing = isinstance(error, DatabaseUnavailable) and not error.is_refusal
                if not is_passing or number == _TRIES - 1:
                    failure = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_FAILURE]
                    self.leader.transact(lambda tx: _fail(tx, order, failure))  # noqa: B023
                    return False
            else:
                self._report("order_applied", order.number, result=step.result)
                return True
        return False

    def _report(self, event: str, number: int, **facts: Any) -> None:  # noqa: ANN401  (as structlog takes them)
        """Log an order with who gave it, through whatever process."""
        with self.leader.database.read() as tx:
            [entry] = store.list_entries(tx, AuditFilter(), 1, before=number + 1)
        what = {
            "order": entry.number,
            "action": entry.action,
            "subject": entry.subject,
            "detail": entry.detail[:_SHOWN],
        }
        log.info(event, **what, by=entry.actor, through=entry.through, **facts)

    def _take_step(self, tx: Transaction, order: Order, last: Step) -> Step:
        handler = self.handlers.get(order.kind)
        if handler is None:
            raise LookupError(f"this release applies no orders of kind {order.kind}")
        step = handler(tx, order, last.resume_after or 0, last.result)
        if step.resume_after is None:
            store.finish_order(tx, order.number, self.now(), step.result)
            note_applied(tx, order.number)
        return step


def _fail(tx: Transaction, order: Order, failure: str) -> None:
    store.fail_order(tx, order.number, failure)
    note_applied(tx, order.number)
    log.error("order_not_applied", order=order.number, kind=order.kind, app=order.app_id, detail=failure)


@dataclass(slots=True)
class CatchUp:
    """Everything that has to have happened before a file may be called: steps in their order, one thread at a time."""

    leader: Leader
    steps: Sequence[Callable[[], object]]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Catch up with everything that was written before this call."""
        with self._lock:
            self.leader.renew()
            for step in self.steps:
                step()


def take_over(
    leader: Leader,
    *,
    retry_policy: RetryPolicy,
    jitter: Callable[[], float],
    confirm: str,
    cooling_off: timedelta,
    catch_up: Callable[[], None],
    now: Callable[[], datetime],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Repair what the last leader left open, then catch up, then wait until nothing of it can be under way.

    Open attempts become `unknown`, to be asked again; running runs and listings are marked as not finished. It can be
    killed and started again at any point.
    """
    leader.transact(lambda tx: close_open_attempts(tx, now(), retry_policy, jitter))
    leader.transact(lambda tx: interrupt_running(tx, now()))
    after: int | None = 0
    while after is not None:
        after = leader.transact(lambda tx: _note_confirm(tx, confirm, after or 0, now(), cooling_off))  # noqa: B023
    catch_up()
    sleep(PAUSE_S)


def _note_confirm(tx: Transaction, confirm: str, after: int, now: datetime, cooling_off: timedelta) -> int | None:
    """Remember the setting CONFIRM; if it was switched off, let the next files that only it kept wait first."""
    leader = find_leader(tx)
    if leader is None or leader.confirm == confirm:
        return None
    if leader.confirm == "all" and (resume_after := let_unconfirmed_wait(tx, now, now + cooling_off, after)):
        return resume_after
    set_progress(tx, confirm=confirm)
    log.info("confirm_changed", before=leader.confirm, now=confirm)
    return None


def read_order(database: Database, number: int) -> Order:
    """An order as it stands."""
    with database.read() as tx:
        order = store.find_order(tx, number)
    if order is None:
        raise NoSuchThing(f"there is no order {number}: see `zego-retention audit list`")
    return order


def wait_for_order(
    database: Database,
    number: int,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    *,
    help_on: Callable[[], None] = lambda: None,
) -> Order:
    """An order once it is applied, or could not be, or `timeout_s` are over; `help_on` is called before each pause."""

    def look() -> tuple[Order, bool]:
        order = read_order(database, number)
        return order, order.applied_at is not None or order.failure is not None

    return _wait_for(look, timeout_s, sleep, clock, help_on)


def require_understood(
    database: Database,
    app_id: str | None,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    *,
    help_on: Callable[[], None] = lambda: None,
) -> None:
    """Return once the callbacks of an app that are there now are understood; NotPossible where that takes too long."""
    with database.read() as tx:
        up_to = callbacks_store.find_highest_id(tx)

    def look() -> tuple[int, bool]:
        pending = count_waiting(database, app_id, up_to)
        return pending, not pending

    if pending := _wait_for(look, timeout_s, sleep, time.monotonic, help_on):
        raise NotPossible(f"nothing was done: {describe_waiting(pending)}; try again in a moment")


def count_waiting(database: Database, app_id: str | None = None, up_to: int | None = None) -> int:
    """How many callbacks (of an app, up to a number) are not understood yet."""
    with database.read() as tx:
        return callbacks_store.count_pending(tx, up_to, app_id)


def describe_waiting(callbacks: int) -> str:
    """How many callbacks are not understood yet, who does it, and what follows from it."""
    are, files = ("is", "its file is") if callbacks == 1 else ("are", "their files are")
    return (
        f"{count_of(callbacks, 'callback')} {are} not understood yet (a running worker does that), so {files} not known"
    )


def _wait_for(
    look: Callable[[], tuple[T, bool]],
    timeout_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
    help_on: Callable[[], None],
) -> T:
    """What a look finds once it says that this is all, or `timeout_s` are over; `help_on` comes before each pause."""
    deadline, pause = clock() + timeout_s, _FIRST_PAUSE_S
    while True:
        found, is_over = look()
        if is_over or clock() >= deadline:
            return found
        help_on()
        sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def applied_by_somebody(
    database: Database,
    leader: Leader,
    number: int,
    timeout_s: float,
    take_over: Callable[[], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Order:
    """An order after the leader has applied it, or `timeout_s`; where nobody leads, this process does meanwhile.

    `take_over` then catches up, and nothing else: no run starts and ZEGO is not called.
    """
    return wait_for_order(database, number, timeout_s, sleep, help_on=lambda: lead_once(leader, take_over))


def lead_once(leader: Leader, take_over: Callable[[], None]) -> None:
    """Where nobody leads, do it for as long as `take_over` takes."""
    if not leader.try_to_lead():
        return
    try:
        take_over()
    except LeadLost:
        pass  # somebody else leads now, and does it
    finally:
        leader.release()
