"""Orders from the command line: this process waits for the leader, or leads for as long as it runs (docs/files.md)."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from service.cli.invocation import ExitCode
from service.cli.lists import print_forms
from service.cli.wording import safe
from service.leader.leader import LeadLost
from service.leader.store import find_leader
from service.orders.lead import applied_by_somebody
from service.orders.wait import read_order
from service.views.audit import OrderState, describe_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from service.audit.order import Order
    from service.cli.invocation import Invocation
    from service.wiring import Service

MAX_WAIT_S: Final = 5.0
"""How long a command waits for the leader to apply its order."""

_LOOK_S: Final = 0.1
_LOOK_AFTER_S: Final = 0.5
_TRY_S: Final = 1.0
_LET_WORKER_LEAD_S: Final = 10.0
_QUIET_S: Final = 2.0
_STANDARD_ERROR: Final = 2


def report_order(
    invocation: Invocation,
    service: Service,
    number: int,
    describe: Callable[[dict[str, Any]], str],
    *,
    as_json: bool = False,
) -> int:
    """Have an order applied, and print what came of it; where that takes too long, exit 3 with its number."""
    applied = applied_by_somebody(
        service.database,
        service.leader,
        number,
        MAX_WAIT_S,
        lambda: service.take_over(makes_calls=False),
        sleep=service.sleep,
    )
    order = describe_order(applied)
    if as_json:
        print_forms(invocation, [order])
    elif order.state is OrderState.APPLIED:
        invocation.show(safe(describe(order.result or {}), lines=True))
    else:
        invocation.note(f"order {number}: {safe(order.summary)}")
    return ExitCode.DONE if order.state is OrderState.APPLIED else ExitCode.NEEDS_PERSON


@dataclass(slots=True)
class Stop:
    """Whether a person wants the command to stop: a plain flag, for a signal may come in the middle of anything."""

    is_wanted: bool = False


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Collect SIGINT and SIGTERM while the block runs; a second one ends the process at once."""
    stop = Stop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_wanted:
            os._exit(ExitCode.FAILED)  # what is in flight is repaired by the next leader
        stop.is_wanted = True
        os.write(_STANDARD_ERROR, b"stopping after the calls in flight; Ctrl-C once more stops at once\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class Errand:
    """An order for a sweep or for listings, carried out by whoever leads.

    `work(order, event)` carries it out in this process, until the event is set. `look(order)` shows how far an order
    is that has begun, and says whether it is over.
    """

    invocation: Invocation
    service: Service
    work: Callable[[Order, threading.Event], object]
    look: Callable[[Order], bool]
    stop: Stop
    _may_lead_at: float = 0.0

    def run(self, number: int) -> bool:
        """Follow the leader; where nobody leads, do the work here. False: it was handed over to a worker in between.

        Ends early when a person wants it to.

        Raises:
            LeadLost: this process led, and then another one did.
            DatabaseUnavailable: the database failed.
        """
        note_at: float | None = time.monotonic() + _QUIET_S
        while not self.stop.is_wanted:
            order = read_order(self.service.database, number)
            if order.applied_at is not None and self.look(order):
                return True
            if self._try_to_lead():
                is_handed_over = self._lead(number)
                if is_handed_over is not None:
                    return not is_handed_over
            elif note_at is not None and order.applied_at is None and time.monotonic() >= note_at:
                self.invocation.note(f"order {number} waits for the process that leads: it may have a run to finish …")
                note_at = None
            time.sleep(_LOOK_S)
        return True

    def _try_to_lead(self) -> bool:
        if time.monotonic() < self._may_lead_at:
            return False
        self._may_lead_at = time.monotonic() + _TRY_S
        return self.service.leader.try_to_lead()

    def _lead(self, number: int) -> bool | None:
        """Do the work here, unless it has begun elsewhere (None). True: it was handed over to a worker."""
        service, end = self.service, threading.Event()
        try:
            service.take_over()
            order = read_order(service.database, number)
            if order.applied_at is not None or self.stop.is_wanted:
                return None
            with ThreadPoolExecutor(1, thread_name_prefix="errand") as pool:
                done = pool.submit(self.work, order, end)
                try:
                    while not wait([done], _LOOK_AFTER_S).done:
                        if self._look_after(number):
                            end.set()
                except BaseException:
                    end.set()
                    raise
            done.result()
        except LeadLost:
            if read_order(service.database, number).applied_at is None:
                return None  # another process leads now, and carries it out
            raise
        finally:
            service.leader.release()
        if not end.is_set() or self.stop.is_wanted:
            return False
        self._may_lead_at = time.monotonic() + _LET_WORKER_LEAD_S
        self.invocation.note("a worker has started: it continues with this")
        return True

    def _look_after(self, number: int) -> bool:
        """Show how far it is; whether it is to end: a person wants it, or a worker would like to lead."""
        database = self.service.database
        order = read_order(database, number)
        if order.applied_at is not None:
            self.look(order)
        with database.read() as tx:
            leader = find_leader(tx)
        return self.stop.is_wanted or (leader is not None and leader.wanted_at is not None)
