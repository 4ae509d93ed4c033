"""For as long as a change of rules can be taken back, nothing goes that the rules before it keep."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor
from service.core.rules_file import parse_rules
from service.db import files, revisions
from service.usecases.applying import Applied, apply_rules
from service.usecases.deciding import decide_again, decide_older
from service.usecases.erasing import ErasureRequest, request_erasure
from service.usecases.ingest import replay_callback
from service.usecases.inventory import confirm_files
from service.usecases.policy import Candidate, candidate_of
from tests.world import APP, TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from service.db.engine import Session

DAY = timedelta(days=1)
SHORT = '[[rules]]\nname = "all"\nkeep = "1d"\n'
SHORT_BUT_THE_NEWEST = SHORT + "keep_latest = 1\n"
SHORT_IF_BIG = """
[[rules]]
name = "big"
match = { min_size = "500kB" }
keep = "1d"

[[rules]]
name = "rest"
keep = "30d"
"""
NO_SIZE = {"ObsObject": "f", "Duration": 10}


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        world.keep("30d")
        yield world


def change(world: World, text: str) -> Applied:
    return world.apply(text, cooling_off=DAY)


def number(world: World, file_id: str) -> int:
    found: int = world.files()[file_id]["id"]
    return found


def decide_anew(world: World, file_id: str) -> None:
    file_key = number(world, file_id)

    def decide(session: Session) -> None:
        row = files.find_file(session, file_key)
        assert row is not None
        decide_again(session, [row], revisions.current_rules(session), world.clock())

    world.database.transact(decide)


def assert_it_waits(world: World, file_id: str, vendor: Vendor = Vendor.TENCENT) -> None:
    """It is there until the change cannot be taken back any more, and gone after that."""
    world.sweep()
    assert file_id in world.stored(vendor)
    world.clock.move(hours=25)
    world.sweep()
    assert file_id not in world.stored(vendor)


def test_what_the_change_moved(world: World) -> None:
    world.send("f", age=10 * DAY)
    assert change(world, SHORT).sooner == 1
    assert_it_waits(world, "f")


def test_what_a_newer_recording_displaces_after_the_change(world: World) -> None:
    world.send("old", age=10 * DAY, stream="room")
    assert change(world, SHORT_BUT_THE_NEWEST).sooner == 0
    world.clock.move(minutes=5)
    world.send("new", stream="room")
    assert_it_waits(world, "old")


def test_what_a_recording_displaces_that_came_after_the_change_and_goes_before_it(world: World) -> None:
    """Whichever of the two a sweep claims first, the older is still the newest that the change found."""
    world.apply('[[rules]]\nname = "all"\nkeep = "5d"\nkeep_latest = 1\n')
    world.send("old", age=10 * DAY)
    assert change(world, '[[rules]]\nname = "all"\nkeep = "5d"\n').sooner == 1
    world.clock.move(minutes=5)
    world.send("new", age=6 * DAY)
    decide_anew(world, "old")
    assert world.files()["old"]["cooling_until"] == "2026-03-02T12:00:00Z"
    assert_it_waits(world, "old")
    assert world.stored() == set()


def test_what_becomes_due_because_its_size_is_learned_after_the_change(world: World) -> None:
    world.send("f", age=10 * DAY, vendor=Vendor.HUAWEI, extra_params=NO_SIZE)
    assert change(world, SHORT_IF_BIG).sooner == 0
    world.clock.move(minutes=5)
    world.send("f", age=10 * DAY + timedelta(minutes=5), vendor=Vendor.HUAWEI)
    assert_it_waits(world, "f", Vendor.HUAWEI)


def test_what_is_confirmed_after_the_change(world: World) -> None:
    world.keep("7d")
    world.apply('[[rules]]\nname = "all"\nkeep = "7d"\nkeep_latest = 1\n')
    world.send("f", age=10 * DAY, now=world.clock() - timedelta(hours=1))
    change(world, '[[rules]]\nname = "all"\nkeep = "7d"\n')
    confirm_files(world.database, [number(world, "f")], TESTER, world.clock())
    assert_it_waits(world, "f")


def test_what_was_received_before_the_change_and_understood_after_it(world: World) -> None:
    world.send("f", age=10 * DAY, secret="the new one")
    change(world, SHORT)
    replay_callback(replace(world.service.ingest, secrets={APP: ["the new one"]}), 1)
    assert_it_waits(world, "f")


def test_the_last_recording_of_a_stream_whose_newer_one_was_erased(world: World) -> None:
    world.apply('[[rules]]\nname = "all"\nkeep = "30d"\nkeep_latest = 1\n')
    world.send("older", age=30 * DAY - timedelta(hours=1), stream="room")
    world.send(
        "newer", age=30 * DAY - timedelta(hours=5), began=world.clock() - 30 * DAY + timedelta(hours=4), stream="room"
    )
    request = ErasureRequest((number(world, "newer"),), None, None, "asked to")
    request_erasure(world.database, request, 1, TESTER, world.clock())
    world.sweep()
    assert world.stored() == {"older"}
    assert change(world, '[[rules]]\nname = "all"\nkeep = "30d"\n').sooner == 1
    world.clock.move(hours=2)
    assert_it_waits(world, "older")


def test_what_a_change_in_between_had_moved_that_no_file_was_decided_under(world: World) -> None:
    """The process that applied it was killed; the next change waits for nothing by itself."""
    world.send("f", age=10 * DAY)
    world.clock.move(hours=1)
    with pytest.raises(KeyboardInterrupt):
        apply_in_part(world)
    world.apply('[[rules]]\nname = "all"\nkeep = "2d"\n', cooling_off=timedelta(0))
    assert_it_waits(world, "f")


def apply_in_part(world: World) -> None:
    candidate = Candidate(parse_rules(SHORT_BUT_NOT_ROOM_9), "a test")
    world.send("g", age=10 * DAY, stream="room-9")
    shown = world.preview(candidate, DAY)
    apply_rules(world.database, candidate, TESTER, DAY, world.clock, preview_id=shown, progress=interrupt_after(1))


SHORT_BUT_NOT_ROOM_9 = """
[[rules]]
name = "room 9"
match = { stream = "room-9" }
keep = "forever"

