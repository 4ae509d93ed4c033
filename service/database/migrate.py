"""Migrations: what is pending, and carrying it out under a lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from service.database.engine import Database, DatabaseUnavailable

if TYPE_CHECKING:  # loaded when it is used: it is slow
    from alembic.config import Config

_MIGRATION_LOCK: Final = 0x7A65676F  # "zego"; advisory locks of PostgreSQL are numbers


def migrations_folder() -> Path:
    """Where the migrations are: inside an installed wheel, or beside `service/` in a checkout."""
    installed = Path(__file__).parent.parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"


def pending_migrations(database: Database) -> list[str]:
    """The revisions that this release has and the database lacks, oldest first.

    Every command asks this, so it is answered without Alembic, which takes long to load.

    Raises:
        DatabaseUnavailable: it cannot be reached, or a newer release has migrated it already.
    """
    # The history is a line, and a file's name begins with its revision: a test compares both with Alembic's view.
    known = sorted(path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py"))
    try:
        with database.engine.connect() as connection:
            current = _find_revision(connection)
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(f"database {database.name}: {_first_line(error)}") from None
    if current is not None and current not in known:
        raise DatabaseUnavailable(
            f"database {database.name} was migrated by a newer release (revision {current}): start that release instead"
        )
    return known[known.index(current) + 1 :] if current else known


def _find_revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade_database(database: Database) -> None:
    """Bring the database to this release's schema; several processes may ask for it at once."""
    try:
        with database.engine.connect() as connection:
            _without_foreign_keys(connection, database)
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(f"cannot migrate {database.name}: {_first_line(error)}") from error


def _without_foreign_keys(connection: Connection, database: Database) -> None:
    # Rebuilding a table on SQLite drops the old one, which would cascade; the switch only works outside a transaction.
    if database.is_sqlite:
        _switch_foreign_keys(connection, "OFF")
    try:
        with connection.begin():
            if not database.is_sqlite:  # there, the transaction is the lock
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            from alembic import command  # noqa: PLC0415  (takes long to load, and is needed once per release)

            config = _make_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if database.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
                raise DatabaseUnavailable(
                    f"migrating {database.name} would leave {len(broken)} rows without their parent"
                )
    finally:
        if database.is_sqlite:
            _switch_foreign_keys(connection, "ON")


def _switch_foreign_keys(connection: Connection, value: str) -> None:
    driver = connection.connection.driver_connection
    if driver is not None:
        driver.execute(f"PRAGMA foreign_keys = {value}")


def _make_config() -> Config:
    from alembic.config import Config  # noqa: PLC0415  (as above)

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
