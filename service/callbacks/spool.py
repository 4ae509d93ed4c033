"""The spool: callbacks wait in a journal on disk while the database is away (docs/callbacks.md, "The spool").

Each process appends to a journal of its own; that of a dead process is stored by whoever finds it first.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

import structlog

from service.callbacks.journal import Journal, count_lines, read_line, write_lines
from service.callbacks.store import NewCallback, store_spooled
from service.database import Database, DatabaseUnavailable
from service.database.create import sync
from service.units import count_of, format_size

_JOURNAL: Final = ".journal"
_REJECTED: Final = ".rejected"

log = structlog.get_logger(__name__)


class NotSpooled(Exception):  # noqa: N818  (a state of the world: the disk, or a setting)
    """Callbacks cannot be kept in the spool; the text says why in one line."""


class Spool:
    """The spool of one process; `is_needed` while the database is away, so that new callbacks are to be appended.

    `folder`: where the journals are; None: there is no spool. No journal grows beyond `max_bytes`.
    """

    def __init__(self, database: Database, folder: Path | None, max_bytes: int) -> None:
        self._database, self.folder, self._max_bytes = database, folder, max_bytes
        self._own: Journal | None = None
        self._lock = threading.Lock()  # of `_own`
        self._storing = threading.Lock()
        self._appended = 0
        self.is_needed = False
        # By name and not by address: a database that moves to another server stays the same.
        self._name = quote(Path(database.url.database or "postgres").name, safe="")

    def append(self, rows: Sequence[NewCallback], why: str) -> None:
        """Keep callbacks durably for later, or raise NotSpooled. `why` is for the log."""
        data = write_lines(rows)
        with self._lock:
            if (self._own.size if self._own else 0) + len(data) > self._max_bytes:
                raise NotSpooled(f"it has reached ZEGO_RETENTION_SPOOL_MAX ({format_size(self._max_bytes)})")
            try:
                if self._own is None:
                    self._own, self._appended = self._create(_JOURNAL), 0
                self._own.append(data)
            except OSError as error:
                raise NotSpooled(f"cannot write to {self.folder}: {error.strerror}") from None
            if not self._appended:
                log.warning("spool_used", journal=str(self._own.path), detail=why)
            self._appended += len(rows)
            self.is_needed = True

    def store(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Store what waits in the journals of dead processes and of this one, in order, or raise DatabaseUnavailable.

        `is_over` is asked after each batch.
        """
        with self._storing:
            for path in self._list():
                try:
                    found = Journal(path, is_new=False)
                except OSError:  # it is held by its process, which may be this one; or not ours to read
                    continue
                with closing(found):
                    self._store_journal(found, is_over)
            if self._own is not None:
                self._store_journal(self._own, is_over)

    def has_journals(self) -> bool:
        """Whether `store` may have something to do."""
        return any(self._list())

    def count_waiting(self) -> int:
        """How many callbacks wait in the folder, of all processes of this database; OSError if that cannot be seen."""
        total = 0
        for path in self._list():
            with suppress(FileNotFoundError):
                total += count_lines(path)
        return total

    def describe_waiting(self) -> str | None:
        """What waits, in a sentence; None if nothing does."""
        try:
            count = self.count_waiting()
        except OSError as error:
            return f"the spool cannot be read: {error.filename}: {error.strerror}"
        return f"{count_of(count, 'callback')} not stored yet in the spool {self.folder}" if count else None

    def list_rejected(self) -> list[Path]:
        """Files with callbacks that could not be stored although the database was there: for a person."""
        return list(self._list(_REJECTED))

    def list_foreign(self) -> list[Path]:
        """The journals of databases of other names."""
        return [path for path in _list_folder(self.folder) if path.suffix == _JOURNAL and not self._is_ours(path)]

    def find_fault(self) -> str | None:
        """Why the folder cannot be used: tried where it is, or is to be; None if it can, or is not to be."""
        if self.folder is None:
            return None
        there = next(path for path in (self.folder, *self.folder.parents) if os.access(path, os.F_OK))
        try:
            with TemporaryDirectory(prefix=".probe-", dir=there) as probe:  # not the folder: another user may need it
                Journal(Path(probe) / "probe", is_new=True).remove()
        except OSError as error:
            return f"this user cannot write to {there}: {error.strerror}"
        return None

    def can_append(self) -> bool:
        """Whether callbacks could be kept now: proved by writing."""
        if self._own is not None and self._own.size >= self._max_bytes:
            return False
        try:
            probe = self._create(".probe")
            try:
                probe.append(bytes(4_096))
            finally:
                probe.remove()
        except (OSError, NotSpooled):
            return False
        return True

    def close(self) -> None:
        """Close the journal: whoever finds it stores what is in it."""
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _create(self, suffix: str) -> Journal:
        if self.folder is None:
            raise NotSpooled("ZEGO_RETENTION_SPOOL_DIR is off")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Journal(self.folder / f"{self._name}-{os.getpid()}-{secrets.token_hex(4)}{suffix}", is_new=True)

    def _store_journal(self, journal: Journal, is_over: Callable[[], bool]) -> None:
        """Store a journal batch by batch, and remove it when all of it is stored."""
        while journal.begin < journal.size:
            if is_over():
                return
            lines, end = journal.read()
            rows = [(line, read_line(line)) for line in lines]
            good = [(line, row) for line, row in rows if row is not None]
            # (One without an end was cut off by a crash, and never answered 200.)
            damaged = [line for line, row in rows if row is None and line.endswith(b"\n")]
            refused = self._store_rows(good)
            if damaged or refused:
                _set_aside(journal.path.with_suffix(_REJECTED), damaged + refused)
            journal.note_stored(end, len(good) - len(refused))
            self.is_needed = False
        with self._lock:
            if journal.begin == journal.size:
                journal.remove()
                self._own = None if self._own is journal else self._own
                log.info("spool_emptied", journal=str(journal.path), callbacks=journal.stored)

    def _store_rows(self, rows: Sequence[tuple[bytes, NewCallback]]) -> list[bytes]:
        """Store rows in one transaction, or one by one where the database refuses one; the lines of those refused."""
        try:
            if rows:
                self._database.transact(lambda tx: store_spooled(tx, [row for _, row in rows]))
        except DatabaseUnavailable as error:
            if not error.is_about_rows:
                raise
            return [rows[0][0]] if len(rows) == 1 else [line for row in rows for line in self._store_rows([row])]
        return []

    def _list(self, suffix: str = _JOURNAL) -> Iterator[Path]:
        return (path for path in _list_folder(self.folder) if path.suffix == suffix and self._is_ours(path))

    def _is_ours(self, path: Path) -> bool:
        return path.stem.rsplit("-", 2)[0] == self._name


def _list_folder(folder: Path | None) -> list[Path]:
    try:
        return [] if folder is None else [folder / name for name in sorted(os.listdir(folder))]  # noqa: PTH208  (quicker)
    except OSError:
        return []


def _set_aside(path: Path, lines: Sequence[bytes]) -> None:
    """Keep lines that are damaged, or that the database refuses."""
    with path.open("ab") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)
    log.error("spool_rejected", callbacks=len(lines), kept=str(path))
