"""Migrations: what is pending, and carrying it out under a lock."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from service.database.engine import Database, DatabaseUnavailable, describe_error

_MIGRATION_LOCK: Final = 0x7A65676F  # "zego"; advisory locks of PostgreSQL are numbers


def migrations_folder() -> Path:
    """Where the migrations are: inside an installed wheel, or beside `service/` in a checkout."""
    installed = Path(__file__).parent.parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"


def pending_migrations(database: Database) -> list[str]:
    """The revisions that this release has and the database lacks, oldest first.

    Every command asks this, so it is answered without Alembic, which takes long to load. DatabaseUnavailable: it cannot
    be reached, or a newer release has migrated it already.
    """
    # The history is a line, and a file's name begins with its revision: a test compares both with Alembic's view.
    known = sorted(path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py"))
    with database.read() as tx:
        has_table = tx.dialect.has_table(tx, "alembic_version")
        current = tx.execute(text("SELECT version_num FROM alembic_version")).scalar() if has_table else None
        if current is None and not has_table and tx.dialect.get_table_names(tx):
            raise DatabaseUnavailable(
                f"database {database.name} holds tables of another program: name one of its own in"
                " ZEGO_RETENTION_DATABASE_URL"
            )
    if current is not None and current not in known:
        raise DatabaseUnavailable(
            f"database {database.name} was migrated by a newer release (revision {current}): start that release instead"
        )
    return known[known.index(current) + 1 :] if current else known


def upgrade_database(database: Database) -> None:
    """Bring the database to this release's schema; several processes may ask for it at once."""
    database.create_file()
    if not pending_migrations(database):
        return
    try:
        with database.engine.connect() as connection:
            # Rebuilding a table on SQLite drops the old one, which would cascade; it can be switched off only outside a
            # transaction.
            _switch_foreign_keys(connection, "OFF")
            try:
                _upgrade(connection)
            finally:
                _switch_foreign_keys(connection, "ON")
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(f"cannot migrate {database.name}: {describe_error(error)}") from error


def _switch_foreign_keys(connection: Connection, value: str) -> None:
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and driver is not None:
        driver.execute(f"PRAGMA foreign_keys = {value}")


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  (takes long to load, and is needed once per release)
    from alembic.config import Config  # noqa: PLC0415  (as above)

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    with connection.begin():
        if connection.dialect.name != "sqlite":  # there, the transaction is the lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        command.upgrade(config, "head")
        if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").all():
            raise DatabaseUnavailable("the migration would leave rows without their parent")
