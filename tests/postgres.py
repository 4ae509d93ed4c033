"""Databases on the PostgreSQL server of the tests, and a pooler before one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

HOW_TO_GET_PGBOUNCER = "there is no pgbouncer; as root: apt-get install pgbouncer (`make test` does so as root)"
_MAX_WAIT_S = 30


def create_database(server: URL, options: str) -> Iterator[str]:
    """The URL of a database that is made with these options, and dropped when the iteration goes on."""
    name = f"test_{uuid.uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} {options}")
    yield server.set(database=name).render_as_string(hide_password=False)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(server: URL, statement: str) -> None:
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(statement)


def has_database(server: URL, name: str) -> bool:
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin) as connection:
        return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


class Databases:
    """Databases cloned from a template; what a test leaves is emptied for the next: much quicker than a clone."""

    def __init__(self, server: URL, template: str) -> None:
        self._server = server
        self._template = template
        self._spare: list[str] = []
        self._schema: set[str] = set()

    def lend(self) -> Iterator[str]:
        """The URL of a fresh database; it is taken back when the iteration goes on."""
        url = self._spare.pop() if self._spare else self._clone()
        yield url
        if self._empty(url):
            self._spare.append(url)
        else:
            self._drop(url)

    def drop(self) -> None:
        while self._spare:
            self._drop(self._spare.pop())

    def _clone(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        execute(self._server, f"CREATE DATABASE {name} TEMPLATE {self._template}")
        url = self._server.set(database=name).render_as_string(hide_password=False)
        if not self._schema:
            with psycopg.connect(_plain(url)) as connection:
                self._schema = _list_schema(connection)
        return url

    def _drop(self, url: str) -> None:
        execute(self._server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _empty(self, url: str) -> bool:
        """Whether the database is as a clone would be: False if more than rows was changed."""
        with psycopg.connect(_plain(url), autocommit=True) as connection:
            connection.execute("""
                SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid != pg_backend_pid()""")
            if _list_schema(connection) != self._schema:
                return False
            written = connection.execute("""
                SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid >= 16384
                AND pg_relation_size(oid) > 0 AND relname != 'zego_retention_version'""").fetchall()
            if written:
                connection.execute(f"TRUNCATE {', '.join(table for (table,) in written)} RESTART IDENTITY CASCADE")
            return True


def _list_schema(connection: psycopg.Connection) -> set[str]:
    """What is in a database beside its rows, and its version; a clone has the same numbers as its template."""
    found = {
        fact
        for (fact,) in connection.execute("""
            SELECT format('%s %s %s %s', oid, relname, relowner, relacl) FROM pg_class WHERE oid >= 16384
            UNION ALL SELECT format('%s %s %s %s', attrelid, attname, atttypid, attnotnull) FROM pg_attribute
                WHERE attrelid >= 16384
            UNION ALL SELECT format('%s %s', conrelid, conname) FROM pg_constraint WHERE oid >= 16384
            UNION ALL SELECT format('%s %s', tgrelid, tgname) FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT format('%s %s', oid, nspname) FROM pg_namespace
                WHERE nspname NOT LIKE 'pg_temp%' AND nspname NOT LIKE 'pg_toast_temp%'
            UNION ALL SELECT format('%s %s', oid, proname) FROM pg_proc WHERE oid >= 16384
            UNION ALL SELECT format('%s %s', setrole, setconfig) FROM pg_db_role_setting
                WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())""")
    }
    if connection.execute("SELECT to_regclass('zego_retention_version')").fetchall() != [(None,)]:
        found |= {version for (version,) in connection.execute("SELECT version_num FROM zego_retention_version")}
    return found


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def pgbouncer(url: str, port: int, server_connections: int) -> Iterator[str]:
    """The URL under which a real PgBouncer in transaction mode passes on to a database."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert program is not None, HOW_TO_GET_PGBOUNCER
    with psycopg.connect(_plain(url)) as server:
        info = server.info
        target = make_conninfo("", host=info.host, port=info.port, user=info.user, password=info.password or None)
        # It refuses to run as root: then it runs as whoever owns the server's socket.
        user = None
        if os.geteuid() == 0:
            user = Path(info.host).stat().st_uid if info.host.startswith("/") else pwd.getpwnam("nobody").pw_uid
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    (folder / "pgbouncer.ini").write_text(f"""
        [databases]
        * = {target}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = {server_connections}
        max_client_conn = 100
    """)
    folder.chmod(0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, folder / "pgbouncer.ini"], user=user, stdout=log, stderr=log)
    pooled = make_url(url).set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
    try:
        _wait_for(pooled, process, folder / "log")
        yield pooled
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    address = _plain(url)
    deadline = time.monotonic() + _MAX_WAIT_S
    while True:
        with suppress(psycopg.OperationalError):
            psycopg.connect(address).close()
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
