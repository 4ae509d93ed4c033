"""Holds, erasures and tokens through the API."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.core.model import Vendor
from tests.world import APP

if TYPE_CHECKING:
    from tests.web.conftest import Api


def test_a_hold_is_placed_listed_shown_and_released(api: Api) -> None:
    world = api.world
    world.keep("30d")
    world.add(3, stream_id="lesson-1", age=timedelta(days=40))
    until = (world.clock() + timedelta(days=9)).isoformat()
    order = {"app_id": APP, "stream_pattern": "lesson-*", "reason": "an audit", "until": until}
    placed = api.post("/holds", order, status=201, role="operator")
    assert (placed["files"], placed["in_flight"], placed["placed_by"]) == (3, [], "operator")
    assert placed["until"] == "2026-03-10T12:01:00Z"
    assert {file["state"] for file in api.walk("/files")} == {"held"}
    world.sweep()
    assert len(world.stored()) == 3

    assert [hold["id"] for hold in api.walk("/holds", limit=1, app=APP)] == [placed["id"]]
    assert api.get(f"/holds/{placed['id']}")["reason"] == "an audit"
    assert api.post(f"/holds/{placed['id']}/release")["released_by"] == "admin"
    assert api.walk("/holds") == []
    assert len(api.walk("/holds", released="true")) == 1
    api.post(f"/holds/{placed['id']}/release", status=409)
    world.sweep()
    assert world.stored() == set()


def test_a_hold_on_a_file_that_does_not_exist_is_refused(api: Api) -> None:
    answer = api.post("/holds", {"file": 77, "reason": "x"}, status=422)
    assert answer["errors"][0]["field"] == "file"
    assert api.walk("/holds") == []


def test_an_erasure_is_bound_to_its_preview(api: Api) -> None:
    world = api.world
    world.keep("300d")
    world.add(2, stream_id="learner-7")
    world.add(1, prefix="other", vendor=Vendor.HUAWEI)
    order = {"app_id": APP, "stream_pattern": "learner-7", "reason": "asked for"}
    preview = api.post("/erasures/previews", order)
    assert preview["files"] == 2
    refused = api.post("/erasures", order | {"expect": 3}, status=409)
    assert refused["preview"]["files"] == 2
    assert api.walk("/erasures") == []
    world.add(1, prefix="later", stream_id="learner-7")
    api.post("/holds", {"file": 1, "reason": "a court asks"}, status=201)
    bound = order | {"expect": 2, "digest": preview["digest"]}
    assert api.post("/erasures", bound | {"digest": "5f2b"}, status=422)["errors"][0]["field"] == "digest"
    refused = api.post("/erasures", bound, status=409)
    assert (refused["preview"]["files"], refused["preview"]["held"]) == (2, 1)
    done = api.post("/erasures", bound | {"digest": refused["preview"]["digest"]}, status=201)
    assert [each["id"] for each in api.walk("/erasures")] == [done["id"]]
    world.sweep()
    assert world.stored() == {"file-00000"}
    assert api.get(f"/erasures/{done['id']}")["by_state"] == {"deleted": 2, "held": 1}
    assert world.stored(Vendor.HUAWEI) == {"other-00000"}


def test_a_token_is_shown_once_works_and_is_revoked(api: Api) -> None:
    made = api.post("/tokens", {"name": "desk", "role": "viewer"}, status=201)
    api.tokens["desk"] = made["token"]
    assert api.ask("GET", "/files", role="desk").status_code == 200
    listed = next(token for token in api.walk("/tokens", limit=2) if token["name"] == "desk")
    assert "token" not in listed
    assert listed["last_used_at"]
    assert made["token"] not in api.ask("GET", "/audit").text
    api.post(f"/tokens/{made['id']}/revoke")
    assert api.ask("GET", "/files", role="desk").status_code == 401
    api.post(f"/tokens/{made['id']}/revoke", status=409)
    taken = api.post("/tokens", {"name": "viewer", "role": "viewer"}, status=422)
    assert taken["errors"][0]["field"] == "name"


def test_a_token_expires_when_it_was_told_to(api: Api) -> None:
    until = (api.world.clock() + timedelta(hours=1)).isoformat()
    made = api.post("/tokens", {"name": "short", "role": "viewer", "expires_at": until}, status=201)
    api.tokens["short"] = made["token"]
    assert api.ask("GET", "/files", role="short").status_code == 200
    api.world.clock.move(hours=1)
    assert api.ask("GET", "/files", role="short").status_code == 401


def test_the_audit_is_listed_by_pages_and_by_action(api: Api) -> None:
    for number in range(3):
        api.post("/tokens", {"name": f"t{number}", "role": "viewer"}, status=201)
    subjects = [entry["subject"] for entry in api.walk("/audit", limit=2, action="create_token")]
    numbers = [int(subject.split()[1]) for subject in subjects]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 3 + 5
    assert api.walk("/audit", action="place_hold") == []
    refused = api.ask("GET", "/audit?action=nothing")
    assert refused.status_code == 422
    assert "'place_hold'" in refused.text
