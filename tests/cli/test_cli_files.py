from __future__ import annotations

import os
import pty
import select as selecting
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from service.core.model import Vendor
from service.db.files import find_file
from service.db.order_models import AuditEntryRow
from service.usecases.holding import HoldOrder, place_hold
from tests.world import APP, TESTER, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run
    from tests.world import World

FILE_KEYS = [
    "id", "app_id", "vendor", "file_id", "stream_id", "event", "state", "state_reason", "began_at", "ended_at",
    "received_at", "duration_s", "size_bytes", "replay_url", "name", "vendor_created_at", "vendor_expires_at",
    "listed_at", "adopted_at", "lost_on", "renditions", "rule", "due_at", "cooling_until", "observed_due_at",
    "approval", "held", "attempts", "last_outcome",
]  # fmt: skip


def fail_one(world: World) -> None:
    """File 1 is given up, file 2 is deleted."""
    world.keep("1d")
    world.send("bad", age=timedelta(days=2))
    world.send("good", age=timedelta(days=2))
    world.sandbox.fail_file("bad", "AccessDenied", "not yours")
    world.sweep()


def test_json_is_the_contract_form_one_object_per_line(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("first", stream="课堂")
    world.send("second", vendor=Vendor.HUAWEI)
    ended = run("files", "list", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.isascii()
    first, second = ended.objects
    assert list(first) == FILE_KEYS
    assert first["stream_id"] == "课堂"
    assert first["due_at"] == "2026-03-31T12:00:00Z"
    assert (second["vendor"], second["size_bytes"]) == ("Huawei", 1_000_000)


def test_filters_narrow_the_list(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("a", stream="trial-1")
    world.send("b", stream="lesson-1", vendor=Vendor.WANGSU, age=timedelta(days=20))
    world.send("c", stream="trial-2", now=world.clock() - timedelta(hours=1))

    def listed(*filters: str) -> list[str]:
        return [file["file_id"] for file in run("files", "list", "--json", *filters).objects]

    assert listed() == ["a", "b", "c"]
    assert listed("--state", "scheduled") == ["a", "b"]
    assert listed("--state", "unconfirmed") == ["c"]
    assert listed("--vendor", "ws") == ["b"]
    assert listed("--stream", "trial-?") == ["a", "c"]
    assert listed("--stream", "trial-?", "--limit", "1") == ["a"]
    assert listed("--app", "987654321") == []
    assert listed("--due-before", "2026-03-15") == ["b"]
    assert listed("--due-before", "2026-03-31T14:00:01+02:00", "--state", "scheduled") == ["a", "b"]
    assert listed("--due-before", "2026-03-31T14:00:00+02:00", "--state", "scheduled") == ["b"]


def test_a_table_says_how_many_it_leaves_out_and_json_leaves_out_none(run: Run, world: World) -> None:
    world.add(60)
    table = run("files", "list")
    assert len(table.out.splitlines()) == 1 + 50
    assert table.err == "10 more: see them with --limit or --json\n"
    assert len(run("files", "list", "--limit", "60").out.splitlines()) == 1 + 60
    assert run("files", "list", "--stream", "r*", "--limit", "59").err == "more: see them with --limit or --json\n"
    assert len(run("files", "list", "--json").objects) == 60


def test_json_goes_beyond_one_batch(run: Run, world: World) -> None:
    ids = world.add(501)
    assert [file["file_id"] for file in run("files", "list", "--json").objects] == ids
    assert len(run("files", "list", "--json", "--limit", "500").objects) == 500


def test_piped_tables_cut_nothing_and_escape_what_strangers_sent(run: Run, world: World) -> None:
    world.send("a", stream="s" * 250)
    world.send("b", stream="[red]\x1b[2J\u202e:smile:\nnext")
    out = run("files", "list").out
    assert "s" * 250 in out
    assert "[red]\\x1b[2J\\u202e:smile:\\nnext" in out
    assert "\x1b" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())


def test_show_tells_the_facts_in_full(run: Run, world: World) -> None:
    world.keep("30d")
    file_id = "record/app/" + "x" * 300 + ".mp4"
    world.send(file_id, vendor=Vendor.HUAWEI, age=timedelta(days=1))
    out = run("files", "show", 1).out
    assert file_id in out
    assert "1.0 MB" in out
    assert "2026-03-30 12:00:00 UTC (in 29 days)" in out
    assert run("files", "show", 1, "--json").object["file_id"] == file_id


def test_explain_names_every_rule_and_attempt(run: Run, world: World) -> None:
    fail_one(world)
    told = run("files", "explain", 1).out
    assert "AccessDenied" in told
    assert "zego-retention files retry 1" in told
    explained = run("files", "explain", 1, "--json").object
    assert [rule["result"] for rule in explained["rules"]] == ["decides"]
    assert [attempt["outcome"] for attempt in explained["attempts"]] == ["rejected"]
    assert explained["next_step"]


def test_what_is_over_is_not_due(run: Run, world: World) -> None:
    fail_one(world)
    rows = {line.split()[0]: line.split() for line in run("files", "list").out.splitlines()}
    assert rows["1"][-1] == "ago"
    assert rows["2"][-3:] == ["deleted", "everything", "-"]


def test_retry_starts_over_with_failed_files(run: Run, world: World) -> None:
    fail_one(world)
    assert run("files", "retry", 2).code == 1
    assert "1 file to be asked for again" in run("files", "retry", "--all-failed").out
    assert world.state("bad") == "scheduled"
    world.sandbox.heal("bad")
    assert run("sweep").code == 0
    assert world.states() == {"deleted": ["bad", "good"]}
    assert run("files", "retry", "--all-failed").code == 0


def test_confirm_hands_a_file_to_the_rules_and_notes_who_did(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("stale", age=timedelta(days=2), now=world.clock() - timedelta(hours=1))
    world.send("fresh", age=timedelta(days=2))
    assert run("files", "confirm", 1, 2).code == 1
    assert world.state("stale") == "unconfirmed"
    ended = run("files", "confirm", 1, "--by", "mei")
    assert ended.code == 0
    assert "1 file confirmed" in ended.out
    assert world.state("stale") == "scheduled"
    with world.database.read() as session:
        row = find_file(session, 1)
        assert row is not None
        assert row.confirmed_by == "mei"


def test_retry_and_confirm_are_on_record_with_who_did_it(run: Run, world: World) -> None:
    fail_one(world)
    world.send("stale", now=world.clock() - timedelta(hours=1))
    run("files", "retry", "--all-failed", "--by", "bo")
    run("files", "confirm", 3, "--by", "mei")
    with world.database.read() as session:
        rows = list(session.scalars(select(AuditEntryRow).order_by(AuditEntryRow.id)))
    entries = [(row.action, row.subject, row.actor, row.through, row.detail) for row in rows]
    assert entries[-2:] == [
        ("retry_files", "file 1", "bo", "command line", '{"files": [1]}'),
        ("confirm_files", "file 3", "mei", "command line", '{"files": [3]}'),
    ]


def test_explain_tells_the_arithmetic_holds_and_what_ends_them(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f", age=timedelta(days=1))
    assert "ended 2026-02-28 12:00:00 UTC + 30d = 2026-03-30 12:00:00 UTC" in run("files", "explain", 1).out
    place_hold(world.database, HoldOrder(None, 1, None, "a court asks"), TESTER, world.clock())
    told = run("files", "explain", 1).out
    assert "1 on this file, placed 2026-03-01 12:00:00 UTC (now) by a tester: a court asks" in told
    assert "zego-retention holds release 1" in told
    assert "revision 1 from a test, applied 2026-03-01 12:00:00 UTC (now) by a tester" in told


def test_explain_of_a_deleted_file_says_that_it_speaks_of_then(run: Run, world: World) -> None:
    fail_one(world)
    world.keep("forever")
    told = run("files", "explain", 2).out
    assert "What counted when it was let go, in this order, under the rules of then and not of today:" in told
    assert "today it is 2" in told
    assert "+ 1d = 2026-02-28 12:00:00 UTC" in told


def test_explain_of_a_file_that_a_listing_did_not_show_speaks_of_no_letting_go(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f", stored=False)
    world.clock.move(hours=1)
    assert world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]["gone"] == 1
    told = run("files", "explain", 1).out
    assert "the vendor does not have it any more: listing 1 of" in told
    assert told.endswith("\nThis service never asked ZEGO to delete it.\n")
    assert "What counted" not in told


def test_show_tells_of_cooling_off_and_of_rules_that_only_observe(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f", age=timedelta(days=2))
    world.apply('[[rules]]\nname = "short"\nkeep = "1d"\n', cooling_off=timedelta(days=1))
    told = run("files", "show", 1).out
    assert "2026-03-02 12:00:00 UTC (in a day): revision 2 moved its date earlier" in told
    assert "preview " in told
    world.apply('[[rules]]\nname = "trial run"\nkeep = "1d"\nmode = "observe"\n')
    assert "2026-02-28 12:00:00 UTC (a day ago), if its rule did not only observe" in run("files", "show", 1).out


# Erasure


def test_delete_shows_first_and_does_what_was_expected(run: Run, world: World) -> None:
    world.keep("forever")
    world.add(2, stream_id="mei-1")
    place_hold(world.database, HoldOrder(None, 2, None, "a court asks"), TESTER, world.clock())
    asked = ("files", "delete", "--stream", "mei-*", "--reason", "she asked")
    shown = run(*asked)
    assert shown.code == 1
    assert "1 file would be deleted by the next sweep." in shown.out
    assert "1 held, which stay until they are released" in shown.out
    told = run(*asked, "--json").object
    assert told["held"] == 1
    assert shown.err.endswith(f"nothing was done; to delete 1 file, add --expect 1 --digest {told['digest']}\n")
    refused = run(*asked, "--expect", 2)
    assert (refused.code, refused.out) == (1, "")
    assert "files that would be deleted now: 1, not 2" in refused.err
    assert world.files()["file-00000"]["approval"] is None
    done = run(*asked, "--expect", 1, "--by", "mei")
    assert (done.code, done.err) == (0, "")
    assert done.out == "Erasure 1 takes 2 files, 1 of them free to go; the next sweep deletes those.\n"
    world.sweep()
    assert world.stored() == {"file-00001"}


def test_delete_takes_the_files_of_the_digest_or_none(run: Run, world: World) -> None:
    world.keep("forever")
    world.add(2, stream_id="mei-1")
    asked = ("files", "delete", "--stream", "mei-*", "--reason", "she asked")
    told = run(*asked, "--json").object
    place_hold(world.database, HoldOrder(None, 2, None, "a court asks"), TESTER, world.clock())
    world.add(1, prefix="later", stream_id="mei-1")
    refused = run(*asked, "--expect", 2, "--digest", told["digest"])
    assert refused.code == 1
    assert "as many, but not the same" in refused.err
    assert run(*asked, "--digest", told["digest"]).code == 2
    now = run(*asked, "--json").object
    assert run(*asked, "--expect", 2, "--digest", now["digest"]).code == 0
    world.sweep()
    assert world.stored() == {"file-00001"}


def test_delete_takes_numbers_and_answers_in_json(run: Run, world: World) -> None:
    world.add(3)
    erasure = run("files", "delete", 1, 3, "--reason", "she asked", "--expect", 2, "--json", "--by", "mei").object
    assert (erasure["files"], erasure["by_state"], erasure["requested_by"]) == (2, {"scheduled": 2}, "mei")
    assert run("files", "delete", "--reason", "why").code == 2
    assert run("files", "delete", 1, "--stream", "*", "--reason", "why").code == 2
    assert run("files", "delete", 1).code == 2
    assert "there is no file 9" in run("files", "delete", 9, "--reason", "why", "--expect", 1).err


@pytest.mark.parametrize(("typed", "code", "state"), [(b"2\n", 1, "kept"), (b"1\n", 0, "scheduled")])
def test_in_a_terminal_the_number_of_files_is_typed(
    world: World, database_url: str, typed: bytes, code: int, state: str
) -> None:
    world.keep("forever")
    world.send("f")
    assert type_into(world, database_url, typed, "1") == code
    assert world.state("f") == state


def test_what_is_typed_is_bound_to_the_files_that_were_shown(world: World, database_url: str) -> None:
    world.keep("forever")
    world.send("shown")

    def swap() -> None:
        place_hold(world.database, HoldOrder(None, 1, None, "a court asks"), TESTER, world.clock())
        world.send("another")

    assert type_into(world, database_url, b"1\n", "--stream", "room", meanwhile=swap) == 1
    assert world.states() == {"held": ["shown"], "kept": ["another"]}
    assert {file["approval"] for file in world.files().values()} == {None}


def type_into(
    world: World, database_url: str, typed: bytes, *files: str, meanwhile: Callable[[], None] = lambda: None
) -> int:
    """Ask in a terminal for files to go, and type an answer; `meanwhile` happens before it. The exit code."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service", "files", "delete", *files, "--app", APP, "--reason", "she asked"]
    variables = os.environ | environment(database_url, world.sandbox.url)
    process = subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 60
    while b"Type the number of files to delete" not in seen and time.monotonic() < deadline:
        if selecting.select([ours], [], [], 0.1)[0]:
            seen += os.read(ours, 4096)
    meanwhile()
    os.write(ours, typed)
    code = process.wait(30)
    os.close(ours)
    return code


def test_an_erasure_that_fits_nothing_is_refused(run: Run, world: World) -> None:
    world.send("f", stream="room-1")
    ended = run("files", "delete", "--stream", "nobody-*", "--app", APP, "--reason", "asked to")
    assert ended.code == 1
    assert "no file that is still there fits" in ended.err


def test_an_erasure_of_held_files_says_that_they_go_once_they_are_free(run: Run, world: World) -> None:
    world.send("f", stream="room-1")
    run("holds", "add", "--file", "1", "--reason", "a dispute")
    ended = run("files", "delete", "1", "--reason", "asked to")
    assert ended.code == 1
    assert "1 file would be deleted only once they are free; to order that, add --expect 0" in ended.err
