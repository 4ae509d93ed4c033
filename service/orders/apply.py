"""Applying what people ordered, in the order of the audit; what could not be applied blocks the apps it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import structlog

from service.audit import store
from service.audit.order import RUN_REQUESTS, Order, OrderKind, Step
from service.database import Transaction
from service.leader.leader import Leader, LeadLost
from service.leader.store import find_leader, note_applied

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
    _retried_at: float | None = None

    def run(self) -> int:
        """Apply every order that was written before this call, however fast people order; returns how many.

        An order that raises changes nothing, is marked with the reason, and is tried again once a minute; later ones
        are applied all the same.
        """
        orders = self._find_failed()
        with self.leader.database.read() as tx:
            head = store.find_head(tx).number
            leader = find_leader(tx)
        reached = 0 if leader is None else leader.applied
        applied = sum(map(self._apply, orders))
        while reached < head:
            with self.leader.database.read() as tx:
                orders = [order for order in store.list_orders(tx, reached, _BATCH) if order.number <= head]
            applied += sum(map(self._apply, orders))
            reached = orders[-1].number if orders else head
            if not orders:
                self.leader.transact(lambda tx: note_applied(tx, head))
        return applied

    def _find_failed(self) -> list[Order]:
        """The orders that could not be applied, once a minute."""
        moment = self.clock()
        if self._retried_at is not None and moment - self._retried_at < RETRY_FAILED_S:
            return []
        self._retried_at = moment
        with self.leader.database.read() as tx:
            return [order for order in store.list_failed_orders(tx) if order.kind not in RUN_REQUESTS]

    def _apply(self, order: Order) -> bool:
        if order.kind in RUN_REQUESTS or order.applied_at is not None:
            self.leader.transact(lambda tx: note_applied(tx, order.number))
            return False
        try:
            step = Step({}, 0)
            while step.resume_after is not None:
                step = self.leader.transact(lambda tx: self._take_step(tx, order, step))  # noqa: B023
        except LeadLost:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is: it is reported, and the next order applied)
            failure = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_FAILURE]
            self.leader.transact(lambda tx: _fail(tx, order, failure))
            return False
        return True

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
