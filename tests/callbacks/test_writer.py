"""Group commit: nothing is answered before it is durable, and one bad row spoils no other; on both databases."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
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
    from concurrent.futures import Future


def row(number: int, content: str = "content") -> NewCallback:
    return NewCallback(f"{number:040d}", APP, content, b"{}", "application/json", "record", START)


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


def store_all(writer: Writer, rows: list[NewCallback]) -> list[Future[None]]:
    return [writer.store(each) for each in rows]


def test_equal_callbacks_of_one_batch_are_one_row_with_its_repeats(database: Database, writer: Writer) -> None:
    with blocked(database):
        waiting = store_all(writer, [row(number % 4) for number in range(32)])
        time.sleep(0.3)
        assert not any(each.done() for each in waiting), "nothing is answered before it is durable"
    for each in waiting:
        each.result(10)
    assert stored(database) == {row(number).signature: 7 for number in range(4)}


def test_two_writers_with_the_same_keys_in_opposite_order_both_get_through(database: Database) -> None:
    other = Database(database.url.render_as_string(hide_password=False))
    writers = [Writer(database), Writer(other)]
    rows = [row(number) for number in range(16)]
    for _ in range(20):
        for each in store_all(writers[0], rows) + store_all(writers[1], rows[::-1]):
            each.result(10)
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
    with capture_logs() as logged:
        with blocked(database):
            waiting = store_all(writer, [row(number) for number in range(101)])
        failed = [number for number, each in enumerate(waiting) if each.exception(10) is not None]
    assert failed == [50]
    assert isinstance(waiting[50].exception(10), NotStored)
    assert set(stored(database)) == {row(number).signature for number in range(101) if number != 50}
    assert [line["event"] for line in logged] == ["callbacks_not_stored"]


def test_a_database_that_is_away_is_logged_once_and_that_it_is_back(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    writer, path = Writer(database), Path(sqlite_url.removeprefix("sqlite:///"))
    with capture_logs() as logged:
        writer.store(row(1)).result(10)
        path.rename(path.with_suffix(".away"))
        for number in range(3):
            assert isinstance(writer.store(row(number)).exception(10), NotStored)
        path.with_suffix(".away").rename(path)
        for number in range(3):
            writer.store(row(number)).result(10)
    writer.stop()
    database.dispose()
    assert [line["event"] for line in logged] == ["callbacks_not_stored", "callbacks_stored_again"]
    assert logged[1]["not_stored"] == 3


def test_who_gives_up_waiting_does_not_get_it_for_stored(database: Database, writer: Writer) -> None:
    with blocked(database):
        first = writer.store(row(1))
        with pytest.raises(TimeoutError):
            first.result(0.2)
        given_up = writer.store(row(2))
        assert given_up.cancel()
    assert first.result(10) is None
    assert writer.store(row(3)).result(10) is None
    assert set(stored(database)) == {row(1).signature, row(3).signature}


def test_not_everybody_may_wait(database: Database, writer: Writer) -> None:
    with blocked(database):
        waiting = store_all(writer, [row(number) for number in range(4_000)])
    refused = [str(error) for each in waiting if (error := each.exception(20)) is not None]
    assert 1_000 < len(refused) <= 2_000
    assert set(refused) == {"2,000 callbacks wait to be stored already"}
    assert len(stored(database)) == 4_000 - len(refused)


def test_a_stop_stores_what_waits_and_nothing_after_it(database: Database, writer: Writer) -> None:
    with blocked(database):
        waiting = store_all(writer, [row(number) for number in range(8)])
        stopping = threading.Thread(target=writer.stop)
        stopping.start()
    stopping.join(10)
    assert [each.exception(0) for each in waiting] == [None] * 8
    with pytest.raises(NotStored, match="stopping"):
        writer.store(row(9)).result(10)
    assert len(stored(database)) == 8


def test_a_database_that_is_away_fails_all_and_comes_back(database: Database, writer: Writer) -> None:
    with database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    with capture_logs():
        waiting = store_all(writer, [row(number) for number in range(8)])
        assert all(isinstance(each.exception(20), NotStored) for each in waiting)
    with database.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO callbacks"))
    writer.store(row(1)).result(10)
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
    writer.store(row(1)).result(10)
    writer.stop()
    assert set(stored(database)) == {row(1).signature}
    database.dispose()


@pytest.mark.long
def test_it_stores_thousands_a_second(database: Database, writer: Writer) -> None:
    count = 8_000
    began = time.monotonic()
    for start in range(0, count, 32):
        for each in store_all(writer, [row(number) for number in range(start, start + 32)]):
            each.result(10)
    rate = count / (time.monotonic() - began)
    print(f"{rate:.0f} callbacks a second on {database.name.partition(':')[0]}")
    assert len(stored(database)) == count
    assert rate > 500
