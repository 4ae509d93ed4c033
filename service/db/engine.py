"""Engines and transactions: how to reach SQLite and PostgreSQL so that nothing acknowledged is lost."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection

BUSY_TIMEOUT_S = 10.0
_POLL_MS = 5
_ATTEMPTS = 4
_RETRIED_SQLSTATES = frozenset({"40001", "40P01"})  # serialization failure, deadlock

__all__ = ["Database", "DatabaseUnavailable", "Session", "is_transient"]

T = TypeVar("T")


class DatabaseUnavailable(Exception):  # noqa: N818  (a state of the world, named as such)
    """The database could not do what was asked; the text says why in one line, without secrets."""


class Database:
    """Transactions on one database.

    `write()` and `transact()` take SQLite's write lock at their start, so that what they read stays true until they
    commit; on PostgreSQL the queries lock rows. `read()` never waits for a writer.
    """

    def __init__(self, url: str) -> None:
        """Prepare engines for `url` (SQLite or postgresql+psycopg); connects to nothing yet."""
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._writer = _sqlite_engine(self.url, _begin_writing, _POLL_MS)
            self._reader = _sqlite_engine(self.url, _begin_reading, round(BUSY_TIMEOUT_S * 1000))
        else:
            self._writer = self._reader = _postgresql_engine(self.url)

    @property
    def engine(self) -> Engine:
        """The engine that writes (for migrations)."""
        return self._writer

    @property
    def name(self) -> str:
        """What to call the database in a message: the URL without user, password and options."""
        bare = self.url.set(username=None, password=None, query={})
        return bare.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql")

    def create_folder(self) -> None:
        """Create the folder of a SQLite file, readable by its owner only.

        Raises:
            DatabaseUnavailable: it cannot be created.
        """
        if self.is_sqlite and self.url.database:
            folder = Path(self.url.database).parent
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                msg = f"cannot create the database's folder {folder}: {error.strerror}"
                raise DatabaseUnavailable(msg) from None

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that may write; commits at the end of the block, rolls back on any error."""
        yield from self._session(self._writer)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads."""
        yield from self._session(self._reader)

    def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a write transaction, again from its start when the database chose it as a deadlock's victim."""
        for attempt in range(_ATTEMPTS):
            try:
                with self.write() as session:
                    return work(session)
            except DatabaseUnavailable as error:
                if attempt == _ATTEMPTS - 1 or not is_transient(error.__cause__):
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError  # the loop returns or raises

    def dispose(self) -> None:
        """Close every connection."""
        self._writer.dispose()
        self._reader.dispose()

    def _session(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise DatabaseUnavailable(f"database {self.name}: {_first_line(error)}") from error


def is_transient(error: BaseException | None) -> bool:
    """The database chose this transaction as a deadlock's victim, or could not serialize it: to be run again whole."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _RETRIED_SQLSTATES


def _first_line(error: SQLAlchemyError) -> str:
    # The statement and its parameters stay out: they are not for people, and parameters can be private.
    text = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    hint = (
        " (is another process holding it, or the disk full or read-only?)"
        if isinstance(error, OperationalError)
        else ""
    )
    return line + (hint if "locked" in line or "readonly" in line or "disk" in line else "")


def _sqlite_engine(url: URL, begin: Callable[[Connection], None], busy_timeout_ms: int) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=16, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: object) -> None:
        # The driver's own transaction control starts transactions too late (updates lost without an error).
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
        cursor.close()

    event.listen(engine, "begin", begin)
    return engine


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection) -> None:
    # SQLite's own waiting falls back to a look every 100 ms, and starves beside a process that writes batch after
    # batch; callbacks must get their turn.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    driver = connection.connection.driver_connection
    while driver is not None and time.monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                break
        else:
            return
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=16,
        max_overflow=16,
        # prepare_threshold=None: prepared statements do not survive a transaction-mode pooler.
        connect_args={
            "prepare_threshold": None,
            "connect_timeout": 5,
            "tcp_user_timeout": 15_000,  # a server that fell silent must not hold requests for minutes
            "application_name": f"zego-retention/{os.getpid()}",
            "options": "-c timezone=UTC -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
        },
    )
