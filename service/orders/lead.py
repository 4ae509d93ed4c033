"""A command without a worker leads itself, for as long as its order takes; it never calls ZEGO (docs/operations.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from service.audit.order import Order
from service.database import Database
from service.leader.leader import Leader, LeadLost
from service.orders.wait import is_over, read_order, wait_for_order

_LOOK_S: Final = 0.5


def applied_by_somebody(
    database: Database,
    leader: Leader,
    number: int,
    timeout_s: float,
    take_over: Callable[[], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Order:
    """Let the leader apply an order, or lead for as long as that takes; returns the order as it stands then.

    Where somebody leads, it waits for that leader, `timeout_s` at the most. Where nobody does, this process takes over
    (`take_over` catches up, and nothing else; no run starts), and releases the lead.

    Raises:
        NoSuchThing: there is no such order.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    deadline = clock() + timeout_s
    while not is_over(order := read_order(database, number)) and (left := deadline - clock()) > 0:
        if leader.try_to_lead():
            _lead(leader, take_over)
        else:
            wait_for_order(database, number, min(_LOOK_S, left), sleep, clock)
    return order


def _lead(leader: Leader, take_over: Callable[[], None]) -> None:
    try:
        take_over()
    except LeadLost:
        return  # somebody else leads now, and applies the order
    finally:
        leader.release()
