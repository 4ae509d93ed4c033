"""Databases and processes for the benchmarks: all on loopback, all ended by their process ids."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import make_url

from service.database import Database
from service.database.migrate import upgrade_database
from tests import conftest
from tests.processes import answers, wait_until
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import URL

    from tests.bench.figures import Report

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Bench:
    """What each part gets: where to work, how large, on which kind of database, and where its figures go."""

    folder: Path
    is_full: bool
    report: Report
    stack: ExitStack
    kind: str = "sqlite"
    _server: URL | None = None
    _made: int = field(default=0)

    def pick(self, small: int, full: int) -> int:
        """A count for this scale."""
        return full if self.is_full else small

    def make_database(self, *, is_migrated: bool = True, template: str | None = None) -> str:
        """The URL of a new database of the kind that is measured, empty or a copy of another one."""
        self._made += 1
        url = f"sqlite:///{self.folder}/bench-{self._made}.db"
        if self.kind == "postgresql":
            name = f"bench_{os.getpid()}_{self._made}"
            options = "" if template is None else f"TEMPLATE {make_url(template).database}"
            self.execute(f"CREATE DATABASE {name} {options}")
            self.stack.callback(self.execute, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            url = self.server.set(database=name).render_as_string(hide_password=False)
        elif template is not None:
            shutil.copyfile(sqlite_path(template), sqlite_path(url))
        if is_migrated and template is None:
            database = Database(url)
            upgrade_database(database)
            database.dispose()
        return url

    def drop(self, url: str) -> None:
        """Free the room of a database that is not needed any more."""
        if self.kind == "postgresql":
            self.execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")
            self.execute("CHECKPOINT")
            return
        for suffix in ("", "-wal", "-shm"):
            Path(f"{sqlite_path(url)}{suffix}").unlink(missing_ok=True)

    def execute(self, statement: str) -> None:
        """On the PostgreSQL server itself."""
        with psycopg.connect(plain_url(self.server), autocommit=True) as connection:
            connection.execute(statement)

    @property
    def server(self) -> URL:
        """PostgreSQL as tests have it, but as durable as in production."""
        if self._server is None:
            given = os.environ.get("TEST_POSTGRES_URL")
            if given:
                self._server = make_url(given).set(drivername="postgresql+psycopg")
            else:
                data = Path(f"{self.folder}-postgres")
                started = conftest.start_postgres(data, self.folder / "run")
                self.stack.callback(started.cleanup)
                self._server = make_url(started.get_uri(driver="psycopg"))
                self.execute("ALTER SYSTEM RESET ALL")
                self.execute("SELECT pg_reload_conf()")
        return self._server


def sqlite_path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def plain_url(url: URL | str) -> str:
    """As the driver itself takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def settings(url: str, port: int, **more: str) -> dict[str, str]:
    """Settings of our service: no sweeps, no listings, unless said otherwise."""
    quiet = {"SWEEP_EVERY": "off", "LISTEN": f"127.0.0.1:{port}", "LOG_LEVEL": "WARNING", "LOG_FORMAT": "json"}
    return environment(url, "http://127.0.0.1:9", **(quiet | more))


def find_port() -> int:
    """A free port below those that the system gives to clients: one that polls it must not meet itself there."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@contextmanager
def running(arguments: Sequence[str], variables: dict[str, str], port: int | None = None) -> Iterator[int]:
    """A Python module as a process, as soon as it listens on its port; its process id."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_RETENTION_")}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=inherited | variables,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=None if "BENCH_SHOW" in os.environ else subprocess.DEVNULL,
    )
    try:
        if port is not None:
            wait_until(lambda: answers(port) or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(arguments)} ended at once, with {process.returncode}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, map(int, children)))


def count_rows(url: str, table: str) -> int:
    """How many rows a table has."""
    database = Database(url)
    with database.read() as tx:
        count = tx.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()  # noqa: S608
    database.dispose()
    return int(count)


def wait_for_rows(url: str, table: str, count: int) -> float:
    """Wait until a table has so many rows; when that was seen, by the monotonic clock."""
    wait_until(lambda: count_rows(url, table) >= count, 300)
    return time.monotonic()
