"""An SQLite database is the file at its path, and no other: nothing is acknowledged into one that nobody will find."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from service.database import Database, DatabaseUnavailable, UnfitDatabase
from service.database.migrate import pending_migrations, upgrade_database
from service.health.remedies import find_remedy
from service.settings import load_settings
from service.wiring import Service
from tests.processes import answers, running, send_callback, wait_until
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
    if database.path is not None:
        database.path.touch()
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


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sample", [40, pytest.param(1, marks=pytest.mark.long)])
def test_one_that_is_killed_while_it_makes_a_database_leaves_none_or_a_whole_one(sample: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.database.creating_children", str(tmp_path), str(sample)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"os.mkdir", "os.link", "os.remove", "sqlite3.connect", "a statement"} <= {*found["steps"]}
    assert found["left"] > 3
    assert found["missing"] > found["whole"] >= 2, "after it was put in its place"


def test_several_processes_that_start_at_once_serve_one_new_database(tmp_path: Path) -> None:
    path = tmp_path / "data" / "zego-retention.db"
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        started = [
            stack.enter_context(
                running(
                    "web", environment(f"sqlite:///{path}", "http://127.0.0.1:9/", LISTEN=f"127.0.0.1:{port}"), tmp_path
                )
            )
            for port in ports
        ]
        for port, process in zip(ports, started, strict=True):
            wait_until(lambda: answers(port) or process.process.poll() is not None)  # noqa: B023  (called at once)
            assert send_callback(port, f"file-{port}") == 200, process.log()
        assert sum("database_created" in process.log() for process in started) == 1
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM callbacks").fetchone() == (3,)
        assert [process.end() for process in started] == [0, 0, 0]
    assert sorted(each.name for each in path.parent.iterdir()) == ["zego-retention.db"]


def make(path: Path) -> list[str]:
    database = Database(f"sqlite:///{path}")
    try:
        return upgrade_database(database)
    finally:
        database.dispose()


def refuse(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_new_database_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    path, umask = tmp_path / "a" / "b" / "new.db", os.umask(0)
    try:
        assert make(path)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_nlink == 1


def test_a_link_leads_to_where_a_new_database_is_made(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    link = tmp_path / "new.db"
    link.symlink_to(tmp_path / "volume" / "real.db")
    assert make(link)
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "volume").iterdir()] == ["real.db"]
    assert make(link) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path, token = tmp_path / "new.db", "0123456789abcdef"
    names = [f"new.db.new-{token}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")]
    kept = ["new.db.new-backup", f"old.db.new-{token}", f"new.db.new-{token}.copy"]
    for name in (*names, *kept):
        (tmp_path / name).touch()
    assert make(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*kept, "new.db"])


def test_a_database_that_appears_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody copies a backup into its place, and knows nothing of our lock."""
    path, link = tmp_path / "new.db", os.link

    def link_too_late(source: Path, target: Path) -> None:
        target.write_bytes(b"a backup")
        link(source, target)

    monkeypatch.setattr(os, "link", link_too_late)
    make(path)
    assert path.read_bytes() == b"a backup"
    assert [each.name for each in tmp_path.iterdir()] == ["new.db"]


def test_where_there_are_no_hard_links_processes_still_make_one_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.db"
    monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(make, [path] * 3))
    assert sorted(map(bool, made)) == [False, False, True]
    assert [each.name for each in tmp_path.iterdir()] == ["new.db"]


def test_where_there_are_no_locks_a_database_is_made_too_but_not_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert make(tmp_path / "new.db")
    monkeypatch.setattr(os, "link", refuse)
    text = r"cannot create the database .*other.db: Operation not permitted"
    with pytest.raises(DatabaseUnavailable, match=text) as refused:
        make(tmp_path / "other.db")
    assert find_remedy(refused.value)[1].endswith("or set ZEGO_RETENTION_DATABASE_URL to another place")
    assert not (tmp_path / "other.db").exists()
