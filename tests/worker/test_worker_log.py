"""What the worker says in its log: each thing once, and nothing that nobody needs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from structlog.testing import capture_logs

from service.audit.chain import parse_head, verify_chain
from service.database import DatabaseUnavailable
from service.holds.holds import place_hold
from service.leader.leader import LeadLost
from service.model import Vendor
from service.sweep.orders import place_approval
from service.wiring import Service
from service.worker import Worker
from tests.world import APP, TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url, TIMEZONE="Asia/Shanghai", COOLING_OFF="1m") as world:
        yield world


def said(worker: Worker) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        worker.announce()
    return [dict(line) for line in logs]


def test_each_evening_it_says_what_is_deleted_within_a_day(world: World) -> None:
    world.keep("1d")
    worker = Worker(world.service)
    assert said(worker) == []
    world.clock.move(hours=20)  # it is 16:00 in Shanghai
    world.add(3, prefix="soon", age=timedelta(0))
    world.add(2, prefix="later", age=timedelta(hours=-3))
    world.add(1, prefix="held", stream_id="kept")
    place: dict[str, Any] = {
        "stream_pattern": "kept",
        "app_id": APP,
        "reason": "a test",
        "known_apps": [APP],
    }
    place_hold(world.database, TESTER, now=world.clock(), **place)
    world.catch_up()
    assert said(worker) == []
    world.clock.move(hours=1, minutes=59)
    assert said(worker) == []
    world.clock.move(minutes=1)
    [line] = said(worker)
    assert (line["event"], line["files"], line["by_rule"]) == ("deletions_within_24h", 3, {"everything": 3})
    noted = parse_head(line["audit_head"])
    assert verify_chain(world.database, noted) == (noted, None)
    assert said(worker) == [], "once an evening"
    world.clock.move(days=1)
    [line] = said(worker)
    assert line["files"] == 5
    assert len(world.stored()) == 6, "it only looks"


def test_only_who_leads_says_so(world: World) -> None:
    worker = Worker(world.service)
    said(worker)
    world.service.leader.release()
    world.clock.move(days=1)
    assert said(worker) == []


def report(worker: Worker, job: str, error: Exception | None) -> None:
    code = EVENT_JOB_EXECUTED if error is None else EVENT_JOB_ERROR
    worker._report(JobExecutionEvent(code, job, "default", None, exception=error))


def test_a_database_that_was_away_is_said_once_and_that_it_is_back(world: World) -> None:
    worker, away = Worker(world.service), DatabaseUnavailable("it does not answer")
    jobs = ("tick", "sweep", "reconcile")
    with capture_logs() as logs:
        for number in range(9):
            report(worker, jobs[number % 3], away)
        report(worker, "prune", DatabaseUnavailable("nor now"))
        for job in jobs:
            report(worker, job, LeadLost("another leads") if job == "tick" else None)
        report(worker, "tick", None)
    assert [line["event"] for line in logs] == ["database_unavailable", "lead_lost", "database_back"]
    with capture_logs() as logs:
        for _ in range(3):
            report(worker, "sweep", ValueError("a defect"))
        report(worker, "sweep", None)
        report(worker, "sweep", ValueError("a defect"))
    assert [line["event"] for line in logs] == ["job_failed", "job_failed"]


def test_orders_are_said_with_who_gave_them_and_listings_with_their_counts(world: World) -> None:
    world.keep("1d")
    world.add(2, stream_id="kept")
    place: dict[str, Any] = {
        "stream_pattern": "kept",
        "app_id": APP,
        "reason": "a test",
        "known_apps": [APP],
    }
    place_hold(world.database, TESTER, now=world.clock(), **place)
    with capture_logs() as logs:
        world.catch_up()
        world.sandbox.add_file(APP, Vendor.TENCENT, "found")
        world.reconcile(Vendor.TENCENT)
    [order] = [line for line in logs if line["event"] == "order_applied"]
    assert (order["action"], order["subject"], order["by"]) == ("hold.place", "hold 1", "a tester")
    assert '"stream_pattern":"kept"' in order["detail"]
    assert order["result"]["files"] == 2
    [listing] = [line for line in logs if line["event"] == "listing_ended"]
    assert (listing["listed"], listing["adopted"]) == (3, 1)
    assert not {"note", "missing", "gone"} & set(listing)


def test_rules_sweeps_and_approvals_are_said_and_nothing_while_nothing_happens(database_url: str) -> None:
    with open_world(database_url, BREAKER_FILES="1", SWEEP_EVERY="off") as world, capture_logs() as logs:
        world.keep("1d")
        world.add(2, age=timedelta(days=2))
        stopped = world.sweep()
        place_approval(world.database, TESTER, stopped, world.clock())
        worker = Worker(world.service)
        worker.tick()
        worker.sweep()
        happened = list(logs)
        logs.clear()
        for _ in range(3):
            worker.tick()
            worker.announce()
        assert logs == []
    rules, *passes = [line for line in happened if line["event"] not in ("run_requested", "sweep_stopped")]
    assert (rules["event"], rules["action"], rules["by"]) == ("order_applied", "rules.apply", "a tester")
    begun, ended = "sweep_started", "sweep_finished"
    assert [line["event"] for line in passes] == [begun, ended, "plan_approved", begun, ended]
    assert (passes[2]["run"], passes[2]["by"]) == (stopped, "a tester")
    assert (passes[4]["run"], passes[4]["calls"], passes[4]["deleted"]) == (stopped + 1, 1, 2)


def test_adopted_files_that_wait_are_said_once_a_round(database_url: str) -> None:
    with open_world(database_url, KEEP="1d", RECONCILE_EVERY="24h") as world:
        world.service.prepare_database(creates_database=True)
        world.catch_up()
        world.sandbox.add_file(APP, Vendor.TENCENT, "found", created_at=world.clock() - timedelta(days=30))
        with capture_logs() as logs:
            Worker(world.service).reconcile()
    events = [line["event"] for line in logs]
    assert events.count("listing_ended") >= len(Vendor)
    assert events.count("adopted_files_wait") == 1


def test_a_standby_says_once_who_leads(world: World) -> None:
    other = Service(world.service.settings, now=world.clock)
    worker = Worker(other)
    with capture_logs() as logs:
        for _ in range(3):
            worker.tick()
    assert [(line["event"], line["leader"]) for line in logs] == [("standing_by", world.service.leader.name)]
    other.close()
