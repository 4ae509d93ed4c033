from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.core.breaker import Limits
from service.core.model import Actor
from service.db.models import MediaFileRow, Trigger
from service.db.revisions import Revision, add_revision
from service.usecases.dry_runs import DryRun, dry_run
from service.usecases.erasing import ErasureRequest, request_erasure
from service.usecases.holding import HoldOrder, place_hold
from service.usecases.policy import ensure_first_rules
from service.usecases.reports import KeptBack, count_kept_back
from service.usecases.sweep import run_pass
from tests.world import APP, OTHER_APP

if TYPE_CHECKING:
    from tests.world import World

ANNA = Actor("anna", "a test")


def look(world: World, files: int = 10_000) -> DryRun:
    return dry_run(world.database, world.clock(), 100, replace(world.service.sweeper.limits, files=files))


def due(world: World) -> list[str]:
    found = look(world)
    assert found.total == len(found.files) == sum(found.by_rule.values()) == sum(found.by_lane.values())
    return [file["file_id"] for file in found.files]


def test_it_counts_what_the_rules_in_force_have_yet_to_decide(world: World) -> None:
    world.send("old", age=timedelta(days=2))
    world.send("new")
    ensure_first_rules(world.database, "1d", timedelta(0), world.clock())
    assert due(world) == ["old"]
    world.sweep()
    assert world.states() == {"deleted": ["old"], "scheduled": ["new"]}


def test_a_file_that_was_due_before_is_counted_once(world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=5))
    world.send("young", age=timedelta(hours=1))
    put_in_force(world, 2, "2d")
    assert due(world) == ["old"]
    put_in_force(world, 3, "10d")
    assert due(world) == []
    put_in_force(world, 4, "30m")
    assert due(world) == ["old", "young"]


def test_a_file_that_waits_for_its_retry_is_not_due(world: World) -> None:
    world.keep("1d")
    world.send("locked", age=timedelta(days=2))
    world.sandbox.fail_file("locked", "Locked")
    world.sweep()
    assert due(world) == []
    put_in_force(world, 2, "2h")
    assert due(world) == []
    world.clock.move(minutes=2)
    assert due(world) == ["locked"]


def test_what_waits_for_a_cooling_off_is_told_apart_decided_or_not(world: World) -> None:
    world.keep("10d")
    world.send("old", age=timedelta(days=5))
    until = world.clock() + timedelta(hours=24)
    put_in_force(world, 2, "1d", until)
    for _ in range(2):
        found = look(world)
        assert (found.total, found.kept_back.cooling, found.kept_back.cooling_until) == (0, 1, until)
        world.sweep()
    assert count_kept_back(world.database, world.clock()).cooling == 1
    put_in_force(world, 3, "10d")
    assert look(world).kept_back == KeptBack(0, None, 0, {})
    put_in_force(world, 4, "1d", until)
    world.clock.move(hours=24)
    assert due(world) == ["old"]


def test_a_hold_counts_as_long_as_it_lasts_whatever_is_on_record(world: World) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2))
    number = world.files()["old"]["id"]
    hold = HoldOrder(None, number, None, "a trial", world.clock() + timedelta(hours=1))
    place_hold(world.database, hold, Actor("anna", "a test"), world.clock())
    assert (look(world).total, look(world).kept_back.held) == (0, 1)
    world.clock.move(hours=2)
    before = world.files()
    assert (due(world), look(world).kept_back.held) == (["old"], 0)
    assert world.files() == before
    assert before["old"]["state"] == "held"
    world.sweep()
    assert world.states() == {"deleted": ["old"]}


def test_what_rules_that_only_observe_would_delete_is_told_decided_or_not(world: World) -> None:
    world.keep("10d")
    world.send("old", age=timedelta(days=5))
    world.send("young")
    put_in_force(world, 2, "1d", mode="observe")
    for _ in range(2):
        found = look(world)
        assert (found.total, found.kept_back.observed) == (0, {"everything": 1})
        world.sweep()
    assert count_kept_back(world.database, world.clock()).observed == {"everything": 1}
    put_in_force(world, 3, "10d")
    assert look(world).kept_back.observed == {}


