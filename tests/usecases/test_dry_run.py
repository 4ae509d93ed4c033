from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.core.model import Actor
from service.db.revisions import Revision, add_revision
from service.usecases.dry_runs import DryRun, dry_run
from service.usecases.holding import HoldOrder, place_hold
from service.usecases.policy import ensure_first_rules
from service.usecases.reports import KeptBack, count_kept_back
from tests.world import APP, OTHER_APP

if TYPE_CHECKING:
    from tests.world import World


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


def put_in_force(
    world: World, number: int, keep: str, cooling_until: datetime | None = None, mode: str = "enforce"
) -> None:
    """A rule set under which nothing is decided yet, as after a crash in the middle of applying it."""
    text = f'[[rules]]\nname = "everything"\nkeep = "{keep}"\nmode = "{mode}"\n'
    revision = Revision(number, world.clock(), "tester", "a test", "a test", text, cooling_until)
    world.database.transact(lambda session: add_revision(session, revision))
