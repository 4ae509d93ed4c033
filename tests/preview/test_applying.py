"""Putting rules in force: bound to a preview, its base, its moment and its number."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.audit.order import OrderKind
from service.audit.store import find_order
from service.database import Database
from service.files.store import save_files
from service.holds.holds import place_hold
from service.model import NoSuchThing, NotPossible
from service.preview.apply import Applied, PreviewNeeded, apply_rules, candidate_of_preview, candidate_of_revision
from service.preview.make import Candidate, find_preview, iterate_sooner, make_preview
from service.preview.store import find_preview as find_stored_preview
from service.rules.file import parse_rules
from service.rules.store import Revision, ensure_first_rules, find_current, find_current_number
from service.views.rules import REVISIONS
from tests.world import APP, TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.database import Transaction

DAY = timedelta(days=1)
SHORTER = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "5d"\n'), "shorter")
LONGER = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "90d"\n'), "longer")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        world.keep("30d")
        world.send("old", age=10 * DAY, stream="old-room")
        yield world


def preview(world: World, candidate: Candidate, cooling_off: timedelta = DAY) -> int:
    return make_preview(world.database, world.service.reader, candidate, TESTER, cooling_off, world.clock()).id


def apply(world: World, candidate: Candidate, number: int | None, cooling_off: timedelta = DAY, **more: Any) -> Applied:
    with world.database.read() as tx:
        shown = find_stored_preview(tx, number or 0)
    more = {"preview_id": number, "expect": shown and shown.sooner_count} | more
    return apply_rules(world.database, world.service.reader, candidate, TESTER, cooling_off, world.clock, **more)


def in_force(world: World) -> Revision:
    with world.database.read() as tx:
        revision = find_current(tx)
    assert revision is not None
    return revision


def test_applying_as_previewed_writes_revision_order_and_number(world: World) -> None:
    shown = preview(world, SHORTER)
    applied = apply(world, SHORTER, shown)
    assert (applied.revision, applied.sooner_count, applied.cooling_until) == (2, 1, world.clock() + DAY)
    revision = in_force(world)
    assert (revision.preview_id, revision.preview_highest_id, revision.moved_count) == (shown, 1, 1)
    assert (revision.source, revision.by_person, revision.rules) == ("shorter", True, SHORTER.rules)
    with world.database.read() as tx:
        order = find_order(tx, applied.order or 0)
    assert order is not None
    assert order.kind is OrderKind.RULES
    world.catch_up()
    old = world.files()["old"]
    assert (old.rule, old.moved_by, old.wait_until) == ("all", 2, world.clock() + DAY)
    world.sweep()
    assert world.stored() == {"old"}
    world.clock.move(days=1)
    world.sweep()
    assert world.stored() == set()


def test_a_change_that_makes_nothing_due_sooner_needs_no_preview(world: World) -> None:
    applied = apply(world, LONGER, None)
    assert (applied.revision, applied.sooner_count, applied.cooling_until) == (2, 0, None)
    assert in_force(world).preview_id is None


def test_a_revision_names_its_preview_also_where_no_file_became_due_sooner(world: World) -> None:
    shown = preview(world, LONGER)
    assert apply(world, LONGER, shown).sooner_count == 0
    assert (in_force(world).preview_id, in_force(world).moved_count) == (shown, 0)
    [revision, _] = REVISIONS.iterate(world.database, None)
    assert revision.preview_id == shown


def test_a_change_that_does_names_a_preview_to_look_at(world: World) -> None:
    with pytest.raises(PreviewNeeded, match="would make 1 file due sooner; look at preview 1") as refused:
        apply(world, SHORTER, None)
    assert find_preview(world.database, 1) == refused.value.preview
    assert in_force(world).number == 1
    assert apply(world, SHORTER, refused.value.preview.id).revision == 2


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            lambda world: world.send("late", age=9 * DAY, stream="late-room"),  # announced since, and due at once
            "these rules would now make 2 files due sooner, and preview 1 showed 1",
        ),
        (lambda world: world.keep("40d"), "revision 2 is in force, and preview 1 was compared with revision 1"),
    ],
)
def test_what_differs_from_the_preview_is_refused_with_a_new_one(
    world: World, change: Callable[[World], object], difference: str
) -> None:
    shown = preview(world, SHORTER)
    change(world)
    before = in_force(world)
    with pytest.raises(PreviewNeeded, match=f"nothing was applied: {difference}; look at preview 2") as refused:
        apply(world, SHORTER, shown)
    assert in_force(world) == before
    assert apply(world, SHORTER, refused.value.preview.id).revision == before.number + 1


def test_a_file_that_was_looked_at_and_is_due_sooner_by_a_fact_of_since_was_not_shown(world: World) -> None:
    small = Candidate(parse_rules('[[rules]]\nname = "s"\nmatch = { max_size = "5MB" }\nkeep = "20d"\n'), "small")
    shown = preview(world, small)
    known = world.files()["old"]._replace(size_bytes=1, decide_again=True)
    world.service.leader.transact(lambda tx: save_files(tx, [known]))
    with pytest.raises(PreviewNeeded, match="would now make 1 file due sooner, and preview 1 showed 0"):
        apply(world, small, shown)


def test_a_new_recording_that_is_announced_meanwhile_is_not_in_the_way(world: World) -> None:
    shown = preview(world, SHORTER)
    world.send("new", stream="new-room")
    assert apply(world, SHORTER, shown).sooner_count == 2
    world.catch_up()
    assert in_force(world).moved_count == 1
    files = world.files()
    assert (files["old"].moved_by, files["new"].moved_by) == (2, None)
    assert files["new"].wait_until == world.clock() + DAY


def test_fewer_files_than_shown_are_applied(world: World) -> None:
    world.send("other", age=12 * DAY)
    shown = preview(world, SHORTER)
    world.clock.move(days=21)
    world.sweep()
    assert apply(world, SHORTER, shown).revision == 2


@pytest.mark.parametrize(
    ("days", "cooling_off", "candidate", "problem"),
    [
        (31, DAY, SHORTER, "preview 1 is from 2026-03-01 12:00 UTC, which is too old: make a new one"),
        (-31, DAY, SHORTER, "preview 1 is from 2026-03-01 12:00 UTC, which is too old: make a new one"),
        (0, timedelta(0), SHORTER, "preview 1 is for a cooling-off of 1d, and ZEGO_RETENTION_COOLING_OFF is 0s"),
        (0, 2 * DAY, SHORTER, "preview 1 is for a cooling-off of 1d, and ZEGO_RETENTION_COOLING_OFF is 2d"),
        (0, DAY, LONGER, "preview 1 is of other rules, from shorter: make a new one"),
    ],
)
def test_a_preview_that_does_not_fit_is_refused(
    world: World, days: int, cooling_off: timedelta, candidate: Candidate, problem: str
) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(days=days)
    with pytest.raises(NotPossible, match=problem):
        apply(world, candidate, shown, cooling_off)
    assert in_force(world).number == 1


def test_a_preview_serves_for_thirty_days_and_there_must_be_one(world: World) -> None:
    shown = preview(world, SHORTER)
    world.clock.move(days=30)
    assert apply(world, SHORTER, shown).revision == 2
    with pytest.raises(NoSuchThing, match="there is no preview 9"):
        apply(world, LONGER, 9)


def test_a_clock_that_is_behind_shortens_no_cooling_off(world: World) -> None:
    """The last callback shows that it is a day later: else nobody could take the rules back once the clock is right."""
    world.clock.move(days=-1)
    applied = apply(world, SHORTER, preview(world, SHORTER))
    assert applied.cooling_until == world.clock() + 2 * DAY
    assert in_force(world).cooling_until == applied.cooling_until
    world.clock.move(days=1)
    world.catch_up()
    assert world.files()["old"].call_after == world.clock() + DAY


def test_without_a_cooling_off_what_is_due_goes_at_once(world: World) -> None:
    assert apply(world, SHORTER, preview(world, SHORTER, timedelta(0)), timedelta(0)).cooling_until is None
    world.catch_up()
    world.sweep()
    assert world.stored() == set()


def test_the_same_rules_make_no_new_revision(world: World) -> None:
    apply(world, LONGER, None)
    assert apply(world, LONGER, None) == Applied(2, None)
    assert in_force(world).number == 2


def test_rules_that_others_put_in_force_at_this_moment_stop_it(world: World) -> None:
    """Between the comparison and the transaction; whoever comes second applies nothing."""

    class Slow(Database):
        def transact(self, work: Callable[[Transaction], Any]) -> Any:
            world.keep("40d")
            return super().transact(work)

    slow = Slow(world.database.url.render_as_string(hide_password=False))
    with pytest.raises(NotPossible, match="nothing was applied: somebody else is changing the rules"):
        apply_rules(slow, world.service.reader, LONGER, TESTER, DAY, world.clock)
    slow.dispose()
    assert in_force(world).number == 2


def test_an_earlier_revision_comes_into_force_again_as_a_new_one(world: World) -> None:
    apply(world, LONGER, None)
    back = candidate_of_revision(world.database, 1)
    with pytest.raises(PreviewNeeded) as refused:
        apply(world, back, None)
    shown = refused.value.preview.id
    assert candidate_of_preview(world.database, shown) == back
    assert apply(world, back, shown).revision == 3
    assert (in_force(world).source, in_force(world).rules) == ("revision 1", back.rules)
    with pytest.raises(NoSuchThing, match="there is no revision 7"):
        candidate_of_revision(world.database, 7)


def test_applying_keep_by_hand_frees_adopted_files_after_a_preview(database_url: str) -> None:
    with open_world(database_url) as world:
        ensure_first_rules(world.database, "1d", timedelta(0), world.clock())
        world.add(1, prefix="found", event="", stream_id="")
        assert world.state("found-00000") == "kept"
        rules = Candidate(in_force(world).rules, "the KEEP setting")
        with pytest.raises(PreviewNeeded) as refused:
            apply(world, rules, None)
        assert refused.value.preview.sooner_count == 1
        apply(world, rules, refused.value.preview.id)
        world.catch_up()
        assert world.state("found-00000") == "scheduled"
        with world.database.read() as tx:
            assert find_current_number(tx) == 2


@pytest.mark.parametrize("expect", [None, 1, 3])
def test_what_empties_an_app_needs_its_number_also_where_held_or_unconfirmed_files_stay(
    world: World, expect: int | None
) -> None:
    world.send("other", age=12 * DAY)
    world.add(1, prefix="held", stream_id="case")
    world.add(1, prefix="doubt", suspicion="stale")
    world.add(1, prefix="failed", state="failed")
    asked: dict[str, Any] = {"known_apps": [APP], "app_id": APP, "stream_pattern": "case", "until": None}
    place_hold(world.database, TESTER, reason="a case", now=world.clock(), **asked)
    world.catch_up()
    shown = preview(world, SHORTER)
    assert find_preview(world.database, shown).result["emptied_apps"] == [APP]
    if expect != find_preview(world.database, shown).sooner_count:
        with pytest.raises(NotPossible, match=f"EVERY file of app {APP} would be deleted within a day"):
            apply(world, SHORTER, shown, expect=expect)
        assert in_force(world).number == 1


def test_whether_an_app_is_emptied_is_judged_once_more_when_rules_are_applied(world: World) -> None:
    world.send("young", age=DAY)
    shown = preview(world, SHORTER)
    assert find_preview(world.database, shown).result["emptied_apps"] == []
    world.clock.move(days=4)
    with pytest.raises(NotPossible, match="EVERY file of app"):
        apply(world, SHORTER, shown, expect=None)
    assert apply(world, SHORTER, shown).revision == 2


def test_an_applied_preview_names_its_revision_instead_of_the_files(world: World) -> None:
    shown = preview(world, SHORTER)
    apply(world, SHORTER, shown)
    made = find_preview(world.database, shown)
    with pytest.raises(NotPossible, match=r"preview 1 was applied as revision 2: .* `zego-retention files list --rule"):
        iterate_sooner(world.database, world.service.reader, made, world.clock(), 0)
