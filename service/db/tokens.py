"""Bearer tokens of the API: only the SHA-256 of each is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from service.db.order_models import TokenRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


def add_token(session: Session, token: TokenRow) -> TokenRow:
    """Store a new token; it has its number afterwards."""
    session.add(token)
    session.flush()
    return token


def find_token(session: Session, number: int, *, lock: bool = False) -> TokenRow | None:
    """One token by its number."""
    return session.get(TokenRow, number, with_for_update=lock or None)


def find_by_hash(session: Session, digest: str) -> TokenRow | None:
    """The token whose text has this hash."""
    return session.scalar(select(TokenRow).where(TokenRow.hash == digest))


def find_by_name(session: Session, name: str) -> TokenRow | None:
    """The token of this name that is not revoked."""
    return session.scalar(select(TokenRow).where(TokenRow.name == name, TokenRow.revoked_at.is_(None)).limit(1))


def list_tokens(session: Session, after: int, limit: int) -> list[TokenRow]:
    """Tokens by number beyond `after`, revoked ones included."""
    return list(session.scalars(select(TokenRow).where(TokenRow.id > after).order_by(TokenRow.id).limit(limit)))


def mark_used(session: Session, number: int, now: datetime) -> None:
    """Remember when a token was used last."""
    session.execute(update(TokenRow).where(TokenRow.id == number).values(last_used_at=now))
