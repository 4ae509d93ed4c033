"""Catching up, and what a process does first when it becomes the leader (docs/operations.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.database import Transaction
from service.files.actions_store import let_unconfirmed_wait
from service.leader.leader import Leader
from service.leader.store import find_leader, set_progress
from service.listing.store import interrupt_running
from service.sweep.backoff import RetryPolicy
from service.sweep.record import close_open_attempts

PAUSE_S: Final = 1.0
"""As long as a call may be sent after a look: what the last leader still sends arrives before our calls."""

log = structlog.get_logger(__name__)


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

    Open attempts become `unknown`, to be asked again by `retry_policy`; running runs and listings are marked as not
    finished. `confirm` is the setting CONFIRM. It can be killed and started again at any point.
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
    if leader.confirm == "all":
        resume_after = let_unconfirmed_wait(tx, now, now + cooling_off, after)
        if resume_after is not None:
            return resume_after
    set_progress(tx, confirm=confirm)
    log.info("confirm_changed", before=leader.confirm, now=confirm)
    return None
