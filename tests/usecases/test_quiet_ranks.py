"""Files that a listing showed only a while ago take nobody's place among the newest of their stream (keep_latest)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.core.model import Vendor
from service.core.rules_file import parse_rules
from service.usecases import previewing
from service.usecases.policy import Candidate
from tests.usecases.listed import adopt
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from tests.world import World

DAY = timedelta(days=1)
COUNTED = '[[rules]]\nname = "all"\nkeep = "1d"\nkeep_latest = 1\n'


def reopen_the_newest(world: World) -> None:
    """Somebody deletes the newest recording of a stream; later, the listing shows it again."""
    world.apply(COUNTED)
    world.send("older", age=9 * DAY, vendor=Vendor.HUAWEI)
    world.send("newest", age=3 * DAY, vendor=Vendor.HUAWEI)
    made_at = world.sandbox.files(APP, Vendor.HUAWEI)["newest"].created_at
    world.clock.move(minutes=20)
    world.sandbox.remove_file(APP, Vendor.HUAWEI, "newest")
    world.reconcile(Vendor.HUAWEI)
    world.sweep()
    assert (world.state("newest"), world.state("older")) == ("gone", "kept")
    world.clock.move(hours=2)
    world.sandbox.add_file(APP, Vendor.HUAWEI, "newest", stream_id="room", created_at=made_at)
    assert world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]["reopened"] == 1


def count_due(world: World) -> int:
    candidate = Candidate(parse_rules(COUNTED.replace("all", "anew")), "x")
    made = previewing.make_preview(world.database, candidate, TESTER, timedelta(0), world.clock())
    due: int = made["changes"]["due_now"]["count"]
    assert made["changes"]["kept"]["count"] == made["files"] - due
    return due


def test_a_reopened_file_takes_nobodys_place_at_once(world: World) -> None:
    reopen_the_newest(world)
    assert count_due(world) == 0
    world.sweep()
    assert world.states() == {"kept": ["older", "newest"]}
    # The listing was wrong about it: the older one is what is left.
    world.sandbox.remove_file(APP, Vendor.HUAWEI, "newest")
    world.clock.move(hours=23)
    world.sweep()
    world.sweep()
    assert world.stored(Vendor.HUAWEI) == {"older"}


def test_a_reopened_file_takes_its_place_once_it_has_been_left_alone(world: World) -> None:
    reopen_the_newest(world)
    world.clock.move(days=1, minutes=1)
    assert count_due(world) == 1
    world.sweep()
    assert world.states() == {"kept": ["newest"], "scheduled": ["older"]}
    assert world.facts("quiet_until") == {(None,)}
    world.sweep()
    assert world.stored(Vendor.HUAWEI) == {"newest"}


def test_a_file_whose_callback_comes_after_its_listing_takes_its_place_a_while_later(world: World) -> None:
    world.apply(COUNTED)
    world.send("older", age=9 * DAY, vendor=Vendor.HUAWEI)
    world.sandbox.add_file(APP, Vendor.HUAWEI, "newest", stream_id="room", created_at=world.clock() - 3 * DAY)
    world.clock.move(minutes=20)
    assert world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]["adopted"] == 1
    world.send("newest", age=3 * DAY, vendor=Vendor.HUAWEI, stored=False)
    assert world.states() == {"kept": ["older", "newest"]}
    world.clock.move(days=1, minutes=1)
    world.sweep()
    world.sweep()
    assert world.stored(Vendor.HUAWEI) == {"newest"}


def test_adopted_files_without_a_stream_are_left_as_they_are(world: World) -> None:
    world.apply(COUNTED)
    adopt(world, "found", age=9 * DAY)
    world.clock.move(days=2)
    world.sweep()
    assert world.states() == {"kept": ["found"]}
