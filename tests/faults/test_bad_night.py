"""ZEGO is out of order for a whole night, in one way or another, and then it works again."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor
from service.db.models import Trigger
from service.usecases.schedule import has_open_retries
from service.usecases.sweep import run_pass
from service.zego.sandbox_faults import Fault, answer_code, answer_html, drop_after, drop_before
from tests.faults.scene import Scene, open_scene
from tests.world import OTHER_APP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import Clock

NIGHT = timedelta(hours=8)
SWEEP_EVERY_MINUTES = 15
YOUNG = {f"young-{number:05}" for number in range(5)}


class Patience(threading.Event):
    """What a pass waits with: instead of waiting, it moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.move(seconds=timeout or 0)
        return self.is_set()


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Three batches of one vendor, one of each other."""
    with open_scene(database_url) as scene:
        scene.world.add(230, prefix="file", vendor=Vendor.TENCENT)
        scene.world.add(20, prefix="path", vendor=Vendor.HUAWEI)
        scene.world.add(10, prefix="piece", vendor=Vendor.WANGSU)
        scene.world.add(len(YOUNG), prefix="young", age=timedelta(hours=1))
        scene.world.keep("1d")
        yield scene


def work(scene: Scene, duration: timedelta) -> int:
    """Do what a worker does in this time: a pass at every slot, and passes for retries in between; returns how many."""
    clock, passes = scene.world.clock, 0
    begin = clock()
    for minute in range(int(duration / timedelta(minutes=1))):
        clock.time = max(clock.time, begin + timedelta(minutes=minute))
        trigger = Trigger.SCHEDULE if minute % SWEEP_EVERY_MINUTES == 0 else Trigger.RETRY
        sweeper = scene.sweeper
        open_retries = has_open_retries(sweeper.database, sweeper.apps, sweeper.lease, clock())
        if trigger is Trigger.SCHEDULE or open_retries:
            run_pass(scene.sweeper, trigger, stop=Patience(clock))
            passes += 1
    return passes


def be_due_and_spared(scene: Scene, prefix: str = "") -> None:
    files = {file_id: file for file_id, file in scene.world.files().items() if file_id.startswith(prefix)}
    assert {file["state"] for file in files.values()} == {"scheduled"}
    assert {file["attempts"] for file in files.values()} == {0}


def assert_all_is_deleted_after_a_while(scene: Scene) -> None:
    """A pause that began in the night may last up to the longest wait."""
    for _ in range(7):
        work(scene, timedelta(hours=1))
        if len(scene.stored_now()) == len(YOUNG):
            break
    assert scene.stored_now() == YOUNG
    states = scene.world.states()
    assert set(states) == {"scheduled", "deleted"}
    assert set(states["scheduled"]) == YOUNG


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("fault", "most_calls"),
    [
        pytest.param(answer_code(1000), 150, id="1000 to everything"),
        pytest.param(answer_html(502), 15, id="error pages"),
        pytest.param(answer_html(502, acts=True), 15, id="error pages that deleted"),
        pytest.param(drop_before(), 15, id="connections dropped"),
        pytest.param(drop_after(), 15, id="connections dropped that deleted"),
        pytest.param(answer_code(6), 25, id="too frequent"),
        pytest.param(answer_html(429, retry_after="1800"), 25, id="too many requests"),
        pytest.param(answer_code(7), 1 + 32, id="wrong secret"),
        pytest.param(answer_code(4), 3 * 33, id="wrong vendor"),
    ],
)
def test_a_bad_night_fails_no_file_costs_few_calls_and_is_made_good(
    scene: Scene, fault: Fault, most_calls: int
) -> None:
    scene.world.sandbox.always(fault)
    passes = work(scene, NIGHT)

    be_due_and_spared(scene)
    calls = len(scene.world.sandbox.calls)
    print(f"{calls} calls in {passes} passes")
    assert calls <= most_calls
    assert passes <= 3 * NIGHT / timedelta(minutes=SWEEP_EVERY_MINUTES)
    scene.world.sandbox.end_faults()
    assert_all_is_deleted_after_a_while(scene)


def test_a_file_that_is_alone_in_its_lane_does_not_keep_a_bad_night_awake(scene: Scene) -> None:
    scene.world.add(1, prefix="lonely", vendor=Vendor.HUAWEI, app_id=OTHER_APP)
    scene.world.add(230, prefix="other", vendor=Vendor.TENCENT, app_id=OTHER_APP)
    scene.world.sandbox.always(answer_code(1000))
    work(scene, NIGHT)

    be_due_and_spared(scene, prefix="other")
    assert scene.world.state("lonely-00000") == "scheduled"
    calls = [call for call in scene.world.sandbox.calls if call.app_id == OTHER_APP]
    print(f"{len(calls)} calls")
    assert len(calls) <= 150
