from __future__ import annotations

import csv
import io
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.leader.store import set_progress
from service.rules.file import parse_rules
from service.rules.store import ensure_first_rules, find_current
from service.settings import load_settings
from tests.cli.terminal import type_into
from tests.world import APP

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


def test_apply_puts_rules_in_force_bound_to_their_preview(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("new", stream="trial-1")
    world.send("kept", stream="lesson")
    refused = run("rules", "apply", rules, "--by", "mei")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    assert "`zego-retention rules apply --preview 1`" in refused.err
    assert world.states() == {"kept": ["old", "new", "kept"]}
    applied = run("rules", "apply", "--preview", 1, "--by", "mei")
    assert (applied.code, applied.err) == (0, "")
    assert "Revision 1 is in force. Due sooner by it: 2 files. Each waits until its old date, at most" in applied.out
    assert "at most until 2026-03-02 12:00 UTC" in applied.out
    assert world.states() == {"scheduled": ["old", "new", "kept"]}
    listed = run("rules", "list").out
    assert f"Revision 1, from {rules}, applied by mei" in listed
    assert "stream trial-* or test-*, vendor Tencent" in listed
    assert "waits until its old date, at most until 2026-03-02 12:00 UTC" in listed
    first, second = run("rules", "list", "--json").objects
    match = {"stream": ["trial-*", "test-*"], "vendor": "Tencent"}
    assert first == {"revision": 1, "name": "trial rooms", "match": match, "keep": "1d", "keep_latest": None}
    assert (second["match"], second["keep_latest"]) == ({}, 1)
    world.clock.move(days=1)
    assert "waits until" not in run("rules", "list").out


def test_what_was_due_before_does_not_wait_and_nobody_says_so(run: Run, world: World, rules: Path) -> None:
    world.keep("1d")
    for name in ("a", "b"):
        world.send(name, age=timedelta(days=3))
    rules.write_text('[[rules]]\nname = "all"\nkeep = "12h"\n', encoding="utf-8")
    said = run("rules", "preview", rules).out
    said += run("rules", "apply", "--preview", 1, "--count", 2).out + run("rules", "list").out
    assert (said.count("waits until its old date, at most "), "before 2026" in said) == (3, False)
    world.sweep()
    assert world.states() == {"deleted": ["a", "b"]}


def test_a_preview_counts_and_changes_nothing(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("kept", stream="room", age=timedelta(days=40))
    before = world.files()
    shown = run("rules", "preview", rules, "--json").object
    assert (shown["id"], shown["files"], shown["sooner_count"], shown["cooling_off"]) == (1, 2, 1, "1d")
    assert {"rule": "trial rooms", "kept": 0, "later": 0, "due": 1, "unjudged": {}} in shown["effects"]
    table = run("rules", "preview", rules)
    assert (table.code, table.err) == (0, "")
    assert "Due sooner: 1 of 2 files (50 %); each waits until its old date, at most for " in table.out
    assert "`zego-retention rules apply --preview 2`" in table.out
    assert world.files() == before
    [file] = run("previews", "show", 2, "--files", "--json").objects
    assert (file["file_id"], file["rule_after"], file["due_before"]) == ("old", "trial rooms", None)
    assert run("previews", "show", 2, "--files").out.splitlines()[1].split()[:2] == ["1", "trial-1"]


def test_a_preview_points_out_what_a_person_may_have_overlooked(run: Run, world: World, tmp_path: Path) -> None:
    world.add(3, prefix="found", stream_id="", event="")
    world.add(1, prefix="old", stream_id="trial-1")
    path = tmp_path / "odd.toml"
    path.write_text(
        '[[rules]]\nname = "never"\nmatch = { app = "5550000", stream = "x" }\nkeep = "1d"\n'
        '[[rules]]\nname = "trial"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n[[rules]]\nname = "all"\nkeep = "1h"\n'
    )
    shown = run("rules", "preview", path).out
    assert "keeps for lack of" in shown
    assert "3 stream" in shown
    assert 'Rule "never" decides no file.' in shown
    assert 'Rule "never" names app 5550000, which is not configured.' in shown


def test_every_file_due_sooner_is_listed_page_after_page(run: Run, world: World, rules: Path) -> None:
    ids = world.add(501, stream_id="trial-1")
    run("rules", "preview", rules)
    listed = run("previews", "show", 1, "--files", "--json").objects
    assert sorted(file["file_id"] for file in listed) == ids
    table = run("previews", "show", 1, "--files", "--limit", 10)
    assert (len(table.out.splitlines()), table.err) == (11, "491 more: see them with --limit, --json or --csv\n")
    assert len(run("previews", "show", 1, "--files", "--csv").out.splitlines()) == 502


def test_each_file_due_sooner_is_shown_with_what_a_person_looks_for(run: Run, world: World, rules: Path) -> None:
    world.add(1, prefix="known", stream_id="trial-1", size_bytes=3_000_000, name="lesson.mp4")
    world.add(1, prefix="bare", stream_id="trial-1", age=timedelta(days=40))
    run("rules", "preview", rules)
    header, first, second = run("previews", "show", 1, "--files").out.splitlines()
    for word in ("id", "file", "age", "size", "due before", "due after", "why"):
        assert f" {word} " in f" {header} "
    assert all(word in first for word in ("lesson.mp4", "2 days", "3.0 MB", 'rule "trial rooms"'))
    assert "bare-00000" in second
    known, bare = run("previews", "show", 1, "--files", "--json").objects
    assert (known["name"], known["size_bytes"], bare["name"], bare["size_bytes"]) == (
        "lesson.mp4",
        3_000_000,
        None,
        None,
    )
    rows = list(csv.DictReader(io.StringIO(run("previews", "show", 1, "--files", "--csv").out)))
    assert [{key: value or None for key, value in row.items()} for row in rows] == [
        {key: None if value is None else str(value) for key, value in file.items()} for file in (known, bare)
    ]
    assert run("previews", "show", 1, "--csv").code == 2


def test_where_no_file_becomes_due_sooner_it_says_so(run: Run, world: World, rules: Path) -> None:
    world.add(2)
    run("rules", "preview", rules)
    shown = run("previews", "show", 1, "--files")
    assert (shown.code, shown.out, shown.err) == (0, "", "preview 1: no file becomes due sooner\n")


def test_a_preview_says_shares_and_what_is_not_known_and_its_lines_add_up(
    run: Run, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rules]]\nname = "all"\nmatch = { adopted = false }\nkeep = "10d"\n')
    for age, count in ((20, 1), (5, 2), (1, 3)):
        world.add(count, prefix=f"old-{age}", age=timedelta(days=age), duration_s=3600.0)
    world.add(1, prefix="sized", age=timedelta(days=1), size_bytes=2_000_000)
    world.add(1, prefix="adopted", event="", stream_id="")
    lines = [line.split("  ") for line in run("rules", "preview", path).out.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines if len(line) > 1}
    assert cells["become due at once"] == ["1", "12.5 %", "1.0", "unknown"]
    assert cells["become due within 7 days, those at once included"] == ["3", "37.5 %", "3.0", "unknown"]
    assert cells["become due within 30 days, all of these included"][:2] == ["7", "87.5 %"]
    assert cells["due sooner in all, all of these included"] == [
        "7", "87.5 %", "6.0 and 1 unknown", "2.0 MB and 6 unknown",
    ]  # fmt: skip
    assert "{}" not in run("rules", "preview", path).out


@pytest.mark.parametrize("cooling_off", ["1d", "0s"])
def test_what_would_delete_all_of_an_app_needs_its_number(
    run: Run, world: World, tmp_path: Path, cooling_off: str
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rules]]\nname = "all"\nkeep = "1d"\n')
    world.add(3)
    world.add(1, prefix="held", stream_id="case")
    run("holds", "add", "--stream", "case", "--reason", "a case", "--app", APP)
    shown = run("rules", "preview", path, COOLING_OFF=cooling_off)
    assert f"EVERY file of app {APP} would be deleted" in shown.out
    for more in ([], ["--count", 2]):
        refused = run("rules", "apply", "--preview", 1, *more, COOLING_OFF=cooling_off)
        assert (refused.code, refused.out) == (1, "")
        assert f"EVERY file of app {APP} would be deleted" in refused.err
        give = "look at preview 1, then repeat the number of files due sooner with"
        assert f"{give} `zego-retention rules apply --preview 1 --count 4`" in refused.err
        assert ("preview 1 makes 4 files due sooner, not 2" in refused.err) == bool(more)
    assert run("rules", "list", "--json").out == ""
    applied = run("rules", "apply", "--preview", 1, "--count", 4, COOLING_OFF=cooling_off)
    assert (applied.code, "Revision 1 is in force" in applied.out) == (0, True)


