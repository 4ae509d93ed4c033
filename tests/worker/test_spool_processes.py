"""Real processes while the database is away: none that was answered 200 is lost, whoever is killed."""

from __future__ import annotations

import re
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from service.callbacks.store import list_callbacks
from service.database import Database
from service.filters import CallbackFilter
from tests.bench import load
from tests.gatekeeper import Gatekeeper
from tests.processes import answers, ask, running, send_callback, wait_until
from tests.world import environment

if TYPE_CHECKING:
    from pathlib import Path


def settings(url: str, port: int, folder: Path, **more: str) -> dict[str, str]:
    more |= {"LISTEN": f"127.0.0.1:{port}", "SPOOL_DIR": str(folder / "spool"), "LOG_FORMAT": "json"}
    return environment(url, "http://127.0.0.1:9/", KEEP="30d", **more)


def count_stored(database: Database) -> tuple[int, int]:
    """How many callbacks are stored, and how many repeats of them were counted."""
    with database.read() as tx:
        found = list(list_callbacks(tx, CallbackFilter()))
    return len(found), sum(each.repeats for each in found)


def depth(port: int) -> int:
    """How many callbacks wait in the spool, as the metrics say."""
    found = re.search(rb"^zego_retention_spool_callbacks (\d+)", ask(port, "GET", "/metrics")[1], re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_what_a_killed_process_had_in_its_spool_is_stored_by_the_next(
    postgres_url: str, free_port: int, tmp_path: Path
) -> None:
    """The server goes away; the web side is killed, started again without a database, and at last with one."""
    database, door = Database(postgres_url), Gatekeeper(postgres_url)
    variables = settings(door.url, free_port, tmp_path)
    began = datetime.now(UTC)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        assert [send_callback(free_port, f"file-{number}") for number in range(3)] == [200] * 3
        assert ask(free_port, "GET", "/readyz")[0] == 200
        assert depth(free_port) == 3
        web.end(signal.SIGKILL)
    answered = datetime.now(UTC)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        assert send_callback(free_port, "file-3") == 200
        assert depth(free_port) == 4
        assert count_stored(database) == (0, 0)
        door.open()
        wait_until(lambda: count_stored(database) == (4, 0))
        wait_until(lambda: depth(free_port) == 0)
        assert web.end() == 0
        assert "Traceback" not in web.log()
    door.close()
    with database.read() as tx:
        times = [each.received_at for each in list_callbacks(tx, CallbackFilter())][::-1]
    assert times == sorted(times)
    assert all(began <= moment <= answered for moment in times[:3])
    database.dispose()


def test_while_sqlite_is_held_callbacks_are_answered_and_the_leader_stores_those_of_a_dead_process(
    sqlite_url: str, free_port: int, tmp_path: Path
) -> None:
    database = Database(sqlite_url)
    variables = settings(sqlite_url, free_port, tmp_path)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        with database.write():
            assert [send_callback(free_port, f"file-{number}") for number in range(4)] == [200] * 4
            assert ask(free_port, "GET", "/readyz")[0] == 200
            assert depth(free_port) == 4
            web.end(signal.SIGKILL)
        assert count_stored(database) == (0, 0)
    with running("worker", variables, tmp_path) as worker:
        wait_until(lambda: count_stored(database) == (4, 0))
        assert worker.end() == 0
    assert list((tmp_path / "spool").iterdir()) == []
    database.dispose()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_ten_minutes_of_callbacks_without_a_database_are_stored_once_each(
    request: pytest.FixtureRequest, kind: str, free_port: int, tmp_path: Path
) -> None:
    """17 a second for ten minutes, sent at once; the web side is killed in the middle."""
    url: str = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    database, count = Database(url), 5_000
    door = Gatekeeper(url) if kind == "postgresql" else None
    path = database.path
    if path is not None:
        url = f"sqlite:///{path}"
    variables = settings(door.url if door else url, free_port, tmp_path)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        if path is not None:
            path.rename(path.with_suffix(".away"))
        first = load.send(load.Load(free_port, count))
        assert first.statuses == {"200": count}
        web.end(signal.SIGKILL)
    if path is not None:
        path.with_suffix(".away").rename(path)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        if path is None:
            second = load.send(load.Load(free_port, count, first=count))
            assert second.statuses == {"200": count}
        began = time.monotonic()
        if door is not None:
            door.open()
        total = count if path is not None else 2 * count
        wait_until(lambda: count_stored(database) == (total, 0), 120)
        took = time.monotonic() - began
        wait_until(lambda: depth(free_port) == 0)
        rate = f"{first.per_second:.0f} a second, p99 {first.p99_ms:.0f} ms"
        print(f"{kind}: {rate}, into the spool; {total} out of it in {took:.1f} s")
        assert web.end() == 0
    if door is not None:
        door.close()
    database.dispose()
