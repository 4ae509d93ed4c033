"""Engines and transactions: how to reach SQLite and PostgreSQL so that nothing acknowledged is lost."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, StatementError

MAX_BUSY_S: Final = 10.0
"""How long a transaction waits for another one's lock before it fails."""

_POLL_S: Final = 0.002
_MAX_TRIES: Final = 5
_TRANSIENT_SQLSTATES: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock

T = TypeVar("T")

Transaction: TypeAlias = Connection
"""A running transaction: what every store works on."""


class DatabaseUnavailable(Exception):  # noqa: N818  (a state of the world, named as such)
    """The database could not do what was asked; the text says why in one line, without secrets."""

    def __init__(self, text: str, *, is_transient: bool = False, is_refusal: bool = False) -> None:
        super().__init__(text)
        self.is_transient = is_transient
        """The same transaction may well succeed when it is run again: a deadlock, a serialisation failure, a lock."""
        self.is_refusal = is_refusal
        """The database is there and refused what it was given: other rows may fare better."""


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
            self._writer = _create_sqlite_engine(self.url, _begin_writing, 0)
            self._reader = _create_sqlite_engine(self.url, _begin_reading, MAX_BUSY_S)
        else:
            self._writer = self._reader = _create_postgresql_engine(self.url)

    @property
    def engine(self) -> Engine:
        """The engine that writes (for migrations)."""
        return self._writer

    @property
    def name(self) -> str:
        """What to call the database in a message: the URL without user, password and options."""
        url = self.url
        bare = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
        return bare.render_as_string()

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; None for a server."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    def create_folder(self) -> None:
        """Create the folder of a SQLite file, readable by its owner only.

        Raises:
            DatabaseUnavailable: it cannot be created.
        """
        if self.path is not None:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseUnavailable(
                    f"cannot create the database's folder {self.path.parent}: {error.strerror}"
                ) from None

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction that may write; commits at the end of the block, rolls back on any error.

        Raises:
            DatabaseUnavailable: the database refused or could not be reached.
        """
        yield from self._begin(self._writer)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One transaction that only reads.

        Raises:
            DatabaseUnavailable: the database refused or could not be reached.
        """
        yield from self._begin(self._reader)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a write transaction; from its start again after a transient error, a few times.

        Raises:
            DatabaseUnavailable: as `write`.
        """
        for number in range(1, _MAX_TRIES + 1):
            try:
                with self.write() as tx:
                    return work(tx)
            except DatabaseUnavailable as error:
                if number == _MAX_TRIES or not error.is_transient:
                    raise
                time.sleep(0.02 * 2**number)
        raise AssertionError  # the loop returns or raises

    def dispose(self) -> None:
        """Close every connection."""
        self._writer.dispose()
        self._reader.dispose()

    def _begin(self, engine: Engine) -> Iterator[Transaction]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise DatabaseUnavailable(
                f"database {self.name}: {_describe(error)}",
                is_transient=_is_transient(error),
                is_refusal=_is_refusal(error),
            ) from error


def _is_transient(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _TRANSIENT_SQLSTATES


def _is_refusal(error: SQLAlchemyError) -> bool:
    if not isinstance(error, StatementError) or isinstance(error, OperationalError):
        return False
    return not (isinstance(error, DBAPIError) and error.connection_invalidated) and not _is_transient(error)


def _describe(error: SQLAlchemyError) -> str:
    # The statement and its parameters stay out: they are not for people, and parameters can be private.
    text = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    is_lock = isinstance(error, OperationalError) and any(word in line for word in ("locked", "readonly", "disk"))
    return f"{line} (is another process holding it, or the disk full or read-only?)" if is_lock else line


def _create_sqlite_engine(url: URL, begin: Callable[[Connection], None], busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": MAX_BUSY_S}, pool_size=16, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: object) -> None:
        # The driver's own transaction control starts transactions too late (updates lost without an error).
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(MAX_BUSY_S * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -32000")
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_timeout_s * 1000)}")
        cursor.close()

    event.listen(engine, "begin", begin)
    return engine


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection) -> None:
    """Take the write lock, looking for it every few milliseconds.

    SQLite's own waiting falls back to a look every 100 ms and starves beside a process that writes batch after batch.
    """
    driver = connection.connection.driver_connection
    if driver is None:
        return
    deadline = time.monotonic() + MAX_BUSY_S
    while time.monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                break
            time.sleep(_POLL_S)
        else:
            return
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error that SQLAlchemy wraps


def _create_postgresql_engine(url: URL) -> Engine:
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