def test_a_wrong_number_of_files_due_sooner_is_refused_though_none_is_needed(run: Run, world: World) -> None:
    world.add(2, age=timedelta(days=5))
    world.add(1, prefix="young", age=timedelta(hours=1))
    assert run("rules", "preview", "--keep", KEEP="3d").code == 0
    refused = run("rules", "apply", "--preview", 1, "--count", 2)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        "zego-retention: nothing was applied: preview 1 makes 3 files due sooner, not 2; look at preview 1, then repeat"
        ' the number of files due sooner with `zego-retention rules apply --preview 1 --count 3` (API: "expect": 3)\n'
    )
    assert run("rules", "apply", "--preview", 1).code == 0


def test_a_preview_of_other_rules_is_refused(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    run("rules", "preview", rules)
    rules.write_text('[[rules]]\nname = "all"\nkeep = "1d"\n')
    ended = run("rules", "apply", rules, "--preview", 1)
    assert (ended.code, "preview 1 is of other rules" in ended.err) == (1, True)
    assert "there is no preview 7" in run("rules", "apply", "--preview", 7).err


def test_rollback_puts_earlier_rules_in_force_again(run: Run, world: World) -> None:
    world.send("f", age=timedelta(days=2))
    world.keep("1d")
    world.keep("30d")
    refused = run("rules", "rollback", 1)
    assert (refused.code, "1 file" in refused.err) == (1, True)
    preview = refused.err.split("--preview ")[1].split("`")[0]
    assert "Revision 3 is in force" in run("rules", "rollback", 1, "--preview", preview, "--count", 1).out
    assert run("rules", "list", "--json").object["keep"] == "1d"
    assert "Revision 4 is in force" in run("rules", "rollback", 2).out
    assert "there is no revision 9" in run("rules", "rollback", 9).err


def test_the_first_rules_can_be_taken_back(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    rules.write_text('[[rules]]\nname = "all"\nkeep = "1d"\n')
    preview = run("rules", "preview", rules, "--json").object["id"]
    applied = run("rules", "apply", "--preview", preview, "--count", 1)
    assert "`zego-retention rules rollback 0` takes it back" in " ".join(applied.out.split())
    assert run("rules", "rollback", 0).code == 0
    assert run("rules", "list", "--json").object["keep"] == "forever"
    assert run("files", "list", "--json").object["state"] == "kept"
    assert "-1 is too small; write a whole number from 0 on" in run("rules", "rollback", "--", -1).err


def test_history_and_export_hold_every_revision(run: Run, world: World) -> None:
    world.keep("1d")
    world.keep("30d")
    newest, first = run("rules", "history", "--json").objects
    assert (newest["number"], first["number"], newest["source"]) == (2, 1, "a test")
    assert '-keep = "1d"\n+keep = "30d"' in newest["diff"]
    assert parse_rules(run("rules", "export", "--revision", 1).out)[0].keep == timedelta(days=1)
    assert run("rules", "export", "--revision", 3).code == 1


def test_what_is_exported_can_be_applied(run: Run, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("rules", "apply", rules)
    exported = run("rules", "export").out
    assert parse_rules(exported) == parse_rules(RULES)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    again = run("rules", "apply", "-")
    assert (again.code, again.err) == (0, "the same rules are in force already, as revision 1\n")


def test_keep_becomes_the_first_rules_and_later_only_when_asked(run: Run, world: World) -> None:
    world.send("old", age=timedelta(days=2))
    ensure_first_rules(world.database, "30d", timedelta(days=1), world.clock())  # as the service does when it starts
    assert run("rules", "list", "--json", KEEP="30d").object["keep"] == "30d"
    differs = run("rules", "list", KEEP="1d")
    assert "30d" in differs.out
    assert "ZEGO_RETENTION_KEEP=1d is not in force" in differs.err
    refused = run("rules", "apply", "--keep", KEEP="1d")
    assert (refused.code, "look at preview 1" in refused.err) == (1, True)
    assert "Revision 2 is in force" in run("rules", "apply", "--keep", "--preview", 1, "--count", 1, KEEP="1d").out
    assert run("rules", "list", KEEP="1d").err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'[[rules]]\nname = "a"\nkepe = "1d"\n', 'rule 1 "a", kepe: unknown key, did you mean keep?'),
        (b'[[rules]]\nname = "a"\nkeep = "0d"\n', 'rule 1 "a", keep'),
        (b"[[rules]", "not valid TOML"),
        (b"\xff\xfe", "a rules file is UTF-8 text"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_file_is_refused_whole_by_file_rule_and_key(run: Run, rules: Path, text: bytes, words: str) -> None:
    run("rules", "apply", rules)
    rules.write_bytes(text)
    ended = run("rules", "apply", rules)
    assert ended.code == 1
    assert ended.err.startswith(f"zego-retention: {rules}: ")
    assert words in ended.err
    assert run("rules", "list", "--json").objects[0]["revision"] == 1


@pytest.mark.parametrize(("answer", "code", "state"), [(b"2\n", 1, "kept"), (b"1\n", 0, "scheduled")])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_a_terminal_the_number_of_files_due_sooner_is_typed(
    world: World, database_url: str, rules: Path, answer: bytes, code: int, state: str
) -> None:
    world.clock.time = datetime.now(UTC)
    world.send("old", stream="trial-1", age=timedelta(days=20))
    ended, seen = type_into(world, database_url, b"due sooner (1)", answer, "rules", "apply", str(rules))
    assert ended == code, seen
    assert world.state("old") == state


def test_the_settings_of_the_worker_count_whatever_the_shell_says(run: Run, world: World, rules: Path) -> None:
    world.send("old", stream="trial-1", age=timedelta(days=2))
    world.send("older", stream="trial-1", age=timedelta(days=3))
    worker = load_settings({"ZEGO_RETENTION_BREAKER_FILES": "1", "ZEGO_RETENTION_CONFIRM": "all"}).write_down()
    world.database.transact(lambda tx: set_progress(tx, settings=worker | {"cooling_off": "7d"}))
    run("rules", "preview", rules)
    applied = run("rules", "apply", "--preview", 1, "--count", 2, COOLING_OFF="0s")
    assert "at most until 2026-03-08 12:00 UTC" in applied.out
    assert "ZEGO_RETENTION_COOLING_OFF=7d of the worker counts" in applied.err
    world.clock.move(days=8)
    shown = run("sweep", "--dry-run")
    assert ("would delete 0 files now" in shown.out, "2 unconfirmed" in shown.out) == (True, True)
    for name in ("later", "last"):
        world.send(name, stream="trial-1", age=timedelta(days=2))
    world.database.transact(lambda tx: set_progress(tx, settings=worker | {"confirm": "off"}))
    assert "more than ZEGO_RETENTION_BREAKER_FILES=1" in run("sweep", "--dry-run").out


def test_no_command_puts_the_keep_of_its_shell_in_force(run: Run, world: World) -> None:
    world.send("old", age=timedelta(days=58))
    for command in ("files list", "rules list", "holds list", "sweep --dry-run", "audit verify", "doctor"):
        run(*command.split(), KEEP="1d", COOLING_OFF="0s")
    assert world.states() == {"kept": ["old"]}
    with world.database.read() as tx:
        assert find_current(tx) is None
