"""Whether this process can take callbacks durably now: a small write to the database, or to the spool, proves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import structlog

from service.database import DatabaseUnavailable

_REMEMBERED_S: Final = 1.0
_MAX_WAIT_S: Final = 0.8
_NOT_READY: Final = "callbacks cannot be stored at the moment; the log of this process says why"
"""What strangers are told: no user, host or port."""

log = structlog.get_logger(__name__)


class Readiness:
    """Proves readiness at most once per second, in a thread of its own, and never lets anybody wait for over a second.

    While a proof takes longer, the answer is no. `prove` raises DatabaseUnavailable if the database could store no
    callback now; then it is `can_spool` that counts.
    """

    def __init__(
        self,
        prove: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        can_spool: Callable[[], bool] = lambda: False,
    ) -> None:
        self._prove, self._can_spool, self._monotonic = prove, can_spool, monotonic
        self._lock = threading.Lock()
        self._proof: Future[str | None] | None = None
        self._started_at = self._ended_at = 0.0
        self._fault: str | None = None

    def find_fault(self) -> str | None:
        """What keeps callbacks from being stored now, fit for strangers; None if nothing does."""
        with self._lock:
            now = self._monotonic()
            if self._proof is None or (self._proof.done() and now >= self._ended_at + _REMEMBERED_S):
                self._proof, self._started_at = Future(), now
                threading.Thread(target=self._run, args=(self._proof,), name="readiness", daemon=True).start()
            proof, left = self._proof, self._started_at + _MAX_WAIT_S - now
        try:
            return proof.result(max(left, 0))
        except TimeoutError:
            return None if self._can_spool() else _NOT_READY

    def _run(self, proof: Future[str | None]) -> None:
        fault = None
        try:
            self._prove()
        except Exception as error:  # noqa: BLE001  (whatever it is: callbacks may not be storable)
            text = str(error) if isinstance(error, DatabaseUnavailable) else f"unexpected {error!r}"
            fault = None if self._can_spool() else text
        if fault and not self._fault:
            log.error("not_ready", detail=fault)
        elif self._fault and not fault:
            log.info("ready_again")
        self._fault, self._ended_at = fault, self._monotonic()
        proof.set_result(_NOT_READY if fault else None)