[[rules]]
name = "all"
keep = "1d"
"""


def test_a_change_that_was_taken_back_makes_nothing_wait(world: World) -> None:
    world.send("f", age=31 * DAY)
    change(world, SHORT)
    world.sweep()
    assert world.stored() == {"f"}
    apply_rules(world.database, candidate_of(world.database, 1), TESTER, DAY, world.clock)
    world.sweep()
    assert world.stored() == set()


def test_a_change_made_under_a_clock_that_ran_ahead_does_not_wait_for_ever(world: World) -> None:
    world.send("f", age=10 * DAY)
    world.clock.move(days=365)
    change(world, SHORT)
    world.clock.move(days=-365)
    change(world, '[[rules]]\nname = "all"\nkeep = "2d"\n')
    decide_older(world.database, world.clock)
    assert_it_waits(world, "f")


def test_a_date_that_the_rules_before_gave_as_well_does_not_wait(world: World) -> None:
    """The rules before counted recordings, those of now do not: the older one was to go on that day under both."""
    world.apply('[[rules]]\nname = "all"\nkeep = "7d"\nkeep_latest = 1\n')
    world.send("old", age=10 * DAY, stream="room")
    world.send("new", age=8 * DAY, stream="room")
    assert change(world, '[[rules]]\nname = "all"\nkeep = "7d"\n').sooner == 1
    assert world.files()["old"]["cooling_until"] is None
    world.sweep()
    assert world.stored() == {"new"}


def test_an_approval_ends_when_other_facts_give_another_date(world: World) -> None:
    world.send("f", age=10 * DAY, vendor=Vendor.HUAWEI)
    change(world, SHORT)
    assert world.files()["f"]["approval"] == "preview 1"
    world.send("f", age=9 * DAY, vendor=Vendor.HUAWEI)
    told = world.files()["f"]
    assert (told["rule"], told["approval"]) == ("all", None)


def test_an_approval_by_a_change_in_between_that_no_file_was_decided_under(world: World) -> None:
    world.send("old", age=10 * DAY, stream="room")
    world.send("new", age=DAY, stream="room")
    candidate = Candidate(parse_rules(SHORT_BUT_THE_NEWEST), "a test")
    shown = world.preview(candidate, DAY)
    with pytest.raises(KeyboardInterrupt):
        apply_rules(world.database, candidate, TESTER, DAY, world.clock, preview_id=shown, progress=interrupt_after(1))
    world.apply(SHORT)
    assert world.files()["old"]["approval"] == f"preview {shown}"
    assert world.files()["new"]["approval"] == f"preview {shown + 1}"


def test_a_file_that_is_rescued_is_no_retry_any_more(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    world.sandbox.fail_file("f", "InternalError")
    world.sweep()
    assert retry_at(world) is not None
    world.keep("365d")
    assert world.state("f") == "scheduled"
    assert retry_at(world) is None


def retry_at(world: World) -> datetime | None:
    with world.database.read() as session:
        row = files.find_file(session, number(world, "f"))
        assert row is not None
        return row.retry_at


def interrupt_after(looks: int) -> Callable[[int], None]:
    """The first look is the reckoning, the next is deciding."""
    seen: list[int] = []

    def strike(done: int) -> None:
        seen.append(done)
        if len(seen) > looks:
            raise KeyboardInterrupt

    return strike
