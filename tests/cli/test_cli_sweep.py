"""`sweep`, `reconcile` and `runs`: led by the command, followed where a worker leads, stopped, handed over."""

from __future__ import annotations

import re
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.cli import main
from service.leader.store import find_leader
from service.model import FileState, Vendor
from service.rules.store import ensure_first_rules
from tests.faults import answer_code, answer_late
from tests.processes import running, wait_until
from tests.world import APP, environment

if TYPE_CHECKING:
    from pathlib import Path

    from service.sandbox import Call
    from tests.cli.conftest import Run
    from tests.world import World

FEW = {"BREAKER_FILES": "3"}


def words_of(text: str) -> list[list[str]]:
    return [line.split()[:2] for line in text.splitlines()]


# Reports and exit codes


def test_a_sweep_shows_its_outcomes_and_exits_0(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.send("away", age=timedelta(days=2), stored=False)
    world.send("locked", age=timedelta(days=2), vendor=Vendor.HUAWEI)
    world.sandbox.fail_file("locked", "Locked", times=1)
    ended = run("sweep")
    assert (ended.code, ended.err) == (0, "")
    assert "Run 1 is done: 2 calls to ZEGO" in ended.out
    assert words_of(ended.out)[3:6] == [["deleted", "1"], ["gone", "1"], ["retryable", "1"]]
    shown = run("sweep", "--json").object
    assert (shown["run"]["state"], shown["attention"], shown["exit_code"]) == ("done", [], 0)
    assert [each["trigger"] for each in run("runs", "list", "--json").objects] == ["command", "command"]
    run_1 = run("runs", "show", 1, "--json").object
    assert len(run_1["calls_made"]) == 2
    assert {each["file_id"]: each["outcome"] for each in run_1["attempts"]} == {
        "old": "deleted", "away": "gone", "locked": "retryable",
    }  # fmt: skip


def test_an_app_that_pauses_is_said_with_its_reason(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    for _ in range(2):
        ended = run("sweep", API_URL="http://127.0.0.1:9/", RETRY_FIRST="1h")
        assert ended.code == 0
        assert f"app {APP} pauses until 2026-03-01" in ended.out
        assert "nothing was sent to ZEGO" in ended.out
        assert "ZEGO answered" not in ended.out
        assert ended.out.count("pauses until") == 1
    dry = run("sweep", "--dry-run", API_URL="http://127.0.0.1:9/", RETRY_FIRST="1h").out
    assert "A sweep would delete 0 files now." in dry
    assert dry.count("pauses until") <= 1


def test_what_needs_a_person_is_said_and_exits_3(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("bad", age=timedelta(days=2))
    world.send("stale", age=timedelta(days=2), now=world.clock() - timedelta(hours=1))
    world.sandbox.fail_file("bad", "AccessDenied")
    ended = run("sweep")
    assert ended.code == 3
    assert "zego-retention files retry ID" in ended.out
    assert "zego-retention files confirm ID" in ended.out
    shown = run("sweep", "--json")
    assert (shown.code, shown.object["exit_code"], len(shown.object["attention"])) == (3, 3, 2)


def test_a_blocked_app_exits_3_and_its_files_stay_due(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.sandbox.always(answer_code(7, "auth failed"))
    ended = run("sweep")
    assert ended.code == 3
    assert f"app {APP} has been blocked" in ended.out
    assert world.state("old") is FileState.SCHEDULED
    assert f"app {APP} has been blocked" in run("files", "explain", 1).out
    dry = run("sweep", "--dry-run")
    assert "A sweep would delete 0 files now." in dry.out
    assert f"app {APP} has been blocked" in dry.out
    assert [each["files_count"] for each in run("sweep", "--dry-run", "--json").object["not_called"]] == [1]


def test_without_rules_it_says_that_nothing_is_ever_deleted(run: Run, world: World) -> None:
    for arguments in (["sweep"], ["sweep", "--dry-run"]):
        assert (
            "No rules are in force: nothing is ever deleted. Start the service with ZEGO_RETENTION_KEEP"
            in run(*arguments).out
        )
    world.keep("1d")
    for arguments in (["sweep"], ["sweep", "--dry-run"]):
        assert "No rules" not in run(*arguments).out


def test_a_dry_run_writes_nothing_and_calls_nothing(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2), stream="room-7")
    world.send("held", age=timedelta(days=2))
    world.send("new")
    run("holds", "add", "--file", 2, "--reason", "a court asks")
    before = world.files()
    table = run("sweep", "--dry-run")
    assert "A sweep would delete 1 file now. Nothing was deleted." in table.out
    assert "room-7" in table.out
    assert "Not deleted although their date has come: 1 held." in table.out
    shown = run("sweep", "--dry-run", "--json").object
    assert (shown["total"], shown["by_rule"], shown["kept_back"]["held"]) == (1, {"everything": 1}, 1)
    assert [file["file_id"] for file in shown["files"]] == ["old"]
    assert world.files() == before
    assert world.sandbox.calls == ()
    assert run("runs", "list", "--json").out == ""


# The breaker


def test_what_the_breaker_stopped_is_shown_approved_and_deleted_and_no_more(run: Run, world: World) -> None:
    world.keep("1d")
    world.add(4)
    dry = run("sweep", "--dry-run", **FEW)
    assert "A sweep would delete 0 files now." in dry.out
    assert f"the breaker would stop app {APP}: 4 files are due" in dry.out
    ended = run("sweep", **FEW)
    assert ended.code == 3
    assert "Run 1 is stopped: 0 calls to ZEGO" in ended.out
    assert "`zego-retention sweep --approve 1`" in ended.out
    assert world.sandbox.calls == ()
    assert ended.err == ""
    again = run("sweep", **FEW)
    assert "Run 2 is stopped: 0 calls to ZEGO" in again.out
    assert "the plan of run 1" not in again.out.partition("Needs a person:")[0]
    assert "It " not in again.out
    refused = run("sweep", "--approve", 2, **FEW)
    assert refused.code == 1
    what_to_do = "approve that with `zego-retention sweep --approve 1`"
    assert refused.err == f"zego-retention: run 2 was stopped by the plan of run 1: {what_to_do}\n"
    world.add(2, prefix="new")
    shown = run("runs", "show", 1)
    assert f"Plan for app {APP}" in shown.out
    assert ["to", "approve"] in words_of(shown.out)
    assert re.findall("(?:file|new)-0000[0-9]", shown.out) == [f"file-0000{number}" for number in range(4)]
    assert [file["id"] for file in run("runs", "show", 1, "--json").object["planned"]] == [1, 2, 3, 4]
    approved = run("sweep", "--approve", 1, "--by", "anna", **FEW)
    assert approved.code == 0
    assert "Run 3 is done: 1 call to ZEGO" in approved.out
    assert sorted(world.states()[FileState.SCHEDULED]) == ["new-00000", "new-00001"]
    [plan] = run("runs", "show", 1, "--json").object["plans"]
    assert (plan["state"], plan["ended_by"], plan["called"]) == ("approved", "anna", 4)
    again = run("sweep", "--approve", 1, **FEW)
    assert (again.code, "no plan of run 1 is open any more" in again.err) == (1, True)
    assert "there is no run 7" in run("sweep", "--approve", 7, **FEW).err
    assert run("sweep", "--approve", 1, "--dry-run").code == 2


# Listings


def test_adopted_files_that_wait_for_a_person_are_said(run: Run, world: World) -> None:
    world.sandbox.add_file(APP, Vendor.HUAWEI, "found", created_at=world.clock() - timedelta(days=30))
    ensure_first_rules(world.database, "1d", timedelta(days=1), world.clock())
    run("reconcile", "--vendor", "Huawei")
    world.clock.move(days=2)
    for arguments in (["sweep"], ["sweep", "--dry-run"]):
        said = run(*arguments, KEEP="1d")
        assert "1 file that only a listing shows, kept until a person has applied rules" in said.out
        assert "rules apply --keep" in said.out
    world.keep("1d")
    assert "only a listing shows" not in run("sweep", "--dry-run", KEEP="1d").out


def test_reconcile_shows_each_listing_and_adopts(run: Run, world: World) -> None:
    world.sandbox.add_file(APP, Vendor.HUAWEI, "found", created_at=world.clock() - timedelta(days=3))
    ended = run("reconcile", "--vendor", "Huawei", "--vendor", "Tencent")
    assert (ended.code, ended.err) == (0, "")
    assert "1 file adopted: the rules decide them like any other, and none is deleted within 1d." in ended.out
    listings = run("listings", "list", "--json").objects
    assert [(each["vendor"], each["listed"]) for each in listings] == [("Huawei", 1), ("Tencent", 0)]
    assert [each["id"] for each in run("reconcile", "--vendor", "Ws", "--json").objects] == [3]
    assert [file["file_id"] for file in run("files", "list", "--adopted", "--json").objects] == ["found"]
    since = run("reconcile", "--since", "2026-02-28", "--vendor", "Huawei", "--json").object
    assert (since["since"], since["state"], since["gone"]) == ("2026-02-28T00:00:00Z", "complete", 0)
    ago = run("reconcile", "--since", "7d", "--vendor", "Huawei", "--json").object
    assert ago["since"] == "2026-02-22T12:00:00Z"


def test_a_listing_that_is_incomplete_exits_3(run: Run, world: World) -> None:
    world.send("f")
    world.sandbox.always(answer_code(100_000_007, action="SearchMedia"))
    ended = run("reconcile", "--vendor", "Tencent")
    assert ended.code == 3
    assert f"App {APP}, Tencent: " in ended.out
    assert ended.err == ""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_slip_is_refused_before_anything_is_read(run: Run, world: World) -> None:
    assert "app 555 is not in the settings" in run("reconcile", "--app", "555").err
    assert "is in the future" in run("reconcile", "--since", "2026-03-02").err
    assert run("reconcile", "--vendor", "Azure").code == 2
    assert world.sandbox.calls == ()


# Processes

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def prepare(world: World) -> None:
    """A file is due by the real clock, and nobody leads."""
    world.clock.time = datetime.now(UTC)
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    world.service.leader.release()


def test_a_sweep_follows_the_worker_that_leads(world: World, database_url: str, tmp_path: Path) -> None:
    prepare(world)
    settings = environment(database_url, world.sandbox.url, SWEEP_EVERY="off")
    with running("worker", settings, tmp_path) as worker:
        worker.wait_for("leading")
        with running("sweep", settings, tmp_path) as sweep:
            assert sweep.process.wait(30) == 0, sweep.log()
    assert "Run 1 is done: 1 call to ZEGO" in sweep.log()
    assert "sweep_finished" in worker.log()
    assert world.stored() == set()


@only_sqlite
def test_a_sweep_that_a_leader_finds_too_late_is_said_to_have_expired(
    world: World, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_late() -> None:
        wait_until(lambda: world.service.leader.look().number == 1)
        world.clock.move(minutes=16)
        world.catch_up()

    leader = threading.Thread(target=find_late)
    leader.start()
    settings = environment(database_url, world.sandbox.url)
    assert main(["sweep"], environ=settings, now=world.clock) == 1
    leader.join()
    expected = "zego-retention: order 1: expired: nobody began with it within 15 minutes, so nothing was done"
    assert capsys.readouterr().err.splitlines()[-1].startswith(expected)
    assert main(["audit", "order", "1"], environ=settings, now=world.clock) == 0
    assert "nobody began with it within 15 minutes" in " ".join(capsys.readouterr().out.split())
    assert main(["runs", "list", "--json"], environ=settings, now=world.clock) == 0
    assert capsys.readouterr().out == ""


@only_sqlite
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_call_in_flight_and_records_it(
    world: World, database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    prepare(world)
    arrived = threading.Event()
    world.sandbox.on_request = lambda call: arrived.set() if call.action == "DeleteMedia" else None
    world.sandbox.next(answer_late(1.5, action="DeleteMedia"))
    with running("sweep", environment(database_url, world.sandbox.url), tmp_path) as sweep:
        assert arrived.wait(30)
        assert sweep.end(number) == 1
    assert "stopping after the calls in flight" in sweep.log()
    assert "Run 1 is interrupted" in sweep.log()
    assert "It was stopped by a signal. The remaining files stay due." in sweep.log()
    assert sweep.errors()[-1] == "zego-retention: interrupted"
    assert world.state("old") is FileState.DELETED


@only_sqlite
def test_a_second_signal_ends_it_at_once(world: World, database_url: str, tmp_path: Path) -> None:
    prepare(world)
    arrived = threading.Event()
    world.sandbox.on_request = lambda _call: arrived.set()
    world.sandbox.next(answer_late(20))
    with running("sweep", environment(database_url, world.sandbox.url), tmp_path) as sweep:
        assert arrived.wait(30)
        sweep.process.send_signal(signal.SIGINT)
        sweep.wait_for("Ctrl-C once more")
        assert sweep.end(signal.SIGINT) == 1


@only_sqlite
def test_a_sweep_is_handed_over_to_a_worker_that_starts(world: World, database_url: str, tmp_path: Path) -> None:
    prepare(world)
    arrived, wanted = threading.Event(), threading.Event()

    def hold_answer(call: Call) -> None:
        arrived.set()
        if call.stage != "done":
            wanted.wait(30)

    world.sandbox.on_request = hold_answer
    settings = environment(database_url, world.sandbox.url, SWEEP_EVERY="off")
    with running("sweep", settings, tmp_path) as sweep:
        assert arrived.wait(30)
        with running("worker", settings, tmp_path) as worker:
            wait_until(lambda: is_lead_wanted(world))
            time.sleep(1.5)  # longer than the command takes to notice
            wanted.set()
            assert sweep.process.wait(30) == 0, sweep.log()
            worker.wait_for("sweep_finished")
    assert "a worker has started: it continues with this" in sweep.log()
    assert "Run 2 is done" in sweep.log()
    assert world.stored() == set()


def is_lead_wanted(world: World) -> bool:
    with world.database.read() as tx:
        leader = find_leader(tx)
    return leader is not None and leader.wanted_at is not None


@only_sqlite
def test_a_clock_behind_the_record_is_said_and_deletes_nothing(world: World, run: Run) -> None:
    prepare(world)
    world.clock.move(minutes=-30)
    shown = run("sweep", "--dry-run")
    assert "But no sweep deletes anything now:\n- the clock is 30 minutes behind the newest time on record" in shown.out
    done = run("sweep")
    assert (done.code, world.state("old")) == (3, FileState.SCHEDULED)
    assert "Run 1 is stopped: 0 calls to ZEGO" in done.out
    assert "- nothing is deleted: the clock is 30 minutes behind" in done.out
    doctor = run("doctor")
    assert "nothing is deleted: the clock is 30 minutes behind" in doctor.out
