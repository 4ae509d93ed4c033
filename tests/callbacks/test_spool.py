"""The spool: while the database is away, callbacks wait on disk; then they are stored once. On both databases."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from service.callbacks.spool import NotSpooled, Spool
from service.callbacks.store import NewCallback, list_callbacks
from service.callbacks.writer import NotStored, Writer
from service.database import Database
from service.filters import CallbackFilter
from tests.callbacks.callback_scene import START
from tests.callbacks.spool_children import DISK_S, append_and_wait, fill_disk
from tests.callbacks.test_writer import blocked, refuse_signature, row
from tests.children import start_child
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from service.callbacks.understand import StoredCallback

MAX_BYTES = 10**9


@contextmanager
def away(database: Database) -> Iterator[None]:
    """Let no callback be stored during the block, and every attempt fail at once."""
    with database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    yield
    with database.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO callbacks"))


def at(number: int, seconds: float) -> NewCallback:
    """A callback that was received so many seconds later."""
    return row(number)._replace(received_at=START + timedelta(seconds=seconds))


def stored(database: Database) -> list[StoredCallback]:
    """What is stored, in order."""
    with database.read() as tx:
        return list(list_callbacks(tx, CallbackFilter()))[::-1]


def numbers(database: Database) -> list[int]:
    return [int(each.signature) for each in stored(database)]


def repeats(database: Database) -> dict[int, int]:
    return {int(each.signature): each.repeats for each in stored(database)}


def journals(spool: Spool) -> list[Path]:
    assert spool.folder is not None
    return sorted(spool.folder.iterdir()) if spool.folder.exists() else []


@pytest.fixture
def spool(database: Database, tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(database, tmp_path / "spool", MAX_BYTES)
    yield spool
    spool.close()


@pytest.fixture
def writer(database: Database, spool: Spool) -> Iterator[Writer]:
    writer = Writer(database, spool, max_commit_s=0.3)
    yield writer
    writer.stop()


def append(spool: Spool, rows: Sequence[NewCallback]) -> None:
    spool.append(rows, "a test")


def test_what_comes_while_the_database_is_away_is_stored_once_it_is_back(
    database: Database, spool: Spool, writer: Writer
) -> None:
    writer.store(at(0, 0)).result(10)
    assert journals(spool) == [], "nothing is written there while all is well"
    with capture_logs() as logged:
        with away(database):
            for number in range(1, 4):
                writer.store(at(number, number)).result(10)
            writer.store(at(2, 9)).result(10)
            writer.store(at(0, 9)).result(10)
            assert spool.count_waiting() == 5
            assert "5 callbacks" in (spool.describe_waiting() or "")
            [journal] = journals(spool)
            assert journal.stat().st_mode & 0o777 == 0o600
        wait_until(lambda: not journals(spool))
        writer.store(at(4, 20)).result(10)
    assert [(int(each.signature), each.received_at, each.repeats) for each in stored(database)] == [
        (0, START, 1),
        (1, START + timedelta(seconds=1), 0),
        (2, START + timedelta(seconds=2), 1),
        (3, START + timedelta(seconds=3), 0),
        (4, START + timedelta(seconds=20), 0),
    ]
    assert [(line["event"], line.get("callbacks")) for line in logged] == [("spool_used", None), ("spool_emptied", 5)]
    assert spool.describe_waiting() is None


def test_a_database_that_is_held_for_long_keeps_nobody_waiting_and_nothing_is_stored_twice(
    database: Database, spool: Spool, writer: Writer
) -> None:
    with blocked(database):
        began = time.monotonic()
        for number in range(20):
            writer.store(at(number, number)).result(5)
        assert spool.count_waiting() == 20
        assert time.monotonic() - began < 5
    wait_until(lambda: not journals(spool))
    writer.store(at(20, 20)).result(10)
    assert repeats(database) == dict.fromkeys(range(21), 0)


def test_thousands_are_stored_in_order(database: Database, spool: Spool) -> None:
    append(spool, [at(number, number) for number in range(1_200)])
    append(spool, [at(number, number) for number in range(1_200, 1_300)])
    spool.store()
    assert numbers(database) == list(range(1_300))
    assert journals(spool) == []


def test_a_journal_that_was_stored_before_a_crash_is_not_stored_again(database: Database, spool: Spool) -> None:
    writer = Writer(database)
    for number in range(3):
        writer.store(at(number, number)).result(10)  # (its commit worked, and the answer to it was lost)
    append(spool, [at(2, 2), at(3, 3), at(4, 4), at(3, 30)])
    [journal] = journals(spool)
    copy = journal.with_suffix(".copy")
    shutil.copyfile(journal, copy)
    spool.store()
    expected = {0: 0, 1: 0, 2: 0, 3: 1, 4: 0}
    assert repeats(database) == expected
    copy.rename(journal)  # as if the process had died before it could remove the journal
    spool.store()
    assert repeats(database) == expected
    assert journals(spool) == []
    writer.store(at(4, 40)).result(10)
    writer.stop()
    assert repeats(database)[4] == 1, "one that ZEGO really sent again counts"


def test_what_is_stored_already_is_noted_in_the_journal(database: Database, spool: Spool) -> None:
    append(spool, [at(number, number) for number in range(1_000)])
    spool.store(lambda: bool(stored(database)))
    assert len(stored(database)) == 500
    assert spool.count_waiting() == 500
    spool.close()
    other = Spool(database, spool.folder, MAX_BYTES)
    other.store()
    assert repeats(database) == dict.fromkeys(range(1_000), 0)
    assert journals(spool) == []


def test_a_record_cut_off_by_a_crash_is_dropped_wherever_it_was_cut(sqlite_database: Database, tmp_path: Path) -> None:
    spool = Spool(sqlite_database, tmp_path / "spool", MAX_BYTES)
    append(spool, [at(0, 0)])
    [journal] = journals(spool)
    whole = journal.stat().st_size
    append(spool, [at(1, 1)])
    content = journal.read_bytes()
    spool.close()
    for cut in [*range(0, whole, 7), *range(whole, len(content))]:
        journal.write_bytes(content[:cut])
        spool.store()
        assert journals(spool) == []
        assert numbers(sqlite_database)[1:] == [1] * (cut == len(content) - 1), "it is whole but for the line's end"
    assert repeats(sqlite_database) == {0: 0, 1: 0}


def test_a_damaged_record_and_one_that_the_database_refuses_are_kept_and_spoil_no_other(
    database: Database, spool: Spool
) -> None:
    refuse_signature(database, row(7).signature)
    append(spool, [at(number, number) for number in range(10)])
    [journal] = journals(spool)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"application", b"applicatioN")
    journal.write_bytes(b"".join(lines))
    with capture_logs() as logged:
        spool.store()
    assert numbers(database) == [0, 1, 2, 4, 5, 6, 8, 9]
    [rejected] = spool.list_rejected()
    assert rejected.read_bytes().splitlines(keepends=True) == [lines[4], lines[8]]
    assert journals(spool) == [rejected]
    assert [(line["event"], line["callbacks"]) for line in logged] == [("spool_rejected", 2), ("spool_emptied", 8)]


def test_a_spool_that_is_full_refuses_and_keeps_what_it_has(database: Database, tmp_path: Path) -> None:
    spool = Spool(database, tmp_path / "spool", 2_000)
    writer = Writer(database, spool)
    with capture_logs() as logged, away(database):
        waiting = [writer.store(at(number, number)) for number in range(20)]
        failed = [number for number, each in enumerate(waiting) if each.exception(10) is not None]
        assert isinstance(waiting[-1].exception(10), NotStored)
        assert 0 < len(failed) < 20 or spool.count_waiting() == 0
        kept = spool.count_waiting()
        with pytest.raises(NotSpooled, match="SPOOL_MAX"):
            append(spool, [at(99, 0)._replace(raw=b"x" * 2_000)])
        assert kept == 20 - len(failed)
    wait_until(lambda: not spool.has_journals())
    writer.stop()
    assert numbers(database) == [number for number in range(20) if number not in failed]
    assert [line["event"] for line in logged].count("callbacks_not_stored") == 1


def test_a_full_disk_refuses_and_leaves_whole_records(database_url: str, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    child = start_child(fill_disk, database_url, folder)
    answers = child.receive(DISK_S)
    assert child.wait() == 0
    kept = answers.index("File too large")
    assert 0 < kept < len(answers)
    assert set(answers[kept:]) == {"File too large"}
    Spool(database, folder, MAX_BYTES).store()
    assert repeats(database) == dict.fromkeys(range(kept), 0)


def test_the_journal_of_a_dead_process_is_stored_by_another_one_and_that_of_a_living_is_not(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    spool = Spool(database, tmp_path / "spool", MAX_BYTES)
    child = start_child(append_and_wait, database_url, tmp_path / "spool", 10)
    assert child.receive(10) == "appended"
    spool.store()
    assert numbers(database) == []
    assert spool.count_waiting() == 10, "it sees that they wait"
    child.end()
    spool.store()
    assert numbers(database) == list(range(10))
    assert not spool.has_journals()


def test_databases_of_other_names_share_a_folder(database: Database, tmp_path: Path) -> None:
    spool = Spool(database, tmp_path, MAX_BYTES)
    (tmp_path / "elsewhere-1-ab.journal").write_bytes(b"%020d\n" % 21)
    (tmp_path / "a-b-1-ab.journal").write_bytes(b"%020d\n" % 21)
    spool.store()
    assert [path.name for path in spool.list_foreign()] == ["a-b-1-ab.journal", "elsewhere-1-ab.journal"]
    assert not spool.has_journals()


def test_where_nothing_can_be_written_callbacks_are_refused_as_without_a_spool(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    spool = Spool(database, tmp_path / "file" / "spool", MAX_BYTES)
    assert "cannot write" in (spool.find_fault() or "")
    assert not spool.can_append()
    writer = Writer(database, spool)
    with capture_logs() as logged, away(database):
        assert isinstance(writer.store(row(1)).exception(10), NotStored)
        assert isinstance(writer.store(row(2)).exception(10), NotStored)
    writer.store(row(3)).result(10)
    writer.stop()
    assert numbers(database) == [3]
    assert [line["event"] for line in logged] == ["callbacks_not_stored"]
    assert "cannot write to" in logged[0]["detail"]


def test_it_is_proved_by_writing_that_it_can_be_used(sqlite_database: Database, tmp_path: Path) -> None:
    spool = Spool(sqlite_database, tmp_path / "spool", 1_000)
    assert spool.can_append()
    assert journals(spool) == []
    append(spool, [at(1, 1)._replace(raw=b"x" * 300)])
    assert spool.can_append()
    assert spool.find_fault() is None
    spool.close()
    assert not Spool(sqlite_database, None, 1_000).can_append()
    new = tmp_path / "new" / "spool"
    assert Spool(sqlite_database, new, 1_000).find_fault() is None
    assert not new.parent.exists(), "whoever asks may be another user than the service"
    assert not list(tmp_path.glob(".probe-*"))
    assert "No such file" in (Spool(sqlite_database, tmp_path.joinpath("/proc/nope"), 1_000).find_fault() or "")


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()
