"""Waiting for an order: whoever placed it likes to know what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from service.audit.order import Order
from service.audit.store import find_order
from service.database import Database
from service.model import NoSuchThing

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.2


def wait_for_order(
    database: Database,
    number: int,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Order:
    """Wait until an order is applied, or could not be; returns it as it stands then, or after `timeout_s`.

    Raises:
        NoSuchThing: there is no such order.
        DatabaseUnavailable: the database cannot be asked.
    """
    deadline, pause = clock() + timeout_s, _FIRST_PAUSE_S
    while True:
        order = read_order(database, number)
        if is_over(order) or clock() >= deadline:
            return order
        sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def read_order(database: Database, number: int) -> Order:
    """An order as it stands.

    Raises:
        NoSuchThing: there is no such order.
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        order = find_order(tx, number)
    if order is None:
        raise NoSuchThing(f"there is no order {number}: see `zego-retention audit list`")
    return order


def is_over(order: Order) -> bool:
    """It is applied, or could not be."""
    return order.applied_at is not None or order.failure is not None
