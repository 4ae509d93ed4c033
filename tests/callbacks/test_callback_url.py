"""The callback URL as ZEGO sees it: under our own server, and under any WSGI server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from sqlalchemy import text
from structlog.testing import capture_logs

from service.callbacks.receive import Inbox
from service.web.callback import MAX_BODY_BYTES, add_callback_url
from service.web.front import Front
from service.web.problems import register_problems
from tests.callbacks.callback_scene import SECRET, Scene, recording
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Web:
    """The callback URL of a scene, asked through a WSGI server or through ours."""

    def __init__(self, scene: Scene, way: str, inbox: Inbox | None = None) -> None:
        self.scene = scene
        self.counts: Counter[str] = Counter()
        self._way = way
        app = Flask("a test", static_folder=None)
        register_problems(app)
        add_callback_url(app, inbox or scene.inbox, self._count)
        self._client = app.test_client()
        self._front = Front(app, inbox or scene.inbox, self._count)

    def _count(self, answer: str, _seconds: float) -> None:
        self.counts[answer] += 1

    def post(self, body: bytes, framing: str = "length", path: str = "/zego/callback") -> Answered:
        """Send a body: of a known `length`, `chunked`, or `cut` by a byte."""
        return self.ask("POST", body, framing, path)

    def ask(self, method: str, body: bytes = b"", framing: str = "length", path: str = "/zego/callback") -> Answered:
        if self._way == "front":
            return asyncio.run(self._ask_front(method, body, framing, path))
        environ: dict[str, Any] = {}
        if framing == "chunked":
            environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        if framing == "cut":
            environ = {"CONTENT_LENGTH": str(len(body) + 1)}
        response = self._client.open(
            path, method=method, data=body, content_type="application/json", environ_overrides=environ
        )
        return Answered(response.status_code, dict(response.headers), response.data)

    async def _ask_front(self, method: str, body: bytes, framing: str, path: str) -> Answered:
        half = len(body) // 2
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in (body[:half], body[half:])]
        end = {"type": "http.disconnect"} if framing == "cut" else {"type": "http.request", "more_body": False}
        incoming = iter([*messages, end])
        answered = Answered(0)

        async def receive() -> dict[str, Any]:
            for message in incoming:
                return message
            return await asyncio.Future[dict[str, Any]]()  # a disconnect that does not come

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = {name.decode().title(): value.decode() for name, value in message["headers"]}
            answered.body += message.get("body", b"")

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("::1", 1)}
        scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http", "server": ("localhost", 80)}
        await self._front(scope, receive, send)
        return answered


@pytest.fixture(params=["wsgi", "front"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def web(scene: Scene, way: str) -> Iterator[Web]:
    with capture_logs():
        yield Web(scene, way)


def assert_problem(answered: Answered, status: int, words: str) -> None:
    assert (answered.status, answered.headers["Content-Type"]) == (status, "application/problem+json")
    content = json.loads(answered.body)
    assert (content["status"], set(content)) == (status, {"type", "title", "status", "detail"})
    assert words in content["detail"]


def test_the_answers(web: Web) -> None:
    good = web.scene.body(recording())[0]
    for body in (good, good, web.scene.body({"event": "snapshot"})[0]):
        response = web.post(body)
        assert (response.status, response.body) == (200, b"1")
        assert response.headers["Content-Type"].startswith("text/plain")
    assert_problem(web.post(web.scene.body(recording(), secret="wrong")[0]), 401, "signature")
    assert_problem(web.post(web.scene.body(recording(appid="42"))[0]), 401, "no app 42 is configured")
    for bad in (b"", b"hello", b"[]", b'{"event": "record"}', b"\xff\xfe", b"{" * 60_000):
        assert_problem(web.post(bad), 400, "")
    assert web.counts == {"stored": 3, "refused": 2, "unreadable": 6}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_takes_post_only(web: Web, method: str) -> None:
    response = web.ask(method)
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert web.counts == {"wrong_method": 1}
    assert web.ask(method, path="/elsewhere").status == 404
    assert web.counts == {"wrong_method": 1}


def test_a_body_has_at_most_64_kib_however_it_is_framed(web: Web) -> None:
    for size, status in {MAX_BODY_BYTES: 200, MAX_BODY_BYTES + 1: 413, MAX_BODY_BYTES + 2: 413, 5_000_000: 413}.items():
        for framing in ("length", "chunked"):
            body = web.scene.body(recording())[0]
            assert web.post(body + b" " * (size - len(body)), framing).status == status, (size, framing)
    assert web.counts["too_large"] == 6
    assert len(web.scene.verdicts()) == 2


def test_a_slash_at_the_end_is_the_same_path(web: Web) -> None:
    assert web.post(web.scene.body(recording())[0], path="/zego/callback/").status == 200
    assert web.counts == {"stored": 1}


NEARLY = (
    "/zego//callback",
    "/ZEGO/Callback",
    "/zego/callbacks",
    "/callback",
    "/zego",
    "/",
    "/healthz",
    "/zego/callback//",
)


@pytest.mark.parametrize("path", NEARLY)
def test_a_callback_at_another_path_is_answered_404_kept_and_named(scene: Scene, way: str, path: str) -> None:
    with capture_logs() as logs:
        web = Web(scene, way)
        body = scene.body(recording())[0]
        assert_problem(web.post(body, path=path), 404, "callbacks are received at /zego/callback")
        wait_until(lambda: scene.verdicts() == ["wrong_path"])
        assert_problem(web.post(b"{}", path=path), 404, "nothing at this path")
        assert_problem(web.post(b" " * MAX_BODY_BYTES + body, path=path), 404, "nothing at this path")
    assert web.counts == {"wrong_path": 1}
    [line] = [line for line in logs if line["event"] == "callback_at_wrong_path"]
    assert (line["path"], line["right"], line["app"]) == (path, "/zego/callback", "1234567890")
    assert [kept.reason.partition(":")[0] for kept in scene.callbacks()] == [f"it came to the path {path}"]
    # Kept, it can be judged again; and sent again to the right path, it counts.
    assert web.post(body).status == 200
    assert scene.verdicts() == ["pending"]


def test_a_forged_callback_at_another_path_is_kept_as_forged(web: Web) -> None:
    assert_problem(web.post(web.scene.body(recording(), secret="wrong")[0], path="/zego"), 404, "/zego/callback")
    wait_until(lambda: web.scene.verdicts() == ["forged"])


def test_a_body_that_was_cut_is_not_taken_for_whole(web: Web) -> None:
    answered = web.post(web.scene.body(recording())[0], "cut")
    assert answered.status in (0, 400)  # nobody is there any more
    assert web.counts == {"unreadable": 1}
    assert web.scene.verdicts() == []


def test_what_cannot_be_stored_is_asked_for_again(web: Web) -> None:
    body = web.scene.body(recording())[0]
    with web.scene.database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    response = web.post(body)
    assert_problem(response, 503, "send it again")
    assert b"elsewhere" not in response.body
    assert int(response.headers["Retry-After"]) > 0
    with web.scene.database.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO callbacks"))
    assert web.post(body).status == 200
    assert web.counts == {"unavailable": 1, "stored": 1}


def test_what_is_not_stored_in_time_is_asked_for_again(scene: Scene, way: str) -> None:
    """Never 200 for what may not have been stored."""
    inbox = Inbox(scene.database, scene.writer, scene.secrets, scene.clock, max_wait_s=0.3)
    web, body = Web(scene, way, inbox), scene.body(recording())[0]
    with capture_logs():
        with scene.database.write() as tx:
            if not scene.database.is_sqlite:
                tx.execute(text("LOCK TABLE callbacks IN EXCLUSIVE MODE"))
            assert_problem(web.post(body), 503, "send it again")
        assert web.post(body).status == 200
    assert web.counts == {"unavailable": 1, "stored": 1}
    assert len(scene.callbacks()) == 1


def test_an_error_that_nobody_expected_is_answered_503_and_logged(scene: Scene, way: str) -> None:
    def fail() -> Any:
        raise ZeroDivisionError

    inbox = Inbox(scene.database, scene.writer, scene.secrets, fail)
    with capture_logs() as logged:
        assert_problem(Web(scene, way, inbox).post(scene.body(recording())[0]), 503, "send it again")
    assert [line["event"] for line in logged] == ["callback_not_stored"]
    assert isinstance(logged[0]["exc_info"], ZeroDivisionError)


def test_no_secret_and_no_content_is_logged(scene: Scene, way: str) -> None:
    with capture_logs() as logged:
        web = Web(scene, way)
        for secret in (SECRET, "wrong"):
            web.post(scene.body(recording("f" * 40), secret=secret)[0])
        web.post(b"f" * 40)
    assert [line["event"] for line in logged] == ["callback_refused"] * 2
    assert SECRET not in str(logged)
    assert "f" * 40 not in str(logged)
