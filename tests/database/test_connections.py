"""How many connections a process takes from PostgreSQL, what it does when there is none, and what it tries again."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url, text

from service.database import Database, DatabaseUnavailable
from service.settings import load_settings
from service.wiring import Service
from tests.postgres import execute
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection

ROLE_LIMIT = 2


@pytest.fixture
def limited_url(postgres_url: str, postgres_server: URL) -> Iterator[str]:
    """A database for a user of whom the server takes two connections."""
    role, password = f"role_{uuid.uuid4().hex}", "hush"
    execute(postgres_server, f"CREATE ROLE {role} LOGIN PASSWORD '{password}' CONNECTION LIMIT {ROLE_LIMIT}")
    yield make_url(postgres_url).set(username=role, password=password).render_as_string(hide_password=False)
    execute(postgres_server, f"DROP ROLE {role}")


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))


def read_one(database: Database) -> int:
    with database.read() as tx:
        return int(tx.execute(text("SELECT 1")).scalar_one())


def count_connections(url: str) -> int:
    with connect(url) as connection:
        count = "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
        row = connection.execute(count).fetchone()
        assert row is not None
        return int(row[0])


def test_a_request_waits_for_a_connection_when_the_server_has_none_left(limited_url: str) -> None:
    database = Database(limited_url)
    others = [connect(limited_url) for _ in range(ROLE_LIMIT)]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_one, database)
        time.sleep(1)
        assert not reading.done()
        others.pop().close()
        assert reading.result(5) == 1
        assert read_one(database) == 1, "with the connection that it has"
    database.dispose()
    others.append(connect(limited_url))
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="too many connections"):
        read_one(database)
    assert 3 < time.monotonic() - began < 15
    for each in others:
        each.close()


def test_a_process_takes_no_more_than_it_may_and_gives_back_what_it_does_not_need(postgres_url: str) -> None:
    variables = environment(postgres_url, "http://127.0.0.1:9/", DATABASE_CONNECTIONS="6")
    service = Service(load_settings(variables))
    database, may_end, working = service.database, threading.Event(), threading.Semaphore(0)

    def work(_: int) -> int:
        with database.read() as tx:
            working.release()
            may_end.wait(30)
            return int(tx.execute(text("SELECT 1")).scalar_one())

    with ThreadPoolExecutor(12) as pool:
        results = [pool.submit(work, number) for number in range(12)]
        for _ in range(6):
            assert working.acquire(timeout=10)
        assert count_connections(postgres_url) == 6
        with pytest.raises(DatabaseUnavailable, match="ZEGO_RETENTION_DATABASE_CONNECTIONS"):
            read_one(database)
        may_end.set()
        done = [each.exception(10) for each in results]
    assert done.count(None) >= 6
    assert count_connections(postgres_url) <= 4
    service.close()
    assert count_connections(postgres_url) == 0


def test_a_real_deadlock_is_tried_again(postgres_url: str) -> None:
    databases = [Database(postgres_url), Database(postgres_url)]
    both = threading.Barrier(2)
    tries: list[int] = []
    with databases[0].write() as tx:
        tx.execute(text("CREATE TABLE pair (id INTEGER PRIMARY KEY, n INTEGER)"))
        tx.execute(text("INSERT INTO pair VALUES (1, 0), (2, 0)"))

    def work(first: int) -> None:
        def update(tx: Connection) -> None:
            tries.append(first)
            for row in (first, 3 - first):
                tx.execute(text("UPDATE pair SET n = n + 1 WHERE id = :id"), {"id": row})
                if len(tries) <= 2 and row == first:
                    both.wait(10)

        databases[first - 1].transact(update)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (1, 2)))
    with databases[0].read() as tx:
        assert tx.execute(text("SELECT n FROM pair")).scalars().all() == [2, 2]
    assert len(tries) == 3, "one of them was the victim, and began again"
    for database in databases:
        database.dispose()


def test_a_lock_that_nobody_gives_back_is_not_waited_for_for_ever(postgres_url: str) -> None:
    holder, database = Database(postgres_url), Database(postgres_url)
    with holder.write() as tx:
        tx.execute(text("LOCK TABLE callbacks IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            database.transact(lambda tx: tx.execute(text("SELECT 1 FROM callbacks")))
        assert 8 < time.monotonic() - began < 30
    assert read_one(database) == 1
    for each in (holder, database):
        each.dispose()


def test_connections_that_the_server_closed_are_replaced_and_nobody_notices(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.read(), database.read(), database.read():
        pass
    for _ in range(3):
        with connect(postgres_url) as other:
            ended = other.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
        assert ended is not None
        assert ended[0] > 0
        with database.read() as tx:
            assert tx.execute(text("SELECT 1")).scalar() == 1
    database.dispose()
