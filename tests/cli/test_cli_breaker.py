from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.core.model import Actor
from service.usecases.breaking import approve_plans
from tests.world import APP

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World

FEW = {"BREAKER_FILES": "3"}
OBSERVED = """
[[rules]]
name = "on trial"
match = { stream = "trial-*" }
keep = "1d"
mode = "observe"

[[rules]]
name = "everything"
keep = "1d"
"""


def stop(run: Run, world: World, files: int = 4) -> None:
    world.keep("1d")
    world.add(files)
    assert run("sweep", **FEW).code == 3


def test_a_stopped_sweep_says_what_to_do_and_ends_with_3(run: Run, world: World) -> None:
    world.keep("1d")
    world.add(4)
    ended = run("sweep", **FEW)
    assert ended.code == 3
    assert "Run 1 is stopped: 0 calls to ZEGO" in ended.out
    assert f"- the breaker stopped app {APP}" in ended.out
    assert "4 files are due that nobody approved, more than BREAKER_FILES=3 in one pass" in ended.out
    assert "then `zego-retention sweep --approve 1`" in ended.out
    assert "ended early" not in ended.out
    told = run("sweep", "--json", **FEW)
    assert (told.code, told.object["exit_code"], told.object["run"]["state"]) == (3, 3, "stopped")
    assert world.sandbox.calls == ()


def test_the_plan_is_shown_with_its_run(run: Run, world: World) -> None:
    stop(run, world, 60)
    shown = run("runs", "show", 1)
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert f"plan for app {APP}" in lines
    assert "state open" in lines
    assert "why 60 files are due that nobody approved, more than BREAKER_FILES=3 in one pass" in lines
    assert "files 60 of 60 present ones" in lines
    assert "to approve it zego-retention sweep --approve 1" in lines
    assert sum("everything" in line for line in lines) == 50
    assert shown.err == "10 more files of the plan: see their numbers with --json\n"
    [plan] = run("runs", "show", 1, "--json").object["plans"]
    assert (plan["run"], plan["app_id"], plan["state"], len(plan["files"])) == (1, APP, "open", 60)


def test_approving_deletes_what_was_planned_and_no_more(run: Run, world: World) -> None:
    stop(run, world)
    world.add(2, prefix="new")
    ended = run("sweep", "--approve", 1, "--by", "anna", **FEW)
    assert (ended.code, ended.err) == (0, f"approved the plan of run 1 for app {APP}\n")
    assert "Run 2 is done: 1 call to ZEGO" in ended.out
    assert sorted(world.states()["scheduled"]) == ["new-00000", "new-00001"]
    [plan] = run("runs", "show", 1, "--json").object["plans"]
    assert (plan["state"], plan["settled_by"]) == ("approved", "anna")
    assert run("runs", "show", 2, "--json").object["trigger"] == "approval"
    assert "by anna" in run("runs", "show", 1).out
    told = run("sweep", "--approve", 1, "--json", **FEW)
    assert (told.code, told.object["run"]["calls"]) == (0, 0)


def test_what_cannot_be_approved_is_an_error_in_a_line(run: Run, world: World) -> None:
    stop(run, world)
    for number, reason in ((7, "there is no run 7"), (1, "the plan of run 1 lapsed")):
        if number == 1:
            world.keep("forever")
            run("sweep", **FEW)
        ended = run("sweep", "--approve", number, **FEW)
        assert ended.code == 1
        assert reason in ended.err
        assert ended.err.count("\n") == 1
    assert world.sandbox.calls == ()


def test_a_plan_that_was_approved_under_other_rules_gives_nothing_more(run: Run, world: World) -> None:
    stop(run, world)
    assert run("sweep", "--approve", 1, **FEW).code == 0
    world.keep("2d")
    ended = run("sweep", "--approve", 1, **FEW)
    assert ended.code == 1
    assert "the plan of run 1 was approved under rules revision 1, and 2 is in force now" in ended.err
    assert "`zego-retention sweep`" in ended.err
    assert ended.err.count("\n") == 1


def test_approving_excludes_only_looking(run: Run, world: World) -> None:
    stop(run, world)
    assert run("sweep", "--approve", 1, "--dry-run").code == 2
    assert run("sweep", "--by", "anna").code == 2
    assert run("sweep", "--approve", 0).code == 2
    assert world.sandbox.calls == ()


def test_a_dry_run_says_what_the_breaker_would_stop_and_writes_nothing(run: Run, world: World) -> None:
    world.keep("1d")
    world.add(4)
    said = run("sweep", "--dry-run", **FEW).out
    assert f"the breaker would stop app {APP}: 4 files are due that nobody approved, more than BREAKER_FILES=3" in said
    assert "would delete" not in said
    told = run("sweep", "--dry-run", "--json", **FEW).object
    [stopped] = told["stops"]
    assert (told["total"], stopped["app_id"], stopped["files_count"], stopped["plan"]) == (0, APP, 4, None)
    assert run("runs", "list", "--json").out == ""
    run("sweep", **FEW)
    assert "then `zego-retention sweep --approve 1`" in run("sweep", "--dry-run", **FEW).out


def test_a_plan_that_is_open_is_told_by_doctor(run: Run, world: World) -> None:
    stop(run, world)
    assert f"the breaker stopped app {APP}" in run("doctor", **FEW).out
    approve_plans(world.database, 1, Actor("anna", "a test"), world.clock())
    assert "the breaker stopped" not in run("doctor", **FEW).out


def test_what_is_kept_back_is_told_by_a_dry_run_and_a_sweep_alike(run: Run, world: World) -> None:
    world.apply(OBSERVED)
    for number in range(3):
        world.send(f"trial-{number}", stream="trial-7", age=timedelta(days=2))
    world.send("young", stream="trial-7")
    for arguments in (["sweep", "--dry-run"], ["sweep"]):
        assert 'Rule "on trial" only observes: it would have deleted 3 files.' in run(*arguments).out
        kept = run(*arguments, "--json").object["kept_back"]
        assert kept == {"cooling": 0, "cooling_until": None, "held": 0, "observed": {"on trial": 3}}
    assert world.sandbox.calls == ()
