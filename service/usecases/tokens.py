"""Bearer tokens of the API: made, listed, revoked, and recognised (docs/tokens.md)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog

from service.core.model import Role
from service.db import audit, locks, tokens
from service.db.engine import DatabaseUnavailable
from service.db.order_models import TokenRow
from service.usecases.batches import read_in_batches
from service.usecases.inventory import NoSuchThing, NotPossible, iso
from service.usecases.orders import BadOrder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from service.core.model import Actor
    from service.db.engine import Database, Session

ADMIN_TOKEN: Final = "ADMIN_TOKEN"  # noqa: S105  (the name of a setting)
"""What the bearer of the setting's token is called; no other token may have this name."""

_PREFIX: Final = "zrt_"
_RANDOM_BYTES: Final = 32
_LONGEST_NAME: Final = 100
_USE_EVERY: Final = timedelta(minutes=1)

log = structlog.get_logger(__name__)


class TokenFault(StrEnum):
    """Why a token opens nothing."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


class BadToken(Exception):  # noqa: N818  (an answer to a caller, not a defect)
    """The token given opens nothing; `reason` says why."""

    def __init__(self, reason: TokenFault) -> None:
        super().__init__(f"the token is {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who carries a token, by the token's name, and what it lets them do."""

    name: str
    role: Role


def create_token(
    database: Database, name: str, role: Role, expires_at: datetime | None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Make a token. The answer holds its text as `token`, this once: only its hash is kept.

    Raises:
        BadOrder: the name is none, or another token has it; or it would have expired already.
    """
    _check_name(name)
    if expires_at is not None and expires_at <= now:
        raise BadOrder("expires_at", f"the token would have expired already, at {iso(expires_at)}; give a time ahead")
    text = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)

    def create(session: Session) -> dict[str, Any]:
        locks.lock_name(session, "tokens")
        if tokens.find_by_name(session, name) is not None:
            raise BadOrder("name", f"there is a token called {name!r} already; revoke it first, or take another name")
        new = TokenRow(
            name=name, role=role, hash=_hash(text), created_at=now, created_by=actor.name, expires_at=expires_at
        )
        row = tokens.add_token(session, new)
        detail = {"name": name, "role": role.value, "expires_at": iso(expires_at)}
        audit.add_entry(session, actor, "create_token", f"token {row.id}", now, detail)
        return token_as_json(row)

    return database.transact(create) | {"token": text}


def revoke_token(database: Database, number: int, actor: Actor, now: datetime) -> dict[str, Any]:
    """Make a token useless from now on; it stays on record.

    Raises:
        NotPossible: there is no such token, or it is revoked already.
    """

    def revoke(session: Session) -> dict[str, Any]:
        row = tokens.find_token(session, number, lock=True)
        if row is None:
            raise NoSuchThing(f"there is no token {number}: see `zego-retention tokens list`")
        if row.revoked_at is not None:
            raise NotPossible(f"token {number} is revoked already, since {iso(row.revoked_at)}")
        row.revoked_at, row.revoked_by = now, actor.name
        audit.add_entry(session, actor, "revoke_token", f"token {number}", now, {"name": row.name})
        return token_as_json(row)

    return database.transact(revoke)


def list_tokens(database: Database, *, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Tokens by number beyond `after`, revoked and expired ones included; never their text."""

    def fetch(session: Session, last: int, size: int) -> list[dict[str, Any]]:
        return [token_as_json(row) for row in tokens.list_tokens(session, last, size)]

    return read_in_batches(database, fetch, after, limit)


def find_bearer(database: Database, admin_token: str | None, text: str, now: datetime) -> Bearer:
    """Who carries this token: `admin_token`, if set, is the one of the settings; all others are in the database.

    Raises:
        BadToken: it is unknown, has expired, or was revoked.
        DatabaseUnavailable: the database cannot be asked.
    """
    if admin_token is not None and hmac.compare_digest(_hash(text), _hash(admin_token)):
        return Bearer(ADMIN_TOKEN, Role.ADMIN)
    with database.read() as session:
        row = tokens.find_by_hash(session, _hash(text))
    if row is None:
        raise BadToken(TokenFault.UNKNOWN)
    if row.revoked_at is not None:
        raise BadToken(TokenFault.REVOKED)
    if row.expires_at is not None and row.expires_at <= now:
        raise BadToken(TokenFault.EXPIRED)
    _note_use(database, row, now)
    return Bearer(row.name, row.role)


def token_as_json(row: TokenRow) -> dict[str, Any]:
    """A token as the API and `--json` show it (docs/api.md, "A token")."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role.value,
        "created_at": iso(row.created_at),
        "created_by": row.created_by,
        "expires_at": iso(row.expires_at),
        "last_used_at": iso(row.last_used_at),
        "revoked_at": iso(row.revoked_at),
        "revoked_by": row.revoked_by,
    }


def _check_name(name: str) -> None:
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise BadOrder(
            "name",
            f"{name[:_LONGEST_NAME]!r} is no name for a token: write 1 to {_LONGEST_NAME} printable characters, "
            "for example backup-script",
        )
    if name.casefold() == ADMIN_TOKEN.casefold():
        raise BadOrder("name", f"{name!r} is how the setting's own token is called; take another name")


def _note_use(database: Database, row: TokenRow, now: datetime) -> None:
    """Remember the use, at most once a minute. No request fails or is refused because that did not work."""
    last = row.last_used_at
    if last is not None and last <= now < last + _USE_EVERY:
        return
    try:
        database.transact(lambda session: tokens.mark_used(session, row.id, now))
    except DatabaseUnavailable as error:
        log.warning("token_use_not_noted", token=row.id, detail=str(error))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
