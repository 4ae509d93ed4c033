"""What people order through the API: answered with its result, or 202 and where to look; on both databases."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.model import Vendor
from service.worker import Worker
from tests.web.api_scene import EVERYTHING, fill
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from tests.web.api_scene import Api


def test_a_hold_answers_with_its_result_and_with_who_placed_it(api: Api) -> None:
    api.world.keep("30d")
    api.world.add(3)
    api.world.add(2, prefix="unknown", stream_id="")
    hold = api.post(
        "/holds",
        {"app_id": APP, "stream_pattern": "roo?", "reason": "audit", "until": "2026-12-31"},
        status=201,
        role="operator",
    )
    assert (hold["placed_by"], hold["through"], hold["until"]) == ("operator", "API", "2026-12-31T00:00:00Z")
    assert hold["order"]["state"] == "applied"
    assert hold["order"]["result"] == {
        "hold": 1,
        "files": 5,
        "unknown_stream": 2,
        "open_calls": {"count": 0, "files": []},
    }
    assert {file["state"] for file in api.walk("/files")} == {"held"}
    released = api.post("/holds/1/release", role="operator")
    assert (released["released_by"], released["order"]["result"]["files"]) == ("operator", 5)
    assert {file["state"] for file in api.walk("/files")} == {"scheduled"}
    assert "released already" in api.post("/holds/1/release", status=409)["detail"]
    assert [hold["order"]["number"], released["order"]["number"]] == [
        entry["number"] for entry in api.walk("/audit") if entry["action"].startswith("hold.")
    ][::-1]


def test_while_nobody_leads_an_order_is_answered_202_with_where_to_look(api: Api) -> None:
    api.world.keep("30d")
    api.world.add(1)
    api.leads = False
    began = time.monotonic()
    response = api.ask("POST", "/holds", {"file": 1, "reason": "x"})
    assert 1.9 < time.monotonic() - began < 5
    assert response.status_code == 202
    assert response.json is not None
    assert (response.json["id"], response.json["order"]["state"]) == (1, "waiting")
    assert "not applied yet" in response.json["order"]["summary"]
    where = response.headers["Location"].removeprefix("/api/v1")
    assert api.get(where) == response.json["order"]
    assert api.get("/holds/1")["reason"] == "x"  # in force all the same
    api.world.catch_up()
    assert api.get(where)["result"]["files"] == 1
    assert api.get("/files/1")["state"] == "held"


def test_an_order_that_cannot_be_applied_is_reported_with_the_reason(api: Api) -> None:
    api.world.keep("30d")
    number = api.world.database.transact(
        lambda tx: place_order(
            tx, TESTER, OrderKind.HOLD, "hold 9", {"hold": 9, "open": []}, api.world.clock(), action="x", app_id=APP
        )
    )
    api.world.catch_up()
    order = api.get(f"/orders/{number}")
    assert (order["state"], order["result"], order["app_id"]) == ("failed", None, APP)
    assert "hold 9 is not on record" in order["failure"]
    assert order["failure"] in order["summary"]


def test_confirming_and_retrying(api: Api) -> None:
    world = api.world
    world.keep("1d")
    late = world.send("late", age=timedelta(days=2), now=world.clock() - timedelta(hours=2))
    confirmed = api.post(f"/files/{late.id}/confirm", role="operator")
    assert (confirmed["order"]["result"]["confirmed"], confirmed["state"]) == (1, "scheduled")
    assert confirmed["confirmed_at"] == "2026-03-01T12:01:00Z"
    assert "nothing to confirm" in api.post(f"/files/{late.id}/confirm", status=409)["detail"]
    assert "only failed or waiting" in api.post(f"/files/{late.id}/retry", status=409)["detail"]
    world.database.transact(
        lambda tx: tx.exec_driver_sql("UPDATE media_files SET state = 'failed', decide_again = false")
    )
    retried = api.post(f"/files/{late.id}/retry", role="operator")
    assert (retried["order"]["result"], retried["state"]) == ({"retried": 1, "too_late": []}, "scheduled")
    api.post("/files/99/confirm", status=404)


def test_an_erasure_is_bound_to_what_its_preview_shows(api: Api) -> None:
    api.world.keep("forever")
    api.world.add(2)
    api.world.announce("new")  # (its callback is not understood yet)
    wanted = {"app_id": APP, "stream_pattern": "room", "reason": "ticket 4711"}
    preview = api.post("/erasures/previews", wanted)
    assert (preview["files"], preview["by_vendor"]) == (3, {"Tencent": 3})
    refused = api.post("/erasures", wanted | {"expect": 2}, status=409)
    assert refused["preview"] == preview
    assert api.walk("/erasures") == []
    made = api.post("/erasures", wanted | {"expect": 3}, status=201)
    assert (made["files"], made["by_state"], made["order"]["result"]["files"]) == (3, {"scheduled": 3}, 3)
    api.world.sweep()
    assert api.world.stored() == set()
    assert api.get("/erasures/1")["by_state"] == {"deleted": 3}
    assert "there is nothing to delete" in api.post("/erasures", wanted | {"expect": 0}, status=409)["detail"]
    api.post("/erasures/previews", {"files": [99], "reason": "x"}, status=404)


def test_a_change_that_deletes_sooner_goes_through_its_preview(api: Api) -> None:
    api.get("/rules", status=404)
    api.world.keep("30d")
    api.world.add(3, age=timedelta(days=5))
    sooner = {"rules": EVERYTHING.format("1d")}
    refused = api.post("/rules/revisions", sooner, status=409)
    assert refused["preview"]["sooner_count"] == 3
    preview = api.post("/rules/previews", sooner, status=201)
    assert preview["changes"]["newly_due_now"]["count"] == 3
    assert api.get(f"/rules/previews/{preview['id']}") == preview
    assert {file["due_after"] for file in api.walk(f"/rules/previews/{preview['id']}/sooner", limit=2)} == {
        "2026-02-25T12:01:00Z"
    }
    api.post("/rules/revisions", {"rules": EVERYTHING.format("2d"), "preview": preview["id"]}, status=409)
    api.world.add(1, prefix="more", age=timedelta(days=5))
    refused = api.post("/rules/revisions", {"preview": preview["id"]}, status=409)
    assert refused["preview"]["sooner_count"] == 4
    wanted = {"preview": refused["preview"]["id"]}
    for expect in ({}, {"expect": 3}):  # it would delete every file of the app
        assert "EVERY file" in api.post("/rules/revisions", wanted | expect, status=409)["detail"]
    applied = api.post("/rules/revisions", wanted | {"expect": 4})
    assert (applied["revision"], applied["is_new"], applied["sooner_count"]) == (2, True, 4)
    assert (applied["cooling_until"], applied["order"]["state"]) == ("2026-03-02T12:01:00Z", "applied")
    assert api.post("/rules/revisions", sooner)["is_new"] is False
    in_force = api.get("/rules")
    assert (in_force["number"], in_force["applied_by"], in_force["through"]) == (2, "admin", "API")
    assert in_force["rules"] == [{"name": "everything", "match": {}, "keep": "1d", "keep_latest": None}]
    assert '-keep = "30d"' in in_force["diff"]
    api.get(f"/rules/previews/{preview['id']}/sooner", status=409)
    returned = api.post("/rules/revisions", {"revision": 1})
    assert (returned["revision"], returned["sooner_count"]) == (3, 0)
    assert api.get("/rules/revisions/3")["rules"] == api.get("/rules/revisions/1")["rules"]
    api.post("/rules/previews", {"revision": 9}, status=404)


def test_an_operator_asks_for_a_sweep_and_the_worker_carries_it_out_once(api: Api) -> None:
    api.world.keep("1d")
    api.world.add(2)
    asked = api.post("/runs", status=202, role="operator")
    assert (asked["kind"], asked["state"]) == ("sweep", "waiting")
    Worker(api.world.service).sweep()
    Worker(api.world.service).sweep()
    [run] = [run for run in api.walk("/runs") if run["trigger"] == "command"]
    assert run["outcomes"] == {"deleted": 2}
    assert api.get(f"/orders/{asked['number']}")["result"] == {"run_id": run["id"]}
    assert api.world.stored() == set()


def test_a_sweep_that_nobody_began_with_in_time_is_reported_as_expired(api: Api) -> None:
    api.world.keep("1d")
    api.world.add(2)
    api.leads = False
    asked = api.post("/runs", status=202)
    api.world.clock.move(minutes=16)
    api.world.catch_up()
    order = api.get(f"/orders/{asked['number']}")
    assert (order["state"], order["result"]) == ("expired", None)
    assert order["failure"].startswith("nobody began with it within 15 minutes, so nothing was done")
    assert len(api.world.stored()) == 2
    assert api.get("/runs")["items"] == []


def test_a_plan_is_approved_and_carried_out(api: Api) -> None:
    world = api.world
    world.keep("1d")
    ids = world.add(1_200)
    number = world.sweep()
    run = api.get(f"/runs/{number}")
    assert (run["state"], run["outcomes"]) == ("stopped", {})
    [plan] = run["plans"]
    assert (plan["state"], plan["files_count"], plan["app_id"]) == ("open", 1_200, APP)
    assert world.stored() == set(ids)
    world.add(1, prefix="later")
    assert [file["file_id"] for file in api.walk(f"/runs/{number}/planned", limit=500)] == ids
    assert api.get("/totals")["stopped_apps"] == [APP]
    assert any("the breaker stopped" in each for each in api.get("/files/1/explanation")["obstacles"])
    assert api.get("/dry-run")["stops"][0]["plan_run"] == number
    asked = api.post(f"/runs/{number}/approval", status=202)
    assert asked["kind"] == "approve"
    Worker(world.service).sweep()
    assert world.stored() == set()
    assert api.walk(f"/runs/{number}/planned") == []
    [plan] = api.get(f"/runs/{number}")["plans"]
    assert (plan["state"], plan["ended_by"], plan["called"]) == ("approved", "admin", 1_200)
    api.post("/runs/2/approval", status=409)
    api.post("/runs/99/approval", status=404)


def test_listings_are_asked_for(api: Api) -> None:
    asked = api.post("/listings", {"app_id": APP, "vendor": "Tencent"}, status=202, role="operator")
    Worker(api.world.service).reconcile()
    order = api.get(f"/orders/{asked['number']}")
    [listing] = api.walk("/listings")
    assert order["result"] == {"listing_ids": [listing["id"]]}
    assert (listing["vendor"], listing["state"]) == ("Tencent", "complete")
    assert api.get(f"/listings/{listing['id']}") == listing
    assert "is in the future" in api.post("/listings", {"since": "2027-01-01"}, status=409)["detail"]


def test_replaying_one_callback_or_all_of_a_verdict_doubles_nothing(api: Api) -> None:
    world = api.world
    world.keep("30d")
    world.send("late", now=world.clock() - timedelta(hours=1))
    for number in range(3):
        world.send(f"good-{number}", vendor=Vendor.HUAWEI)
    stale = api.walk("/callbacks", verdict="stale")[0]["id"]
    assert api.post(f"/callbacks/{stale}/replay", role="operator")["result"]["replayed"] == 1
    assert api.post("/callbacks/replay", {"verdict": "accepted"}, role="operator")["result"]["replayed"] == 3
    assert len(api.walk("/files")) == 4
    assert [each["verdict"] for each in api.walk("/callbacks")] == ["accepted"] * 3 + ["stale"]
    api.post("/callbacks/99/replay", status=404)


def test_tokens_are_shown_once_and_end_when_they_are_revoked(api: Api) -> None:
    made = api.post("/tokens", {"name": "dashboard", "role": "viewer", "expires_at": "2026-06-01"}, status=201)
    api.tokens["new"] = made["token"]
    assert api.get("/files", role="new") == {"items": [], "next_cursor": None}
    listed = api.walk("/tokens", role="admin")
    assert made["token"] not in str(listed)
    assert listed[-1]["last_used_at"] is not None
    assert api.post("/tokens", {"name": "dashboard", "role": "viewer"}, status=422)["errors"][0]["field"] == "name"
    assert api.post(f"/tokens/{made['id']}/revoke")["revoked_by"] == "admin"
    api.get("/files", role="new", status=401)
    api.post(f"/tokens/{made['id']}/revoke", status=409)


def test_the_audit_proves_itself_and_shows_where_it_was_altered(api: Api) -> None:
    fill(api)
    proof = api.get("/audit/proof")
    assert (proof["entries"], proof["fault"]) == (10, None)
    assert api.get("/audit/proof", noted=proof["head"])["fault"] is None
    with api.world.database.write() as tx:
        tx.exec_driver_sql("UPDATE audit_entries SET actor = 'somebody else' WHERE number = 3")
    altered = api.get("/audit/proof")
    assert altered["entries"] == 2
    assert "entry 3" in altered["fault"]
    api.get("/audit/proof", noted="nonsense", status=422)


def test_what_reads_the_whole_inventory_does_so_one_at_a_time_and_a_forecast_is_kept(api: Api) -> None:
    fill(api)
    first = api.get("/forecast")
    assert sum(first["days"]) == 4
    assert (first["count"], {each["name"]: each["count"] for each in first["by_state"]}) == (
        8,
        {"scheduled": 4, "held": 3, "unconfirmed": 1},
    )
    with api.app.extensions["zego-retention.backend"].for_inventory():
        assert api.get("/forecast") == first  # from memory
        refused = api.ask("GET", "/dry-run", role="viewer")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert "whole inventory" in refused.json["detail"]  # type: ignore[index]
    assert api.get("/dry-run")["total"] == 1


def test_totals_show_how_things_stand(api: Api) -> None:
    fill(api)
    totals = api.get("/totals")
    assert (totals["files"]["deleted"], totals["files"]["failed"], totals["due"]) == (30, 0, {APP: 1})
    assert (totals["callbacks"]["forged"], totals["runs"]["done"], totals["revision"]) == (1, 1, 1)
    assert [(each["vendor"], each["state"]) for each in totals["listings"]] == [
        (vendor, "complete") for vendor in ("Huawei", "Tencent", "Ws")
    ]
