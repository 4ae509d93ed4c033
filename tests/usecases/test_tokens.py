from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from service.core.model import Actor, Role, may
from service.db.engine import Database, DatabaseUnavailable
from service.db.migrate import upgrade_database
from service.usecases.auditing import list_entries
from service.usecases.inventory import NotPossible
from service.usecases.tokens import BadToken, Bearer, create_token, find_bearer, list_tokens, revoke_token

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE = Actor("alice", "command line")


@dataclass
class Desk:
    """Where tokens are made and shown."""

    database: Database

    def create(self, name: str = "ci", role: Role = Role.VIEWER, expires_at: datetime | None = None) -> dict[str, Any]:
        return create_token(self.database, name, role, expires_at, ALICE, NOON)

    def find(self, text: str, *, admin: str | None = None, after: timedelta = timedelta(0)) -> Bearer:
        return find_bearer(self.database, admin, text, NOON + after)

    def refusal(self, text: str, *, admin: str | None = None, after: timedelta = timedelta(0)) -> str:
        with pytest.raises(BadToken) as error:
            self.find(text, admin=admin, after=after)
        assert text not in str(error.value) or not text
        return error.value.reason

    def tokens(self) -> list[dict[str, Any]]:
        return list(list_tokens(self.database))


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    database = Database(database_url)
    upgrade_database(database)
    yield Desk(database)
    database.dispose()


def test_a_role_covers_those_before_it() -> None:
    covered = {(role, needed) for role in Role for needed in Role if may(role, needed)}
    assert covered == {
        (Role.VIEWER, Role.VIEWER),
        (Role.OPERATOR, Role.VIEWER),
        (Role.OPERATOR, Role.OPERATOR),
        (Role.ADMIN, Role.VIEWER),
        (Role.ADMIN, Role.OPERATOR),
        (Role.ADMIN, Role.ADMIN),
    }


@pytest.mark.parametrize("role", list(Role))
def test_a_token_is_known_by_its_text(desk: Desk, role: Role) -> None:
    made = desk.create("ci", role)
    assert desk.find(made["token"]) == Bearer("ci", role)
    assert made["token"].startswith("zrt_")
    assert len(made["token"]) == 4 + 43


def test_every_token_has_a_text_of_its_own(desk: Desk) -> None:
    assert len({desk.create(f"t{number}")["token"] for number in range(20)}) == 20


def test_the_text_is_kept_nowhere(desk: Desk) -> None:
    made = desk.create()
    with desk.database.read() as session:
        row = session.execute(text("SELECT * FROM tokens")).one()
    assert hashlib.sha256(made["token"].encode()).hexdigest() in row
    told = f"{row}{desk.tokens()}{list(list_entries(desk.database))}"
    assert made["token"] not in told
    assert made["token"].removeprefix("zrt_") not in told


def test_what_opens_nothing_says_why(desk: Desk) -> None:
    made = desk.create(expires_at=NOON + timedelta(hours=1))
    assert desk.refusal("zrt_x") == "unknown"
    assert desk.refusal("") == "unknown"
    assert desk.refusal("\udcff\0") == "unknown"
    assert desk.refusal(made["token"] + "x") == "unknown"
    desk.find(made["token"], after=timedelta(minutes=59, seconds=59))
    assert desk.refusal(made["token"], after=timedelta(hours=1)) == "expired"
    revoke_token(desk.database, made["id"], ALICE, NOON)
    assert desk.refusal(made["token"]) == "revoked"


def test_the_token_of_the_settings_is_an_admin_while_it_is_set(desk: Desk) -> None:
    assert desk.find("swordfish", admin="swordfish") == Bearer("ADMIN_TOKEN", Role.ADMIN)
    assert desk.refusal("swordfish") == "unknown"
    assert desk.refusal("swordfis", admin="swordfish") == "unknown"
    assert desk.refusal("", admin="swordfish") == "unknown"
    made = desk.create()
    assert desk.find(made["token"], admin="swordfish") == Bearer("ci", Role.VIEWER)


@pytest.mark.parametrize("name", ["", " ", " ci", "ci ", "a\nb", "a\x1bb", "x" * 101, "ADMIN_TOKEN", "admin_token"])
def test_a_name_that_is_none_is_refused_and_nothing_made(desk: Desk, name: str) -> None:
    with pytest.raises(NotPossible):
        desk.create(name)
    assert desk.tokens() == []


def test_a_name_is_free_again_after_its_token_was_revoked(desk: Desk) -> None:
    first = desk.create("x" * 100)
    with pytest.raises(NotPossible, match="already"):
        desk.create("x" * 100)
    revoke_token(desk.database, first["id"], ALICE, NOON)
    second = desk.create("x" * 100)
    assert [(t["id"], t["revoked_by"]) for t in desk.tokens()] == [(first["id"], "alice"), (second["id"], None)]


def test_a_token_that_would_have_expired_is_refused(desk: Desk) -> None:
    with pytest.raises(NotPossible, match="expired already"):
        desk.create(expires_at=NOON)


def test_only_a_usable_token_can_be_revoked(desk: Desk) -> None:
    with pytest.raises(NotPossible, match="there is no token 7"):
        revoke_token(desk.database, 7, ALICE, NOON)
    made = desk.create()
    revoke_token(desk.database, made["id"], ALICE, NOON)
    with pytest.raises(NotPossible, match="revoked already"):
        revoke_token(desk.database, made["id"], ALICE, NOON)


def test_making_and_revoking_are_in_the_audit(desk: Desk) -> None:
    made = desk.create("ci", Role.OPERATOR, NOON + timedelta(days=1))
    revoke_token(desk.database, made["id"], Actor("bob", "API"), NOON)
    told = [(e["action"], e["actor"], e["through"], e["subject"], e["detail"]) for e in list_entries(desk.database)]
    detail = {"name": "ci", "role": "operator", "expires_at": "2026-03-02T12:00:00Z"}
    assert told == [
        ("revoke_token", "bob", "API", f"token {made['id']}", {"name": "ci"}),
        ("create_token", "alice", "command line", f"token {made['id']}", detail),
    ]


def test_the_last_use_is_noted_at_most_once_a_minute(desk: Desk) -> None:
    made = desk.create()
    assert desk.tokens()[0]["last_used_at"] is None
    seen = []
    for seconds in (0, 30, 59, 60, 90, 150, 10):  # at the end the clock was set back
        desk.find(made["token"], after=timedelta(seconds=seconds))
        seen.append(desk.tokens()[0]["last_used_at"][-6:])
    assert seen == ["00:00Z", "00:00Z", "00:00Z", "01:00Z", "01:00Z", "02:30Z", "00:10Z"]


def test_a_use_that_cannot_be_noted_fails_no_request(desk: Desk) -> None:
    made = desk.create()

    def refuse(_c: object, _u: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        broken = statement.startswith("UPDATE tokens")
        return ("UPDATE there_is_no_such_table SET x = 1", ()) if broken else (statement, parameters)

    event.listen(desk.database.engine, "before_cursor_execute", refuse, retval=True)
    try:
        assert desk.find(made["token"]) == Bearer("ci", Role.VIEWER)
    finally:
        event.remove(desk.database.engine, "before_cursor_execute", refuse)
    assert desk.tokens()[0]["last_used_at"] is None


def test_a_database_that_is_away_is_told_as_such(tmp_path: object) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    with pytest.raises(DatabaseUnavailable):
        find_bearer(database, "swordfish", "zrt_x", NOON)
    assert find_bearer(database, "swordfish", "swordfish", NOON).role is Role.ADMIN
