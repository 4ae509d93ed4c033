from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.database import Database, DatabaseUnavailable
from service.health.readiness import Readiness
from service.health.store import prove_durable
from tests.health.scene import NOW

if TYPE_CHECKING:
    from collections.abc import Callable


class Proof:
    """A proof that can be told to fail or to hang, and counts how often it is asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self) -> None:
        self.asked += 1
        assert self.may_end.wait(30)
        if self.error is not None:
            raise self.error


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_a_write_that_commits_is_ready(database: Database) -> None:
    prove_durable(database, NOW)
    prove_durable(database, NOW)
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM readiness")).scalar_one() == 1
    assert Readiness(lambda: prove_durable(database, NOW)).find_fault() is None


def test_an_inbox_that_another_release_has_changed_is_not_ready(database: Database) -> None:
    with database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME COLUMN content_type TO kind"))
    with pytest.raises(DatabaseUnavailable, match="content_type"):
        prove_durable(database, NOW)


def test_an_answer_is_remembered_for_a_second() -> None:
    proof, clock = Proof(), Clock()
    readiness = Readiness(proof, clock)
    for moment, asked in ((0.0, 1), (0.9, 1), (1.1, 2), (2.0, 2)):
        clock.time = moment
        assert readiness.find_fault() is None
        assert proof.asked == asked


@pytest.mark.parametrize("error", [DatabaseUnavailable("user zoe at host 10.0.0.9:5432 refused"), ValueError("zoe")])
def test_strangers_read_no_user_host_or_port(error: Exception) -> None:
    proof, clock = Proof(), Clock()
    proof.error = error
    readiness = Readiness(proof, clock)
    fault = readiness.find_fault()
    assert fault is not None
    assert not any(word in fault for word in ("zoe", "10.0.0.9", "5432"))
    proof.error = None
    clock.time = 2.0
    assert readiness.find_fault() is None


def test_while_a_proof_hangs_nobody_waits_for_more_than_a_second() -> None:
    proof = Proof()
    proof.may_end.clear()
    readiness = Readiness(proof)
    took = [measure(readiness.find_fault) for _ in range(20)]
    assert max(took) < 1.0
    assert sum(took) < 2.0  # whoever comes later does not wait at all
    assert proof.asked == 1
    proof.may_end.set()
    deadline = time.monotonic() + 10
    while readiness.find_fault() is not None:
        assert time.monotonic() < deadline


def test_with_a_spool_it_is_ready_whatever_the_database_does() -> None:
    proof, clock, spooled = Proof(), Clock(), [True, True, False, False]
    proof.error = DatabaseUnavailable("away")
    readiness = Readiness(proof, clock, lambda: spooled.pop(0))
    assert readiness.find_fault() is None
    clock.time, proof.error = 2.0, None
    proof.may_end.clear()
    assert readiness.find_fault() is None, "the database does not answer"
    assert readiness.find_fault() is not None, "the spool is full by now"
    proof.may_end.set()


def test_a_database_that_somebody_else_holds_is_not_ready_within_a_second(sqlite_url: str) -> None:
    database, other = Database(sqlite_url), Database(sqlite_url)
    readiness = Readiness(lambda: prove_durable(database, NOW))
    with other.write():
        assert measure(readiness.find_fault) < 1.0
        assert readiness.find_fault() is not None


def measure(ask: Callable[[], object]) -> float:
    started = time.monotonic()
    ask()
    return time.monotonic() - started
