from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.core.rules_file import catch_all, format_rules
from service.db.revisions import Revision, add_revision
from service.usecases.policy import ensure_first_rules
from service.usecases.reports import dry_run

if TYPE_CHECKING:
    from tests.world import World


def due(world: World) -> list[str]:
    found = dry_run(world.database, world.clock(), 100)
    assert found.total == len(found.files) == sum(found.by_rule.values()) == sum(found.by_lane.values())
    return [file["file_id"] for file in found.files]


def test_it_counts_what_the_rules_in_force_have_yet_to_decide(world: World) -> None:
    world.send("old", age=timedelta(days=2))
    world.send("new")
    ensure_first_rules(world.database, "1d", world.clock())
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


def put_in_force(world: World, number: int, keep: str) -> None:
    """A rule set under which nothing is decided yet, as after a crash in the middle of applying it."""
    revision = Revision(number, world.clock(), "tester", "a test", format_rules(catch_all(keep)))
    world.database.transact(lambda session: add_revision(session, revision))
