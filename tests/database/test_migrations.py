from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.database import Database
from service.database.migrate import migrations_folder, pending_migrations, upgrade_database
from service.database.schema import metadata


def test_the_migrations_make_the_tables_that_the_stores_use(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_what_is_pending_is_what_alembic_would_carry_out(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    line = [revision.revision for revision in ScriptDirectory(str(migrations_folder())).walk_revisions()]
    assert pending_migrations(database) == line[::-1]
    upgrade_database(database)
    assert pending_migrations(database) == []
    database.dispose()
