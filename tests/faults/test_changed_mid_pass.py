"""A hold, other rules, a rollback or another announcement come while a pass is between any two steps."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Actor, Vendor
from service.db.order_models import HoldRow
from service.usecases.holding import HoldOrder, place_hold
from service.usecases.policy import candidate_of
from tests.faults.children import Blow, Step, sweep_once
from tests.faults.scene import PATIENCE_S, Ambush, Child, Scene, open_scene, stop
from tests.world import APP, apply_as_previewed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACTOR = Actor("tester", "a test")
DAY = timedelta(days=1)
ONE_DAY = """
[[rules]]
name = "everything"
keep = "1d"
"""
LESSONS_STAY = (
    """
[[rules]]
name = "lessons"
match = { stream = "lesson-*" }
keep = "forever"
"""
    + ONE_DAY
)


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Two batches of lessons that are due, one of trials, and a young lesson that is not."""
    with open_scene(database_url, CLAIM_LEASE="1m") as scene:
        world = scene.world
        world.apply(LESSONS_STAY)
        world.apply(ONE_DAY)
        world.add(2, prefix="trial", stream_id="trial-1", vendor=Vendor.HUAWEI)
        for number in range(2):
            world.send(f"lesson-t{number}", age=2 * DAY, stream="lesson-1")
            world.send(f"lesson-h{number}", age=2 * DAY, stream="lesson-2", vendor=Vendor.HUAWEI)
        world.send("young", age=timedelta(hours=2), stream="lesson-3")
        scene.remember()
        yield scene


def place_a_hold(scene: Scene) -> set[str]:
    """The lessons that may still go: those that were named as in flight."""
    order = HoldOrder(app_id=APP, file=None, stream_pattern="lesson-*", reason="a dispute", until=None)
    placed: dict[str, Any] = place_hold(scene.world.database, order, ACTOR, scene.world.clock())
    by_number = {file["id"]: file_id for file_id, file in scene.world.files().items()}
    return {by_number[number] for number in placed["in_flight"]}


def place_a_hold_and_die(scene: Scene) -> set[str]:
    """Whoever placed it was killed before any file was decided anew."""
    with scene.world.database.write() as session:
        session.add(
            HoldRow(
                app_id=APP,
                stream_pattern="lesson-*",
                reason="a dispute",
                placed_at=scene.world.clock(),
                placed_by=ACTOR.name,
                through=ACTOR.through,
            )
        )
    return set()


def change_the_rules(scene: Scene) -> set[str]:
    scene.world.apply(LESSONS_STAY)
    return set()


def roll_back(scene: Scene) -> set[str]:
    database = scene.world.database
    apply_as_previewed(database, candidate_of(database, 1), scene.world.clock)
    return set()


def announce_again(scene: Scene) -> set[str]:
    """The lessons ended just now, says ZEGO: a day has to pass first."""
    for file_id in lessons(scene):
        vendor = Vendor.HUAWEI if "-h" in file_id else Vendor.TENCENT
        stream = {"y": "lesson-3", "h": "lesson-2"}.get(file_id.removeprefix("lesson-")[0], "lesson-1")
        scene.world.send(file_id, age=timedelta(0), stream=stream, vendor=vendor, stored=False)
    return set()


CHANGES = [place_a_hold, place_a_hold_and_die, change_the_rules, roll_back, announce_again]


def lessons(scene: Scene) -> set[str]:
    return {file_id for file_id in scene.stored_now() if not file_id.startswith("trial")}


def change_while_it_stands_still(scene: Scene, child: Child, change: Callable[[Scene], set[str]]) -> None:
    """What was still there when the change was done stays there.

    Also where a call was just about to be sent, and a hold names its files as in flight: it looks once more.
    """
    change(scene)
    time.sleep(0.03)  # longer than a call may be late for its slot
    there = lessons(scene)
    os.kill(child.pid, signal.SIGCONT)
    assert child.wait() == 0
    assert there <= lessons(scene)
    scene.world.clock.move(minutes=5)
    scene.repair()
    assert there <= lessons(scene)
    assert not [file_id for file_id in scene.stored_now() if file_id.startswith("trial")]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("step", [Step.COMMITTED, Step.LOOKED])
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_goes_that_a_change_between_two_steps_keeps(
    scene: Scene, change: Callable[[Scene], set[str]], step: Step
) -> None:
    for number in count(1):
        scene.put_back()
        child = scene.start_child(sweep_once, Blow(step, number, signal.SIGSTOP))
        try:
            if not child.wait_until_stopped():
                break
            change_while_it_stands_still(scene, child, change)
        except Exception as error:
            error.add_note(f"{change.__name__} {step} {number}")
            raise
    assert number > (10 if step is Step.COMMITTED else 4)
    print(f"{change.__name__}, {step}: {number - 1} steps")


@pytest.mark.timeout(300)
def test_a_hold_names_the_files_of_a_call_that_has_arrived(scene: Scene) -> None:
    """ZEGO has the request already: nobody can call it back, but it is said which files it is about."""
    seen = 0
    for number in count(1):
        scene.put_back()
        child = scene.start_child(sweep_once)
        named: list[set[str]] = []
        over = threading.Event()

        def hold(call: Any, child: Child = child, named: list[set[str]] = named, over: threading.Event = over) -> None:
            stop(child)
            before = set(call.file_ids)
            named.append(place_a_hold(scene))
            assert {i for i in before if i.startswith(("lesson", "young"))} <= named[0]
            os.kill(child.pid, signal.SIGCONT)
            over.set()

        scene.world.sandbox.on_request = Ambush("arrived", number, hold)
        assert child.wait() == 0
        scene.world.sandbox.on_request = None
        if not over.is_set():
            break
        assert over.wait(PATIENCE_S)
        seen += bool(named[0])
        gone = {f for f, file in scene.world.files().items() if file["state"] in ("deleted", "gone")}
        assert {f for f in gone if f.startswith(("lesson", "young"))} <= named[0] | deleted_before(scene, named[0])
    assert seen


def deleted_before(scene: Scene, named: set[str]) -> set[str]:
    """Lessons that calls before the one that was struck had deleted."""
    return {
        file_id for call in scene.world.sandbox.calls for file_id in call.file_ids if not named & set(call.file_ids)
    }
