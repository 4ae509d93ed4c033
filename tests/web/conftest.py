from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.settings import load_settings
from service.web.app import create_app
from service.wiring import utc_now
from service.zego.sandbox_callbacks import callback_body
from tests.world import APP, CALLBACK_SECRET, Clock, environment

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


@pytest.fixture
def web(database_url: str) -> Iterator[Web]:
    database = Database(database_url)
    upgrade_database(database)
    clock = Clock()
    with open_app(database_url, clock) as app:
        yield Web(app.test_client(), database, clock)
    database.dispose()
