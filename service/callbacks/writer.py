"""Group commit: one thread per process stores the callbacks of all requests that wait for it (docs/callbacks.md).

While the database is away they go to the spool, if there is one; a second thread sees to that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final

import structlog

from service.callbacks.spool import NotSpooled, Spool
from service.callbacks.store import NewCallback, store_callbacks
from service.database import Database, DatabaseUnavailable, Transaction

MAX_COMMIT_S: Final = 3.0
"""How long the database may take with a batch before the spool takes that: far less than a request waits."""

_MAX_WAITING: Final = 2_000
_MAX_BATCH: Final = 500
_GAP_S: Final = 0.003
_GAP_EVERY_S: Final = 0.05
_WATCH_EVERY_S: Final = 0.3
_MAX_STOPPING_S: Final = 2.0

log = structlog.get_logger(__name__)


class NotStored(Exception):  # noqa: N818  (an answer to ZEGO: send it again)
    """A callback was not stored durably; the text says why in one line."""


class _Ticket(Future[None]):
    """A callback that waits to be stored; done when it is durable."""

    def __init__(self, row: NewCallback) -> None:
        super().__init__()
        self.row = row


class _TakenAway(Exception):  # noqa: N818  (the transaction is rolled back)
    """The spool has taken a batch that the database was too slow to store."""


class Writer:
    """Stores callbacks for all requests of a process, many at once. Storing starts its threads, also after a fork."""

    def __init__(self, database: Database, spool: Spool | None = None, *, max_commit_s: float = MAX_COMMIT_S) -> None:
        self._database, self._spool, self._max_commit_s = database, spool, max_commit_s
        self._arrived: SimpleQueue[_Ticket | None] = SimpleQueue()  # None: nothing comes any more
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_stopping = False
        self.observe: Callable[[float], None] = lambda _seconds: None  # how long a commit took
        self._stopped = threading.Event()
        self._not_stored = 0
        self._lock = threading.Lock()
        self._batch: Sequence[_Ticket] | None = None  # what the database is asked to store, and since when
        self._since = 0.0
        self._defect = ""

    def start(self) -> None:
        """Start the threads, unless they run: callbacks that wait in the spool are stored."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = self._start_thread()
                if self._spool is not None:
                    self._watcher = threading.Thread(target=self._watch, args=(self._spool,), name="spool", daemon=True)
                    self._watcher.start()

    def stop(self) -> None:
        """Store what waits, then end the threads; nothing is stored any more."""
        self._is_stopping = True
        self._arrived.put(None)
        while (thread := self._thread) is not None and thread.is_alive():
            thread.join(_WATCH_EVERY_S)  # (the watcher may put another one in its place)
        self._stopped.set()
        if self._watcher is not None:
            self._watcher.join()

    def store(self, row: NewCallback) -> Future[None]:
        """Let a callback be stored; the future is done when it is durable, or fails with `NotStored`."""
        ticket = _Ticket(row)
        if self._is_stopping:
            ticket.set_exception(NotStored("the service is stopping"))
        elif self._arrived.qsize() >= _MAX_WAITING:
            ticket.set_exception(NotStored(f"{_MAX_WAITING:,} callbacks wait to be stored already"))
        else:
            self._arrived.put(ticket)
            self.start()
        return ticket

    def _start_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="callbacks writer", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        goes_on, gap_at = True, 0.0
        while goes_on:
            arrived = [self._arrived.get()]
            if self._database.is_sqlite and time.monotonic() > gap_at:
                time.sleep(_GAP_S)  # SQLite's lock knows no queue: the leader looks for it every 2 ms
                gap_at = time.monotonic() + _GAP_EVERY_S
            while len(arrived) < _MAX_BATCH and not self._arrived.empty():
                arrived.append(self._arrived.get())
            batch = [each for each in arrived if each is not None and each.set_running_or_notify_cancel()]
            self._since, self._batch = time.monotonic(), batch
            self._store_batch(batch)
            with self._lock:
                if self._batch is not batch:  # it was taken away, and another thread runs in the place of this one
                    if None in arrived:
                        self._arrived.put(None)
                    return
                self._batch = None
            goes_on = None not in arrived

    def _store_batch(self, batch: Sequence[_Ticket]) -> None:
        if batch and self._spool is not None and self._spool.is_needed:
            self._finish(batch, batch, DatabaseUnavailable("the database is away"))
            return
        by_key: dict[tuple[str, str, str], list[_Ticket]] = {}
        for ticket in batch:
            by_key.setdefault(ticket.row.key, []).append(ticket)
        # Sorted, so that writers of several processes never wait for each other in a circle.
        equal = [by_key[key] for key in sorted(by_key)]
        error = self._try(batch, equal)
        if error is None or _is_away(error):
            self._finish(batch, batch, error)
            return
        for tickets in equal:
            self._finish(batch, tickets, self._try(batch, [tickets]))

    def _try(self, batch: Sequence[_Ticket], equal: Sequence[Sequence[_Ticket]]) -> Exception | None:
        counted = [(tickets[0].row, len(tickets)) for tickets in equal]
        try:
            if counted:
                began = time.monotonic()
                self._database.transact(lambda tx: self._work(tx, batch, counted))
                self.observe(time.monotonic() - began)
        except Exception as error:  # noqa: BLE001  (whatever it is, no request may wait in vain)
            return error
        return None

    def _work(self, tx: Transaction, batch: Sequence[_Ticket], counted: Sequence[tuple[NewCallback, int]]) -> None:
        store_callbacks(tx, counted)
        if self._batch is not batch:
            raise _TakenAway

    def _finish(self, batch: Sequence[_Ticket], tickets: Sequence[_Ticket], error: Exception | None) -> None:
        """Let requests of a batch go on, by way of the spool if the database is away.

        A database that is away is logged once, and once more when callbacks are stored again.
        """
        with self._lock:
            if self._batch is not batch:
                return
            is_away = _is_away(error)
            if is_away and self._spool is not None:
                try:
                    self._spool.append([each.row for each in tickets], str(error))
                    error = None
                except NotSpooled as cause:
                    error = DatabaseUnavailable(f"{error}; the spool cannot take them either: {cause}")
            if error is not None and not (is_away and self._not_stored):
                defect = None if isinstance(error, DatabaseUnavailable) else error
                log.error("callbacks_not_stored", callbacks=len(tickets), detail=str(error), exc_info=defect)
            elif error is None and tickets and self._not_stored:
                log.info("callbacks_stored_again", not_stored=self._not_stored)
                self._not_stored = 0
            self._not_stored += len(tickets) if is_away and error else 0
            for ticket in tickets:
                if error is None:
                    ticket.set_result(None)
                else:
                    ticket.set_exception(NotStored(str(error)))

    def _watch(self, spool: Spool) -> None:
        """Take away from the database what takes it too long, and store what waits in the spool."""
        storing: threading.Thread | None = None
        while not self._stopped.wait(_WATCH_EVERY_S):
            self._take_away()
            if (storing is None or not storing.is_alive()) and spool.has_journals():
                storing = threading.Thread(target=self._store_spooled, args=(spool,), name="spooled", daemon=True)
                storing.start()
        if storing is not None:
            storing.join(_MAX_STOPPING_S)
        if storing is None or not storing.is_alive():
            spool.close()  # (else the end of the process does)

    def _take_away(self) -> None:
        with self._lock:
            if self._batch is None or time.monotonic() - self._since < self._max_commit_s:
                return
            self._batch = batch = [each for each in self._batch if not each.done()]
        self._finish(batch, batch, DatabaseUnavailable(f"the database took more than {self._max_commit_s:g} s"))
        with self._lock:
            self._batch = None
        self._thread = self._start_thread()

    def _store_spooled(self, spool: Spool) -> None:
        try:
            spool.store(self._stopped.is_set)
        except DatabaseUnavailable:
            pass  # it is tried again
        except Exception as error:
            if repr(error) != self._defect:
                log.error("spool_not_stored", exc_info=error)
            self._defect = repr(error)


def _is_away(error: Exception | None) -> bool:
    return isinstance(error, DatabaseUnavailable) and not error.is_about_rows
