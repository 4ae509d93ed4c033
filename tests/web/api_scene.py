"""The API on a world: a leader works while an answer waits for it, and there is a token for each role."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.audit.tokens import make_token, revoke_token
from service.model import Role
from service.web.app import create_app
from tests.world import TESTER, open_world

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from flask import Flask
    from werkzeug.test import TestResponse

    from tests.world import World

ADMIN_TOKEN = "the-admin-token-of-the-tests-0123456789"
EVERYTHING = '[[rules]]\nname = "everything"\nkeep = "{}"\n'


@dataclass
class Api:
    """The API, and a token for each role, and one of each that opens nothing any more."""

    world: World
    tokens: dict[str, str]
    leads: bool = True
    """While an answer waits for an order, the leader applies it."""
    until: threading.Event | None = None
    """An answer that waits for an order waits for this, too."""
    app: Flask = field(init=False)

    def ask(self, method: str, path: str, body: Any = None, *, role: str = "admin", **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role != "none" else {}
        if body is not None:
            options |= {"json": body}
        response = self.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **options)
        response.get_data()  # a file that is sent stays open until it is read
        response.close()
        return response

    def get(self, path: str, *, role: str = "viewer", status: int = 200, **query: Any) -> Any:
        """What a GET answers, which must have this status."""
        response = self.ask("GET", path, role=role, query_string=query)
        assert response.status_code == status, response.text
        return response.json

    def post(self, path: str, body: Any = None, *, status: int = 200, role: str = "admin") -> Any:
        """What a POST answers, which must have this status."""
        response = self.ask("POST", path, body, role=role)
        assert response.status_code == status, response.text
        return response.json

    def walk(self, path: str, **query: Any) -> list[Any]:
        """Every entry of a list, page by page."""
        items: list[Any] = []
        page = self.get(path, **query)
        while page["next_cursor"] is not None:
            items += page["items"]
            page = self.get(path, **query | {"cursor": page["next_cursor"]})
        return [*items, *page["items"]]

    def sleep(self, _seconds: float) -> None:
        if self.until is not None:
            self.until.wait(10)
        if self.leads:
            self.world.catch_up()


@contextmanager
def open_api(database_url: str, **settings: str) -> Iterator[Api]:
    """Open a world with the API on it; the web side is a process of its own, which does not lead."""
    with open_world(database_url, **{"ADMIN_TOKEN": ADMIN_TOKEN} | settings) as world:
        api = Api(world, make_tokens(world))
        api.app = create_app(world.service.settings, now=world.clock, sleep=api.sleep)
        try:
            yield api
        finally:
            api.app.extensions["zego-retention"].close()


def make_tokens(world: World) -> dict[str, str]:
    database, now = world.database, world.clock()
    tokens = {role.value: make_token(database, role.value, role, None, TESTER, now)[1] for role in Role}
    tokens["expired"] = make_token(database, "expired", Role.ADMIN, now + timedelta(seconds=1), TESTER, now)[1]
    revoked, tokens["revoked"] = make_token(database, "revoked", Role.ADMIN, None, TESTER, now)
    revoke_token(database, revoked.id, TESTER, now)
    world.clock.move(minutes=1)
    return tokens


def fill(api: Api) -> None:
    """Some of everything, with the small numbers that examples try."""
    world = api.world
    world.keep("30d")
    world.add(30, age=timedelta(days=40))
    world.add(5, prefix="young", age=timedelta(days=10))
    world.send("announced", stream="lesson-1")
    world.send("late", now=world.clock() - timedelta(hours=2))
    world.announce("forged", secret="another")
    world.sweep()
    world.reconcile()
    api.post("/holds", {"file": 31, "reason": "looked at"}, status=201)
    api.post("/holds", {"app_id": "1234567890", "stream_pattern": "lesson-*", "reason": "kept"}, status=201)
    api.post("/rules/previews", {"rules": EVERYTHING.format("1d")}, status=201)
    api.post("/erasures", {"files": [33], "reason": "asked", "expect": 1}, status=201)
