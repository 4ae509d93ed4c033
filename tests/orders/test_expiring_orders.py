"""Orders for a run that nobody began with in time do nothing: they may come from a backup, and their reason be gone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from service.audit.order import OrderState
from service.files.actions import ErasureRequest, erase_files
from service.holds.holds import place_hold
from service.listing.reconcile import place_reconcile
from service.model import FileState, Vendor
from service.orders import read_order
from service.sweep.orders import place_approval, place_sweep
from service.sweep.records import PlanState, Trigger
from service.sweep.store import list_plans, list_runs
from service.worker import Worker
from tests.world import APP, TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url, SWEEP_EVERY="off") as world:
        yield world


def place(world: World, kind: str) -> int:
    """An order for a run, while nobody leads: two files are due, or 1,200 that the breaker stopped."""
    world.keep("1d")
    world.add(1_200 if kind == "approve" else 2)
    stopped = world.sweep() if kind == "approve" else 0
    world.service.leader.release()
    if kind == "reconcile":
        return place_reconcile(world.database, TESTER, [APP], [Vendor.TENCENT], None, world.clock())
    if kind == "approve":
        return place_approval(world.database, TESTER, stopped, world.clock())
    return place_sweep(world.database, TESTER, world.clock())


def work(world: World) -> list[Any]:
    """A worker starts and does what was asked for; what it logged."""
    with capture_logs() as logs:
        assert world.service.leader.try_to_lead()
        world.service.take_over()
        worker = Worker(world.service)
        worker.sweep()
        worker.reconcile()
    return logs


@pytest.mark.parametrize("kind", ["sweep", "reconcile", "approve"])
def test_an_order_for_a_run_that_is_too_old_does_nothing_and_says_so(world: World, kind: str) -> None:
    number, calls, runs = place(world, kind), len(world.sandbox.calls), count_runs(world)
    world.clock.move(minutes=15, seconds=1)
    logs = work(world)
    order = read_order(world.database, number)
    assert (order.state, order.result) == (OrderState.EXPIRED, None)
    assert order.summary.startswith("expired: nobody began with it within 15 minutes, so nothing was done")
    assert (len(world.sandbox.calls), count_runs(world)) == (calls, runs)
    assert not world.states().get(FileState.DELETED)
    with world.database.read() as tx:
        assert [plan.state for plan in list_plans(tx)] == ([PlanState.OPEN] if kind == "approve" else [])
    [line] = [line for line in logs if line["event"] == "order_expired"]
    assert (line["order"], line["by"]) == (number, TESTER.name)
    assert "run_requested" not in {line["event"] for line in logs}


@pytest.mark.parametrize("kind", ["sweep", "reconcile", "approve"])
def test_one_that_is_younger_is_carried_out(world: World, kind: str) -> None:
    number = place(world, kind)
    world.clock.move(minutes=14)
    work(world)
    assert read_order(world.database, number).state is OrderState.APPLIED
    if kind != "reconcile":
        assert world.stored() == set()


def test_one_that_waits_for_a_run_in_progress_does_not_expire(world: World) -> None:
    """A pass takes three hours; the leader lives, and sees the order at once."""
    world.keep("1d")
    world.add(2)
    worker, placed = Worker(world.service), list[int]()

    def wait(_call: object) -> None:
        if not placed:
            placed.append(place_sweep(world.database, TESTER, world.clock()))
            for _ in range(18):
                world.clock.move(minutes=10)
                world.catch_up()

    world.sandbox.on_request = wait
    world.service.run_pass(Trigger.SCHEDULE, worker._stop)
    assert read_order(world.database, placed[0]).state is OrderState.WAITING
    worker.sweep()
    assert read_order(world.database, placed[0]).state is OrderState.APPLIED


def test_a_leader_that_slept_carries_out_nothing_that_was_asked_for_long_before(world: World) -> None:
    world.keep("1d")
    world.add(2)
    number = place_sweep(world.database, TESTER, world.clock())
    world.clock.move(hours=2)
    Worker(world.service).sweep()
    assert read_order(world.database, number).state is OrderState.EXPIRED
    assert len(world.stored()) == 2


def test_orders_that_keep_files_or_name_them_never_expire(world: World) -> None:
    world.keep("1d")
    world.add(1, prefix="held", age=timedelta(0))
    world.add(1, prefix="erased", age=timedelta(0))
    files, now = world.files(), world.clock()
    world.service.leader.release()
    held, erased = files["held-00000"].id, files["erased-00000"].id
    _, hold = place_hold(world.database, TESTER, reason="a test", now=now, known_apps={APP}, file=held)
    request = ErasureRequest(reason="a test", files=[erased])
    _, erasure = erase_files(world.database, TESTER, request, now, known_apps={APP})
    world.clock.move(days=60)
    work(world)
    assert {read_order(world.database, number).state for number in (hold, erasure)} == {OrderState.APPLIED}
    assert world.state("held-00000") is FileState.HELD
    assert world.files()["erased-00000"].erasure_id is not None


def count_runs(world: World) -> int:
    with world.database.read() as tx:
        return len(list_runs(tx))
