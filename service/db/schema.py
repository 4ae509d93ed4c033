"""What every table is made of, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    DateTime,
    Enum,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TextClause,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase

from service.core.model import FileState, Outcome, Suspicion, Vendor, Verdict

if TYPE_CHECKING:
    from enum import StrEnum

    from sqlalchemy.engine import Dialect
    from sqlalchemy.orm import Session


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on both databases; SQLite, which knows no zones, stores it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times and store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"a naive datetime reached the database: {value}"
            raise ValueError(msg)
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back what was stored, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def enum_column(kind: type[StrEnum], length: int = 16) -> Enum:
    """A column of one of these words."""
    # Text with the values, not the names: readable in any SQL client, and no native type to migrate.
    return Enum(kind, native_enum=False, length=length, values_callable=lambda members: [m.value for m in members])


BigId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only in a column declared INTEGER PRIMARY KEY."""


class Model(DeclarativeBase):
    """The declarative root; constraints are named so that migrations can alter them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads a plain dict here)
        datetime: UtcDateTime(),
        FileState: enum_column(FileState),
        Outcome: enum_column(Outcome),
        Suspicion: enum_column(Suspicion),
        Vendor: enum_column(Vendor),
        Verdict: enum_column(Verdict),
        str: Text(),
        bytes: LargeBinary(),
        float: Float(53),
    }


def partial_index(name: str, condition: TextClause, *columns: str, unique: bool = False) -> Index:
    """An index over the rows that fulfil a condition; a query with the same text is seen to be covered."""
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def insert_into(session: Session, model: type[Model]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the session's database that knows ON CONFLICT."""
    return sqlite.insert(model) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(model)
