"""The rules in force: the first ones, changing them under load, previewing them; on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.rules_file import catch_all, parse_rules
from service.db import files, revisions
from service.usecases.policy import apply_rules, count_to_decide, ensure_first_rules, keep_differs, preview_rules
from tests.world import APP, open_world

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
    return apply_rules(world.database, new, "a test", "tester", world.clock).revision


def test_keep_becomes_revision_1_and_rules_what_is_there_already(database_url: str) -> None:
    with open_world(database_url) as world:
        world.send("old", age=2 * DAY)
        assert world.state("old") == "kept"
    with open_world(database_url, KEEP="1d") as world:
        assert in_force(world) == 1
        world.sweep()
        assert world.state("old") == "gone"


def test_a_keep_that_differs_is_reported_and_changes_nothing(world: World) -> None:
    ensure_first_rules(world.database, "30d", world.clock())
    ensure_first_rules(world.database, "1d", world.clock())
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
        ensure_first_rules(world.database, "30d", world.clock())

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
    applied = apply_rules(world.database, rules(trial="1d", rest="forever"), "f", "me", world.clock, seen.append)
    assert (applied.revision, applied.is_new, applied.decided) == (1, True, 1_213)
    assert sum(seen) == 1_213
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
        revision = revisions.Revision(2, world.clock(), "me", "a crash right after this", FOREVER)
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
            world.send(sent[-1], age=2 * DAY)

    arriving = threading.Thread(target=arrive)
    arriving.start()
    for number in range(2, 8):
        put(world, rules(rest=f"{number}d"))
    stop.set()
    arriving.join()
    apply_rules(world.database, rules(rest="7d"), "f", "me", world.clock)
    assert sent
    with world.database.read() as session:
        assert {row.revision for row in files.list_files(session, files.FileFilter())} == {in_force(world)}


def test_a_preview_counts_exactly_and_changes_nothing(world: World) -> None:
    put(world, rules(trial="10d", rest="1d"))
    world.add(5, prefix="trial", stream_id="trial-1", age=2 * DAY)
    world.add(7, prefix="room", stream_id="room-1", age=2 * DAY)
    world.add(2, prefix="new", stream_id="room-2", age=timedelta(0))
    before = world.files()
    preview = preview_rules(world.database, rules(trial="1d", rest="30d"), world.clock())
    assert (preview.files, preview.due, preview.newly_due, preview.rescued) == (14, 5, 5, 7)
    assert (preview.sooner, preview.later, preview.unchanged) == (5, 9, 0)
    assert {e.rule: (e.kept, e.later, e.due) for e in preview.effects} == {"trial": (0, 0, 5), "rest": (0, 9, 0)}
    assert world.files() == before


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
