"""The rules in force: the first ones, changing them under load, previewing them; on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from service.core.rules_file import catch_all, parse_rules
from service.db import files, revisions
from service.db.order_models import AuditEntryRow
from service.usecases.applying import Applied, NotAsPreviewed, PreviewNeeded, apply_rules
from service.usecases.inventory import NotPossible
from service.usecases.policy import (
    Candidate,
    candidate_of,
    count_to_decide,
    ensure_first_rules,
    keep_differs,
    list_revisions,
    show_revision,
)
from service.usecases.previewing import make_preview
from tests.world import APP, TESTER, apply_as_previewed, open_world

if TYPE_CHECKING:
    from typing import Any

    from service.core.rules import RetentionRule
    from tests.world import World

DAY = timedelta(days=1)


def rules(**windows: str) -> tuple[RetentionRule, ...]:
    """One rule per stream prefix; `rest` is the catch-all."""
    texts = []
    for name, keep in windows.items():
        match = "" if name == "rest" else f'match = {{ stream = "{name}-*" }}\n'
        texts.append(f'[[rules]]\nname = "{name}"\n{match}keep = "{keep}"\n')
    return parse_rules("\n".join(texts))


def in_force(world: World) -> int:
    with world.database.read() as session:
        return revisions.current_number(session)


def put(world: World, new: tuple[RetentionRule, ...]) -> int:
    return apply_as_previewed(world.database, Candidate(new, "a test"), world.clock).revision


def test_keep_becomes_revision_1_and_rules_what_is_there_already(database_url: str) -> None:
    with open_world(database_url) as world:
        world.send("old", age=2 * DAY)
        assert world.state("old") == "kept"
    with open_world(database_url, KEEP="1d") as world:
        assert in_force(world) == 1
        world.sweep()
        assert world.state("old") == "scheduled"
        world.clock.move(days=1)
        world.sweep()
        assert world.state("old") == "gone"


def test_a_keep_that_differs_is_reported_and_changes_nothing(world: World) -> None:
    ensure_first_rules(world.database, "30d", DAY, world.clock())
    ensure_first_rules(world.database, "1d", DAY, world.clock())
    assert in_force(world) == 1
    assert keep_differs(world.database, "30d") is None
    assert keep_differs(world.database, None) is None
    assert "rules apply --keep" in (keep_differs(world.database, "1d") or "")
    put(world, catch_all("1d"))
    assert keep_differs(world.database, "1d") is None


def test_many_processes_that_start_at_once_agree_on_revision_1(world: World) -> None:
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        ensure_first_rules(world.database, "30d", DAY, world.clock())

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert in_force(world) == 1


def test_applying_decides_the_whole_inventory_anew(world: World) -> None:
    world.add(1_203, prefix="trial", stream_id="trial-1")
    world.add(10, prefix="paid", stream_id="paid-1")
    seen: list[int] = []
    candidate = Candidate(rules(trial="1d", rest="forever"), "f")
    preview = make_preview(world.database, candidate, TESTER, DAY, world.clock())
    applied = apply_rules(
        world.database, candidate, TESTER, DAY, world.clock, preview_id=preview["id"], progress=seen.append
    )
    assert (applied.revision, applied.is_new, applied.decided) == (1, True, 1_213)
    assert sum(seen) == 2 * 1_213
    assert len(seen) > 1
    assert {name: len(ids) for name, ids in world.states().items()} == {"scheduled": 1_203, "kept": 10}


def test_applying_what_is_in_force_makes_no_revision(world: World) -> None:
    assert put(world, rules(rest="1d")) == 1
    assert put(world, rules(rest="1d")) == 1
    assert put(world, rules(rest="2d")) == 2
    assert put(world, rules(rest="1d")) == 3


def test_a_longer_window_rescues_what_was_due(world: World) -> None:
    world.keep("1d")
    world.send("f1", age=2 * DAY)
    world.keep("30d")
    world.sweep()
    assert world.state("f1") == "scheduled"
    assert world.stored() == {"f1"}


def test_a_revision_that_was_not_carried_through_still_decides_at_the_claim(world: World) -> None:
    put(world, rules(rest="1d"))
    world.send("f1", age=2 * DAY)

    def only_the_revision(session: Any) -> None:
        revision = revisions.Revision(2, world.clock(), "me", None, "a crash right after this", FOREVER)
        revisions.add_revision(session, revision)

    world.database.transact(only_the_revision)
    assert count_to_decide(world.database) == 1
    assert world.state("f1") == "scheduled"
    world.sweep()
    assert world.state("f1") == "kept"
    assert world.stored() == {"f1"}
    assert count_to_decide(world.database) == 0


FOREVER = '[[rules]]\nname = "all"\nkeep = "forever"\n'


def test_callbacks_that_arrive_while_rules_change_end_under_the_rules_in_force(world: World) -> None:
    put(world, rules(rest="forever"))
    world.add(300)
    stop = threading.Event()
    sent: list[str] = []

    def arrive() -> None:
        while not stop.is_set() and len(sent) < 400:
            sent.append(f"new-{len(sent)}")
            world.send(sent[-1], age=timedelta(hours=1))

    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        for number in range(2, 8):
            put(world, rules(rest=f"{number}d"))
    finally:
        stop.set()
        arriving.join()
    put(world, rules(rest="7d"))
    assert sent
    with world.database.read() as session:
        assert {row.revision for row in files.list_files(session, files.FileFilter())} == {in_force(world)}


KEEP_LATEST = '[[rules]]\nname = "all"\nkeep = "1d"\nkeep_latest = {count}\n'


def test_the_newest_recordings_of_each_stream_stay(world: World) -> None:
    world.apply(KEEP_LATEST.format(count=2))
    for number in range(5):
        world.send(f"a{number}", age=(10 - number) * DAY, stream="a")
        world.send(f"b{number}", age=(20 - number) * DAY, stream="b")
    world.sweep()
    assert world.stored() == {"a3", "a4", "b3", "b4"}


def test_several_formats_of_one_recording_count_once(world: World) -> None:
    world.apply(KEEP_LATEST.format(count=1))
    for number in range(3):
        ended = (10 - number) * DAY
        world.send(f"mp4-{number}", age=ended)
        world.send(f"flv-{number}", age=ended + timedelta(seconds=1))
    world.sweep()
    assert world.stored() == {"mp4-2", "flv-2"}


def test_an_arrival_lets_go_of_what_it_pushes_out(world: World) -> None:
    world.apply(KEEP_LATEST.format(count=1))
    world.send("first", age=3 * DAY)
    assert world.state("first") == "kept"
    world.send("second", age=2 * DAY)
    assert world.states() == {"scheduled": ["first"], "kept": ["second"]}
    world.sweep()
    assert world.stored() == {"second"}


def test_what_is_not_surely_there_protects_nothing(world: World) -> None:
    world.apply(KEEP_LATEST.format(count=1))
    world.send("older", age=4 * DAY)
    world.send("newer", age=2 * DAY, now=world.clock() - timedelta(hours=1))
    assert world.states() == {"kept": ["older"], "unconfirmed": ["newer"]}
    world.sweep()
    assert world.stored() == {"older", "newer"}


def test_a_rank_is_checked_again_at_the_claim(world: World) -> None:
    world.apply(KEEP_LATEST.format(count=1))
    world.send("older", age=4 * DAY)
    world.send("newer", age=2 * DAY)
    assert world.state("older") == "scheduled"

    def doubt(session: Any) -> None:
        session.connection().exec_driver_sql("UPDATE media_files SET suspicion = 'conflict' WHERE file_id = 'newer'")

    world.database.transact(doubt)
    world.sweep()
    assert world.stored() == {"older", "newer"}
    assert world.state("older") == "kept"


@pytest.mark.parametrize("count", [1, 3])
def test_a_burst_into_one_stream_from_several_threads_keeps_the_newest(world: World, count: int) -> None:
    world.apply(KEEP_LATEST.format(count=count))
    barrier = threading.Barrier(4)

    def arrive(thread: int) -> None:
        barrier.wait()
        for number in range(thread, 24, 4):
            world.send(f"f{number:02}", age=(40 - number) * DAY, nonce=f"{thread}{number:03}")

    threads = [threading.Thread(target=arrive, args=(thread,)) for thread in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    world.sweep()
    assert sorted(world.stored()) == [f"f{number:02}" for number in range(24 - count, 24)]
    assert {file["app_id"] for file in world.files().values()} == {APP}


# Bound to a preview


def refused(world: World, new: tuple[RetentionRule, ...], preview_id: int | None = None) -> dict[str, Any]:
    """The preview that comes with the refusal to apply rules."""
    expected = PreviewNeeded if preview_id is None else NotAsPreviewed
    with pytest.raises(expected) as refusal:
        apply_rules(world.database, Candidate(new, "a test"), TESTER, DAY, world.clock, preview_id=preview_id)
    preview: dict[str, Any] = getattr(refusal.value, "preview", {})
    assert f"rules apply --preview {preview['id']}" in str(refusal.value)
    return preview


def applied(world: World, new: tuple[RetentionRule, ...], preview_id: int | None = None) -> Applied:
    return apply_rules(world.database, Candidate(new, "a test"), TESTER, DAY, world.clock, preview_id=preview_id)


def test_what_makes_a_file_due_sooner_needs_its_preview(world: World) -> None:
    world.add(3)
    preview = refused(world, rules(rest="1d"))
    assert preview["sooner"] == 3
    assert in_force(world) == 0
    assert world.states() == {"kept": sorted(world.files())}
    done = applied(world, rules(rest="1d"), preview["id"])
    assert (done.revision, done.sooner, done.cooling_until) == (1, 3, world.clock() + DAY)
    shown = show_revision(world.database)
    assert shown
    assert (shown["preview"], shown["applied_by"], shown["through"]) == (preview["id"], TESTER.name, TESTER.through)


def test_what_makes_no_file_due_sooner_needs_none(world: World) -> None:
    world.add(3)
    world.keep("1d")
    assert applied(world, rules(rest="30d")).sooner == 0
    assert applied(world, rules(rest="forever")).revision == 3


def test_a_preview_of_other_rules_is_no_preview(world: World) -> None:
    world.add(3)
    preview = refused(world, rules(rest="2d"))
    with pytest.raises(NotPossible, match="is of other rules"):
        applied(world, rules(rest="1d"), preview["id"])
    with pytest.raises(NotPossible, match="there is no preview"):
        applied(world, rules(rest="1d"), preview["id"] + 1)
    assert in_force(world) == 0


def test_a_file_that_a_preview_did_not_show_is_not_hit(world: World) -> None:
    world.keep("1d")
    world.apply(CAMERAS.format(keep="1d"))
    world.add(3, prefix="cam", stream_id="cam-1", age=timedelta(hours=1))
    preview = refused(world, parse_rules(CAMERAS.format(keep="12h")))
    world.clock.move(hours=1)
    world.add(2, prefix="other", stream_id="other", age=timedelta(days=9))
    world.clock.move(hours=1)
    again = refused(world, parse_rules(CAMERAS.format(keep="12h")), preview["id"])
    assert again["sooner"] == 5
    assert applied(world, parse_rules(CAMERAS.format(keep="12h")), again["id"]).sooner == 5


def test_files_that_arrive_meanwhile_and_are_not_due_stand_in_no_way(world: World) -> None:
    world.add(3)
    world.keep("forever")
    preview = refused(world, rules(rest="5d"))
    world.clock.move(hours=1)
    for number in range(2):
        world.send(f"young-{number}")
    assert applied(world, rules(rest="5d"), preview["id"]).sooner == 5
    files_now = world.files()
    assert {file["approval"] for name, file in files_now.items() if name.startswith("file")} == {
        f"preview {preview['id']}"
    }
    assert {file["approval"] for name, file in files_now.items() if name.startswith("young")} == {None}
    assert {file["cooling_until"] for file in files_now.values()} == {"2026-03-02T13:00:00Z"}


def test_files_that_arrive_meanwhile_and_are_due_at_once_are_not_hit(world: World) -> None:
    world.add(3)
    preview = refused(world, rules(rest="5d"))
    world.clock.move(hours=1)
    world.add(1, prefix="old", age=timedelta(days=9))
    assert refused(world, rules(rest="5d"), preview["id"])["sooner"] == 4


def test_no_file_is_called_before_the_cooling_off_is_over_and_a_change_can_be_taken_back(world: World) -> None:
    world.add(3)
    world.keep("30d")
    done = world.apply('[[rules]]\nname = "short"\nkeep = "1d"\n', cooling_off=DAY)
    assert done.sooner == 3
    world.sweep()
    assert len(world.stored()) == 3
    back = candidate_of(world.database, 1)
    assert apply_rules(world.database, back, TESTER, DAY, world.clock).revision == 3
    world.clock.move(days=2)
    world.sweep()
    assert len(world.stored()) == 3
    apply_as_previewed(world.database, candidate_of(world.database, 2), world.clock, DAY)
    world.clock.move(hours=23, minutes=59)
    world.sweep()
    assert len(world.stored()) == 3
    world.clock.move(minutes=1)
    world.sweep()
    assert world.stored() == set()


def test_the_first_rules_of_an_empty_database_wait_for_nothing(world: World) -> None:
    done = applied(world, rules(rest="1d"))
    assert (done.revision, done.sooner, done.cooling_until) == (1, 0, None)
    shown = show_revision(world.database, 1)
    assert shown
    assert shown["cooling_until"] is None
    world.send("old", age=2 * DAY)
    world.sweep()
    assert world.stored() == set()


def test_history_tells_who_changed_what(world: World) -> None:
    put(world, rules(trial="1d", rest="30d"))
    put(world, rules(trial="2d", rest="30d"))
    newest, first = list_revisions(world.database)
    assert (newest["number"], first["number"]) == (2, 1)
    assert [newest] == list(list_revisions(world.database, 1))
    changed = [line for line in newest["diff"].splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ['-keep = "1d"', '+keep = "2d"']
    shown = show_revision(world.database, 1)
    assert shown
    assert parse_rules(shown["text"]) == rules(trial="1d", rest="30d")
    assert [rule["name"] for rule in shown["rules"]] == ["trial", "rest"]
    assert show_revision(world.database, 3) is None
    with pytest.raises(NotPossible, match="no revision 3"):
        candidate_of(world.database, 3)


def test_a_change_is_written_into_the_audit(world: World) -> None:
    put(world, rules(rest="1d"))
    put(world, rules(rest="1d"))
    with world.database.read() as session:
        [entry] = session.scalars(select(AuditEntryRow).where(AuditEntryRow.action == "apply_rules"))
        assert (entry.actor, entry.through, entry.subject) == (TESTER.name, TESTER.through, "revision 1")


CAMERAS = '[[rules]]\nname = "cams"\nkeep = "{keep}"\n'
