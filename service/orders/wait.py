"""Waiting for an order: whoever placed it likes to know what came of it, and may have to apply it itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from service.audit.order import Order
from service.audit.store import find_order
from service.database import Database
from service.leader.leader import Leader, LeadLost
from service.model import NoSuchThing

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.2


def read_order(database: Database, number: int) -> Order:
    """An order as it stands."""
    with database.read() as tx:
        order = find_order(tx, number)
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
    help_on: Callable[[], None] | None = None,
) -> Order:
    """Wait until an order is applied, or could not be; returns it as it stands then, or after `timeout_s`.

    As long as it is neither, `help_on` is called before each pause.
    """
    deadline, pause = clock() + timeout_s, _FIRST_PAUSE_S
    while True:
        order = read_order(database, number)
        if order.applied_at is not None or order.failure is not None or clock() >= deadline:
            return order
        if help_on is not None:
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
    """Let the leader apply an order, or lead for as long as that takes; returns the order as it stands then.

    Where somebody leads, it waits for that leader, `timeout_s` at the most. Where nobody does, this process takes over
    (`take_over` catches up, and nothing else; no run starts and ZEGO is not called), and releases the lead.
    """

    def lead() -> None:
        if not leader.try_to_lead():
            return
        try:
            take_over()
        except LeadLost:
            pass  # somebody else leads now, and applies the order
        finally:
            leader.release()

    return wait_for_order(database, number, timeout_s, sleep, help_on=lead)
