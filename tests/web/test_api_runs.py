"""Runs and callbacks through the API, and the passes that the worker is asked for."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

from service.core.model import Actor, Vendor
from service.usecases.pruning import Keeping, prune
from service.usecases.requesting import request_pass, take_requests
from service.worker import Worker
from tests.world import APP

if TYPE_CHECKING:
    from tests.web.conftest import Api


def test_a_pass_is_shown_with_its_files_and_calls(api: Api) -> None:
    api.world.keep("1d")
    ids = api.world.add(7)
    number = api.world.sweep()
    assert [run["id"] for run in api.walk("/runs", limit=1)] == [number]
    run = api.get(f"/runs/{number}")
    assert (run["outcomes"]["deleted"], run["plans"]) == (7, [])
    files = api.walk(f"/runs/{number}/files", limit=3)
    assert sorted(file["file_id"] for file in files) == ids
    assert {file["outcome"] for file in files} == {"deleted"}
    calls = api.walk(f"/runs/{number}/calls", limit=1)
    assert len(calls) == run["calls"]


def test_an_operator_asks_for_a_pass_and_the_worker_carries_it_out_once(api: Api) -> None:
    api.world.keep("1d")
    api.world.add(2)
    asked = api.post("/runs", status=202, role="operator")
    assert (asked["trigger"], asked["requested_by"]) == ("command", "operator")
    api.post("/runs", status=202)
    worker = Worker(api.world.service)
    worker._sweep_on_request()
    worker._sweep_on_request()
    [run] = api.walk("/runs")
    assert run["trigger"] == "command"
    assert api.world.stored() == set()
    assert {"request_sweep"} <= {entry["action"] for entry in api.walk("/audit")}


def test_a_request_goes_to_one_worker_only_and_approvals_first(api: Api) -> None:
    database, actor, now = api.world.database, Actor("somebody", "a test"), api.world.clock()
    assert take_requests(database) == []
    for approved_run in (None, 7, 12, 7):
        request_pass(database, actor, now, approved_run)
    assert [request.approved_run for request in take_requests(database)] == [12, 7, None]
    assert take_requests(database) == []


def test_a_plan_is_approved_and_carried_out(api: Api) -> None:
    world = api.world
    world.keep("1d")
    ids = world.add(1_200)
    number = world.sweep()
    run = api.get(f"/runs/{number}")
    assert run["state"] == "stopped"
    [plan] = run["plans"]
    assert plan["files_count"] == 1_200
    assert len(plan["files"]) == 1_000
    assert world.stored() == set(ids)
    api.post(f"/runs/{number}/approval", status=403, role="operator")
    asked = api.post(f"/runs/{number}/approval", status=202)
    assert (asked["apps"], asked["approved_run"]) == ([plan["app_id"]], number)
    Worker(world.service)._sweep_on_request()
    assert world.stored() == set()
    api.post("/runs/2/approval", status=409)
    api.post("/runs/99/approval", status=404)


def test_the_inbox_and_the_quarantine(api: Api) -> None:
    world = api.world
    world.keep("30d")
    for number in range(3):
        world.send(f"good-{number}")
    world.send("bad", secret="another")
    listed = api.walk("/callbacks", limit=2)
    assert [each["id"] for each in listed] == sorted((each["id"] for each in listed), reverse=True)
    [forged] = api.walk("/callbacks", verdict="forged")
    shown = api.get(f"/callbacks/{forged['id']}")
    assert base64.b64decode(shown["raw_base64"]).decode() == shown["text"]
    assert shown["fields"]["appid"] == shown["app_id"]
    assert api.walk("/callbacks", app="1") == []


def test_replaying_one_or_all_of_a_verdict_doubles_nothing(api: Api) -> None:
    world = api.world
    world.keep("30d")
    world.send("late", now=world.clock() - timedelta(hours=1))
    for number in range(3):
        world.send(f"good-{number}", vendor=Vendor.HUAWEI)
    one = api.walk("/callbacks", verdict="stale")[0]["id"]
    replayed = api.post(f"/callbacks/{one}/replay", role="operator")
    assert (replayed["old"], replayed["new"]) == ("stale", "stale")
    first = api.post("/callbacks/replay", {"verdict": "accepted", "limit": 2})
    assert len(first["items"]) == 2
    rest = api.post("/callbacks/replay", {"verdict": "accepted", "limit": 2, "cursor": first["next_cursor"]})
    assert len(rest["items"]) == 1
    assert rest["next_cursor"] is None
    assert len(api.walk("/files")) == 4
    api.post("/callbacks/99/replay", status=404)


def test_a_callback_whose_body_was_dropped_is_shown_and_cannot_be_judged_again(api: Api) -> None:
    world = api.world
    world.send("old")
    world.clock.move(days=100)
    prune(world.database, Keeping(timedelta(days=90), None), world.clock)
    shown = api.get("/callbacks/1")
    assert (shown["raw_base64"], shown["text"], shown["fields"]) == ("", "", None)
    assert shown["pruned_at"] == api.get("/callbacks")["items"][0]["pruned_at"] is not None
    assert "its body was dropped" in api.post("/callbacks/1/replay", status=409)["detail"]
    assert api.post("/callbacks/replay", {"verdict": "accepted"}) == {"items": [], "next_cursor": None}


def test_listings_and_lost_callbacks_are_shown(api: Api) -> None:
    world = api.world
    world.send("first")
    world.clock.move(days=2)
    world.sandbox.add_file(APP, Vendor.TENCENT, "lost", created_at=world.clock() - timedelta(days=1))
    world.reconcile()
    world.clock.move(minutes=5)
    listed = api.walk("/listings", limit=2)
    assert [(each["vendor"], each["adopted"], each["lost"]) for each in listed] == [
        ("Huawei", 0, 0),
        ("Ws", 0, 0),
        ("Tencent", 1, 1),
    ]
    assert api.get("/listings/1") == listed[2]
    assert api.get("/lost-callbacks")["items"] == [{"app_id": APP, "day": "2026-03-02", "count": 1}]
    totals = api.get("/totals")
    assert totals["lost_callbacks"] == {APP: 1}
    assert [APP, "Tencent", listed[2]["finished_at"]] in totals["listed_at"]
    assert totals["incomplete_listings"] == []
