from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from service.core.model import Vendor, Verdict
from service.db.inbox import find_callback
from service.db.leases import take_lease
from service.usecases.claiming import SWEEP_LEASE
from service.zego.sandbox_faults import answer_code, answer_late
from tests.world import APP, environment

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World


def test_a_pass_tells_its_outcomes_and_ends_with_0(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.send("away", age=timedelta(days=2), stored=False)
    world.send("locked", age=timedelta(days=2), vendor=Vendor.HUAWEI)
    world.sandbox.fail_file("locked", "Locked", times=1)
    ended = run("sweep")
    assert (ended.code, ended.err) == (0, "")
    assert "Run 1 is done: 2 calls to ZEGO" in ended.out
    words = [line.split()[:2] for line in ended.out.splitlines()]
    assert ["deleted", "1"] in words
    assert ["gone", "1"] in words
    assert ["retryable", "1"] in words
    assert "1 file will be asked for again" in ended.out


def test_json_is_one_object(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    told = run("sweep", "--json").object
    assert told["run"]["outcomes"]["deleted"] == 1
    assert (told["waiting"], told["attention"], told["exit_code"]) == (0, [], 0)


def test_what_needs_a_person_is_said_and_ends_with_3(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("bad", age=timedelta(days=2))
    world.send("stale", age=timedelta(days=2), now=world.clock() - timedelta(hours=1))
    world.sandbox.fail_file("bad", "AccessDenied")
    world.sandbox.search = False
    ended = run("sweep")
    assert ended.code == 3
    assert "zego-retention files retry ID" in ended.out
    assert "zego-retention files confirm ID" in ended.out
    told = run("sweep", "--json")
    assert (told.code, told.object["exit_code"], len(told.object["attention"])) == (3, 3, 2)


def test_a_blocked_app_ends_with_3_and_its_files_stay_due(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.sandbox.always(answer_code(7, "auth failed"))
    ended = run("sweep")
    assert ended.code == 3
    assert f"app {APP} is blocked" in ended.out
    assert world.state("old") == "scheduled"


def test_without_rules_it_says_that_nothing_is_ever_deleted(run: Run, world: World) -> None:
    for arguments in (["sweep"], ["sweep", "--dry-run"]):
        assert "No rules are in force, so nothing is ever deleted: " in run(*arguments).out
    world.keep("1d")
    for arguments in (["sweep"], ["sweep", "--dry-run"]):
        assert "No rules" not in run(*arguments).out


def test_an_app_that_pauses_is_told_until_the_pause_is_over(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    away = {"API_URL": "http://127.0.0.1:9/"}
    said = run("sweep", **away).out
    assert re.search(rf"^app {APP} pauses until \d\d:\d\d:\d\d UTC: no connection to ZEGO", said, re.MULTILINE), said
    world.clock.move(hours=7)
    assert "pauses until" not in run("sweep").out


def test_a_file_whose_app_is_not_called_says_so(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.sandbox.next(answer_code(7, "auth failed"))
    run("sweep")
    assert f"; but app {APP} is blocked: 7 auth failed" in run("files", "explain", 1).out
    run("sweep")
    assert "blocked" not in run("files", "explain", 1, "--json").object["next_step"]


def test_a_dry_run_writes_nothing_and_calls_nothing(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2), stream="room-7")
    world.send("new")
    before = world.files()
    table = run("sweep", "--dry-run")
    assert "A sweep would delete 1 file now. Nothing was deleted." in table.out
    assert "room-7" in table.out
    told = run("sweep", "--dry-run", "--json").object
    assert (told["total"], told["by_rule"], told["by_lane"]) == (1, {"everything": 1}, {f"{APP} Tencent": 1})
    assert [file["file_id"] for file in told["files"]] == ["old"]
    assert world.files() == before
    assert world.sandbox.calls == ()
    assert run("runs", "list", "--json").out == ""


def test_callbacks_left_unfinished_are_understood_first(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))

    def forget(session: object) -> None:
        row = find_callback(session, 1)  # type: ignore[arg-type]
        assert row is not None
        row.verdict, row.finished_at = Verdict.PENDING, None

    world.database.transact(forget)
    run("sweep")
    assert [c["verdict"] for c in run("callbacks", "list", "--json").objects] == ["accepted"]


def test_runs_are_listed_and_shown(run: Run, world: World) -> None:
    assert run("runs", "list").err == "no runs yet\n"
    world.keep("1d")
    world.send("old", age=timedelta(days=2), stream="room-7")
    run("sweep")
    world.clock.move(hours=2)
    run("sweep")
    second, first = run("runs", "list", "--json").objects
    assert (first["id"], first["outcomes"]["deleted"], second["calls"]) == (1, 1, 0)
    table = run("runs", "list", "--limit", 1)
    assert table.err == "1 more: see them with --limit or --json\n"
    shown = run("runs", "show", 1)
    assert "2 hours ago" in shown.out
    assert "room-7" in shown.out
    told = run("runs", "show", 1, "--json").object
    assert [call["code"] for call in told["calls_made"]] == ["0"]
    [attempt] = told["attempts"]
    assert (attempt["outcome"], attempt["stream_id"], attempt["file_id"]) == ("deleted", "room-7", "old")


def start_sweep(world: World, database_url: str) -> subprocess.Popen[str]:
    # The real clock: a process of its own has no other.
    world.clock.time = datetime.now(UTC)
    variables = os.environ | environment(database_url, world.sandbox.url)
    return subprocess.Popen(
        [sys.executable, "-m", "service", "sweep", "--json"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_finishes_the_call_in_flight_and_records_it(world: World, database_url: str) -> None:
    world.keep("1d")
    world.clock.time = datetime.now(UTC)
    world.send("old", age=timedelta(days=2))
    arrived = threading.Event()
    world.sandbox.on_request = lambda _call: arrived.set()
    world.sandbox.next(answer_late(1.5))
    process = start_sweep(world, database_url)
    assert arrived.wait(30)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert '"state": "interrupted"' in out
    assert process.returncode == 3
    assert "stopping after the calls in flight" in err
    assert world.state("old") == "deleted"


def test_a_second_signal_ends_it_at_once(world: World, database_url: str) -> None:
    world.keep("1d")
    world.clock.time = datetime.now(UTC)
    world.send("old", age=timedelta(days=2))
    arrived = threading.Event()
    world.sandbox.on_request = lambda _call: arrived.set()
    world.sandbox.next(answer_late(20))
    process = start_sweep(world, database_url)
    assert arrived.wait(30)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert time.monotonic() - started < 10


def test_it_waits_for_a_pass_in_progress_and_says_for_whose(world: World, database_url: str) -> None:
    now = datetime.now(UTC)
    world.database.transact(lambda s: take_lease(s, SWEEP_LEASE, "host/7", now, timedelta(minutes=5)))
    process = start_sweep(world, database_url)
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "waiting for the pass of host/7 to end (if it has died: 2 minutes after its last sign of life) …\n"
    )
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert "interrupted before the pass began" in err
