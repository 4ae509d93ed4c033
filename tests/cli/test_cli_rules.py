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


def test_apply_puts_rules_in_force_bound_to_their_preview(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("new", stream="trial-1")
    refused = run("rules", "apply", rules, "--by", "mei")
    assert (refused.code, refused.out) == (1, "")
    assert "these rules would make 2 files due sooner: look at preview 1" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert "`zego-retention rules apply --preview 1`" in refused.err
    assert world.states() == {"kept": ["old", "new"]}
    applied = run("rules", "apply", "--preview", "1", "--by", "mei")
    assert (applied.code, applied.err) == (0, "")
    assert "Applied as revision 1; 2 files decided anew." in applied.out
    assert "2 files are due sooner, and not called before 2026-03-02 12:00:00 UTC" in applied.out
    assert world.states() == {"scheduled": ["old", "new"]}
    listed = run("rules", "list")
    assert "Revision 1" in listed.out
    assert "applied by mei" in listed.out
    assert str(rules) in listed.out
    assert "stream trial-* or test-*, vendor Tencent" in listed.out
    assert "not called before 2026-03-02 12:00:00 UTC" in listed.out
    first, second = run("rules", "list", "--json").objects
    assert first == {
        "revision": 1,
        "position": 1,
        "name": "trial rooms",
        "match": {"stream": ["trial-*", "test-*"], "vendor": "Tencent"},
        "keep": "1d",
        "keep_latest": None,
        "mode": "enforce",
    }
    assert (second["match"], second["keep_latest"]) == ({}, 1)
    world.clock.move(days=1)
    assert "not called before" not in run("rules", "list").out


def test_a_preview_of_other_rules_is_refused(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    run("rules", "preview", rules)
    rules.write_text('[[rules]]\nname = "all"\nkeep = "1d"\n')
    ended = run("rules", "apply", rules, "--preview", "1")
    assert ended.code == 1
    assert "preview 1 is of other rules" in ended.err
    assert "there is no preview 7" in run("rules", "apply", "--preview", "7").err


def test_rollback_puts_earlier_rules_in_force_again(run: Run, world: World) -> None:
    world.send("f", age=timedelta(days=2))
    world.keep("1d")
    world.keep("30d")
    refused = run("rules", "rollback", "1")
    assert refused.code == 1
    assert "1 file due sooner" in refused.err
    preview = refused.err.split("--preview ")[1].split("`")[0]
    assert "Applied as revision 3" in run("rules", "rollback", "1", "--preview", preview).out
    assert run("rules", "list", "--json").object["keep"] == "1d"
    assert "Applied as revision 4" in run("rules", "rollback", "2").out
    assert "there is no revision 9" in run("rules", "rollback", "9").err


def test_history_and_export_tell_every_revision(run: Run, world: World) -> None:
    assert "nothing is ever deleted" in run("rules", "history").out
    world.keep("1d")
    world.keep("30d")
    newest, first = run("rules", "history", "--json").objects
    assert (newest["number"], first["number"], newest["source"]) == (2, 1, "a test")
    assert run("rules", "history", "--json", "--limit", 1).objects == [newest]
    shown = run("rules", "history").out
    assert '-keep = "1d"\n+keep = "30d"' in shown
    assert parse_rules(run("rules", "export", "--revision", 1).out)[0].keep == timedelta(days=1)
    assert run("rules", "export", "--revision", 3).code == 1


def test_applying_the_same_rules_again_changes_nothing(run: Run, rules: Path) -> None:
    run("rules", "apply", rules)
    assert "The same rules are in force already as revision 1" in run("rules", "apply", rules).out


def test_preview_tells_what_it_cannot_judge_for_lack_of_a_fact(run: Run, world: World, rules: Path) -> None:
    world.add(3, prefix="found", stream_id="", event="")
    world.add(1, prefix="old", stream_id="trial-1")
    told = run("rules", "preview", rules, "--json").object
    assert {"rule": "trial rooms", "kept": 3, "later": 0, "due": 1, "unjudged": 3} in told["effects"]
    shown = run("rules", "preview", rules).out
    assert "not judged" in shown
    assert "3 kept files could not be judged for lack of a fact" in " ".join(shown.split())


def test_preview_counts_and_changes_nothing(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("kept", stream="room", age=timedelta(days=40))
    before = world.files()
    told = run("rules", "preview", rules, "--json").object
    assert (told["id"], told["files"], told["sooner"], told["cooling_off"]) == (1, 2, 1, "1d")
    assert {"rule": "trial rooms", "kept": 0, "later": 0, "due": 1, "unjudged": 0} in told["effects"]
    table = run("rules", "preview", rules)
    assert (table.code, table.err) == (0, "")
    assert "1 file would become due sooner; the cooling-off of 1d keeps them from being called at once." in table.out
    assert "`zego-retention rules apply --preview 2`" in table.out
    assert world.files() == before
    assert run("rules", "list", "--json").out == ""


def test_preview_says_what_would_be_rescued(run: Run, world: World, tmp_path: Path) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    longer = tmp_path / "longer.toml"
    longer.write_text('[[rules]]\nname = "all"\nkeep = "30d"\n')
    shown = run("rules", "preview", longer).out
    assert "rescued" in shown
    assert "due sooner" not in shown
    assert run("rules", "apply", longer).code == 0


def test_what_is_exported_can_be_applied(run: Run, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("rules", "apply", rules)
    exported = run("rules", "export").out
    assert parse_rules(exported) == parse_rules(RULES)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    assert "The same rules are in force already" in run("rules", "apply", "-").out


def test_what_only_looks_does_not_put_keep_in_force(run: Run, world: World) -> None:
    world.send("old", age=timedelta(days=40))
    dry = run("sweep", "--dry-run", KEEP="30d")
    assert "KEEP=30d is not in force yet" in dry.out
    shown = run("rules", "preview", "--keep", "--json", KEEP="30d").object
    assert (shown["base_revision"], shown["sooner"]) == (0, 1)
    assert run("rules", "history", "--json").objects == []
    applied = run("rules", "apply", "--preview", str(shown["id"]), KEEP="30d")
    assert applied.out.startswith("Applied as revision 1;")


def test_keep_becomes_the_first_rules_and_later_only_when_asked(run: Run, world: World) -> None:
    world.send("old", age=timedelta(days=2))
    assert run("rules", "list", "--json", KEEP="30d").object["keep"] == "30d"
    differs = run("rules", "list", KEEP="1d")
    assert "30d" in differs.out
    assert "KEEP=1d is not in force" in differs.err
    refused = run("rules", "apply", "--keep", KEEP="1d")
    assert (refused.code, "look at preview 1" in refused.err) == (1, True)
    assert "Applied as revision 2" in run("rules", "apply", "--keep", "--preview", "1", KEEP="1d").out
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
    ended = run("rules", "apply", rules)
    assert ended.code == 1
    assert ended.err.startswith(f"zego-retention: {rules}: ")
    assert says in ended.err
    assert run("rules", "list", "--json").objects[0]["revision"] == 1


def test_a_file_that_is_no_text_is_refused(run: Run, rules: Path) -> None:
    rules.write_bytes(b"\xff\xfe")
    assert "a rules file is UTF-8 text" in run("rules", "apply", rules).err


@pytest.mark.parametrize(("answer", "code", "state"), [(b"2\n", 1, "kept"), (b"1\n", 0, "scheduled")])
def test_in_a_terminal_the_number_of_files_due_sooner_is_typed(
    world: World, database_url: str, rules: Path, answer: bytes, code: int, state: str
) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2_000))
    variables = os.environ | environment(database_url, world.sandbox.url)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service", "rules", "apply", str(rules)]
    process = subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    seen = read_until(ours, b"files: ")
    os.write(ours, answer)
    seen += drain(ours)
    assert process.wait(30) == code, seen
    os.close(ours)
    assert world.state("old") == state


def drain(descriptor: int) -> bytes:
    """Read until the other side is closed: what nobody reads would hold it up."""
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if select.select([descriptor], [], [], 0.1)[0]:
                seen += os.read(descriptor, 4096)
        except OSError:  # how a terminal says that it is closed
            break
    return seen


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    deadline = time.monotonic() + 30
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            seen += os.read(descriptor, 4096)
    assert wanted in seen
    return seen
