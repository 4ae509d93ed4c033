from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor
from service.core.slots import Every
from service.db import gates, leases, runs
from service.db.models import RunState, Trigger
from service.usecases.claiming import SWEEP_LEASE
from service.usecases.health import beat_worker, end_beats, judge_worker
from service.usecases.schedule import broke_off, find_open_slot, has_open_retries
from service.usecases.sweep import run_pass
from tests.world import APP, OTHER_APP

if TYPE_CHECKING:
    from tests.world import World

HOURLY = Every(timedelta(hours=1))
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(minutes=2)


def take_slot(world: World, slot: datetime, state: RunState) -> None:
    with world.database.write() as session:
        run = runs.start_run(session, Trigger.SCHEDULE, slot, "worker", world.clock())
        assert run is not None
        if state is not RunState.RUNNING:
            runs.finish_run(session, run.id, state, world.clock())


def test_a_slot_is_open_until_a_pass_has_taken_it(world: World) -> None:
    world.clock.time = NOON + timedelta(minutes=20)
    assert find_open_slot(world.database, HOURLY, world.clock()) == NOON
    run_pass(world.service.sweeper, Trigger.SCHEDULE, slot_at=NOON)
    assert find_open_slot(world.database, HOURLY, world.clock()) is None
    world.clock.move(hours=1)
    assert find_open_slot(world.database, HOURLY, world.clock()) == NOON + timedelta(hours=1)


def test_a_slot_of_the_future_closes_nothing(world: World) -> None:
    take_slot(world, NOON + timedelta(days=400), RunState.DONE)
    assert find_open_slot(world.database, HOURLY, NOON) == NOON


@pytest.mark.parametrize(
    ("state", "silence", "expected"),
    [
        (RunState.DONE, timedelta(days=1), False),
        (RunState.INTERRUPTED, timedelta(0), True),
        (RunState.LOST, timedelta(0), True),
        (RunState.RUNNING, timedelta(seconds=119), False),
        (RunState.RUNNING, timedelta(seconds=121), True),
    ],
)
def test_a_pass_that_did_not_get_through_broke_off(
    world: World, state: RunState, silence: timedelta, expected: bool
) -> None:
    assert not broke_off(world.database, LEASE, world.clock())
    take_slot(world, NOON, state)
    world.clock.time += silence
    assert broke_off(world.database, LEASE, world.clock()) is expected


@pytest.mark.parametrize(("trigger", "expected"), [(Trigger.COMMAND, False), (Trigger.RETRY, True)])
def test_a_full_pass_makes_good_for_one_that_broke_off(world: World, trigger: Trigger, expected: bool) -> None:
    take_slot(world, NOON, RunState.INTERRUPTED)
    world.sweep(trigger)
    assert broke_off(world.database, LEASE, world.clock()) is expected


def test_a_pass_that_fails_again_is_not_tried_without_a_pause(world: World) -> None:
    take_slot(world, NOON, RunState.LOST)
    with world.database.write() as session:
        assert runs.start_run(session, Trigger.SCHEDULE, None, "worker", world.clock())
    assert not broke_off(world.database, LEASE, world.clock())
    world.clock.move(minutes=3)
    assert broke_off(world.database, LEASE, world.clock())


def test_a_command_that_was_stopped_is_not_taken_up_by_the_worker(world: World) -> None:
    take_slot(world, NOON, RunState.DONE)
    with world.database.write() as session:
        run = runs.start_run(session, Trigger.COMMAND, None, "person", world.clock())
        assert run is not None
        runs.finish_run(session, run.id, RunState.INTERRUPTED, world.clock())
    assert not broke_off(world.database, LEASE, world.clock())


def let_one_fail(world: World, vendor: Vendor = Vendor.TENCENT) -> None:
    world.keep("1d")
    world.send("locked", age=timedelta(days=2), vendor=vendor)
    world.sandbox.fail_file("locked", "InternalError")
    world.sweep()
    assert world.files()["locked"]["last_outcome"]["outcome"] == "retryable"


