"""Engines and transactions: how to reach SQLite and PostgreSQL so that nothing acknowledged is lost."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Dialect, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import ConnectionPoolEntry

_MAX_BUSY_S: Final = 10.0
"""How long a transaction waits for another one's lock before it fails."""

_POLL_S: Final = 0.002
_MAX_TRIES: Final = 5
_TRANSIENT_SQLSTATES: Final = ("40001", "40P01")  # serialization failure, deadlock

_RAISED_BY_TRIGGER: Final = "P0"
_KEPT_CONNECTIONS: Final = 4
_MAX_CONNECTING_S: Final = 5.0
"""How long a transaction waits for a connection, be it this process or the server that has none left."""

_FULL: Final = ("too many clients", "too many connections", "remaining connection slots", "no more connections allowed")
_TRY_CONNECTING_S: Final = 0.1
OUR_SETTINGS: Final = {
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "max_parallel_workers_per_gather": "0",  # a count for a page must not take every core from callbacks
}
"""What every transaction sets for itself: nothing set once for a session outlives a pooler in transaction mode."""

VERSION_TABLE: Final = "zego_retention_version"
"""Where the revision is written down: its name shows that a database is ours. No other program has one like it."""

_IS_OURS: Final = f"SELECT 1 FROM sqlite_master WHERE name = '{VERSION_TABLE}'"  # noqa: S608  (our own)
_KEEP_LOG: Final = "PRAGMA journal_mode = WAL"

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED" + "".join(
    f"; SET LOCAL {name} = '{value}'" for name, value in OUR_SETTINGS.items()
)

T = TypeVar("T")

Transaction: TypeAlias = Connection
"""A running transaction: what every store works on."""


class DatabaseUnavailable(Exception):  # noqa: N818  (a state of the world, named as such)
    """The database could not do what was asked; the text says why in one line, without secrets.

    `is_transient`: the same transaction may well succeed when it is run again. `is_refusal`: the database is there and
    refused what it was given; other rows may fare better. `is_about_rows`: it said that certain rows cannot be stored.
    """

    def __init__(
        self, text: str, *, is_transient: bool = False, is_refusal: bool = False, is_about_rows: bool = False
    ) -> None:
        super().__init__(text)
        self.is_transient, self.is_refusal, self.is_about_rows = is_transient, is_refusal, is_about_rows


class UnfitDatabase(DatabaseUnavailable):
    """The database is there, but not one that this release can use: waiting does not help."""


