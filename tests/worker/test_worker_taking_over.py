"""A worker whose work is cut short: what it owes is done later."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.audit.store import list_run_requests
from service.database import DatabaseUnavailable
from service.listing.reconcile import place_reconcile
from service.model import Vendor
from service.sweep.orders import place_sweep
from service.sweep.records import Trigger
from service.sweep.store import list_runs
from service.worker import Worker
from tests.world import APP, TESTER, open_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.database import Database


def rename(database: Database, before: str, after: str) -> None:
    with database.write() as tx:
        tx.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))


def test_sweeps_go_on_after_one_that_a_clock_ahead_has_begun(database_url: str) -> None:
    """A machine that starts with a wrong clock writes down such a run; once the clock is right, nobody waits for it."""

    def count_scheduled() -> int:
        with world.database.read() as tx:
            return sum(run.trigger is Trigger.SCHEDULE for run in list_runs(tx))

    with open_world(database_url, SWEEP_EVERY="15m") as world:
        worker = Worker(world.service)
        world.clock.move(days=300)
        worker.sweep()
        world.clock.move(days=-300)
        worker.sweep()
        assert count_scheduled() == 1, "the record is ahead: a person has to look"
        for _ in range(2):
            world.service.run_pass(
                Trigger.COMMAND, threading.Event(), request=place_sweep(world.database, TESTER, world.clock())
            )
        for _ in range(3):
            worker.sweep()
        assert count_scheduled() == 2
        world.clock.move(minutes=16)
        worker.sweep()
        assert count_scheduled() == 3


def test_taking_over_is_tried_again_until_it_is_done(database_url: str) -> None:
    """Else this process would lead, and renew its lease, and never call ZEGO."""
    with open_world(database_url) as world:
        world.keep("1d")
        world.add(1)
        world.service.leader.release()
        worker = Worker(world.service)
        rename(world.database, "listings", "listings_away")
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                worker.tick()
        assert world.service.leader.leads
        assert not world.service.leader.is_ready
        rename(world.database, "listings_away", "listings")
        worker.tick()
        assert world.service.leader.is_ready


def test_listings_that_were_asked_for_and_cut_short_are_left_to_the_next_worker(sqlite_url: str) -> None:
    with open_world(sqlite_url) as world:
        number = place_reconcile(world.database, TESTER, [APP], list(Vendor), None, world.clock())

        def requests() -> list[int]:
            with world.database.read() as tx:
                return [order.number for order in list_run_requests(tx)]

        stopping = Worker(world.service)
        stop: Callable[[object], None] = lambda _call: stopping._stop.set()  # noqa: E731  (a signal does that)
        world.sandbox.on_request = stop
        stopping.reconcile()
        assert requests() == [number]
        world.sandbox.on_request = None
        Worker(world.service).reconcile()
        assert requests() == []
