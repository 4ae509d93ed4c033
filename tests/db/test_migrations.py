from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from service.core.model import FileState, MediaFile, Vendor
from service.db import files
from service.db.engine import Database, DatabaseUnavailable
from service.db.migrate import migrations_folder, pending_migrations, upgrade_database
from service.db.schema import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REVISIONS = [r.revision for r in ScriptDirectory(str(migrations_folder())).walk_revisions()][::-1]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.create_folder()
    yield database
    database.dispose()


def migrate(database: Database, revision: str, *, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with database.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def fill(connection: Connection) -> None:
    """Put a row into every table that can stand alone at any revision, through plain SQL."""
    statement = (
        "INSERT INTO media_files (app_id, vendor, file_id, stream_id, event, ended_at, received_at, state,"
        " state_reason, revision, decided_at, attempts)"
        " VALUES ('1', 'Tencent', 'f', 's', 'record', :now, :now, 'kept', '', 0, :now, 0)"
    )
    connection.execute(text(statement), {"now": NOW.replace(tzinfo=None).isoformat(" ")})


def test_head_equals_the_models(database: Database) -> None:
    upgrade_database(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Model.metadata) == []


def test_partial_indexes_are_the_models_own(database: Database) -> None:
    """Alembic does not compare the conditions of partial indexes."""
    upgrade_database(database)
    kind = "sqlite" if database.is_sqlite else "postgresql"
    with database.engine.connect() as connection:
        for table in Model.metadata.sorted_tables:
            found = {index["name"]: index for index in inspect(connection).get_indexes(table.name)}
            for index in table.indexes:
                condition = index.dialect_options[kind]["where"]
                stored = found[index.name]["dialect_options"].get(f"{kind}_where")
                assert (stored is None) == (condition is None), index.name
                if database.is_sqlite:  # PostgreSQL gives it back in words of its own
                    assert str(stored) == str(condition)


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_step_goes_up_and_down_with_data(database: Database, revision: str) -> None:
    migrate(database, revision)
    with database.engine.begin() as connection:
        fill(connection)
    migrate(database, "head")
    with database.read() as session:
        [row] = files.list_files(session, files.FileFilter())
        assert (row.file_id, row.state) == ("f", FileState.KEPT)
    migrate(database, revision, down=True)
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT file_id FROM media_files")).scalar_one() == "f"
    migrate(database, "base", down=True)
    with database.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}


def test_pending_migrations_are_named_oldest_first(database: Database) -> None:
    assert pending_migrations(database) == REVISIONS
    upgrade_database(database)
    assert pending_migrations(database) == []


def test_a_database_of_a_newer_release_is_refused(database: Database) -> None:
    upgrade_database(database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'future'"))
    with pytest.raises(DatabaseUnavailable, match="newer release"):
        pending_migrations(database)


def _upgrade(url: str) -> None:
    database = Database(url)
    upgrade_database(database)
    database.dispose()


def test_processes_that_migrate_at_once_wait_for_each_other(database: Database, database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_upgrade, args=(database_url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert pending_migrations(database) == []


def test_foreign_keys_are_enforced_again_after_a_migration(database: Database) -> None:
    upgrade_database(database)
    if database.is_sqlite:
        with database.engine.connect() as connection:
            assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1


def test_a_bare_alembic_takes_the_url_from_the_settings(database: Database, database_url: str) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"ZEGO_RETENTION_DATABASE_URL": database_url}
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pending_migrations(database) == []


def test_what_is_written_is_read_back(database: Database) -> None:
    upgrade_database(database)
    file = MediaFile(
        app_id="1",
        vendor=Vendor.HUAWEI,
        file_id="record/ü/x.mp4",
        stream_id="房间 🎥",
        event="record",
        began_at=None,
        ended_at=NOW.replace(microsecond=123456),
        received_at=NOW,
        size_bytes=2**63 - 1,
        duration_s=0.1,
    )
    database.transact(lambda session: files.add_file(session, file, NOW))
    with database.read() as session:
        [row] = files.list_files(session, files.FileFilter())
        assert files.facts_of(row) == file
