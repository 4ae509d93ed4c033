"""What is answered 401 is kept for the day when a secret turns out to have been wrong (docs/callbacks.md)."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog

from service.callbacks.store import NewCallback, has_room, store_quarantined
from service.database import Database, DatabaseUnavailable
from service.model import Verdict

_MAX_WAITING: Final = 8
"""Callbacks that may wait for the quarantine at once; a flood beyond that is refused without being kept."""

_REMEMBERED_S: Final = 5.0
"""How long a quota is taken to be full without looking."""

log = structlog.get_logger(__name__)


class QuarantineLimits(NamedTuple):
    """How much the quarantine holds of one known app, and of all unknown apps together."""

    callbacks: int = 1_000
    size_bytes: int = 8_000_000


class Quarantine:
    """Keeps callbacks that are not authentic, capped. The oldest stay: a flood must not wash them out."""

    def __init__(self, database: Database, limits: QuarantineLimits) -> None:
        self._database = database
        self._limits = limits
        self._keeping = ThreadPoolExecutor(1, "quarantine")  # one at a time: the quotas are exact
        self._waiting: list[Future[None]] = []
        self._full_until: dict[str | None, float] = {}

    def keep(self, new: NewCallback, verdict: Verdict, reason: str) -> Future[None] | None:
        """Keep a callback, if there is room and the database can be reached; None: it is not kept."""
        quota = new.app_id if verdict is Verdict.FORGED else None
        self._waiting = [each for each in self._waiting if not each.done()]
        if self._full_until.get(quota, 0.0) > time.monotonic() or len(self._waiting) >= _MAX_WAITING:
            return None
        keeping = self._keeping.submit(self._keep, new, verdict, reason, quota)
        self._waiting.append(keeping)
        return keeping

    def _keep(self, new: NewCallback, verdict: Verdict, reason: str, quota: str | None) -> None:
        try:
            if self._has_room(new, quota):
                self._database.transact(lambda tx: store_quarantined(tx, new, verdict, reason))
            else:
                self._full_until[quota] = time.monotonic() + _REMEMBERED_S
                log.warning("quarantine_full", app=new.app_id)
        except DatabaseUnavailable as error:
            log.warning("quarantine_failed", app=new.app_id, error=str(error))

    def _has_room(self, new: NewCallback, quota: str | None) -> bool:
        with self._database.read() as tx:
            return has_room(tx, new, quota, *self._limits)
