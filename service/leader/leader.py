"""The lease and the fence: one process leads, and `Leader.transact` is the only way to change a file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from service.database import Database, Transaction
from service.leader import store
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
    """One process that leads, or would like to; what it does raises `LeadLost` once another one leads.

    A standby takes over when it has watched an unchanged sign of life for `lease` on its own clock, or at once when the
    holder is a dead process of the same machine, or has released the lead. `is_ready`: it leads and has done what a new
    leader does first, so calls may be made.
    """

    database: Database
    name: str
    lease: timedelta
    now: Callable[[], datetime]
    settings: dict[str, str] | None = None  # a worker's, to be written down; None: a command, which leaves them
    token: int | None = None
    is_ready: bool = False
    _watched: tuple[int, int] | None = None
    _watched_since: float = 0.0
    _renewed: float = 0.0
    _bound: threading.local = field(default_factory=threading.local)

    @property
    def leads(self) -> bool:
        """As far as it knows, this process leads."""
        return self.token is not None

    def try_to_lead(self) -> bool:
        """Become the leader if nobody leads; whether this process leads now."""
        if not self.leads:
            self.token = self.database.transact(self._take)
            self._renewed = time.monotonic()
        return self.leads

    @contextmanager
    def bound(self) -> Iterator[None]:
        """Bind this thread to the present token: if the lead is lost, it stays lost for the long work in this block."""
        token, before = self.token, getattr(self._bound, "token", None)
        if token is None:
            raise LeadLost("this process does not lead")
        self._bound.token = before or token
        try:
            yield
        finally:
            self._bound.token = before

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction in which this process certainly leads; it is a sign of life as well."""
        result = self.database.transact(lambda tx: self._work(tx, work))
        if self.database.is_sqlite:
            time.sleep(_PAUSE_ON_SQLITE_S)  # SQLite's lock knows no queue: leave arriving callbacks a gap
        return result

    def renew(self) -> None:
        """Give a sign of life, if the last one is some time ago. To be called by the loop that does the work."""
        if self._is_renewal_due():
            self.transact(lambda _: None)

    def look(self) -> Look:
        """Read the leader's token and the newest number of the audit in one query."""
        at = read_boot_clock()
        with self.database.read() as tx:
            return Look(*store.read_token_and_number(tx), at)

    def release(self) -> None:
        """Lead no more, so that a standby takes over at once."""
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
            store.set_progress(tx, beat=row.beat + 1, renewed_at=self.now())
            self._renewed = time.monotonic()
        return work(tx)

    def _is_renewal_due(self) -> bool:
        return time.monotonic() - self._renewed > self.lease.total_seconds() / _RENEWALS_PER_LEASE

    def _take(self, tx: Transaction) -> int | None:
        row = store.lock_leader(tx)
        if row.holder and not is_dead(row):
            if self._watched != (row.token, row.beat):
                self._watched, self._watched_since = (row.token, row.beat), read_boot_clock()
            if read_boot_clock() - self._watched_since < self.lease.total_seconds():
                return None
        process = identify_process() | ({"settings": self.settings} if self.settings else {})
        store.take_lead(tx, row.token + 1, self.name, process, self.now())
        return row.token + 1


def identify_process() -> dict[str, Any]:
    """This process: the boot of its machine and its process namespace (empty: unknown), its number, and its start."""
    boot, namespace = _read_machine()
    return {"boot": boot, "namespace": namespace, "pid": os.getpid(), "started": _read_start(os.getpid()) or ""}


def is_alive(row: LeaderRow, lease: timedelta, now: datetime) -> bool:
    """Whether a process leads, a worker or a command, and has given a sign of life in time."""
    seen_at = row.renewed_at
    return bool(row.holder) and seen_at is not None and now - seen_at <= lease and not is_dead(row)


def is_dead(row: LeaderRow) -> bool:
    """Whether the process that leads certainly does not run any more; False where that cannot be known from here."""
    if not row.boot or (row.boot, row.namespace) != _read_machine():
        return False
    started = _read_start(row.pid)
    return started != row.started and not (started is None and _is_hidden(row.pid))


def read_boot_clock() -> float:
    """Seconds on a clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _read_machine() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "", ""


def _read_start(pid: int) -> str | None:
    """When a process was started, in the system's ticks; None if there is none (or only its remains)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def _is_hidden(pid: int) -> bool:
    """Whether a process of another user is there that the system (`hidepid`) does not describe to this one."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
