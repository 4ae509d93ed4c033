"""Bearer tokens of the API: only the SHA-256 of each is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Column, String, Table, Text, insert, select, update

from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, count_changed, enum_column, metadata
from service.model import Role

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", enum_column(Role), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", Text),
)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, without its text."""

    id: int
    name: str
    role: Role
    hash: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


def add_token(tx: Transaction, token: Token) -> int:
    """Store a new token; returns its number."""
    facts = {name: getattr(token, name) for name in Token.__dataclass_fields__ if name != "id"}
    return int(tx.execute(insert(tokens).values(facts).returning(tokens.c.id)).scalar_one())


def find_token(tx: Transaction, number: int) -> Token | None:
    """One token by its number."""
    row = tx.execute(select(tokens).where(tokens.c.id == number)).one_or_none()
    return None if row is None else Token(*row)


def find_by_hash(tx: Transaction, digest: str) -> Token | None:
    """The token whose text has this hash."""
    row = tx.execute(select(tokens).where(tokens.c.hash == digest)).one_or_none()
    return None if row is None else Token(*row)


def find_by_name(tx: Transaction, name: str) -> Token | None:
    """The token of this name that is not revoked."""
    query = select(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).limit(1)
    row = tx.execute(query).one_or_none()
    return None if row is None else Token(*row)


def list_tokens(tx: Transaction, limit: int | None = None, *, after: int = 0) -> list[Token]:
    """Tokens by number beyond `after`, revoked ones included."""
    query = select(tokens).where(tokens.c.id > after).order_by(tokens.c.id).limit(limit)
    return [Token(*row) for row in tx.execute(query)]


def mark_used(tx: Transaction, number: int, now: datetime) -> None:
    """Write down when a token was used last."""
    tx.execute(update(tokens).where(tokens.c.id == number).values(last_used_at=now))


def revoke_token(tx: Transaction, number: int, revoked_by: str, now: datetime) -> bool:
    """Revoke a token; False if it was revoked before."""
    standing = update(tokens).where(tokens.c.id == number, tokens.c.revoked_at.is_(None))
    return count_changed(tx.execute(standing.values(revoked_at=now, revoked_by=revoked_by))) == 1
