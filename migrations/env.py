"""How alembic reaches the database: over the connection handed in, or over the URL of the settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from alembic import context
from sqlalchemy import Enum

from service.audit import store as audit
from service.callbacks import store as callbacks
from service.database import Database, DatabaseUnavailable
from service.database.columns import UtcDateTime, metadata
from service.database.create import in_its_place
from service.database.engine import VERSION_TABLE
from service.database.migrate import pending_migrations
from service.files import store as files
from service.health import store as health
from service.holds import store as holds
from service.leader import store as leader
from service.listing import store as listing
from service.notify import store as notify
from service.people import store as people
from service.preview import store as preview
from service.rules import store as rules
from service.settings import SettingsError, load_settings
from service.sweep import store as sweep

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy import Connection


STORES = (audit, callbacks, files, health, holds, leader, listing, notify, people, preview, rules, sweep)
"""The modules whose tables make up the schema: importing them is what declares the tables."""


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
