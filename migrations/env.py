"""How alembic reaches the database: over the connection handed in, or over the URL of the settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from alembic import context

from service.db import models, order_models
from service.db.engine import Database
from service.db.schema import Model, UtcDateTime
from service.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy import Connection


TABLES = (models, order_models)
"""The modules whose tables make up the schema: importing them is what declares the tables."""


def _render_item(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    # Migrations must not depend on today's code.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Model.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render_item,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_with_settings() -> None:
    try:
        database = Database(load_settings(os.environ).database_url)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    database.create_folder()
    with database.engine.begin() as connection:
        _run(connection)


_given: Connection | None = context.config.attributes.get("connection")
if _given is not None:
    _run(_given)
else:
    _run_with_settings()
