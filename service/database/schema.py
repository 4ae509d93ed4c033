"""What every table is made of, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    DateTime,
    Enum,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    TextClause,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from enum import StrEnum

    from sqlalchemy.engine import Dialect

    from service.database.engine import Transaction

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables; constraints are named so that migrations can alter them on both databases."""

BigId: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only in a column declared INTEGER PRIMARY KEY."""

Double: Final = Float(53)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on both databases; SQLite, which knows no zones, stores it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times and store UTC."""
        if value is None:
            return None
        if value.tzinfo is not UTC:
            if value.tzinfo is None:
                raise ValueError(f"a naive datetime reached the database: {value}")
            value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back what was stored, aware."""
        # Both databases give UTC; one object for the zone makes comparing quick.
        return None if value is None else value.replace(tzinfo=UTC)


def enum_column(kind: type[StrEnum], length: int = 16) -> Enum:
    """A column of one of these words."""
    # Text with the values, not the names: readable in any SQL client, and no native type to migrate.
    return Enum(
        kind, native_enum=False, length=length, values_callable=lambda members: [member.value for member in members]
    )


def partial_index(name: str, condition: TextClause, *columns: str, unique: bool = False) -> Index:
    """An index over the rows that fulfil a condition; a query with the same text is seen to be covered."""
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def insert_into(tx: Transaction, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the transaction's database that knows ON CONFLICT."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)


def count_changed(result: Any) -> int:  # noqa: ANN401  (SQLAlchemy types the result of an UPDATE too widely)
    """How many rows an UPDATE or DELETE changed."""
    return int(result.rowcount)
