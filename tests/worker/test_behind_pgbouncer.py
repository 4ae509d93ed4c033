"""The main job through a real PgBouncer in transaction mode: nothing may rest on a session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url

from service.database import Database
from service.files.store import list_in_range
from service.model import FileState, Vendor
from service.sandbox import Sandbox
from tests.postgres import pgbouncer
from tests.processes import MAX_WAIT_S, answers, ask, running, send_callback, wait_until
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER_CONNECTIONS = 2
"""Fewer than the processes want at once, so that their transactions change places on them."""


@pytest.fixture
def pooled_url(empty_postgres_url: str, free_port: int) -> Iterator[str]:
    with pgbouncer(empty_postgres_url, free_port, SERVER_CONNECTIONS) as url:
        yield url


def states(url: str) -> dict[str, FileState]:
    database = Database(url)
    with database.read() as tx:
        found = {file.file_id: file.state for file in list_in_range(tx, 0, 1_000)}
    database.dispose()
    return found


def test_callbacks_come_in_and_files_go_out(
    pooled_url: str, empty_postgres_url: str, another_free_port: int, tmp_path: Path
) -> None:
    ages = {f"old-{number}": timedelta(days=2) for number in range(100)}
    ages |= {f"young-{number}": timedelta(hours=1) for number in range(100)}
    with Sandbox({APP: SERVER_SECRET}, lambda: datetime.now(UTC)) as sandbox, ExitStack() as stack:
        for file_id in ages:
            sandbox.add_file(APP, Vendor.TENCENT, file_id)
        variables = environment(
            pooled_url,
            sandbox.url,
            KEEP="1d",
            SWEEP_EVERY="1s",
            LISTEN=f"127.0.0.1:{another_free_port}",
            LOG_FORMAT="json",
        )
        with running("migrate", variables, tmp_path) as migrate:
            assert migrate.process.wait(MAX_WAIT_S) == 0, migrate.log()
        web = stack.enter_context(running("web", variables, tmp_path))
        worker = stack.enter_context(running("worker", variables, tmp_path))
        worker.wait_for("leading")
        wait_until(lambda: answers(another_free_port))
        with ThreadPoolExecutor(16) as pool:
            sent = [pool.submit(send_callback, another_free_port, *item, "直播间") for item in ages.items()]
            assert {each.result() for each in sent} == {200}
        assert ask(another_free_port, "GET", "/readyz")[0] == 200
        wait_until(lambda: list(states(pooled_url).values()).count(FileState.DELETED) == 100)
        assert {name for name, state in states(pooled_url).items() if state is FileState.DELETED} == {
            name for name in ages if name.startswith("old")
        }
        assert set(sandbox.files(APP, Vendor.TENCENT)) == {name for name in ages if name.startswith("young")}
        for process in (web, worker):
            assert process.end() == 0
            assert '"level": "error"' not in process.log(), process.log()
    leaves_sessions_as_they_were(pooled_url, empty_postgres_url)


def leaves_sessions_as_they_were(pooled_url: str, direct_url: str) -> None:
    """Other clients get the same sessions of the server."""

    def ask_plainly(url: str, question: str) -> object:
        address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            row = connection.execute(question).fetchone()
            return None if row is None else row[0]

    for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
        assert ask_plainly(pooled_url, f"SHOW {setting}") == ask_plainly(direct_url, f"SHOW {setting}")
    assert ask_plainly(pooled_url, "SELECT count(*) FROM pg_prepared_statements") == 0
