"""Applying what people ordered, in the order of the audit; what could not be applied blocks the apps it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

import structlog

from service.audit import store
from service.audit.order import RUN_REQUESTS, Order, OrderKind, Step
from service.database import Transaction
from service.leader.leader import Leader, LeadLost
from service.leader.store import find_leader, set_progress

Handler: TypeAlias = Callable[[Transaction, Order, int, dict[str, Any]], Step]
"""Applies one kind of order, one transaction at a time; `service.audit.order.Step` says how it continues."""

RETRY_FAILED_S: Final = 60.0
"""An order that could not be applied is tried again this often."""

_BATCH: Final = 100
_MAX_FAILURE: Final = 500

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ApplyOrders:
    """Applies orders, one by one, in the order of their numbers. It can be killed and started again at any point."""

    leader: Leader
    handlers: Mapping[OrderKind, Handler]
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    _retried_at: float | None = field(default=None)

    def run(self) -> int:
        """Apply every order that was written before this call; returns how many.

        An order that raises changes nothing, is marked with the reason, and is tried again once a minute; later ones
        are applied all the same.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        applied = self._retry_failed()
        with self.leader.database.read() as tx:
            head = store.find_head(tx).number
        while orders := self._find_next(head):
            for order in orders:
                applied += self._apply(order)
        return applied

    def _find_next(self, head: int) -> list[Order]:
        """Orders up to the number `head` that nobody looked at yet. Where there are none, that is noted as applied.

        Later ones are for the next run: however fast people order, this one ends.
        """
        with self.leader.database.read() as tx:
            row = find_leader(tx)
            reached = 0 if row is None else row.applied
            orders = store.list_orders(tx, reached, _BATCH) if reached < head else []
        if not orders and reached < head:
            self.leader.transact(lambda tx: set_progress(tx, applied=head))
        return [order for order in orders if order.number <= head]

    def _retry_failed(self) -> int:
        moment = self.clock()
        if self._retried_at is not None and moment - self._retried_at < RETRY_FAILED_S:
            return 0
        self._retried_at = moment
        with self.leader.database.read() as tx:
            failed = [order for order in store.list_failed_orders(tx) if order.kind not in RUN_REQUESTS]
        return sum(self._apply(order, is_retry=True) for order in failed)

    def _apply(self, order: Order, *, is_retry: bool = False) -> bool:
        if order.kind in RUN_REQUESTS or order.applied_at is not None:
            self.leader.transact(lambda tx: set_progress(tx, applied=order.number))
            return False
        try:
            self._apply_steps(order, is_retry=is_retry)
        except LeadLost:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is: it is reported, and the next order applied)
            self._fail(order, error, is_retry=is_retry)
            return False
        return True

    def _apply_steps(self, order: Order, *, is_retry: bool) -> None:
        handler = self.handlers.get(order.kind)
        if handler is None:
            raise LookupError(f"this release applies no orders of kind {order.kind}")
        step = Step({}, 0)
        while step.resume_after is not None:
            step = self.leader.transact(lambda tx: self._take_step(tx, handler, order, step, is_retry=is_retry))  # noqa: B023

    def _take_step(self, tx: Transaction, handler: Handler, order: Order, last: Step, *, is_retry: bool) -> Step:
        step = handler(tx, order, last.resume_after or 0, last.result)
        if step.resume_after is None:
            store.finish_order(tx, order.number, self.now(), step.result)
            if not is_retry:
                set_progress(tx, applied=order.number)
        return step

    def _fail(self, order: Order, error: Exception, *, is_retry: bool) -> None:
        failure = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_FAILURE]

        def fail(tx: Transaction) -> None:
            store.fail_order(tx, order.number, failure)
            if not is_retry:
                set_progress(tx, applied=order.number)

        self.leader.transact(fail)
        log.error("order_not_applied", order=order.number, kind=order.kind, app=order.app_id, detail=failure)
