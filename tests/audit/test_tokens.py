"""Bearer tokens: known by their text, which is kept nowhere; expired and revoked ones open nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from service.audit.store import Entry, Token, iterate_entries, list_tokens
from service.audit.tokens import BadToken, Bearer, find_bearer, make_token, revoke_token
from service.database import Database, DatabaseUnavailable
from service.model import Actor, NoSuchThing, NotPossible, Role, may

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE = Actor("alice", "command line")


@dataclass
class Desk:
    """Where tokens are made and shown."""

    database: Database

    def make(self, name: str = "ci", role: Role = Role.VIEWER, expires_at: datetime | None = None) -> tuple[Token, str]:
        return make_token(self.database, name, role, expires_at, ALICE, NOON)

    def find(self, text: str, *, admin: str | None = None, after: timedelta = timedelta(0)) -> Bearer:
        return find_bearer(self.database, admin, text, NOON + after)

    def refusal(self, text: str, **options: Any) -> str:
        with pytest.raises(BadToken) as error:
            self.find(text, **options)
        assert text not in str(error.value) or not text
        return error.value.reason

    def entries(self) -> list[Entry]:
        with self.database.read() as tx:
            return list(iterate_entries(tx))

    def tokens(self) -> list[Token]:
        with self.database.read() as tx:
            return list_tokens(tx)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def test_a_role_covers_those_before_it() -> None:
    covered = {(role, needed) for role in Role for needed in Role if may(role, needed)}
    assert len(covered) == 6
    assert covered >= {(role, role) for role in Role} | {(Role.ADMIN, Role.VIEWER), (Role.OPERATOR, Role.VIEWER)}


@pytest.mark.parametrize("role", list(Role))
def test_a_token_is_known_by_its_text(desk: Desk, role: Role) -> None:
    _, secret = desk.make("ci", role)
    assert desk.find(secret) == Bearer("ci", role)
    assert secret.startswith("zrt_")
    assert len(secret) == 4 + 43
    assert desk.make("other")[1] != secret


def test_the_text_is_kept_nowhere(desk: Desk) -> None:
    _, secret = desk.make()
    with desk.database.read() as tx:
        row = tx.execute(text("SELECT * FROM tokens")).one()
    assert hashlib.sha256(secret.encode()).hexdigest() in row
    written = f"{row}{desk.tokens()}{desk.entries()}"
    assert secret.removeprefix("zrt_") not in written


def test_what_opens_nothing_says_why(desk: Desk) -> None:
    token, secret = desk.make(expires_at=NOON + timedelta(hours=1))
    for unknown in ("zrt_x", "", "\udcff\0", secret + "x"):
        assert desk.refusal(unknown) == "unknown"
    desk.find(secret, after=timedelta(minutes=59, seconds=59))
    assert desk.refusal(secret, after=timedelta(hours=1)) == "expired"
    revoke_token(desk.database, token.id, ALICE, NOON)
    assert desk.refusal(secret) == "revoked"


def test_the_token_of_the_settings_is_an_admin_while_it_is_set(desk: Desk) -> None:
    assert desk.find("swordfish", admin="swordfish") == Bearer("ADMIN_TOKEN", Role.ADMIN)
    assert desk.refusal("swordfish") == "unknown"
    assert desk.refusal("swordfis", admin="swordfish") == "unknown"
    _, secret = desk.make()
    assert desk.find(secret, admin="swordfish") == Bearer("ci", Role.VIEWER)


@pytest.mark.parametrize("name", ["", " ", " ci", "ci ", "a\nb", "a\x1bb", "x" * 101, "ADMIN_TOKEN", "admin_token"])
def test_a_name_that_is_not_valid_is_refused_and_nothing_made(desk: Desk, name: str) -> None:
    with pytest.raises(NotPossible):
        desk.make(name)
    assert desk.tokens() == []


def test_a_name_is_free_again_after_its_token_was_revoked(desk: Desk) -> None:
    first, _ = desk.make("x" * 100)
    with pytest.raises(NotPossible, match="already"):
        desk.make("x" * 100)
    revoke_token(desk.database, first.id, ALICE, NOON)
    second, _ = desk.make("x" * 100)
    assert [(token.id, token.revoked_by) for token in desk.tokens()] == [(first.id, "alice"), (second.id, None)]


def test_what_cannot_be_made_or_revoked_says_why(desk: Desk) -> None:
    with pytest.raises(NotPossible, match="already be expired: 2026-03-01 12:00 UTC is in the past"):
        desk.make(expires_at=NOON)
    with pytest.raises(NoSuchThing, match="there is no token 7"):
        revoke_token(desk.database, 7, ALICE, NOON)
    token, _ = desk.make()
    revoke_token(desk.database, token.id, ALICE, NOON)
    with pytest.raises(NotPossible, match="revoked already"):
        revoke_token(desk.database, token.id, ALICE, NOON)


def test_making_and_revoking_are_in_the_audit(desk: Desk) -> None:
    token, _ = desk.make("ci", Role.OPERATOR, NOON + timedelta(days=1))
    revoke_token(desk.database, token.id, Actor("bob", "API"), NOON)
    entries = desk.entries()[::-1]
    detail = '{"expires_at":"2026-03-02T12:00:00Z","name":"ci","role":"operator"}'
    assert [(e.action, e.actor, e.through, e.subject, e.detail) for e in entries] == [
        ("token.revoke", "bob", "API", f"token {token.id}", '{"name":"ci"}'),
        ("token.create", "alice", "command line", f"token {token.id}", detail),
    ]


def test_the_last_use_is_noted_at_most_once_a_minute(desk: Desk) -> None:
    _, secret = desk.make()
    assert desk.tokens()[0].last_used_at is None
    seen = []
    for seconds in (0, 30, 59, 60, 90, 150, 10):  # at the end the clock was set back
        desk.find(secret, after=timedelta(seconds=seconds))
        used_at = desk.tokens()[0].last_used_at
        assert used_at is not None
        seen.append((used_at - NOON).seconds)
    assert seen == [0, 0, 0, 60, 60, 150, 10]


def test_a_use_that_cannot_be_noted_fails_no_request(desk: Desk) -> None:
    _, secret = desk.make()

    def refuse(_c: object, _u: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        broken = statement.startswith("UPDATE tokens")
        return ("UPDATE there_is_no_such_table SET x = 1", ()) if broken else (statement, parameters)

    event.listen(desk.database.engine, "before_cursor_execute", refuse, retval=True)
    try:
        assert desk.find(secret) == Bearer("ci", Role.VIEWER)
    finally:
        event.remove(desk.database.engine, "before_cursor_execute", refuse)
    assert desk.tokens()[0].last_used_at is None


def test_a_database_that_is_away_keeps_nobody_out_but_those_whom_it_knows(tmp_path: object) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    with pytest.raises(DatabaseUnavailable):
        find_bearer(database, "swordfish", "zrt_x", NOON)
    assert find_bearer(database, "swordfish", "swordfish", NOON).role is Role.ADMIN
