"""The web side as a whole: what it does to the database, and how it starts."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from service.audit.store import find_head
from service.database import Database
from service.database.migrate import upgrade_database
from service.leader.store import find_leader
from service.settings import Listen, load_settings
from service.web.address import bind
from service.web.app import create_app
from service.web.front import create_front
from service.web.server import build_server
from service.zego.signature import callback_signature
from tests.processes import ask, wait_until
from tests.world import APP, CALLBACK_SECRET, Clock, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask


def build(database_url: str, **settings: str) -> Flask:
    return create_app(load_settings(environment(database_url, "http://127.0.0.1:9/", **settings)), now=Clock())


def callback() -> dict[str, str]:
    timestamp, nonce = str(int(Clock()().timestamp())), "17"
    return {
        "event": "record",
        "appid": APP,
        "timestamp": timestamp,
        "nonce": nonce,
        "signature": callback_signature(CALLBACK_SECRET, timestamp, nonce),
    }


def post_callback(app: Flask, path: str = "/zego/callback") -> int:
    return app.test_client().post(path, json=callback()).status_code


@contextmanager
def serve(app: Flask) -> Iterator[int]:
    """Our own server in front of an application; its port."""
    sockets = bind(Listen("127.0.0.1", 0))
    server = build_server(create_front(app))
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield int(sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join(10)


def metric(app: Flask, name: str) -> float:
    lines = app.test_client().get("/metrics").text.splitlines()
    return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))


def test_it_stores_callbacks_and_changes_nothing_else(database_url: str) -> None:
    app = build(database_url)
    service = app.extensions["zego-retention"]
    assert post_callback(app) == 200
    assert app.test_client().get("/readyz").status_code == 200
    with service.database.read() as tx:
        leader = find_leader(tx)
        assert leader is None or leader.token == 0
        assert find_head(tx).number == 0
    assert metric(app, 'zego_retention_callbacks_total{answer="stored"}') == 1
    assert metric(app, 'zego_retention_inbox_callbacks{verdict="pending"}') == 1
    service.close()


PLACES = ("/healthz", "/readyz", "/metrics", "/static/console.css", "/", "/sign-in", "/rules/edit", "/api/v1/runs")


@pytest.mark.parametrize("way", ["wsgi", "front"])
def test_a_callback_is_kept_at_whatever_path_it_comes_and_never_answered_with_success(
    database_url: str, way: str
) -> None:
    app = build(database_url)
    with serve(app) if way == "front" else nullcontext() as port:
        for path in PLACES:
            if port is None:
                assert post_callback(app, path) == 404, path
            else:
                assert ask(port, "POST", path, json.dumps(callback()).encode())[0] == 404, path
    assert metric(app, 'zego_retention_callbacks_total{answer="wrong_path"}') == len(PLACES)
    wait_until(lambda: metric(app, 'zego_retention_inbox_callbacks{verdict="wrong_path"}') == 1)  # the same each time
    assert app.test_client().post("/sign-in", data={"name": "x", "password": "y"}).status_code == 401
    app.extensions["zego-retention"].close()


def test_the_rules_of_keep_are_in_force_from_the_start(database_url: str) -> None:
    app = build(database_url, KEEP="30d", ADMIN_TOKEN="a-token-of-the-tests-0123456789")
    rules = app.test_client().get("/api/v1/rules", headers={"Authorization": "Bearer a-token-of-the-tests-0123456789"})
    assert rules.json is not None
    assert (rules.json["rules"][0]["keep"], rules.json["by_person"]) == ("30d", False)
    app.extensions["zego-retention"].close()


def test_an_sqlite_database_is_made_and_migrated(empty_sqlite_url: str) -> None:
    app = build(empty_sqlite_url)
    assert post_callback(app) == 200
    app.extensions["zego-retention"].close()


def test_pending_migrations_are_waited_for(empty_postgres_url: str) -> None:
    app = build(empty_postgres_url, KEEP="30d")
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert post_callback(app) == 503
    assert metric(app, 'zego_retention_callbacks_total{answer="unavailable"}') == 1
    database = Database(empty_postgres_url)
    upgrade_database(database)
    database.dispose()
    assert post_callback(app) == 200
    app.extensions["zego-retention"].close()


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/files", "/nothing", "/metrics"])
def test_no_answer_is_guessed_at_or_kept_by_a_browser(sqlite_url: str, path: str) -> None:
    app = build(sqlite_url)
    headers = app.test_client().get(path).headers
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
    app.extensions["zego-retention"].close()
