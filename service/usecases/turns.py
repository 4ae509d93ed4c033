"""Taking turns: what one process at a time may do, behind whoever does it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.db import leases

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from service.db.engine import Database

_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Turn:
    """A process's turn at the thing called `name`; it lasts for `duration` unless it is renewed."""

    database: Database
    name: str
    holder: str
    duration: timedelta
    now: Callable[[], datetime]

    def take(self) -> int | None:
        """Take the turn if it is free; returns its fence, None while somebody else has it."""
        return self.database.transact(
            lambda session: leases.take_lease(session, self.name, self.holder, self.now(), self.duration)
        )

    def wait_for(self, stop: threading.Event, on_wait: Callable[[str], None] | None) -> int | None:
        """Wait until it is free; `on_wait` hears once who has it. None when stopped while waiting."""
        told = False
        while not stop.is_set():
            fence = self.take()
            if fence is not None:
                return fence
            if on_wait and not told:
                with self.database.read() as session:
                    lease = leases.find_lease(session, self.name)
                on_wait(lease.holder if lease else "another process")
                told = True
            stop.wait(_POLL_S)
        return None
