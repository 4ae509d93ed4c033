"""Group commit: nothing is answered before it is durable, and one bad row spoils no other; on both databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from service.callbacks.store import NewCallback, list_callbacks
from service.callbacks.writer import NotStored, Writer
from service.database import Database
from service.filters import CallbackFilter
from tests.callbacks.callback_scene import APP, START

if TYPE_CHECKING:
    from collections.abc import Iterator


def row(number: int, content: str = "content") -> NewCallback:
    return NewCallback(APP, f"{number:040d}", content, START, b"{}", "application/json", "record")


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    writer = Writer(database)
    yield writer
    writer.stop()


def stored(database: Database) -> dict[str, int]:
    """The repeats of what is stored, by signature."""
    with database.read() as tx:
        return {callback.signature: callback.repeats for callback in list_callbacks(tx, CallbackFilter())}


@contextmanager
def blocked(database: Database) -> Iterator[None]:
    """Let nobody store callbacks during the block."""
    with database.write() as tx:
        if not database.is_sqlite:
            tx.execute(text("LOCK TABLE callbacks IN EXCLUSIVE MODE"))
        yield


def store_all(pool: ThreadPoolExecutor, writer: Writer, rows: list[NewCallback]) -> list[Future[None]]:
    return [pool.submit(writer.store, each) for each in rows]


def wait_until_waiting(writer: Writer, count: int) -> None:
    deadline = time.monotonic() + 10
    while writer._arrived.qsize() + len(writer._being_stored) < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_equal_callbacks_of_one_batch_are_one_row_with_its_repeats(database: Database, writer: Writer) -> None:
    with ThreadPoolExecutor(32) as pool:
        with blocked(database):
            waiting = store_all(pool, writer, [row(number % 4) for number in range(32)])
            wait_until_waiting(writer, 32)
            assert not any(each.done() for each in waiting), "nothing is answered before it is durable"
        for each in waiting:
            each.result()
    assert stored(database) == {row(number).signature: 7 for number in range(4)}


def test_two_writers_with_the_same_keys_in_opposite_order_both_get_through(database: Database) -> None:
    other = Database(database.url.render_as_string(hide_password=False))
    writers = [Writer(database), Writer(other)]
    rows = [row(number) for number in range(16)]
    with ThreadPoolExecutor(32) as pool:
        for _ in range(20):
            waiting = store_all(pool, writers[0], rows) + store_all(pool, writers[1], rows[::-1])
            for each in waiting:
                each.result()
    for writer in writers:
        writer.stop()
    assert stored(database) == dict.fromkeys((each.signature for each in rows), 39)
    if not database.is_sqlite:
        with database.read() as tx:
            name = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert tx.execute(text(name)).scalar_one() == 0
    other.dispose()


def refuse_signature(database: Database, signature: str) -> None:
    condition = f"NEW.signature = '{signature}'"
    if database.is_sqlite:
        statements = [
            f"CREATE TRIGGER refuse BEFORE INSERT ON callbacks WHEN {condition} BEGIN SELECT RAISE(ABORT, 'no'); END"
        ]
    else:
        statements = [
            (
                f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition}"
                " THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$"
            ),
            "CREATE TRIGGER refuse BEFORE INSERT ON callbacks FOR EACH ROW EXECUTE FUNCTION refuse()",
        ]
    with database.write() as tx:
        for statement in statements:
            tx.execute(text(statement))


def test_one_row_that_the_database_refuses_spoils_no_other(database: Database, writer: Writer) -> None:
    refuse_signature(database, row(50).signature)
    with ThreadPoolExecutor(101) as pool, capture_logs() as logged:
        with blocked(database):
            waiting = store_all(pool, writer, [row(number) for number in range(101)])
            wait_until_waiting(writer, 101)
        failed = [number for number, each in enumerate(waiting) if each.exception() is not None]
    assert failed == [50]
    assert isinstance(waiting[50].exception(), NotStored)
    assert set(stored(database)) == {row(number).signature for number in range(101) if number != 50}
    assert [line["event"] for line in logged] == ["callbacks_not_stored"]


def test_who_gives_up_waiting_does_not_get_it_for_stored(database: Database, writer: Writer) -> None:
    with blocked(database):
        began = time.monotonic()
        with pytest.raises(NotStored, match="within"):
            writer.store(row(1), timeout_s=0.2)
        assert 0.15 < time.monotonic() - began < 5
        assert writer.oldest_wait_s > 0.15
    writer.store(row(2))
    assert writer.oldest_wait_s == 0
    writer.store(row(1))
    assert set(stored(database)) == {row(1).signature, row(2).signature}


def test_a_stop_stores_what_waits_and_nothing_after_it(database: Database, writer: Writer) -> None:
    with ThreadPoolExecutor(8) as pool:
        with blocked(database):
            waiting = store_all(pool, writer, [row(number) for number in range(8)])
            wait_until_waiting(writer, 8)
            stopping = threading.Thread(target=writer.stop)
            stopping.start()
        stopping.join(10)
        assert [each.exception() for each in waiting] == [None] * 8
    with pytest.raises(NotStored, match="stopping"):
        writer.store(row(9))
    writer.start()
    writer.store(row(9))
    assert len(stored(database)) == 9


def test_a_database_that_is_away_fails_all_and_comes_back(database: Database, writer: Writer) -> None:
    with database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    with ThreadPoolExecutor(8) as pool, capture_logs():
        waiting = store_all(pool, writer, [row(number) for number in range(8)])
        assert all(isinstance(each.exception(), NotStored) for each in waiting)
    with database.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO callbacks"))
    writer.store(row(1))
    assert set(stored(database)) == {row(1).signature}


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_transient_errors_are_tried_again(postgres_url: str, sqlstate: str) -> None:
    database = Database(postgres_url)
    writer = Writer(database)
    with database.write() as tx:
        tx.execute(text("CREATE SEQUENCE tries"))
        tx.execute(
            text(
                "CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('tries') <= 2"
                f" THEN RAISE EXCEPTION 'again' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$"
            )
        )
        tx.execute(text("CREATE TRIGGER collide BEFORE INSERT ON callbacks FOR EACH ROW EXECUTE FUNCTION collide()"))
    writer.store(row(1))
    writer.stop()
    assert set(stored(database)) == {row(1).signature}
    database.dispose()


@pytest.mark.long
def test_it_stores_thousands_a_second(database: Database, writer: Writer) -> None:
    count = 8_000
    began = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        for each in store_all(pool, writer, [row(number) for number in range(count)]):
            each.result()
    rate = count / (time.monotonic() - began)
    print(f"{rate:.0f} callbacks a second on {database.name.partition(':')[0]}")
    assert len(stored(database)) == count
    assert rate > 500
