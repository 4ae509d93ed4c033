"""Group commit: one thread per process stores the callbacks of all requests that wait for it (docs/callbacks.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final

import structlog

from service.callbacks.store import NewCallback, store_callbacks
from service.database import Database, DatabaseUnavailable

_MAX_WAITING: Final = 2_000
_MAX_BATCH: Final = 500
_GAP_S: Final = 0.003
_GAP_EVERY_S: Final = 0.05

log = structlog.get_logger(__name__)


class NotStored(Exception):  # noqa: N818  (an answer to ZEGO: send it again)
    """A callback was not stored durably; the text says why in one line."""


class _Ticket(Future[None]):
    """A callback that waits to be stored; done when it is durable."""

    def __init__(self, row: NewCallback) -> None:
        super().__init__()
        self.row = row


class Writer:
    """Stores callbacks for all requests of a process, many at once. Storing starts its thread, also after a fork."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._arrived: SimpleQueue[_Ticket | None] = SimpleQueue()  # None: nothing comes any more
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_stopping = False
        self.observe: Callable[[float], None] = lambda _seconds: None  # how long a commit took
        self._not_stored = 0

    def stop(self) -> None:
        """Store what waits, then end the thread; nothing is stored any more."""
        self._is_stopping = True
        self._arrived.put(None)
        if self._thread is not None:
            self._thread.join()

    def store(self, row: NewCallback) -> Future[None]:
        """Let a callback be stored; the future is done when it is durable, or fails with `NotStored`."""
        ticket = _Ticket(row)
        if self._is_stopping:
            ticket.set_exception(NotStored("the service is stopping"))
        elif self._arrived.qsize() >= _MAX_WAITING:
            ticket.set_exception(NotStored(f"{_MAX_WAITING:,} callbacks wait to be stored already"))
        else:
            self._arrived.put(ticket)
            if not self._is_running():
                with self._starting:
                    if not self._is_running():
                        self._thread = threading.Thread(target=self._run, name="callbacks writer", daemon=True)
                        self._thread.start()
        return ticket

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        goes_on, gap_at = True, 0.0
        while goes_on:
            arrived = [self._arrived.get()]
            if self._database.is_sqlite and time.monotonic() > gap_at:
                time.sleep(_GAP_S)  # SQLite's lock knows no queue: the leader looks for it every 2 ms
                gap_at = time.monotonic() + _GAP_EVERY_S
            while len(arrived) < _MAX_BATCH and not self._arrived.empty():
                arrived.append(self._arrived.get())
            goes_on = None not in arrived
            self._store_batch([each for each in arrived if each is not None and each.set_running_or_notify_cancel()])

    def _store_batch(self, batch: Sequence[_Ticket]) -> None:
        by_key: dict[tuple[str, str, str], list[_Ticket]] = {}
        for ticket in batch:
            by_key.setdefault(ticket.row.key, []).append(ticket)
        # Sorted, so that writers of several processes never wait for each other in a circle.
        equal = [by_key[key] for key in sorted(by_key)]
        error = self._try(equal)
        if error is None or (isinstance(error, DatabaseUnavailable) and not error.is_refusal):
            self._finish(batch, error)
            return
        for tickets in equal:
            self._finish(tickets, self._try([tickets]))

    def _try(self, equal: Sequence[Sequence[_Ticket]]) -> Exception | None:
        counted = [(tickets[0].row, len(tickets)) for tickets in equal]
        try:
            if counted:
                began = time.monotonic()
                self._database.transact(lambda tx: store_callbacks(tx, counted))
                self.observe(time.monotonic() - began)
        except Exception as error:  # noqa: BLE001  (whatever it is, no request may wait in vain)
            return error
        return None

    def _finish(self, tickets: Sequence[_Ticket], error: Exception | None) -> None:
        """Let requests go on. A database that is away is logged once, and once more when it is back."""
        is_away = isinstance(error, DatabaseUnavailable) and not error.is_refusal
        if error is not None and not (is_away and self._not_stored):
            defect = None if isinstance(error, DatabaseUnavailable) else error
            log.error("callbacks_not_stored", callbacks=len(tickets), detail=str(error), exc_info=defect)
        elif error is None and tickets and self._not_stored:
            log.info("callbacks_stored_again", not_stored=self._not_stored)
            self._not_stored = 0
        self._not_stored += len(tickets) if is_away else 0
        for ticket in tickets:
            if error is None:
                ticket.set_result(None)
            else:
                ticket.set_exception(NotStored(str(error)))
