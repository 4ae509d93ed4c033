"""A web process while the database is migrated: it keeps storing callbacks, or says that it cannot. None is lost."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from service.database import Database
from service.database.engine import VERSION_TABLE
from service.database.migrate import migrations_folder, pending_migrations, upgrade_database
from tests.processes import answers, ask, running, send_callback, wait_until
from tests.worker.test_spool_processes import count_stored
from tests.world import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROWS = ("ALTER TABLE callbacks ADD COLUMN later VARCHAR(20)", "ALTER TABLE media_files ADD COLUMN later VARCHAR(20)")
REVISIONS = sorted(path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("zego*.py"))
CHANGES = ("ALTER TABLE callbacks RENAME COLUMN content_type TO kind",)


def settings(url: str, port: int, spool: str = "off") -> dict[str, str]:
    more = {"LISTEN": f"127.0.0.1:{port}", "LOG_FORMAT": "json", "KEEP": "30d", "SPOOL_DIR": spool}
    return environment(url, "http://127.0.0.1:9/", **more)


def migrate_ahead(database: Database, statements: tuple[str, ...]) -> None:
    """As the next release would, in one transaction."""
    with database.write() as tx:
        for statement in statements:
            tx.execute(text(statement))
        tx.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'zego9999'"))  # noqa: S608  (our own)


def migrate_back(database: Database) -> None:
    """To the schema of the release before, by this release's last migration."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    assert pending_migrations(database) == REVISIONS[-1:]


@contextmanager
def sending(port: int, first: int = 100) -> Iterator[list[int]]:
    """Callbacks one after the other, beside what the caller does; how each was answered."""
    over, found = threading.Event(), list[int]()

    def run() -> None:
        for number in count(first):
            found.append(send_callback(port, f"file-{number}"))
            if over.wait(0.005):
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: len(found) > 5)
        yield found
        so_far = len(found)
        wait_until(lambda: len(found) > so_far + 5)
    finally:
        over.set()
        thread.join()


def test_a_web_process_stores_callbacks_while_the_next_release_migrates_and_afterwards(
    database: Database, database_url: str, free_port: int, tmp_path: Path
) -> None:
    variables = settings(database_url, free_port)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        with sending(free_port) as found:
            migrate_ahead(database, GROWS)
        assert set(found) == {200}
        assert ask(free_port, "GET", "/readyz")[0] == 200
        assert web.end() == 0
    assert "Traceback" not in web.log()
    assert count_raw(database) == len(found)


def count_raw(database: Database) -> int:
    with database.read() as tx:
        return int(tx.execute(text("SELECT count(*) FROM callbacks WHERE raw IS NOT NULL")).scalar_one())


@pytest.mark.long
@pytest.mark.parametrize("has_spool", [True, False], ids=["spool", "no spool"])
def test_where_the_next_release_changes_the_inbox_callbacks_wait_in_the_spool_or_are_refused(
    database: Database, database_url: str, free_port: int, another_free_port: int, tmp_path: Path, *, has_spool: bool
) -> None:
    variables = settings(database_url, free_port, str(tmp_path / "spool") if has_spool else "off")
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        assert send_callback(free_port, "file-1") == 200
        migrate_ahead(database, CHANGES)
        expected = 200 if has_spool else 503
        assert [send_callback(free_port, f"file-{number}") for number in (2, 3)] == [expected] * 2
        time.sleep(1.1)  # a proof of readiness is remembered for a second
        assert ask(free_port, "GET", "/readyz")[0] == expected
        assert count_raw(database) == 1
        with running("web", settings(database_url, another_free_port), tmp_path) as late:
            assert late.process.wait(30) == 1, "one that starts now refuses"
            assert "was migrated by a newer release" in late.log()
        assert web.end() == 0
    with database.write() as tx:  # back to the release before
        tx.execute(text("ALTER TABLE callbacks RENAME COLUMN kind TO content_type"))
        tx.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{REVISIONS[-1]}'"))  # noqa: S608  (our own)
    with running("web", variables, tmp_path) as web:
        wait_until(lambda: answers(free_port))
        wait_until(lambda: count_stored(database) == (3 if has_spool else 1, 0))
        assert ask(free_port, "GET", "/readyz")[0] == 200
        assert web.end() == 0


def test_a_web_process_that_starts_before_its_migration_is_not_ready_but_loses_nothing(
    postgres_url: str, free_port: int, tmp_path: Path
) -> None:
    """(SQLite is migrated at the start.)"""
    database = Database(postgres_url)
    migrate_back(database)
    with running("web", settings(postgres_url, free_port), tmp_path) as web:
        wait_until(lambda: answers(free_port))
        assert ask(free_port, "GET", "/readyz")[0] == 503
        web.wait_for("run `zego-retention migrate` first")
        with sending(free_port) as found:
            upgrade_database(database)
        wait_until(lambda: ask(free_port, "GET", "/readyz")[0] == 200)
        assert set(found) == {200}
        assert count_stored(database) == (len(found), 0)
        assert web.end() == 0
    database.dispose()
