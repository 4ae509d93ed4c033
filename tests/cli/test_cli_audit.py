from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from service.core.model import Actor
from service.db import audit
from tests.test_docs import DOCS, fences

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World


def write(world: World, count: int, subject: str = "hold", actor: str = "alice") -> None:
    who = Actor(actor, "command line")
    with world.database.write() as session:
        for number in range(count):
            audit.add_entry(session, who, "place_hold", f"{subject} {number}", world.clock(), {"reason": "r\n"})
            session.flush()


def tamper(world: World, statement: str) -> None:
    with world.database.write() as session:
        session.execute(text(statement))


def test_list_is_newest_first_and_chained(run: Run, world: World) -> None:
    assert run("audit", "list").err == "no entries\n"
    write(world, 60)
    listed = run("audit", "list", "--json").objects
    assert [entry["id"] for entry in listed] == list(range(60, 0, -1))
    assert all(entry["position"] == entry["id"] for entry in listed)
    assert run("audit", "list", "--json", "--action", "revoke_token").objects == []
    table = run("audit", "list", "--action", "place_hold")
    assert "place_hold" in table.out
    assert "hold 59" in table.out
    assert table.err == "10 more: see them with --limit or --json\n"


def test_an_action_that_there_is_not_is_refused_with_those_that_there_are(run: Run) -> None:
    ended = run("audit", "list", "--action", "nonsense")
    assert (ended.code, ended.out) == (2, "")
    assert "'place_hold'" in ended.err
    assert "'start_service'" in ended.err


def test_list_shows_what_strangers_wrote_without_steering_the_terminal(run: Run, world: World) -> None:
    write(world, 1, actor="a\x9b31m\u202eb")
    shown = run("audit", "list").out
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_verify_shows_the_head_and_takes_it_back(run: Run, world: World) -> None:
    assert "0 entries chained" in run("audit", "verify").out
    write(world, 3)
    told = run("audit", "verify", "--json").object
    assert (told["entries"], told["unchained"], told["fault"]) == (3, 0, None)
    shown = run("audit", "verify", "--head", told["head"])
    assert shown.code == 0
    assert "3 entries chained, all as they were written, and the head given is among them" in shown.out
    assert told["head"] in shown.out


def test_verify_names_the_entry_that_is_wrong(run: Run, world: World) -> None:
    write(world, 3)
    head = run("audit", "verify", "--json").object["head"]
    tamper(world, "UPDATE audit_entries SET actor = 'mallory' WHERE id = 2")
    ended = run("audit", "verify")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("zego-retention: the audit was tampered with: entry 2 (position 2)")
    told = run("audit", "verify", "--json")
    assert told.code == 1
    assert told.object["fault"].startswith("entry 2 (position 2)")
    tamper(world, "UPDATE audit_entries SET actor = 'alice' WHERE id = 2")
    tamper(world, "DELETE FROM audit_links WHERE position = 3")
    tamper(world, "DELETE FROM audit_entries WHERE id = 3")
    assert run("audit", "verify").code == 0
    cut = run("audit", "verify", "--head", head)
    assert cut.code == 1
    assert "last entries were removed" in cut.err
    assert cut.err.endswith(", or the head given is not of this database\n")


def test_a_head_of_another_database_is_told_as_one_that_may_be(run: Run, world: World) -> None:
    write(world, 3)
    ended = run("audit", "verify", "--head", f"2:{'0' * 64}")
    assert ended.code == 1
    assert "another hash at position 2" in ended.err
    assert ended.err.endswith(", or the head given is not of this database\n")
    tamper(world, "UPDATE audit_entries SET actor = 'mallory' WHERE id = 1")
    assert "not of this database" not in run("audit", "verify", "--head", f"2:{'0' * 64}").err


def test_a_head_that_is_none_is_refused(run: Run) -> None:
    ended = run("audit", "verify", "--head", "7")
    assert ended.code == 2
    assert "POSITION:HASH" in ended.err


def test_export_is_json_lines_by_default_the_oldest_first(run: Run, world: World) -> None:
    write(world, 2)
    world.clock.move(hours=1)
    write(world, 1)
    exported = run("audit", "export")
    assert [json.loads(line)["id"] for line in exported.out.splitlines()] == [1, 2, 3]
    assert exported.objects == run("audit", "list", "--json").objects[::-1]
    assert run("audit", "export", "--format", "jsonl").out == exported.out
    since = (world.clock() - timedelta(minutes=1)).isoformat()
    assert [entry["id"] for entry in run("audit", "export", "--since", since).objects] == [3]


def test_export_as_csv_reads_back_and_holds_no_formula(run: Run, world: World) -> None:
    write(world, 1, subject='=HYPERLINK("http://evil")', actor="+1,\n2")
    write(world, 1)
    lines = list(csv.DictReader(io.StringIO(run("audit", "export", "--format", "csv").out)))
    first, second = lines
    assert first["subject"] == '\'=HYPERLINK("http://evil") 0'
    assert first["actor"] == "'+1,\n2"
    assert second["subject"] == "hold 0"
    assert json.loads(second["detail"]) == {"reason": "r\n"}
    objects = run("audit", "export").objects
    assert list(second) == list(objects[1])
    assert [(line["id"], line["position"], line["hash"]) for line in lines] == [
        (str(entry["id"]), str(entry["position"]), entry["hash"]) for entry in objects
    ]
    assert run("audit", "export", "--format", "csv", "--since", "2030-01-01").out == ",".join(objects[0]) + "\n"


def test_the_export_can_be_checked_as_the_documentation_says(run: Run, world: World) -> None:
    write(world, 20, subject="hålt \"'\\")
    [program] = fences(DOCS / "audit.md", "python")
    exported = run("audit", "list", "--json").out

    def check(text: str) -> bool:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, input=text.encode(), capture_output=True, check=False).returncode == 0

    assert check(exported)
    assert not check(exported.replace("alice", "mallory", 1))
    assert not check("".join(exported.splitlines(keepends=True)[1:-1]))


def test_export_of_another_format_is_refused(run: Run) -> None:
    assert run("audit", "export", "--format", "xml").code == 2


def test_what_cannot_be_chained_can_still_be_read(run: Run, world: World) -> None:
    write(world, 1)
    tamper(world, "ALTER TABLE audit_links RENAME COLUMN hash TO gone")
    assert run("audit", "verify").code == 1
    tamper(world, "ALTER TABLE audit_links RENAME COLUMN gone TO hash")
    if world.database.is_sqlite:
        tamper(
            world,
            "CREATE TRIGGER no_more BEFORE INSERT ON audit_links BEGIN SELECT RAISE(ABORT, 'only to be read'); END",
        )
    else:
        tamper(world, "ALTER TABLE audit_links ADD CONSTRAINT no_more CHECK (false)")
    shown = run("audit", "verify")
    assert shown.code == 0
    assert "1 entry not chained yet" in shown.out
    assert "new entries could not be chained" in shown.err
