from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from service.database import Database, UnfitDatabase
from service.database.columns import metadata
from service.database.engine import VERSION_TABLE
from service.database.migrate import migrations_folder, pending_migrations, upgrade_database
from service.sweep.store import list_runs
from tests.world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    database = Database(empty_database_url)
    yield database
    database.dispose()


def test_the_migrations_make_the_tables_that_the_stores_use(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_a_file_is_named_by_its_revision_so_that_the_history_can_be_read_without_alembic(empty: Database) -> None:
    if empty.path is not None:
        empty.path.touch()
    history = ScriptDirectory(migrations_folder()).walk_revisions()
    assert pending_migrations(empty) == [script.revision for script in history][::-1]
    assert all(revision.startswith("zego") for revision in pending_migrations(empty))


def test_partial_indexes_are_those_of_the_stores(database: Database) -> None:
    """Alembic does not compare the conditions of partial indexes."""
    kind = "sqlite" if database.is_sqlite else "postgresql"
    with database.engine.connect() as connection:
        for table in metadata.sorted_tables:
            found = {index["name"]: index for index in inspect(connection).get_indexes(table.name)}
            for index in table.indexes:
                condition = index.dialect_options[kind]["where"]
                stored = found[index.name]["dialect_options"].get(f"{kind}_where")
                assert (stored is None) == (condition is None), index.name
                if database.is_sqlite:  # PostgreSQL gives it back in words of its own
                    assert str(stored) == str(condition)


def test_files_stay_narrow_and_have_few_indexes() -> None:
    files = metadata.tables["media_files"]
    assert len(files.columns) <= 35
    assert len(files.indexes) + 1 <= 8  # with that of the identity


def test_several_processes_may_migrate_at_once(empty: Database) -> None:
    others = [Database(empty.url.render_as_string(hide_password=False)) for _ in range(3)]
    threads = [threading.Thread(target=upgrade_database, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pending_migrations(empty) == []
    for other in others:
        other.dispose()


def test_down_and_up_again_with_data(database_url: str) -> None:
    with open_world(database_url) as world:
        world.keep("30d")
        world.send("a")
    database = Database(database_url)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert pending_migrations(database) == [f"zego000{number}" for number in range(1, 8)]
    upgrade_database(database)
    assert pending_migrations(database) == []
    database.dispose()


def test_old_runs_get_their_totals(database_url: str) -> None:
    with open_world(database_url) as world:
        world.keep("30d")
        world.add(2, age=timedelta(days=40), duration_s=60.0, size_bytes=1_000)
        world.add(1, prefix="refused", age=timedelta(days=40), duration_s=60.0)
        world.sandbox.poison("refused-00000", 2)  # its whole call fails, and is bisected
        world.sweep()
        world.add(1, prefix="later", age=timedelta(days=40))
        world.sweep()
        with world.database.read() as tx:
            before = list_runs(tx)
    assert [(run.deleted, run.rejected, run.freed_s, run.freed_bytes) for run in before] == [
        (1, 0, 0, 0),
        (2, 1, 120, 2_000),
    ]
    assert before[1].calls > 1
    database, config = Database(database_url), Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "zego0003")
    upgrade_database(database)
    with database.read() as tx:
        assert list_runs(tx) == before
    database.dispose()


def run_alembic(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=os.environ | {"ZEGO_RETENTION_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_database_that_another_program_migrates_is_left_alone(empty_database_url: str, empty: Database) -> None:
    """It may have tables that are called like ours, and its ids may be those that everybody uses."""
    if empty.path is not None:
        empty.path.touch()
    with empty.write() as tx:
        tx.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        tx.execute(text("INSERT INTO alembic_version VALUES ('0001')"))
        tx.execute(text("CREATE TABLE callbacks (a INTEGER)"))
    for ask in (pending_migrations, upgrade_database):
        with pytest.raises(UnfitDatabase, match="tables of another program"):
            ask(empty)
    done = run_alembic(empty_database_url)
    assert (done.returncode, done.stderr.count("tables of another program")) == (1, 1)
    with empty.read() as tx:
        assert set(inspect(tx).get_table_names()) == {"alembic_version", "callbacks"}
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0001"]


def test_a_bare_alembic_takes_the_address_from_the_settings(empty_database_url: str, empty: Database) -> None:
    done = run_alembic(empty_database_url)
    assert done.returncode == 0, done.stderr
    assert pending_migrations(empty) == []


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}")
    with pytest.raises(UnfitDatabase, match="is a folder: set ZEGO_RETENTION_DATABASE_URL to a file in it"):
        pending_migrations(database)
    database.dispose()


def test_a_database_of_a_newer_release_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE zego_retention_version SET version_num = '9999'"))
    with pytest.raises(UnfitDatabase, match="newer release"):
        pending_migrations(database)
