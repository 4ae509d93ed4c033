"""`service:create_app()` under servers that fork after the application was built: nothing is shared by accident."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.callbacks.store import list_callbacks
from service.database import Database
from service.filters import CallbackFilter
from service.settings import load_settings
from service.web.app import create_app
from tests.processes import Running, answers, ask, running, send_callback, wait_until
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a-token-of-the-tests-0123456789"
WORKERS = 4


def stored(database: Database) -> dict[str, int]:
    """How often each file was stored, by the ids in the bodies."""
    with database.read() as tx:
        found = Counter[str]()
        for callback in list_callbacks(tx, CallbackFilter(), limit=10_000):
            found[callback.signature] += 1 + callback.repeats
        return found


@pytest.fixture
def gunicorn(database_url: str, free_port: int, tmp_path: Path) -> Iterator[tuple[Running, int]]:
    variables = environment(database_url, "http://127.0.0.1:9/", ADMIN_TOKEN=TOKEN, KEEP="30d")
    options = f"--preload --workers {WORKERS} --threads 4 --bind 127.0.0.1:{free_port} --access-logfile -"
    arguments = (*options.split(), "--access-logformat", "pid %(p)s answered %(s)s for %(U)s")
    with running("service:create_app()", variables, tmp_path, *arguments, module="gunicorn") as server:
        wait_until(lambda: answers(free_port) or server.process.poll() is not None)
        yield server, free_port


def test_an_application_holds_neither_connections_nor_threads_once_it_is_built(database: Database) -> None:
    threads = set(threading.enumerate())
    url = database.url.render_as_string(hide_password=False)
    app = create_app(load_settings(environment(url, "http://127.0.0.1:9/", KEEP="30d")))
    assert set(threading.enumerate()) <= threads
    if database.is_sqlite:
        opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        assert not [path for path in opened if path.startswith(str(database.path))]
    else:
        with database.read() as tx:
            count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert tx.execute(text(count)).scalar_one() == 1
    app.extensions["zego-retention"].close()


def test_every_worker_answers_and_every_callback_is_stored_once(
    gunicorn: tuple[Running, int], database_url: str
) -> None:
    server, port = gunicorn
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda number: send_callback(port, f"file-{number}"), range(400))) == {200}
        assert set(pool.map(lambda _: ask(port, "GET", "/readyz")[0], range(40))) == {200}
        assert set(pool.map(lambda _: ask(port, "GET", "/metrics")[0], range(40))) == {200}
        allowed = f"Bearer {TOKEN}"
        asked = pool.map(lambda _: ask(port, "GET", "/api/v1/files", Authorization=allowed)[0], range(40))
        assert set(asked) == {200}
    database = Database(database_url)
    assert Counter(stored(database).values()) == {1: 400}
    database.dispose()
    assert server.end() == 0
    lines = [line.split() for line in server.log().splitlines() if line.startswith("pid ")]
    for path in ("/zego/callback", "/readyz", "/api/v1/files"):
        pids = {line[1] for line in lines if line[-1] == path}
        assert len(pids) == WORKERS, f"{path} reached only {pids}"


def test_what_was_answered_is_stored_when_the_server_is_stopped_under_load(
    gunicorn: tuple[Running, int], database_url: str
) -> None:
    server, port = gunicorn
    taken: list[int] = []
    numbers, lock = iter(range(5_000)), threading.Lock()

    def work(_: int) -> None:
        with suppress(OSError, http.client.HTTPException):
            while True:
                with lock:
                    number = next(numbers)
                if send_callback(port, f"file-{number}") == 200:
                    taken.append(number)

    with ThreadPoolExecutor(16) as pool:
        sending = [pool.submit(work, number) for number in range(16)]
        wait_until(lambda: len(taken) > 200)
        assert server.end() == 0
        for each in sending:
            each.result()
    database = Database(database_url)
    counts = stored(database)
    database.dispose()
    assert len(counts) >= len(taken) > 200
    assert set(counts.values()) == {1}
