"""Where callbacks are let in: a secret path, and addresses behind a known number of proxies."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from service.callbacks.store import list_callbacks
from service.filters import CallbackFilter
from service.health.checks import CHECKS
from service.model import Role
from service.settings import load_settings
from service.web.app import create_app
from service.web.entrance import Entrance, entrance_of
from tests.console.console_scene import Console
from tests.processes import wait_until
from tests.web.api_scene import open_api
from tests.web.test_app import callback, metric, serve
from tests.world import Clock, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

TOKEN, OLD_TOKEN = "n3w-token_of_the_url", "an-old-token-of-the-url"
SECRET_PATH = f"/zego/callback/{TOKEN}"


@contextmanager
def web(database_url: str, way: str, **settings: str) -> Iterator[tuple[Flask, Callable[..., tuple[int, str]]]]:
    """A web side with these settings, and how to post a callback to it: through a WSGI server, or ours."""
    app = create_app(load_settings(environment(database_url, "http://127.0.0.1:9/", **settings)), now=Clock())
    body = json.dumps(callback()).encode()

    def post_wsgi(path: str = "/zego/callback", **headers: str) -> tuple[int, str]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = app.test_client().post(path, data=body, content_type="application/json", headers=sent)
        return answer.status_code, answer.text

    try:
        if way == "wsgi":
            yield app, post_wsgi
            return
        with serve(app) as port:

            def post_front(path: str = "/zego/callback", **headers: str) -> tuple[int, str]:
                import http.client  # noqa: PLC0415

                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("POST", path, body, {name.replace("_", "-"): text for name, text in headers.items()})
                answer = connection.getresponse()
                text = answer.read().decode()
                connection.close()
                return answer.status, text

            yield app, post_front
    finally:
        app.extensions["zego-retention"].close()


def kept(app: Flask) -> list[tuple[str, str]]:
    """Verdict and reason of every callback that is stored."""
    with app.extensions["zego-retention"].database.read() as tx:
        return [(each.verdict.value, each.reason) for each in list_callbacks(tx, CallbackFilter())]


def doctor(app: Flask) -> str:
    service = app.extensions["zego-retention"]
    with service.database.read() as tx:
        return str(list(CHECKS["callbacks"][0](service.settings, tx, Clock()())))


@pytest.fixture(params=["wsgi", "front"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_with_a_token_callbacks_are_taken_at_its_path_only_and_others_are_kept(sqlite_url: str, way: str) -> None:
    with capture_logs() as logs, web(sqlite_url, way, CALLBACK_TOKEN=TOKEN) as (app, post):
        for path in ("/zego/callback", f"/zego/callback/{OLD_TOKEN}", f"{SECRET_PATH}x", f"/elsewhere{SECRET_PATH}"):
            status, text = post(path)
            assert status == 404
            assert "register that path" in text
            assert TOKEN not in text
        wait_until(lambda: [verdict for verdict, _ in kept(app)] == ["wrong_path"])
        assert [post(path) for path in (SECRET_PATH, f"{SECRET_PATH}/")] == [(200, "1")] * 2
        assert [verdict for verdict, _ in kept(app)] == ["pending"], "kept, it was not lost, and counts now"
        post(f"{SECRET_PATH}x")
        shown = str(logs) + doctor(app) + str(kept(app)) + app.test_client().get("/metrics").text
        assert "callback_at_wrong_path" in shown
        for secret in (TOKEN, OLD_TOKEN):
            assert secret not in shown, "neither a token nor what is nearly one"


@pytest.mark.parametrize(("tokens", "also"), [(f"{TOKEN},{OLD_TOKEN}", f"/zego/callback/{OLD_TOKEN}")])
def test_while_the_url_is_changed_both_are_taken(sqlite_url: str, way: str, tokens: str, also: str) -> None:
    with web(sqlite_url, way, CALLBACK_TOKEN=tokens) as (_, post):
        assert [post(SECRET_PATH)[0], post(also)[0], post()[0]] == [200, 200, 404]


def test_none_among_the_tokens_is_the_path_without_one(sqlite_url: str, way: str) -> None:
    with web(sqlite_url, way, CALLBACK_TOKEN=f"{TOKEN},none") as (_, post):
        assert [post(SECRET_PATH)[0], post()[0], post(f"/zego/callback/{OLD_TOKEN}")[0]] == [200, 200, 404]


def test_the_url_to_register_is_shown_whole_from_the_role_operator_on(sqlite_url: str) -> None:
    with open_api(sqlite_url, PUBLIC_URL="https://retention.example.com", CALLBACK_TOKEN=TOKEN) as api:
        console = Console(api)
        assert f"https://retention.example.com{SECRET_PATH}" in console.browser(Role.OPERATOR).get("/apps")
        viewed = console.browser(Role.VIEWER).get("/apps")
        assert TOKEN not in viewed
        assert "https://retention.example.com/zego/callback/&lt;ZEGO_RETENTION_CALLBACK_TOKEN&gt;" in viewed
        for path in ("/", "/callbacks", "/api/v1/openapi.json", "/metrics"):
            assert TOKEN not in console.browser(Role.VIEWER).get(path)


def test_an_address_that_is_not_allowed_is_refused_kept_and_reported(sqlite_url: str, way: str) -> None:
    with capture_logs() as logs, web(sqlite_url, way, CALLBACK_ALLOW="192.0.2.0/24, 198.51.100.7") as (app, post):
        status, text = post(X_Forwarded_For="192.0.2.7")
        assert (status, "not taken from this address" in text) == (403, True)
        wait_until(lambda: [verdict for verdict, _ in kept(app)] == ["not_allowed"])
        assert kept(app)[0][1].startswith("it came from 127.0.0.1: ")
        assert metric(app, 'zego_retention_callbacks_total{answer="not_allowed"}') == 1
        assert "(for example: it came from 127.0.0.1)" in doctor(app)
        assert post("/zego")[0] == 404, "a wrong path is no way around the list"
        assert [verdict for verdict, _ in kept(app)] == ["not_allowed"]
        assert [line["answer"] for line in logs if line["event"] == "callback_refused"] == ["not_allowed"]
        # Others than callbacks are not concerned.
        assert app.test_client().get("/healthz").status_code == 200
        assert app.test_client().post("/sign-in", data={"password": "x"}).status_code == 401


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        ("1", "192.0.2.7", 200),
        ("1", "203.0.113.5, 192.0.2.7", 200),
        ("1", "192.0.2.7, 203.0.113.5", 403),  # what the sender wrote itself
        ("1", "", 403),
        ("2", "192.0.2.7, 10.0.0.1", 200),
        ("2", "192.0.2.7", 403),  # it did not pass both
        ("2", "192.0.2.7, 203.0.113.5, 10.0.0.1", 403),
        ("1", "::ffff:192.0.2.7", 200),
        ("1", "nobody", 403),
    ],
)
def test_the_address_is_what_our_own_proxies_say(
    sqlite_url: str, way: str, proxies: str, forwarded: str, status: int
) -> None:
    with web(sqlite_url, way, CALLBACK_ALLOW="192.0.2.0/24", TRUSTED_PROXIES=proxies) as (_, post):
        headers = {"X_Forwarded_For": forwarded} if forwarded else {}
        assert post(**headers)[0] == status


def test_guesses_behind_a_proxy_count_for_the_address_that_it_names(sqlite_url: str) -> None:
    with web(sqlite_url, "wsgi", TRUSTED_PROXIES="1", ADMIN_TOKEN="a" * 20) as (app, _):

        def look(token: str, address: str) -> int:
            headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
            return app.test_client().get("/api/v1/files", headers=headers).status_code

        assert {look(f"guess {number}", "192.0.2.1") for number in range(40)} == {401, 429}
        assert look("a" * 20, "192.0.2.1") == 429
        assert look("a" * 20, "192.0.2.2") == 200


def test_without_these_settings_the_entrance_is_open_at_one_path() -> None:
    settings = load_settings(environment("sqlite:////a.db", "http://127.0.0.1:9/"))
    assert entrance_of(settings) == Entrance()
    assert Entrance().allows(None)
    assert Entrance().find_client("192.0.2.1", ["198.51.100.1"]) == "192.0.2.1"
