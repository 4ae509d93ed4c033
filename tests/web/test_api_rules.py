from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.web.conftest import Api


def rules(keep: str) -> str:
    return f'[[rules]]\nname = "everything"\nkeep = "{keep}"\n'


def fill(api: Api) -> None:
    api.world.keep("30d")
    api.world.add(3, age=timedelta(days=5))
    api.world.sweep()


def test_without_rules_there_is_nothing_to_show(api: Api) -> None:
    assert api.ask("GET", "/rules").status_code == 404
    assert api.walk("/rules/revisions") == []


def test_a_change_that_deletes_sooner_goes_through_its_preview(api: Api) -> None:
    fill(api)
    refused = api.post("/rules/revisions", {"rules": rules("1d")}, status=409)
    assert refused["preview"]["sooner"] == 3
    assert api.get("/rules")["number"] == 1

    preview = api.post("/rules/previews", {"rules": rules("1d")}, status=201)
    assert preview["changes"]["newly_due_now"]["count"] == 3
    assert api.get(f"/rules/previews/{preview['id']}") == preview
    applied = api.post("/rules/revisions", {"preview": preview["id"]})
    assert (applied["revision"], applied["is_new"], applied["sooner"]) == (2, True, 3)
    assert applied["cooling_until"] == "2026-03-02T12:01:00Z"
    in_force = api.get("/rules")
    assert (in_force["applied_by"], in_force["through"], in_force["preview"]) == ("admin", "API", preview["id"])
    api.world.sweep()
    assert len(api.world.stored()) == 3
    api.world.clock.move(days=1)
    api.world.sweep()
    assert api.world.stored() == set()


def test_a_preview_that_no_longer_fits_is_answered_with_a_new_one(api: Api) -> None:
    fill(api)
    preview = api.post("/rules/previews", {"rules": rules("1d")}, status=201)
    late: dict[str, Any] = {"age": timedelta(days=5)}
    api.world.add(1, prefix="late", **late)
    api.world.sweep()
    api.world.clock.move(minutes=1)
    refused = api.post("/rules/revisions", {"preview": preview["id"]}, status=409)
    assert refused["preview"]["sooner"] == 4
    api.post("/rules/revisions", {"preview": refused["preview"]["id"]})


def test_going_back_to_an_earlier_revision(api: Api) -> None:
    fill(api)
    api.post("/rules/revisions", {"rules": rules("60d")})
    api.post("/rules/revisions", {"revision": 1}, status=409)
    preview = api.post("/rules/previews", {"revision": 1}, status=201)
    api.post("/rules/revisions", {"revision": 1, "preview": preview["id"]})
    numbers = [each["number"] for each in api.walk("/rules/revisions", limit=1)]
    assert numbers == [3, 2, 1]
    assert api.get("/rules/revisions/3")["rules"] == api.get("/rules/revisions/1")["rules"]
    api.post("/rules/previews", {"revision": 9}, status=404)


def test_the_preview_of_other_rules_does_not_count(api: Api) -> None:
    fill(api)
    preview = api.post("/rules/previews", {"rules": rules("20d")}, status=201)
    api.post("/rules/revisions", {"rules": rules("1d"), "preview": preview["id"]}, status=409)
    assert api.get("/rules")["number"] == 1


def test_totals_and_forecast_tell_how_things_stand(api: Api) -> None:
    fill(api)
    totals = api.get("/totals")
    assert totals["files"]["scheduled"] == 3
    assert totals["revision"] == 1
    forecast = api.get("/forecast")
    assert forecast["by_state"][0]["count"] == 3
    assert sum(forecast["forecast"]) == 3