def has_retries(world: World, *apps: str) -> bool:
    return has_open_retries(world.database, apps or (APP,), LEASE, world.clock())


def test_retries_are_open_at_their_own_time_only(world: World) -> None:
    let_one_fail(world)
    assert not has_retries(world)
    world.clock.move(minutes=2)
    assert has_retries(world)
    assert not has_retries(world, OTHER_APP)


def test_no_retry_passes_a_closed_gate(world: World) -> None:
    let_one_fail(world)
    world.clock.move(minutes=2)
    now = world.clock()
    with world.database.write() as session:
        gates.pause(session, APP, now, now + timedelta(minutes=5), "6", "too frequent")
    assert not has_retries(world)
    world.clock.move(minutes=6)
    assert has_retries(world)
    with world.database.write() as session:
        gates.block(session, APP, Vendor.TENCENT, world.clock(), "4", "vendor does not match")
    assert not has_retries(world)


def test_no_retry_beside_a_pass_in_progress(world: World) -> None:
    let_one_fail(world)
    world.clock.move(minutes=2)
    with world.database.write() as session:
        assert leases.take_lease(session, SWEEP_LEASE, "another", world.clock(), LEASE)
    assert not has_retries(world)
    world.clock.move(minutes=3)
    assert has_retries(world)


def test_a_retry_that_new_rules_put_off_calls_for_no_pass(world: World) -> None:
    let_one_fail(world)
    world.keep("30d")
    world.clock.move(days=1)
    assert not has_retries(world)


def judge(world: World) -> tuple[bool, str]:
    health = judge_worker(world.database, HOURLY, LEASE, world.clock())
    return health.is_well, health.detail


def test_worker_health(world: World) -> None:
    world.clock.time = NOON
    assert judge(world) == (False, "no worker is running; start one with `zego-retention worker` (or `serve`)")

    fence = beat_worker(world.database, "host/1", None, world.clock())
    assert fence is not None
    assert judge(world) == (False, "worker host/1 is alive, but no sweep has started yet")
    take_slot(world, NOON, RunState.DONE)
    assert judge(world) == (True, "worker host/1 is alive; the last sweep was that of 2026-03-01T12:00:00Z")

    world.clock.move(hours=2, minutes=2, seconds=-1)
    assert beat_worker(world.database, "host/1", fence, world.clock()) is not None
    assert judge(world)[0]
    world.clock.move(seconds=1)
    is_well, detail = judge(world)
    assert not is_well
    assert detail.startswith("worker host/1 is alive, but the last sweep was that of 2026-03-01T12:00:00Z")

    take_slot(world, NOON + timedelta(hours=2), RunState.RUNNING)
    assert judge(world) == (True, "worker host/1 is alive; run 2 is in progress")


def test_a_worker_that_ended_is_known_to_be_gone(world: World) -> None:
    take_slot(world, NOON, RunState.DONE)
    fence = beat_worker(world.database, "host/1", None, world.clock())
    assert fence is not None
    assert judge(world)[0]
    end_beats(world.database, "host/1", fence, world.clock())
    assert judge(world)[1].startswith(
        "no worker is running: the last sign of life was that of host/1 at 2026-03-01T12:00"
    )


def test_a_worker_that_went_silent_is_known_to_be_gone_and_forgotten_later(world: World) -> None:
    take_slot(world, NOON, RunState.DONE)
    beat_worker(world.database, "host/1", None, world.clock())
    world.clock.move(seconds=61)
    assert not judge(world)[0]
    beat_worker(world.database, "host/2", None, world.clock())
    assert "worker host/2 is alive" in judge(world)[1]
    world.clock.move(days=2)
    beat_worker(world.database, "host/3", None, world.clock())
    with world.database.read() as session:
        assert [lease.name for lease in leases.list_leases(session, "worker/")] == ["worker/host/3"]
