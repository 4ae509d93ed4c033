"""The lease and the fence: one process leads, and `Leader.transact` is the only way to change a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from service.database import Database, Transaction
from service.leader import store
from service.leader.process import ProcessId, identify_process, is_dead, read_boot_clock
from service.leader.store import LeaderRow

T = TypeVar("T")

MAX_LOOK_AGE_S: Final = 1.0
"""How long after a look a call may still be sent."""

_RENEWALS_PER_LEASE: Final = 6
_PAUSE_ON_SQLITE_S: Final = 0.003


class LeadLost(Exception):  # noqa: N818  (a state of the world: another process leads now)
    """Another process leads: this one must not change anything, and has to start over as a standby."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was true at one moment (by the boot clock): the leader's token and the newest number of the audit."""

    token: int
    number: int
    at: float

    @property
    def is_recent(self) -> bool:
        """A call may be sent on the strength of it."""
        return read_boot_clock() - self.at < MAX_LOOK_AGE_S


@dataclass(slots=True)
class Leader:
    """One process that leads, or would like to.

    A standby takes over when it has watched an unchanged sign of life for `lease` on its own clock, or at once when the
    holder is a dead process of the same machine, or has released the lead.
    """

    database: Database
    name: str
    lease: timedelta
    now: Callable[[], datetime]
    token: int | None = None
    is_ready: bool = False
    """This process leads and has done what a new leader does first: calls may be made."""
    _process: ProcessId = field(default_factory=identify_process)
    _watched: tuple[int, int] | None = None
    _watched_since: float = 0.0
    _renewed: float = 0.0
    _bound: threading.local = field(default_factory=threading.local)

    @property
    def leads(self) -> bool:
        """As far as it knows, this process leads."""
        return self.token is not None

    def try_to_lead(self) -> bool:
        """Become the leader if nobody leads; whether this process leads now.

        Raises:
            DatabaseUnavailable: the database cannot be asked.
        """
        if self.leads:
            return True
        self.token = self.database.transact(self._take)
        self._renewed = time.monotonic()
        return self.leads

    @contextmanager
    def bound(self) -> Iterator[None]:
        """Bind this thread to the present token: if the lead is lost, it stays lost for the work in this block.

        For long work, during which another thread of this process may become the leader again.

        Raises:
            LeadLost: this process does not lead.
        """
        token = self.token
        if token is None:
            raise LeadLost("this process does not lead")
        before = getattr(self._bound, "token", None)
        self._bound.token = before or token
        try:
            yield
        finally:
            self._bound.token = before

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction in which this process certainly leads; it is a sign of life as well.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        result = self.database.transact(lambda tx: self._work(tx, work))
        if self.database.is_sqlite:
            time.sleep(_PAUSE_ON_SQLITE_S)  # SQLite's lock knows no queue: leave arriving callbacks a gap
        return result

    def renew(self) -> None:
        """Give a sign of life, if the last one is some time ago. To be called by the loop that does the work.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        if self._is_renewal_due():
            self.transact(lambda _: None)

    def look(self) -> Look:
        """Read the leader's token and the newest number of the audit in one query.

        Raises:
            DatabaseUnavailable: the database cannot be asked.
        """
        at = read_boot_clock()
        with self.database.read() as tx:
            token, number = store.read_token_and_number(tx)
        return Look(token, number, at)

    def release(self) -> None:
        """Lead no more, so that a standby takes over at once.

        Raises:
            DatabaseUnavailable: the database refused or could not be reached.
        """
        token, self.token, self.is_ready = self.token, None, False
        if token is not None:
            self.database.transact(lambda tx: store.release_lead(tx, token))

    def _work(self, tx: Transaction, work: Callable[[Transaction], T]) -> T:
        row = store.lock_leader(tx)
        if self.token is None or row.token != self.token:
            self.token, self.is_ready = None, False
            raise LeadLost(f"{row.holder or 'another process'} leads now")
        if getattr(self._bound, "token", None) not in (None, self.token):
            raise LeadLost("another process has led meanwhile")
        if self._is_renewal_due():
            store.renew_lead(tx, self.token, self.now())
            self._renewed = time.monotonic()
        return work(tx)

    def _is_renewal_due(self) -> bool:
        return time.monotonic() - self._renewed > self.lease.total_seconds() / _RENEWALS_PER_LEASE

    def _take(self, tx: Transaction) -> int | None:
        row = store.lock_leader(tx)
        if not self._is_free(row):
            return None
        store.take_lead(tx, row.token + 1, self.name, self._process, self.now())
        return row.token + 1

    def _is_free(self, row: LeaderRow) -> bool:
        if not row.holder or is_dead(row.process):
            return True
        seen = (row.token, row.beat)
        if seen != self._watched:
            self._watched, self._watched_since = seen, read_boot_clock()
        return read_boot_clock() - self._watched_since >= self.lease.total_seconds()
