"""A pass stands still for longer than its lease, another takes over, and then the first one goes on."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from service.core.model import Outcome, Vendor
from service.db.models import AttemptRow
from tests.faults.children import Blow, Step, sweep_once
from tests.faults.scene import PATIENCE_S, Ambush, Child, Scene, assert_books_are_right, open_scene, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.zego.sandbox import Call

RULES = """
[[rules]]
name = "lessons"
match = { stream = "lesson-*" }
keep = "forever"

[[rules]]
name = "everything else"
keep = "1d"
"""


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """One batch for each vendor, so that nothing else is under way where a process stands still."""
    with open_scene(database_url, CLAIM_LEASE="1m") as scene:
        world = scene.world
        world.add(2, prefix="first", vendor=Vendor.HUAWEI)
        world.add(2, prefix="file", vendor=Vendor.TENCENT)
        world.add(1, prefix="poison", vendor=Vendor.TENCENT, age=timedelta(days=3))
        world.add(2, prefix="last", vendor=Vendor.WANGSU)
        world.add(1, prefix="lesson", stream_id="lesson-1")
        world.sandbox.poison("poison-00000", 2)
        world.apply(RULES)
        scene.remember()
        yield scene


def assert_all_is_well(scene: Scene) -> None:
    assert_books_are_right(scene, late_answers=True)
    files = scene.world.files()
    expected = dict.fromkeys(files, "deleted") | {"poison-00000": "failed", "lesson-00000": "kept"}
    assert {file_id: file["state"] for file_id, file in files.items()} == expected


def let_another_take_over(scene: Scene, child: Child) -> None:
    """With the child at a standstill; afterwards the child goes on to its end without sending anything."""
    scene.repair()
    assert_all_is_well(scene)
    sent = len(scene.world.sandbox.calls)
    os.kill(child.pid, signal.SIGCONT)
    assert child.wait() == 0
    assert len(scene.world.sandbox.calls) == sent
    assert_all_is_well(scene)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", [Step.COMMITTED, Step.LOOKED])
def test_a_pass_that_stood_still_anywhere_sends_nothing_once_another_took_over(scene: Scene, step: Step) -> None:
    for number in count(1):
        scene.put_back()
        child = scene.start_child(sweep_once, Blow(step, number, signal.SIGSTOP))
        try:
            if not child.wait_until_stopped():
                break
            let_another_take_over(scene, child)
        except Exception as error:
            error.add_note(f"stopped {step} {number}")
            raise
    assert number > (25 if step is Step.COMMITTED else 10)
    print(f"{step}: {number - 1} stops")


@pytest.mark.timeout(300)
def test_an_answer_that_was_waited_for_too_long_is_still_recorded(scene: Scene) -> None:
    for number in count(1):
        scene.put_back()
        child = scene.start_child(sweep_once)
        scene.world.sandbox.on_request = Ambush("done", number, lambda _: stop(child))  # noqa: B023  (of this round)
        if not child.wait_until_stopped():
            break
        scene.world.sandbox.on_request = None
        unanswered = [attempt.id for attempt in attempts(scene) if attempt.outcome is None]
        assert unanswered
        let_another_take_over(scene, child)
        late = [attempt for attempt in attempts(scene) if attempt.id in unanswered]
        assert Outcome.UNKNOWN not in {attempt.outcome for attempt in late}, f"call {number}"
    assert number > 5


def attempts(scene: Scene) -> list[AttemptRow]:
    with scene.world.database.read() as session:
        return list(session.scalars(select(AttemptRow).order_by(AttemptRow.id)))


def test_a_file_that_two_passes_asked_for_is_deleted_and_not_gone(scene: Scene) -> None:
    """The first request is late on its way, so that the second deletes; the answer to the first is recorded first."""
    child = scene.start_child(sweep_once)
    first_may_act, second_may_answer = threading.Event(), threading.Event()

    def hold_first(_: Call) -> None:
        stop(child)
        first_may_act.wait(PATIENCE_S)

    def hold_second(_: Call) -> None:
        second_may_answer.wait(PATIENCE_S)

    def watch(call: Call) -> None:
        first(call)
        second(call)

    first, second = Ambush("arrived", 1, hold_first), Ambush("done", 1, hold_second)
    scene.world.sandbox.on_request = watch
    assert first.sprung.wait(PATIENCE_S)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(scene.repair)
        assert second.sprung.wait(PATIENCE_S)
        first_may_act.set()
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait() == 0
        second_may_answer.set()
        other.result()
    assert_all_is_well(scene)
