"""Whether this process can take callbacks durably now: a small write proves it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from service.database import Database, DatabaseUnavailable
from service.health.store import write_proof

_REMEMBERED_S: Final = 1.0
_MAX_WAIT_S: Final = 0.8
NOT_READY: Final = "callbacks cannot be stored at the moment; the log of this process says why"
"""What strangers are told: no user, host or port."""

log = structlog.get_logger(__name__)


def prove_durable(database: Database, now: datetime) -> None:
    """Write and commit a row, as storing a callback does.

    Raises:
        DatabaseUnavailable: it did not work.
    """
    database.transact(lambda tx: write_proof(tx, os.getpid(), now))


class Readiness:
    """Proves readiness at most once per second, in a thread of its own, and never lets anybody wait for over a second.

    While a proof takes longer, the answer is no.
    """

    def __init__(self, prove: Callable[[], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        """`prove` returns if a callback could be stored now, and raises DatabaseUnavailable if not."""
        self._prove = prove
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._fault: str | None = None

    def find_fault(self) -> str | None:
        """What keeps callbacks from being stored now, fit for strangers; None if nothing does."""
        with self._changed:
            if self._started_at is None:
                if self._ended_at is not None and self._monotonic() < self._ended_at + _REMEMBERED_S:
                    return self._fault
                self._started_at = self._monotonic()
                threading.Thread(target=self._run, name="readiness", daemon=True).start()
            started_at = self._started_at
            left = started_at + _MAX_WAIT_S - self._monotonic()
            is_done = self._changed.wait_for(lambda: self._started_at != started_at, max(left, 0))
            return self._fault if is_done else NOT_READY

    def _run(self) -> None:
        fault, detail = None, ""
        try:
            self._prove()
        except DatabaseUnavailable as error:
            fault, detail = NOT_READY, str(error)
        except Exception as error:
            log.exception("readiness_unknown")
            fault, detail = NOT_READY, type(error).__name__
        with self._changed:
            if fault and not self._fault:
                log.error("not_ready", detail=detail)
            elif self._fault and not fault:
                log.info("ready_again")
            self._fault = fault
            self._started_at, self._ended_at = None, self._monotonic()
            self._changed.notify_all()
