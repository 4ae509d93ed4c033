from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Actor, Role
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.settings import load_settings
from service.usecases.tokens import create_token, revoke_token
from service.web.app import create_app
from service.wiring import utc_now
from service.zego.sandbox_callbacks import callback_body
from tests.world import APP, CALLBACK_SECRET, Clock, World, environment, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse


@dataclass
class Web:
    """The application on a database that is ready, a client for it, and a clock that is set by hand."""

    client: FlaskClient
    database: Database
    clock: Clock
    nonces: int = 100_000

    def body(self, file_id: str = "5285890784273533167", **options: Any) -> bytes:
        self.nonces += 1
        ended = self.clock()
        facts: dict[str, Any] = {
            "app_id": APP,
            "secret": CALLBACK_SECRET,
            "stream": "room",
            "began": ended - timedelta(hours=1),
            "ended": ended,
            "now": ended,
            "nonce": str(self.nonces),
        }
        return callback_body("Tencent", file_id=file_id, **facts | options)[0]

    def post(self, body: bytes, content_type: str = "application/json") -> TestResponse:
        return self.client.post("/zego/callback", data=body, content_type=content_type)

    def metric(self, name: str) -> float:
        """One sample, as `name{labels}`."""
        lines = self.client.get("/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))


@contextmanager
def open_app(database_url: str, clock: Clock | None = None, **settings: str) -> Iterator[Flask]:
    """The application, closed afterwards."""
    loaded = load_settings(environment(database_url, "http://127.0.0.1:9/", KEEP="30d", **settings))
    app = create_app(loaded, now=clock or utc_now)
    try:
        yield app
    finally:
        app.extensions["zego-retention"].close()


ADMIN_TOKEN = "the-admin-token-of-the-tests-0123456789"


@dataclass
class Api:
    """The API on a world of its own, and a token for each role, and one of each that opens nothing any more."""

    world: World
    app: Flask
    tokens: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None, *, role: str = "admin", **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role != "none" else {}
        if body is not None:
            options |= {"json": body}
        response = self.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **options)
        response.get_data()  # a file that is sent stays open until it is read
        response.close()
        return response

    def get(self, path: str, **query: Any) -> Any:
        """What a GET answers, which must succeed."""
        response = self.ask("GET", path, query_string=query)
        assert response.status_code == 200, response.text
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
        items += page["items"]
        return items


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with open_api(database_url) as api:
        yield api


@pytest.fixture(scope="module")
def lasting_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests of a module that change nothing, on SQLite."""
    with open_api(f"sqlite:///{tmp_path_factory.mktemp('api') / 'zego-retention.db'}") as api:
        yield api


@contextmanager
def open_api(database_url: str) -> Iterator[Api]:
    with open_world(database_url, ADMIN_TOKEN=ADMIN_TOKEN) as world:
        app = create_app(world.service.settings, now=world.clock)
        try:
            yield Api(world, app, make_tokens(world))
        finally:
            app.extensions["zego-retention"].close()


def make_tokens(world: World) -> dict[str, str]:
    actor, now = Actor("tester", "a test"), world.clock()
    made = {role.value: create_token(world.database, role.value, role, None, actor, now) for role in Role}
    made["expired"] = create_token(world.database, "expired", Role.ADMIN, now + timedelta(seconds=1), actor, now)
    made["revoked"] = create_token(world.database, "revoked", Role.ADMIN, None, actor, now)
    revoke_token(world.database, made["revoked"]["id"], actor, now)
    world.clock.move(minutes=1)
    return {name: token["token"] for name, token in made.items()}


@pytest.fixture
def web(database_url: str) -> Iterator[Web]:
    database = Database(database_url)
    upgrade_database(database)
    clock = Clock()
    with open_app(database_url, clock) as app:
        yield Web(app.test_client(), database, clock)
    database.dispose()
