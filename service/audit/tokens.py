"""Bearer tokens of the API: made, revoked, and recognised (docs/http.md)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.audit import store
from service.audit.checks import BadOrder, check_name
from service.audit.record import record_entry
from service.audit.store import Token
from service.database import Database, DatabaseUnavailable, Transaction
from service.model import Actor, NoSuchThing, NotPossible, Role
from service.units import describe_moment, format_moment

ADMIN_TOKEN: Final = "ADMIN_TOKEN"  # noqa: S105  (the name of a setting)
"""What the bearer of the setting's token is called; no other token may have this name."""

_PREFIX: Final = "zrt_"
_RANDOM_BYTES: Final = 32
_NOTE_USE_EVERY: Final = timedelta(minutes=1)

log = structlog.get_logger(__name__)


class BadToken(Exception):  # noqa: N818  (an answer to a caller, not a defect)
    """The token given opens nothing; `reason` says why, in one word: unknown, revoked, expired."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the token is {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who carries a token, by the token's name, and what it lets them do."""

    name: str
    role: Role


def make_token(
    database: Database, name: str, role: Role, expires_at: datetime | None, actor: Actor, now: datetime
) -> tuple[Token, str]:
    """Make a token. Returns it with its text, this once: only the hash is kept. BadOrder says what was not valid."""
    check_name(name, "a token", "backup-script")
    if name.casefold() == ADMIN_TOKEN.casefold():
        raise BadOrder("name", f"{name!r} is how the setting's own token is called: take another name")
    if expires_at is not None and expires_at <= now:
        raise BadOrder(
            "expires_at", f"the token would already be expired: {describe_moment(expires_at)} is in the past"
        )
    text = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)

    def make(tx: Transaction) -> Token:
        store.lock_head(tx)  # one at a time, so that no name is given twice
        if store.find_token(tx, name=name, revoked_at=None) is not None:
            raise BadOrder("name", f"there is a token called {name!r} already: revoke it first, or take another name")
        token = Token(0, name, role, _hash(text), now, actor.name, expires_at)
        token = replace(token, id=store.add_token(tx, token))
        expiry = None if expires_at is None else format_moment(expires_at)
        detail = {"name": name, "role": role.value, "expires_at": expiry}
        record_entry(tx, actor, "token.create", f"token {token.id}", detail, now)
        return token

    return database.transact(make), text


def revoke_token(database: Database, number: int, actor: Actor, now: datetime) -> Token:
    """Make a token useless from now on; it stays on record. NotPossible: it does not exist, or is revoked already."""

    def revoke(tx: Transaction) -> Token:
        token = store.find_token(tx, id=number)
        if token is None:
            raise NoSuchThing(f"there is no token {number}: see `zego-retention tokens list`")
        if not store.revoke_token(tx, number, actor.name, now):
            raise NotPossible(f"token {number} is revoked already: see `zego-retention tokens list`")
        record_entry(tx, actor, "token.revoke", f"token {number}", {"name": token.name}, now)
        return replace(token, revoked_at=now, revoked_by=actor.name)

    return database.transact(revoke)


def find_bearer(database: Database, admin_token: str | None, text: str, now: datetime) -> Bearer:
    """Who carries this token: `admin_token`, if set, is the one of the settings; all others are in the database.

    Raises:
        BadToken: it is unknown, has expired, or was revoked.
    """
    if admin_token is not None and hmac.compare_digest(_hash(text), _hash(admin_token)):
        return Bearer(ADMIN_TOKEN, Role.ADMIN)
    with database.read() as tx:
        token = store.find_token(tx, hash=_hash(text))
    if token is None:
        raise BadToken("unknown")
    if token.revoked_at is not None:
        raise BadToken("revoked")
    if token.expires_at is not None and token.expires_at <= now:
        raise BadToken("expired")
    last = token.last_used_at
    if last is None or not last <= now < last + _NOTE_USE_EVERY:
        try:
            database.transact(lambda tx: store.mark_used(tx, token.id, now))
        except DatabaseUnavailable as error:  # no request fails because of that
            log.warning("token_use_not_noted", token=token.id, detail=str(error))
    return Bearer(token.name, token.role)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