class Database:
    """Transactions on one database. Any of them raises DatabaseUnavailable where it is away or refuses.

    `write()` and `transact()` take SQLite's write lock at their start, so that what they read stays true until they
    commit; on PostgreSQL the queries lock rows. `read()` never waits for a writer. `path` is the file of an SQLite
    database, which connecting never creates: one that was moved away must not be replaced by an empty one. `name` is
    what a message calls it: the URL without user, password and options.
    """

    def __init__(self, url: str, connections: int = 20) -> None:
        """Prepare engines for `url` (SQLite or postgresql+psycopg); connects to nothing yet.

        To PostgreSQL there are never more than so many connections at once.
        """
        self.url = make_url(url)
        kind, file = self.url.get_backend_name(), self.url.database
        self.is_sqlite = kind == "sqlite"
        self.path = Path(file) if self.is_sqlite and file else None
        self.name = URL.create(kind, host=self.url.host, port=self.url.port, database=file).render_as_string()
        if self.is_sqlite:
            self.engine = _create_sqlite_engine(self.url, _begin_writing, 0)
            self._reader = _create_sqlite_engine(self.url, lambda tx: tx.exec_driver_sql("BEGIN"), _MAX_BUSY_S)
        else:
            self.engine = self._reader = _create_postgresql_engine(self.url, connections)

    def keep_log(self) -> None:
        """Let an SQLite database keep a write-ahead log, for good. Connecting does so where it is ours already."""
        if self.is_sqlite:
            with self._reader.connect() as connection:
                driver = connection.connection.driver_connection
                if driver is not None:  # by hand: not within a transaction
                    driver.execute(_KEEP_LOG)

    def write(self) -> AbstractContextManager[Transaction]:
        """One transaction that may write; commits at the end of the block, rolls back on any error."""
        return self._begin(self.engine)

    def read(self) -> AbstractContextManager[Transaction]:
        """One transaction that only reads."""
        return self._begin(self._reader)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a write transaction; from its start again after a transient error, a few times."""
        number = 1
        while True:
            try:
                with self.write() as tx:
                    return work(tx)
            except DatabaseUnavailable as error:
                if number == _MAX_TRIES or not error.is_transient:
                    raise
                time.sleep(0.02 * 2**number)
                number += 1

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._reader.dispose()

    @contextmanager
    def _begin(self, engine: Engine) -> Iterator[Transaction]:
        try:
            with self._open(engine) as connection:  # closing rolls back what was not committed
                yield connection
                connection.commit()
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else None
            sqlstate = getattr(cause, "sqlstate", None) or ""
            is_transient = sqlstate in _TRANSIENT_SQLSTATES
            is_away = isinstance(error, OperationalError) or getattr(error, "connection_invalidated", False)
            raise DatabaseUnavailable(
                f"database {self.name}: {describe_error(error)}",
                is_transient=is_transient,
                is_refusal=isinstance(error, StatementError) and not is_away and not is_transient,
                is_about_rows=isinstance(error, (DataError, IntegrityError)) or sqlstate.startswith(_RAISED_BY_TRIGGER),
            ) from error

    def _open(self, engine: Engine) -> Connection:
        """Begin a transaction; a connection that was lost is replaced, one that is not free is awaited for a while."""
        deadline, may_be_lost = time.monotonic() + _MAX_CONNECTING_S, True
        while True:
            try:
                with ExitStack() as stack:
                    connection = stack.enter_context(engine.connect())
                    connection.begin()
                    stack.pop_all()
                    return connection
            except OperationalError as error:
                is_full = any(words in str(error.orig) for words in _FULL) and time.monotonic() < deadline
                if not is_full and not (may_be_lost and error.connection_invalidated):
                    raise
            may_be_lost = False  # noticing one that was lost, the pool has replaced them all
            if is_full:
                time.sleep(_TRY_CONNECTING_S)


def describe_error(error: SQLAlchemyError) -> str:
    """An error of the driver in one line, without the statement and its parameters, which can be private."""
    if isinstance(error, NoConnectionFree):
        return (
            f"all connections of this process were in use for {_MAX_CONNECTING_S:g} s (how many it may have:"
            " ZEGO_RETENTION_DATABASE_CONNECTIONS)"
        )
    text = str(getattr(error, "orig", None) or error)
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    if not isinstance(error, OperationalError) or not any(word in line for word in ("locked", "readonly", "disk I/O")):
        return line
    replaced = ""
    if "disk I/O" in line:
        replaced = (
            " Or was the file replaced while a process used it? Then stop that one, and put the file in place again."
        )
    return f"{line} (is another process holding it, or the disk full or read-only?{replaced})"


def _create_sqlite_engine(url: URL, begin: Callable[[Connection], object], busy_timeout_s: float) -> Engine:
    path = str(url.database)

    def connect() -> sqlite3.Connection:
        address = f"file:{quote(path)}?mode=rw"
        return sqlite3.connect(address, _MAX_BUSY_S, uri=True, isolation_level=None, check_same_thread=False)

    # isolation_level=None: the driver's own transaction control starts transactions too late (updates lost without an
    # error).
    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=16, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["file"] = _identify_file(path)
        connection.execute(f"PRAGMA busy_timeout = {round(_MAX_BUSY_S * 1000)}")
        if connection.execute(_IS_OURS).fetchone():  # it changes the file, which another program's must not be
            connection.execute(_KEEP_LOG)
        for setting in (
            "synchronous = FULL",
            "foreign_keys = ON",
            "cache_size = -32000",
            f"temp_store = {'DEFAULT' if _finds_temporary_folder() else 'MEMORY'}",
            f"busy_timeout = {round(busy_timeout_s * 1000)}",
        ):
            connection.execute(f"PRAGMA {setting}")

    def _begin(connection: Connection) -> None:
        if connection.info["file"] != _identify_file(path):
            connection.invalidate()
            raise DatabaseUnavailable(f"the database {path} was moved, deleted or replaced while it was in use")
        begin(connection)

    event.listen(engine, "begin", _begin)
    return engine


def _finds_temporary_folder() -> bool:
    """Whether SQLite can sort what its cache does not hold: it looks for a folder where this does."""
    folders = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108
    return any(folder and os.access(folder, os.W_OK | os.X_OK) for folder in folders)


def _identify_file(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (asked before every transaction: quicker)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin_writing(connection: Connection) -> None:
    """Take the write lock, looking for it every few milliseconds.

    SQLite's own waiting falls back to a look every 100 ms and starves beside a process that writes batch after batch.
    """
    driver = connection.connection.driver_connection
    deadline = time.monotonic() + _MAX_BUSY_S
    while driver is not None and time.monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                break
            time.sleep(_POLL_S)
        else:
            return
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error that SQLAlchemy wraps


def _create_postgresql_engine(url: URL, connections: int) -> Engine:
    defaults = {
        "client_encoding": "UTF8",  # whatever PGCLIENTENCODING says
        "connect_timeout": 5,
        # A server that fell silent must not hold requests, or the spool, for minutes.
        "tcp_user_timeout": 15_000,
        "keepalives_idle": 10,
    }
    engine = create_engine(
        url,
        # A few are kept; what more is needed at times is given back at once: others may need it.
        pool_size=min(connections, _KEPT_CONNECTIONS),
        max_overflow=max(connections - _KEPT_CONNECTIONS, 0),
        pool_timeout=_MAX_CONNECTING_S,
        # prepare_threshold=None: prepared statements do not survive a transaction-mode pooler.
        connect_args={name: value for name, value in defaults.items() if name not in url.query}
        | {"prepare_threshold": None, "autocommit": True},
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Dialect, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        options["fallback_application_name"] = f"zego-retention/{os.getpid()}"

    # The driver would send BEGIN by itself, in a round trip of its own.
    event.listen(engine, "begin", lambda tx: tx.exec_driver_sql(_BEGIN))
    return engine