def test_what_the_breaker_would_stop_is_not_counted_among_what_goes(world: World) -> None:
    world.keep("1d")
    world.add(3)
    world.add(1, prefix="other", app_id=OTHER_APP)
    assert look(world, files=3).stops == ()
    found = look(world, files=2)
    assert [(stop.app_id, stop.trip.due, stop.plan) for stop in found.stops] == [(APP, 3, None)]
    assert [file["file_id"] for file in found.files] == ["other-00000"]
    assert (found.total, found.by_lane) == (1, {f"{OTHER_APP} Tencent": 1})


def test_an_app_whose_plan_is_open_would_stay_stopped_however_many_are_due(world: World) -> None:
    world.keep("1d")
    world.add(3)
    limits = Limits(2, 1.0)
    run_id = run_pass(replace(world.service.sweeper, limits=limits), Trigger.COMMAND)
    hold(world, "file-00000")
    hold(world, "file-00001")
    [stop] = look(world, files=2).stops
    assert (stop.app_id, stop.plan) == (APP, run_id)
    assert f"the plan of run {run_id} with 3 files is open, and some of them are still due" in stop.sentence
    hold(world, "file-00002")
    world.add(1, prefix="new")
    assert (look(world, files=2).stops, due(world)) == ((), ["new-00000"])


def test_a_file_that_was_rescued_after_an_attempt_counts_for_the_breaker_again(world: World) -> None:
    world.keep("1d")
    for file_id in world.add(3):
        world.sandbox.fail_file(file_id, "Locked")
    world.sweep()
    world.clock.move(days=1)
    assert look(world, files=2).stops == ()
    world.keep("365d")
    world.clock.move(days=400)
    assert [stop.trip.due for stop in look(world, files=2).stops] == [3]


def test_an_erasure_that_its_files_were_not_told_yet_counts_as_a_sweep_would_carry_it_out(world: World) -> None:
    world.keep("10d")
    for number in range(4):
        world.send(f"user-{number}", stream="user-1", age=timedelta(days=5))
    world.send("overdue", stream="user-1", age=timedelta(days=20))
    world.send("another")
    hold(world, "user-3")
    world.sandbox.fail_file("overdue", "Locked")
    world.sweep()
    world.send("ripe", stream="user-1", age=timedelta(days=20))
    request = ErasureRequest((), APP, "user-*", "a ticket")
    for _ in range(2):
        request_erasure(world.database, request, 5, ANNA, world.clock(), patience_s=-1)
    before = world.files()
    assert due(world) == ["user-0", "user-1", "user-2", "ripe"]  # the fifth waits for its retry
    assert (look(world, files=1).stops, look(world).kept_back.held) == ((), 1)
    with world.database.read() as session:
        assert {row.erasure_id for row in session.query(MediaFileRow)} == {None}
    assert world.files() == before
    world.sweep()
    assert world.states() == {
        "deleted": ["user-0", "user-1", "user-2", "ripe"],
        "held": ["user-3"],
        "scheduled": ["overdue", "another"],
    }
    assert due(world) == []
    world.clock.move(minutes=2)
    assert due(world) == ["overdue"]


def test_a_file_that_was_given_up_goes_with_an_erasure(world: World) -> None:
    world.keep("1d")
    world.send("refused", age=timedelta(days=2))
    world.sandbox.fail_file("refused", "AccessDenied")
    world.sweep()
    assert world.states() == {"failed": ["refused"]}
    request = ErasureRequest((world.files()["refused"]["id"],), None, None, "a ticket")
    request_erasure(world.database, request, 1, ANNA, world.clock(), patience_s=-1)
    assert due(world) == ["refused"]
    assert world.states() == {"failed": ["refused"]}


def hold(world: World, file_id: str) -> None:
    order = HoldOrder(None, world.files()[file_id]["id"], None, "a trial")
    place_hold(world.database, order, ANNA, world.clock())


def put_in_force(
    world: World, number: int, keep: str, cooling_until: datetime | None = None, mode: str = "enforce"
) -> None:
    """A rule set under which nothing is decided yet, as after a crash in the middle of applying it."""
    text = f'[[rules]]\nname = "everything"\nkeep = "{keep}"\nmode = "{mode}"\n'
    revision = Revision(number, world.clock(), "tester", "a test", "a test", text, cooling_until)
    world.database.transact(lambda session: add_revision(session, revision))
