"""Commands that change something: holds, files, callbacks, tokens; applied by a leader, by the command, or late."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.audit.order import OrderKind, Step
from service.cli import main
from service.files.store import save_files
from service.model import FileState, Vendor
from service.orders import ApplyOrders
from tests.cli.terminal import type_into
from tests.faults import answer_late
from tests.processes import wait_until
from tests.world import APP, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Run
    from tests.world import World


def fail_one(world: World) -> None:
    """File 1 is given up, file 2 is deleted."""
    world.keep("1d")
    world.send("bad", age=timedelta(days=2))
    world.send("good", age=timedelta(days=2))
    world.sandbox.fail_file("bad", "AccessDenied", "not yours")
    world.sweep()


@contextmanager
def ticking(world: World) -> Iterator[None]:
    """While the block runs the world, which leads, catches up all the time, as a worker does."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.05):
            world.catch_up()

    worker = threading.Thread(target=tick)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


# Holds


def test_a_hold_is_placed_listed_and_released(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("a", stream="lesson-1", age=timedelta(days=2))
    world.add(1, prefix="found", stream_id="", event="")
    placed = run("holds", "add", "--stream", "lesson-*", "--reason", "a court asks", "--until", "30d", "--by", "mei")
    assert (placed.code, placed.err) == (0, "")
    assert placed.out == ("Hold 1 is in force.\nIt holds 2 files (1 of them because their stream is not known) now.\n")
    assert world.state("a") == "held"
    [hold] = run("holds", "list", "--json").objects
    assert (hold["app_id"], hold["placed_by"], hold["until"]) == (APP, "mei", "2026-03-31T12:00:00Z")
    other = run("holds", "add", "--stream", "Lesson-*", "--reason", "x", "--until", "1d")
    assert "(1 of them because their stream is not known) now.\nNo known stream matches the pattern." in other.out
    run("holds", "release", 2)
    order = run("holds", "release", 1, "--json").object
    assert (order["state"], order["result"]["files"]) == ("applied", 2)
    assert world.state("a") == "scheduled"
    assert run("holds", "list", "--json").objects == []
    assert run("holds", "list", "--released", "--json").objects[0]["released_at"] is not None
    again = run("holds", "release", 1)
    assert (again.code, "was released already" in again.err) == (1, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_hold_that_is_not_valid_is_refused(run: Run, world: World) -> None:
    world.send("a")
    assert run("holds", "add", "--reason", "x").code == 2
    assert run("holds", "add", "--file", 1, "--stream", "x", "--reason", "x").code == 2
    assert run("holds", "add", "--file", 1).code == 2
    assert "there is no file 9" in run("holds", "add", "--file", 9, "--reason", "x").err
    assert "is in the past" in run("holds", "add", "--file", 1, "--reason", "x", "--until", "2026-02-01").err
    assert "tomorrow" in run("holds", "add", "--file", 1, "--reason", "x", "--until", "tomorrow").err
    assert run("holds", "list", "--json").objects == []


# Files


def test_retry_starts_over_with_failed_files(run: Run, world: World) -> None:
    fail_one(world)
    assert "zego-retention files retry 1" in run("files", "explain", 1).out
    assert run("files", "retry", 2).code == 1
    retried = run("files", "retry", "--all-failed", "--by", "bo")
    assert (retried.code, retried.out) == (0, "The next sweep retries 1 file.\n")
    assert world.state("bad") == "scheduled"
    world.sandbox.heal("bad")
    world.sweep()
    assert world.states() == {"deleted": ["bad", "good"]}
    assert run("files", "retry", "--all-failed").err == "no file has failed\n"
    [entry] = run("audit", "list", "--json", "--action", "files.retry").objects
    assert (entry["actor"], entry["through"], entry["subject"]) == ("bo", "command line", "file 1")


def test_confirm_hands_a_file_to_the_rules_all_or_none(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("stale", age=timedelta(days=2), now=world.clock() - timedelta(hours=1))
    world.send("fresh", age=timedelta(days=2))
    assert run("files", "confirm", 1, 2).code == 1
    assert world.state("stale") == "unconfirmed"
    ended = run("files", "confirm", 1)
    assert (ended.code, ended.out) == (0, "1 file confirmed.\n")
    assert world.state("stale") == "scheduled"


def test_delete_shows_first_and_does_what_was_counted(run: Run, world: World) -> None:
    world.keep("forever")
    world.add(2, stream_id="mei-1")
    world.add(1, prefix="found", stream_id="", event="")
    run("holds", "add", "--file", 2, "--reason", "a court asks")
    asked = ("files", "delete", "--stream", "mei-*", "--reason", "she asked")
    shown = run(*asked)
    assert (shown.code, shown.out) == (1, "")
    assert "The erasure would take 2 files" in shown.err
    assert "It keeps 1 file until released or confirmed: 1 held." in shown.err
    assert "Not deleted: 1 file whose stream is not known." in shown.err
    assert shown.err.endswith("nothing was done; to delete 2 files, add --count 2\n")
    refused = run(*asked, "--count", 1)
    assert (refused.code, "2 files would be deleted now, not 1" in refused.err) == (1, True)
    assert world.states() == {"held": ["file-00001"], "kept": ["file-00000", "found-00000"]}
    done = run(*asked, "--count", 2, "--by", "mei")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "Erasure 1 takes 2 files; the next sweep deletes 1 file.\n"
        "It keeps 1 file until released or confirmed: 1 held.\n"
        "Not deleted: 1 file whose stream is not known. See `zego-retention files list --unknown-stream`, and delete by"
        " number what is meant.\n"
        "Until that sweep, `zego-retention holds add` with --file ID or --stream still keeps files: a hold wins over an"
        " erasure. Released, they are deleted.\n"
    )
    run("holds", "add", "--file", 1, "--reason", "a mistake")
    world.sweep()
    assert world.states() == {"held": ["file-00000", "file-00001"], "kept": ["found-00000"]}
    run("holds", "release", 2)
    world.sweep()
    assert world.stored() == {"file-00001", "found-00000"}
    decided = " ".join(run("files", "explain", 1).out.split())
    assert "decided by erasure 1, requested 2026-03-01 12:00 UTC (now) by mei" in decided
    assert "revision 1, applied" not in decided
    erasure = run("erasures", "show", 1, "--json").object
    assert (erasure["files"], erasure["by_state"]) == (2, {"held": 1, "deleted": 1})
    nothing = run("files", "delete", "--stream", "n", "--reason", "x").err
    assert "no present file matches; 1 file of unknown stream: there is nothing to delete (no pattern takes" in nothing
    assert "1 file taken by an earlier erasure already" in run("files", "delete", 2, "--reason", "x", "--count", 1).err
    again = run("files", "delete", 2, 3, "--reason", "x", "--count", 1)
    assert (again.code, "Nothing changes for 1 file: an earlier erasure" in again.out) == (0, True)


def test_a_file_that_no_rule_can_be_judged_for_is_marked_and_told_what_helps(run: Run, world: World) -> None:
    world.apply('[[rules]]\nname = "lessons"\nmatch = { stream = "lesson-*" }\nkeep = "forever"\n')
    world.add(1, prefix="found", stream_id="", event="")
    world.add(1, stream_id="lesson-1")
    marked, plain = run("files", "list", "--json").objects
    assert (marked["note"], plain["note"]) == ("only listed, rule not judged", None)
    assert "only listed" in run("files", "list").out
    said = run("files", "explain", 1).out
    assert "cannot be judged: its stream is not known; only a listing shows it: a rule" in " ".join(said.split())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_hold_that_covers_nothing_says_why(run: Run, world: World) -> None:
    [file_id] = world.add(1)
    world.service.leader.transact(lambda tx: save_files(tx, [world.files()[file_id]._replace(state=FileState.GONE)]))
    placed = run("holds", "add", "--file", 1, "--reason", "a court asks")
    assert "It holds no file now.\nNo file that is present matches; later ones, and any that a listing" in placed.out
    assert "Hold 1 is released: no file decided again." in run("holds", "release", 1).out


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("typed", "code", "state"), [(b"2\n", 1, "kept"), (b"1\n", 0, "scheduled")])
def test_on_a_terminal_the_number_of_files_is_typed(
    world: World, database_url: str, typed: bytes, code: int, state: str
) -> None:
    world.clock.time = datetime.now(UTC)
    world.keep("forever")
    world.send("f")
    arguments = ("files", "delete", "1", "--reason", "she asked")
    ended, seen = type_into(world, database_url, b"number of files to delete (1)", typed, *arguments)
    assert ended == code, seen
    assert world.state("f") == state


def test_files_of_callbacks_that_nobody_has_understood_yet_are_held_erased_and_counted(run: Run, world: World) -> None:
    world.keep("forever")
    world.announce("a", stream="c-1")
    listed = run("files", "list")
    assert (listed.out, listed.err.splitlines()[0]) == ("", "no files")
    assert "1 callback is not understood yet (a running worker does that), so its file is not known" in listed.err
    world.announce("b", stream="c-2")
    assert "It holds 1 file now." in run("holds", "add", "--stream", "c-2", "--reason", "a court asks").out
    world.announce("c", stream="c-1")
    erased = run("files", "delete", "--stream", "c-1", "--reason", "she asked", "--count", 2)
    assert (erased.code, "Erasure 1 takes 2 files" in erased.out) == (0, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # it takes its two seconds
def test_while_a_leader_has_callbacks_to_understand_nothing_is_said_to_be_missing(
    world: World, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.keep("forever")
    world.announce("a", stream="c-1")  # the world leads, and does nothing from here on
    environ = environment(database_url, world.sandbox.url)
    erase = ["files", "delete", "--stream", "c-1", "--reason", "she asked", "--count", "1"]
    assert main(erase, environ=environ, now=world.clock) == 1
    assert "nothing was done: 1 callback is not understood yet" in capsys.readouterr().err
    with ticking(world):
        assert main(erase, environ=environ, now=world.clock) == 0


# Callbacks, tokens, audit


def test_replay_judges_forged_callbacks_by_the_secret_of_now(run: Run, world: World) -> None:
    world.announce("f", secret="the-new-secret")
    refused = run("callbacks", "replay", "--verdict", "forged").out
    assert refused.startswith("0 callbacks judged again; 1 refused as before.\nIf their secret was corrected: restart")
    replayed = run("callbacks", "replay", 1, CALLBACK_SECRET="the-new-secret,callback-secret")
    assert (replayed.code, replayed.out) == (0, "1 callback judged again.\n")
    assert [each["verdict"] for each in run("callbacks", "list", "--json").objects] == ["accepted"]
    assert run("callbacks", "replay").code == run("callbacks", "replay", 1, "--verdict", "forged").code == 2
    assert "there is no callback 9" in run("callbacks", "replay", 9).err
    mistyped = run("callbacks", "replay", "--verdict", "forged", "--app", 77)
    assert (mistyped.code, "app 77 is not configured: known are" in mistyped.err) == (1, True)


def test_nobody_is_asked_for_the_password_of_a_person_who_is_not_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # reading it would fail
    assert "there is no person 9" in run("users", "password", 9).err


def test_a_token_is_shown_once(run: Run) -> None:
    made = run("tokens", "add", "backup-script", "--role", "operator", "--expires", "90d", "--by", "mei")
    assert made.code == 0
    assert made.out.startswith("zrt_")
    assert "its text is shown only now" in made.err
    second = run("tokens", "add", "other", "--role", "viewer", "--json").object
    assert second["token"].startswith("zrt_")
    listed = run("tokens", "list", "--json")
    assert made.out.strip() not in listed.out
    assert listed.objects[0]["expires_at"] == "2026-05-30T12:00:00Z"
    assert "already" in run("tokens", "add", "other", "--role", "viewer").err
    assert run("tokens", "revoke", 2).out == "Token 2 is revoked.\n"
    assert run("tokens", "list", "--json").objects[1]["revoked_at"] == "2026-03-01T12:00:00Z"
    assert "there is no token 9" in run("tokens", "revoke", 9).err


def test_the_audit_is_verified_exported_and_its_alteration_noticed(run: Run, world: World) -> None:
    world.keep("1d")
    run("tokens", "add", "one", "--role", "viewer")
    verified = run("audit", "verify")
    assert "2 entries, all as they were written." in verified.out
    head = verified.out.split("head  ")[1].split()[0]
    assert "the given head is one of them" in run("audit", "verify", "--head", head).out
    assert run("audit", "verify", "--head", "nonsense").code == 2
    assert [entry["number"] for entry in run("audit", "export").objects] == [1, 2]
    assert [entry["number"] for entry in run("audit", "export", "--after", 1).objects] == [2]
    with world.database.write() as tx:
        tx.exec_driver_sql("UPDATE audit_entries SET actor = 'nobody' WHERE number = 1")
    altered = run("audit", "verify", "--json")
    assert (altered.code, "the audit was altered: " in altered.err) == (1, True)
    assert altered.object["fault"] is not None


# Who applies an order


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # it takes its five seconds
def test_an_order_that_nobody_applies_in_time_exits_3_with_its_number(
    world: World, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.send("a")  # the world leads, and does nothing from here on
    capsys.readouterr()  # what the world has logged
    hold = ["holds", "add", "--file", "1", "--reason", "a court asks"]
    assert main(hold, environ=environment(database_url, world.sandbox.url), now=world.clock) == 3
    captured = capsys.readouterr()
    assert captured.out == "Hold 1 is in force.\n"
    assert captured.err.startswith("order 1: recorded, not applied yet")
    assert f"/{os.getpid()} leads, last seen at 2026-03-01" in captured.err, "it may not be there any more"
    assert "another process can after 2m" in captured.err
    world.catch_up()
    assert world.state("a") == "held"


def test_an_order_that_cannot_be_applied_exits_3_with_the_reason(
    world: World, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> Step:
        raise ValueError("a defect")

    world.send("a")
    applying = ApplyOrders(world.service.leader, {OrderKind.HOLD: refuse}, world.clock)
    world.service.catch_up.steps = (applying.run,)
    hold = ["holds", "add", "--file", "1", "--reason", "a court asks"]
    with ticking(world):
        assert main(hold, environ=environment(database_url, world.sandbox.url), now=world.clock) == 3
    assert "recorded, but applying it failed: ValueError: a defect" in capsys.readouterr().err


def test_without_a_worker_a_command_applies_its_order_and_starts_no_sweep(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("due", age=timedelta(days=2))
    world.send("other", stream="lesson-1", age=timedelta(days=2), vendor=Vendor.HUAWEI)
    assert run("holds", "add", "--stream", "lesson-*", "--reason", "a dispute").code == 0
    assert world.states() == {"scheduled": ["due"], "held": ["other"]}
    assert world.sandbox.calls == ()
    assert run("runs", "list", "--json").objects == []


def test_a_hold_names_the_files_whose_call_has_left(
    world: World, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.keep("1d")
    world.send("due", age=timedelta(days=2))
    world.sandbox.always(answer_late(2))
    sweep = threading.Thread(target=world.sweep)
    sweep.start()
    wait_until(lambda: bool(world.sandbox.calls))
    hold = ["holds", "add", "--file", "1", "--reason", "a court asks"]
    with ticking(world):
        assert main(hold, environ=environment(database_url, world.sandbox.url), now=world.clock) == 0
    sweep.join()
    assert "A call is already under way that may still delete file 1" in capsys.readouterr().out
    assert world.state("due") == "deleted"
