"""What happens between holding a candidate against the inventory and putting it in force."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.rules_file import parse_rules
from service.usecases.applying import Applied, NotAsPreviewed, PreviewNeeded, apply_rules
from service.usecases.inventory import NotPossible
from service.usecases.policy import Candidate, show_revision
from service.usecases.previewing import make_preview
from tests.world import TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = timedelta(days=1)
SHORTER = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "5d"\n'), "shorter")
NEWEST_STAYS = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "5d"\nkeep_latest = 1\n'), "the newest stays")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        world.keep("30d")
        world.send("old", age=10 * DAY, stream="old-room")
        world.clock.move(hours=1)  # what follows is not taken for a late commit of before
        yield world


def preview(world: World, candidate: Candidate) -> int:
    number: int = make_preview(world.database, candidate, TESTER, DAY, world.clock())["id"]
    return number


def apply(
    world: World,
    candidate: Candidate,
    preview_id: int | None,
    meanwhile: Callable[[], None] | None = None,
    *,
    cooling_off: timedelta = DAY,
) -> Applied:
    """Apply; `meanwhile` happens once, after the inventory was read and before the rules are locked."""
    waiting = [meanwhile] if meanwhile else []

    def strike(_done: int) -> None:
        if waiting:
            waiting.pop()()

    return apply_rules(
        world.database, candidate, TESTER, cooling_off, world.clock, preview_id=preview_id, progress=strike
    )


def revision(world: World) -> int:
    shown = show_revision(world.database)
    assert shown is not None
    number: int = shown["number"]
    return number


def test_an_old_recording_that_is_announced_meanwhile_is_in_the_way(world: World) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(hours=1)
    with pytest.raises(NotAsPreviewed) as refused:
        apply(world, SHORTER, shown, lambda: void(world.send("late", age=9 * DAY, stream="late-room")))
    assert refused.value.preview["sooner"] == 2
    assert revision(world) == 1


def test_a_new_recording_that_is_announced_meanwhile_is_not(world: World) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(hours=1)
    applied = apply(world, SHORTER, shown, lambda: void(world.send("new", stream="new-room")))
    assert (applied.revision, applied.sooner) == (2, 2)
    assert world.files()["new"]["approval"] is None
    assert world.files()["old"]["approval"] == f"preview {shown}"


def test_what_a_newer_recording_displaces_waits_and_is_approved_by_nobody(world: World) -> None:
    """Where recordings arrive all the time, a change that counts them could never be applied otherwise."""
    shown = preview(world, NEWEST_STAYS)
    world.clock.move(hours=1)
    apply(world, NEWEST_STAYS, shown, lambda: void(world.send("newer", stream="old-room")))
    old = world.files()["old"]
    assert (old["rule"], old["state"], old["approval"]) == ("all", "scheduled", None)
    assert old["cooling_until"] == "2026-03-02T14:00:00Z"
    world.sweep()
    assert world.state("old") == "scheduled"


def test_a_file_that_comes_where_there_was_nothing_to_preview_asks_for_a_preview(world: World) -> None:
    lenient = Candidate(parse_rules('[[rules]]\nname = "late"\nmatch = { stream = "late-*" }\nkeep = "1d"\n'), "late")
    world.clock.move(hours=1)
    with pytest.raises(PreviewNeeded):
        apply(world, lenient, None, lambda: void(world.send("late", age=9 * DAY, stream="late-room")))
    assert revision(world) == 1


def test_rules_that_others_put_in_force_meanwhile_ask_for_a_new_preview(world: World) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(hours=1)
    with pytest.raises(NotAsPreviewed) as refused:
        apply(world, SHORTER, shown, lambda: world.keep("forever"))
    assert (refused.value.preview["base_revision"], refused.value.preview["sooner"]) == (2, 1)
    applied = apply(world, SHORTER, refused.value.preview["id"])
    assert (applied.revision, applied.sooner) == (3, 1)


def test_a_preview_of_before_does_not_undo_what_others_put_in_force_to_keep_a_file(world: World) -> None:
    """The file is in the previewed set, but nobody who looked at that knew of the rules that keep it now."""
    shown = preview(world, SHORTER)
    world.clock.move(minutes=1)
    rescue = '[[rules]]\nname = "rescue"\nmatch = { stream = "old-*" }\nkeep = "forever"\n'
    apply(world, Candidate(parse_rules(rescue), "a court asks"), None)
    world.clock.move(minutes=1)
    with pytest.raises(NotAsPreviewed, match="other rules came into force since preview"):
        apply(world, SHORTER, shown)
    assert revision(world) == 2
    assert world.state("old") == "kept"


def test_a_preview_of_before_still_serves_where_no_file_is_due_sooner(world: World) -> None:
    candidate = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "30d"\n'), "as long")
    shown = preview(world, candidate)
    world.clock.move(hours=1)
    world.keep("20d")
    assert apply(world, candidate, shown).revision == 3


@pytest.mark.parametrize(("setting", "days"), [(timedelta(0), 1), (2 * DAY, 2)])
def test_the_longer_cooling_off_of_preview_and_setting_counts(world: World, setting: timedelta, days: int) -> None:
    shown = preview(world, SHORTER)
    applied = apply(world, SHORTER, shown, cooling_off=setting)
    assert applied.cooling_until == world.clock() + days * DAY
    world.sweep()
    assert world.stored() == {"old"}


def test_a_preview_that_told_of_no_cooling_off_asks_for_none(world: World) -> None:
    shown = make_preview(world.database, SHORTER, TESTER, timedelta(0), world.clock())["id"]
    assert apply(world, SHORTER, shown, cooling_off=timedelta(0)).cooling_until is None


@pytest.mark.parametrize("days", [31, -31])
def test_a_preview_of_long_ago_or_of_a_clock_that_ran_ahead_is_refused(world: World, days: int) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(days=days)
    with pytest.raises(NotPossible, match=f"preview {shown} is of 2026-03-01, too old: make a new one"):
        apply(world, SHORTER, shown)
    assert revision(world) == 1


def test_a_preview_serves_for_thirty_days(world: World) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(days=30)
    assert apply(world, SHORTER, shown).revision == 2


def test_two_who_apply_the_same_make_one_revision(world: World) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(hours=1)
    applied = apply(world, SHORTER, shown, lambda: void(apply(world, SHORTER, shown)))
    assert (applied.revision, applied.is_new) == (2, False)


def void(_: object) -> None:
    """What is done matters, not what it gives."""
