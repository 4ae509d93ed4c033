"""An SQLite database is the file at its path, and no other: nothing is acknowledged into one that nobody will find."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from service.database import Database, DatabaseUnavailable, UnfitDatabase
from service.database.migrate import pending_migrations, upgrade_database
from service.settings import load_settings
from service.wiring import Service
from tests.world import environment


def test_a_file_that_was_deleted_takes_nothing_more(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM callbacks")).scalar_one() == 0
    path = Path(str(database.path))
    path.unlink()
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable, match=r"moved, deleted or replaced|unable to open"):
            database.transact(lambda tx: tx.execute(text("SELECT 1")))
        with pytest.raises(DatabaseUnavailable), database.read():
            pass
    assert not path.exists(), "it is not made anew"
    database.dispose()


def test_a_file_that_was_replaced_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    database.transact(lambda tx: tx.execute(text("CREATE TABLE old (a)")))
    other = tmp_path / "backup.db"
    with sqlite3.connect(other) as backup:
        backup.execute("CREATE TABLE new (a)")
    backup.close()
    other.replace(str(database.path))
    with pytest.raises(DatabaseUnavailable, match="moved, deleted or replaced"):
        database.transact(lambda tx: tx.execute(text("SELECT * FROM old")))
    database.dispose()


SORT = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450000)
SELECT hex(randomblob(40)) AS word FROM n ORDER BY word
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_a_large_sort_needs_no_temporary_folder(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: is_there)
    database = Database(sqlite_url)
    with database.read() as tx:
        rows = tx.execution_options(stream_results=True).execute(text(SORT))
        assert rows.fetchone()
        files = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        rows.close()
    assert any("etilqs" in file for file in files) is is_there  # (SQLite calls its temporary files so)
    database.dispose()


def test_looking_at_a_file_changes_nothing_in_it(tmp_path: Path) -> None:
    others, empty = tmp_path / "others.db", tmp_path / "empty.db"
    with closing(sqlite3.connect(others)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    empty.touch()
    before = others.read_bytes()
    for path in (others, empty):
        database = Database(f"sqlite:///{path}")
        with suppress(UnfitDatabase):
            pending_migrations(database)
        database.dispose()
    assert (others.read_bytes(), empty.read_bytes()) == (before, b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "others.db"]


def test_a_database_of_ours_keeps_a_write_ahead_log(sqlite_url: str, tmp_path: Path) -> None:
    new = Database(f"sqlite:///{tmp_path / 'new.db'}")
    upgrade_database(new)
    copied = Database(sqlite_url)  # as a backup may be
    with closing(sqlite3.connect(str(copied.path))) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    for database in (new, copied):
        with database.read() as tx:
            assert tx.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        database.dispose()


def test_a_database_of_another_program_is_left_alone(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    database.create_file()
    with database.write() as tx:
        tx.execute(text("CREATE TABLE foo (a INTEGER)"))
    for ask in (pending_migrations, upgrade_database):
        with pytest.raises(DatabaseUnavailable, match="tables of another program"):
            ask(database)
    with database.read() as tx:
        assert list(tx.dialect.get_table_names(tx)) == ["foo"]
    database.dispose()


def test_a_database_that_was_lost_is_not_begun_anew_by_itself(tmp_path: Path) -> None:
    path, spool = tmp_path / "a.db", tmp_path / "spool"
    settings = load_settings(environment(f"sqlite:///{path}", "http://127.0.0.1:9/", KEEP="1s", SPOOL_DIR=str(spool)))
    path.touch()
    with closing(Service(settings)) as service, pytest.raises(UnfitDatabase, match="is empty: if it should hold data"):
        service.prepare_database(creates_database=True)
    path.unlink()
    spool.mkdir()
    journal = spool / "a.db-1-00.journal"
    journal.touch()
    with closing(Service(settings)) as service, pytest.raises(UnfitDatabase, match="put it back"):
        service.prepare_database(creates_database=True)
    assert not path.exists()
    journal.unlink()
    with closing(Service(settings)) as service:
        service.prepare_database(creates_database=True)
    assert path.stat().st_size > 0
