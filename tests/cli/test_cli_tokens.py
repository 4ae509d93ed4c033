from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.core.model import Role
from service.usecases.auditing import list_entries
from service.usecases.tokens import Bearer, find_bearer

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World


def test_a_token_is_shown_once_and_works(run: Run, world: World) -> None:
    made = run("tokens", "add", "ci", "--role", "operator")
    assert made.code == 0
    text = made.out.strip()
    assert made.out == f"{text}\n"
    assert "shown only now" in made.err
    assert find_bearer(world.database, None, text, world.clock()) == Bearer("ci", Role.OPERATOR)
    for command in (["tokens", "list"], ["tokens", "list", "--json"], ["audit", "export"], ["audit", "list"]):
        ended = run(*command, LOG_LEVEL="DEBUG")
        assert ended.code == 0
        assert text not in ended.out + ended.err


def test_the_json_of_a_new_token_holds_its_text(run: Run) -> None:
    made = run("tokens", "add", "ci", "--role", "viewer", "--json").object
    [listed] = run("tokens", "list", "--json").objects
    assert made == listed | {"token": made["token"]}
    assert "token" not in listed


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        ("90d", "2026-05-30T12:00:00Z"),
        ("2h", "2026-03-01T14:00:00Z"),
        ("2026-12-31", "2026-12-31T00:00:00Z"),
        ("2026-12-31T18:00:00+08:00", "2026-12-31T10:00:00Z"),
    ],
)
def test_an_expiry_is_a_time_or_a_duration(run: Run, given: str, ends: str) -> None:
    made = run("tokens", "add", "ci", "--role", "viewer", "--expires", given, "--json").object
    assert made["expires_at"] == ends


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokens", "add", "ci"),
        ("tokens", "add", "ci", "--role", "owner"),
        ("tokens", "add", "ci", "--role", "viewer", "--expires", "soon"),
        ("tokens", "add", "ci", "--role", "viewer", "--expires", "0d"),
        ("tokens", "add", "--role", "viewer"),
        ("tokens", "revoke", "ci"),
    ],
)
def test_wrong_usage_ends_with_2_and_makes_nothing(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).code == 2
    assert run("tokens", "list", "--json").objects == []


def test_what_cannot_be_done_is_one_line(run: Run) -> None:
    run("tokens", "add", "ci", "--role", "viewer")
    for arguments, says in (
        (("tokens", "add", "ci", "--role", "admin"), "already"),
        (("tokens", "add", "a\x1bb", "--role", "admin"), "no name"),
        (("tokens", "add", "old", "--role", "viewer", "--expires", "2020-01-01"), "expired already"),
        (("tokens", "revoke", "7"), "there is no token 7"),
    ):
        ended = run(*arguments)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert says in ended.err
        assert ended.err.rstrip("\n").isprintable()


def test_the_list_tells_how_each_stands(run: Run, world: World) -> None:
    assert run("tokens", "list").err == "no tokens\n"
    run("tokens", "add", "short", "--role", "viewer", "--expires", "1h", "--by", "alice")
    text = run("tokens", "add", "long", "--role", "admin").out.strip()
    run("tokens", "add", "bad", "--role", "viewer")
    revoked = run("tokens", "revoke", 3, "--by", "bob")
    assert revoked.out == "Token 3 (bad) is revoked.\n"
    find_bearer(world.database, None, text, world.clock())
    world.clock.move(hours=2)
    lines = run("tokens", "list").out.splitlines()
    for line, words in zip(
        lines[1:], (["short", "expired", "alice"], ["long", "usable", "2 hours ago"], ["bad", "revoked"]), strict=True
    ):
        assert [word for word in words if word not in line] == []
    told = [(e["action"], e["actor"], e["subject"]) for e in list_entries(world.database)]
    assert told[0] == ("revoke_token", "bob", "token 3")
    assert told[-1] == ("create_token", "alice", "token 1")
