"""Callbacks through the API: ZEGO signs no body, so who knows how one is signed could send others."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.callbacks.store import drop_bodies
from service.web.api.build import declared_routes

if TYPE_CHECKING:
    from tests.web.api_scene import Api

SECRET = ("signature", "timestamp", "nonce", "fields", "raw_base64", "text")
STREAM = "a stream that only a body names"


def send(api: Api) -> dict[str, Any]:
    """Let some callbacks arrive; what the first of them was signed with."""
    api.world.keep("30d")
    api.world.send("first", stream=STREAM)
    api.world.announce("forged", secret="another")
    shown: dict[str, Any] = api.get("/callbacks/1", role="operator")
    return {name: shown[name] for name in SECRET}


def test_the_triple_and_the_body_are_shown_from_the_role_operator_on(api: Api) -> None:
    secret = send(api)
    assert all(secret.values())
    fields = json.loads(secret["text"])
    assert base64.b64decode(secret["raw_base64"]).decode() == secret["text"]
    assert [secret[name] for name in SECRET[:3]] == [fields[name] for name in ("signature", "timestamp", "nonce")]
    assert secret["fields"]["stream_alias"] == STREAM
    assert api.get("/callbacks/1", role="admin")["signature"] == secret["signature"]
    for number in (1, 2):
        viewed = api.get(f"/callbacks/{number}", role="viewer")
        assert {name: viewed[name] for name in SECRET} == dict.fromkeys(SECRET)
    viewed = api.get("/callbacks/1", role="viewer")
    assert (viewed["verdict"], viewed["event"], viewed["file"]) == ("accepted", "record", 1)


def test_nothing_that_a_viewer_may_read_anywhere_holds_the_triple(api: Api) -> None:
    secret = send(api)
    api.post("/callbacks/1/replay")
    for route in declared_routes().values():
        if route.method == "GET" and not route.hidden:
            text = api.ask("GET", route.path.replace("<number:number>", "1"), role="viewer").text
            assert secret["signature"] not in text, route.path
            assert secret["nonce"] not in text, route.path
            assert secret["raw_base64"] not in text, route.path


def test_a_callback_whose_bytes_were_dropped_is_shown_and_cannot_be_judged_again(api: Api) -> None:
    send(api)
    before = api.world.clock() + timedelta(days=1)
    api.world.service.leader.transact(lambda tx: drop_bodies(tx, before, 10))
    shown = api.get("/callbacks/1", role="operator")
    assert (shown["body_bytes"], shown["raw_base64"], shown["text"], shown["fields"]) == (None, None, None, None)
    assert shown["signature"] is not None
    assert "were dropped" in api.post("/callbacks/1/replay", status=409)["detail"]
