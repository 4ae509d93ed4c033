"""Migrations: what is pending, and carrying it out under a lock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from service.database.create import in_its_place
from service.database.engine import (
    VERSION_TABLE,
    Database,
    DatabaseUnavailable,
    Transaction,
    UnfitDatabase,
    describe_error,
)

_MIGRATION_LOCK: Final = 0x7A65676F  # "zego"; advisory locks of PostgreSQL are numbers


def migrations_folder() -> Path:
    """Where the migrations are: inside an installed wheel, or beside `service/` in a checkout."""
    installed = Path(__file__).parent.parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"


def pending_migrations(database: Database) -> list[str]:
    """The revisions that this release has and the database lacks, oldest first.

    Every command asks this, so it is answered without Alembic, which takes long to load. DatabaseUnavailable: it cannot
    be reached; UnfitDatabase: it is another program's, a newer release has migrated it already, or it cannot hold every
    text.
    """
    known = _list_revisions()
    if database.path is not None and database.path.is_dir():
        file = f"sqlite:///{database.path / 'zego-retention.db'}"
        raise UnfitDatabase(f"{database.path} is a folder: set ZEGO_RETENTION_DATABASE_URL to a file in it, {file}")
    with database.read() as tx:
        _check_encoding(database, tx)
        is_ours = tx.dialect.has_table(tx, VERSION_TABLE)
        if not is_ours and tx.dialect.get_table_names(tx):
            elsewhere = "" if database.is_sqlite else ", or a schema of its own with ?options=-csearch_path=NAME,"
            raise UnfitDatabase(
                f"database {database.name} holds tables of another program: name a separate one{elsewhere} in"
                " ZEGO_RETENTION_DATABASE_URL"
            )
        current = tx.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() if is_ours else None  # noqa: S608
    if current is not None and current not in known:
        raise UnfitDatabase(
            f"database {database.name} was migrated by a newer release (revision {current}): upgrade this program to it"
        )
    return known[known.index(current) + 1 :] if current else known


def is_blank(pending: Sequence[str]) -> bool:
    """Whether these pending migrations are all that there are: the database holds nothing yet, or nothing any more."""
    return list(pending) == _list_revisions()


def _list_revisions() -> list[str]:
    # The history is a line, and a file's name begins with its revision: a test compares both with Alembic's view.
    return sorted(path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("zego*.py"))


def _check_encoding(database: Database, tx: Transaction) -> None:
    encoding = "UTF8" if database.is_sqlite else tx.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise UnfitDatabase(
            f"database {database.name} has the encoding {encoding}, which cannot hold every name: make another one with"
            " CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C', and name it in"
            " ZEGO_RETENTION_DATABASE_URL"
        )


def upgrade_database(database: Database) -> list[str]:
    """Bring the database to this release's schema, or make it so; several processes may ask for it at once.

    Returned are the revisions that were pending.
    """
    with in_its_place(database) as found:
        if pending := pending_migrations(found):
            _migrate(found)
    return pending


def _migrate(database: Database) -> None:
    try:
        database.keep_log()
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
