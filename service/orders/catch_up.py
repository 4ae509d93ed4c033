"""Catching up: everything that has to have happened before a file may be called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from service.leader.leader import Leader


class Loop(Protocol):
    """Work on whatever waits for it, until nothing does."""

    def run(self) -> object:
        """Do it."""


@dataclass(slots=True)
class CatchUp:
    """Applies orders, ends holds, understands callbacks and decides about files, in this order; one thread at a time.

    `end_holds` flags the files of holds that have ended by themselves.
    """

    leader: Leader
    apply_orders: Loop
    understanding: Loop
    deciding: Loop
    end_holds: Callable[[], object]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Catch up with everything that was written before this call.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        with self._lock:
            self.leader.renew()
            self.apply_orders.run()
            self.end_holds()
            self.understanding.run()
            self.deciding.run()
