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


@contextmanager
def pgbouncer(url: str, port: int, server_connections: int) -> Iterator[str]:
    """The URL under which a real PgBouncer in transaction mode passes on to a database."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert program is not None, HOW_TO_GET_PGBOUNCER
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)) as server:
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
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    deadline = time.monotonic() + _MAX_WAIT_S
    while True:
        with suppress(psycopg.OperationalError):
            psycopg.connect(address).close()
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
