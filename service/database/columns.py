"""What columns are made of, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Enum,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql, sqlite
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

_TEXT_LENGTH: Final = len("2026-03-01 12:00:00.000000")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on both databases; SQLite, which knows no zones, stores it as text without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    # Whole processors instead of process_bind_param and process_result_value: those are three calls around each value,
    # and reading a file means reading a dozen of them.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """Refuse naive times and store UTC."""
        return _write_text if dialect.name == "sqlite" else _to_utc

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Give back what was stored, aware."""
        return _read_text if dialect.name == "sqlite" else _to_utc


def _to_utc(value: datetime | None) -> datetime | None:
    if value is None or value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a naive datetime reached the database: {value}")
    return value.astimezone(UTC)


def _write_text(value: datetime | None) -> str | None:
    # As SQLAlchemy itself writes times, so that text compares like time: "2026-03-01 12:00:00.000000".
    moment = _to_utc(value)
    return None if moment is None else moment.isoformat(" ", "microseconds")[:_TEXT_LENGTH]


def _read_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value + "+00:00")


class _Words(Enum):
    """An enumeration whose values are read with one look into a table."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002
        """Find the member of a word."""
        members: dict[str | None, Any] = {member.value: member for member in self.enum_class or ()}
        members[None] = None
        return members.__getitem__


def enum_column(kind: type[StrEnum], length: int = 16) -> Enum:
    """A column of one of these words."""
    # Text with the values, not the names: readable in any SQL client, and no native type to migrate.
    return _Words(
        kind, native_enum=False, length=length, values_callable=lambda members: [member.value for member in members]
    )


_COLUMN_TYPES: Final[dict[type, Any]] = {str: Text(), int: BigInteger(), float: Double, bool: Boolean()}
_COLUMN_TYPES[datetime] = UtcDateTime()


def columns_of(record: type, **types: Any) -> list[Column[Any]]:  # noqa: ANN401  (a type of SQLAlchemy, or a column)
    """The columns of a table whose rows are such records; a field that may be None is one that may be NULL.

    `types` are the column types, or whole columns, of fields whose Python type does not say enough.
    """
    columns: list[Column[Any]] = []
    for name, hint in get_type_hints(record).items():
        kinds = get_args(hint) or (hint,)
        kind = types[name] if name in types else _COLUMN_TYPES.get(kinds[0]) or enum_column(kinds[0])
        columns.append(kind if isinstance(kind, Column) else Column(name, kind, nullable=NoneType in kinds))
    return columns


def partial_index(name: str, condition: TextClause, *columns: str, unique: bool = False) -> Index:
    """An index over the rows that fulfil a condition; a query with the same text is seen to be covered."""
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def insert_into(tx: Transaction, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the transaction's database that knows ON CONFLICT."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)


def count_changed(result: Any) -> int:  # noqa: ANN401  (SQLAlchemy types the result of an UPDATE too widely)
    """How many rows an UPDATE or DELETE changed."""
    return int(result.rowcount)
