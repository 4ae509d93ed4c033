from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.rules_file import parse_rules
from tests.world import environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.world import World

RULES = """
[[rules]]
name = "trial rooms"
match = { stream = ["trial-*", "test-*"], vendor = "Tencent" }
keep = "1d"

[[rules]]
name = "everything else"
keep = "30d"
keep_latest = 1
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


def test_without_rules_it_says_that_nothing_is_deleted(run: Run) -> None:
    assert "nothing is ever deleted" in run("rules", "list").out
    assert run("rules", "list", "--json").out == ""


def test_apply_shows_what_it_does_and_puts_the_rules_in_force(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("new", stream="trial-1")
    applied = run("rules", "apply", rules, "--by", "mei")
    assert applied.code == 0
    assert "The next sweep would delete 1 file that the rules in force keep." in applied.out
    assert "Applied as revision 1; 2 files decided anew." in applied.out
    assert world.states() == {"scheduled": ["old", "new"]}
    listed = run("rules", "list")
    assert "Revision 1" in listed.out
    assert "applied by mei" in listed.out
    assert str(rules) in listed.out
    assert "stream trial-* or test-*, vendor Tencent" in listed.out
    first, second = run("rules", "list", "--json").objects
    assert first == {
        "revision": 1,
        "position": 1,
        "name": "trial rooms",
        "match": {"stream": ["trial-*", "test-*"], "vendor": "Tencent"},
        "keep": "1d",
        "keep_latest": None,
    }
    assert (second["match"], second["keep_latest"]) == ({}, 1)


def test_applying_the_same_rules_again_changes_nothing(run: Run, rules: Path) -> None:
    run("rules", "apply", rules)
    assert "The same rules are in force already as revision 1" in run("rules", "apply", rules).out


def test_preview_counts_and_changes_nothing(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("kept", stream="room", age=timedelta(days=40))
    before = world.files()
    told = run("rules", "preview", rules, "--json").object
    assert {key: told[key] for key in ("files", "due", "newly_due", "rescued")} == {
        "files": 2,
        "due": 1,
        "newly_due": 1,
        "rescued": 0,
    }
    assert {"rule": "trial rooms", "kept": 0, "later": 0, "due": 1} in told["rules"]
    table = run("rules", "preview", rules)
    assert (table.code, table.err) == (0, "")
    assert world.files() == before
    assert run("rules", "list", "--json").out == ""


def test_preview_says_what_would_be_spared(run: Run, world: World, tmp_path: Path) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    longer = tmp_path / "longer.toml"
    longer.write_text('[[rules]]\nname = "all"\nkeep = "30d"\n')
    assert "The next sweep would spare 1 file that the rules in force let go." in run("rules", "preview", longer).out


def test_what_is_exported_can_be_applied(run: Run, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("rules", "apply", rules)
    exported = run("rules", "export").out
    assert parse_rules(exported) == parse_rules(RULES)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    assert "The same rules are in force already" in run("rules", "apply", "-").out


def test_keep_becomes_the_first_rules_and_later_only_when_asked(run: Run, world: World) -> None:
    world.send("old", age=timedelta(days=2))
    assert run("rules", "list", "--json", KEEP="30d").object["keep"] == "30d"
    differs = run("rules", "list", KEEP="1d")
    assert "30d" in differs.out
    assert "KEEP=1d is not in force" in differs.err
    assert "Applied as revision 2" in run("rules", "apply", "--keep", KEEP="1d").out
    assert run("rules", "list", KEEP="1d").err == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[rules]]\nname = "a"\nkepe = "1d"\n', 'rule 1 "a", kepe: unknown key, did you mean keep?'),
        ('[[rules]]\nname = "a"\nkeep = "0d"\n', 'rule 1 "a", keep'),
        ("[[rules]", "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_whole_by_file_rule_and_key(run: Run, rules: Path, text: str, says: str) -> None:
    run("rules", "apply", rules)
    rules.write_text(text)
    ended = run("rules", "apply", rules, "--yes")
    assert ended.code == 1
    assert ended.err.startswith(f"zego-retention: {rules}: ")
    assert says in ended.err
    assert run("rules", "list", "--json").objects[0]["revision"] == 1


def test_a_file_that_is_no_text_is_refused(run: Run, rules: Path) -> None:
    rules.write_bytes(b"\xff\xfe")
    assert "a rules file is UTF-8 text" in run("rules", "apply", rules).err


@pytest.mark.parametrize(("answer", "code", "state"), [(b"n\n", 1, "kept"), (b"y\n", 0, "scheduled")])
def test_in_a_terminal_newly_due_files_are_asked_about(
    world: World, database_url: str, rules: Path, answer: bytes, code: int, state: str
) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2_000))
    variables = os.environ | environment(database_url, world.sandbox.url)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service", "rules", "apply", str(rules)]
    process = subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    seen = read_until(ours, b"[y/N]")
    os.write(ours, answer)
    assert process.wait(30) == code, seen
    os.close(ours)
    assert world.state("old") == state


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    deadline = time.monotonic() + 30
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            seen += os.read(descriptor, 4096)
    assert wanted in seen
    return seen
