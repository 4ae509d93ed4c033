"""How alembic reaches the database: over the connection handed in, or over the URL of the settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from alembic import context
from sqlalchemy import Enum

from service.database import Database, DatabaseUnavailable
from service.database.columns import UtcDateTime
from service.database.create import in_its_place
from service.database.engine import VERSION_TABLE
from service.database.migrate import pending_migrations
from service.settings import SettingsError, load_settings
from service.tables import metadata

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy import Connection


def _render_item(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    # Migrations must not depend on today's code.
    if kind != "type" or not isinstance(item, UtcDateTime | Enum):
        return False
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    words = ", ".join(f'"{word}"' for word in item.enums)
    return f'sa.Enum({words}, name="{item.name}", native_enum=False, length={item.length})'


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render_item,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_with_settings() -> None:
    try:
        with in_its_place(Database(load_settings(os.environ).database_url)) as database:
            pending_migrations(database)  # refuses a database of another program
            with database.engine.begin() as connection:
                _run(connection)
    except (SettingsError, DatabaseUnavailable) as error:
        raise SystemExit(str(error)) from None


_given: Connection | None = context.config.attributes.get("connection")
if _given is not None:
    _run(_given)
else:
    _run_with_settings()
