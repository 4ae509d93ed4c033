"""The callback URL as ZEGO sees it, and the limits of the server's threads."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response
from sqlalchemy import text
from structlog.testing import capture_logs

from service.callbacks.receive import Inbox
from service.web.callback import MAX_BODY_BYTES, answer_callbacks
from service.web.problems import register_problems
from service.web.threads import Busy, Threads
from tests.callbacks.callback_scene import SECRET, Scene, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

COUNT = 16  # threads: 11 for callbacks, 4 for other routes


class Web:
    """The callback URL of a scene, with two other routes; `waited_s` is how long the oldest callback has waited."""

    def __init__(self, scene: Scene, inbox: Inbox | None = None) -> None:
        self.scene = scene
        self.counts: Counter[str] = Counter()
        self.waited_s = 0.0
        self.threads = Threads(lambda: self.waited_s, COUNT)
        app = Flask("a test", static_folder=None)
        app.add_url_rule("/other", view_func=lambda: "other", endpoint="other")
        app.add_url_rule("/healthz", view_func=lambda: "alive", endpoint="healthz")
        app.add_url_rule("/long", view_func=lambda: Response(iter(["a", "b"])), endpoint="long")
        register_problems(app)
        app.wsgi_app = answer_callbacks(  # type: ignore[assignment, method-assign]
            self.threads.limit(app.wsgi_app), inbox or scene.inbox, self.threads, self._count
        )
        self.client: FlaskClient = app.test_client()

    def _count(self, answer: str, _seconds: float) -> None:
        self.counts[answer] += 1

    def post(self, body: bytes, content_type: str = "application/json", **options: Any) -> TestResponse:
        return self.client.post("/zego/callback", data=body, content_type=content_type, **options)


@pytest.fixture
def web(scene: Scene) -> Iterator[Web]:
    with capture_logs():
        yield Web(scene)


def assert_problem(response: TestResponse, status: int, words: str) -> None:
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    content = json.loads(response.data)
    assert (content["status"], set(content)) == (status, {"type", "title", "status", "detail"})
    assert words in content["detail"]


def test_the_answers(web: Web) -> None:
    good = web.scene.body(recording())[0]
    for body in (good, good, web.scene.body({"event": "snapshot"})[0]):
        response = web.post(body)
        assert (response.status_code, response.data) == (200, b"1")
        assert response.content_type.startswith("text/plain")
    assert_problem(web.post(web.scene.body(recording(), secret="wrong")[0]), 401, "signature")
    assert_problem(web.post(web.scene.body(recording(appid="42"))[0]), 401, "appid")
    for bad in (b"", b"hello", b"[]", b'{"event": "record"}', b"\xff\xfe", b"{" * 60_000):
        assert_problem(web.post(bad), 400, "")
    assert web.counts == {"stored": 3, "refused": 2, "unreadable": 6}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_takes_post_only(web: Web, method: str) -> None:
    response = web.client.open("/zego/callback", method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_a_body_has_at_most_64_kib_however_it_is_framed(web: Web) -> None:
    without_length = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    for size, status in {MAX_BODY_BYTES: 200, MAX_BODY_BYTES + 1: 413, MAX_BODY_BYTES + 2: 413, 5_000_000: 413}.items():
        for environ in ({}, without_length):
            body = web.scene.body(recording())[0]
            response = web.post(body + b" " * (size - len(body)), environ_overrides=environ)
            assert response.status_code == status, (size, environ)
    assert web.counts["too_large"] == 6
    assert len(web.scene.verdicts()) == 2


def test_a_body_that_was_cut_is_not_taken_for_whole(web: Web) -> None:
    body = web.scene.body(recording())[0]
    for environ in ({}, {"wsgi.input_terminated": True}):
        response = web.post(body, environ_overrides={"CONTENT_LENGTH": str(len(body) + 1), **environ})
        assert_problem(response, 400, "Content-Length")
    assert web.scene.verdicts() == []


def test_what_cannot_be_stored_is_asked_for_again(web: Web) -> None:
    body = web.scene.body(recording())[0]
    with web.scene.database.write() as tx:
        tx.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    response = web.post(body)
    assert_problem(response, 503, "send it again")
    assert "elsewhere" not in response.text
    assert int(response.headers["Retry-After"]) > 0
    with web.scene.database.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO callbacks"))
    assert web.post(body).status_code == 200
    assert web.counts == {"not_stored": 1, "stored": 1}


def test_an_error_that_nobody_expected_is_answered_503_and_logged(scene: Scene) -> None:
    def fail() -> Any:
        raise ZeroDivisionError

    inbox = Inbox(scene.database, scene.writer, scene.secrets, fail)
    with capture_logs() as logged:
        assert_problem(Web(scene, inbox).post(scene.body(recording())[0]), 503, "send it again")
    assert isinstance(logged[0]["exc_info"], ZeroDivisionError)


def test_no_secret_and_no_content_is_logged(scene: Scene) -> None:
    with capture_logs() as logged:
        web = Web(scene)
        for secret in (SECRET, "wrong"):
            web.post(scene.body(recording("f" * 40), secret=secret)[0])
        web.post(b"f" * 40)
    assert [line["event"] for line in logged] == ["callback_refused"] * 2
    assert SECRET not in str(logged)
    assert "f" * 40 not in str(logged)


def test_callbacks_wait_for_a_thread_while_others_are_stored_and_not_for_a_stalled_database(web: Web) -> None:
    body = web.scene.body(recording())[0]
    answers: list[int] = []
    with ExitStack() as taken:
        for _ in range(11):
            taken.enter_context(web.threads.for_callback())
        waiting = threading.Thread(target=lambda: answers.append(web.post(body).status_code))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        web.waited_s = 1.0
        waiting.join(5)
        assert answers == [503]
        assert web.client.get("/healthz").status_code == 200
        assert web.client.get("/other").status_code == 200
        web.waited_s = 0.1
        waiting = threading.Thread(target=lambda: answers.append(web.post(body).status_code))
        waiting.start()
    waiting.join(5)
    assert answers == [503, 200]


def test_other_routes_have_a_quarter_of_the_threads(web: Web) -> None:
    for _ in range(COUNT):
        assert web.client.get("/other").status_code == 200
        assert web.client.get("/nowhere").status_code == 404, "a thread is given back whatever the answer is"
    unfinished = [web.client.get("/long", buffered=False) for _ in range(4)]
    assert_problem(web.client.get("/other"), 503, "too many requests")
    assert int(web.client.get("/other").headers["Retry-After"]) > 0
    assert web.client.get("/healthz").status_code == 200
    assert web.post(web.scene.body(recording())[0]).status_code == 200
    unfinished[0].close()
    assert web.client.get("/other").status_code == 200, "one that is sent while it is made is given back at its end"
    for response in unfinished[1:]:
        response.close()


def test_the_whole_inventory_is_read_by_one_request_at_a_time(web: Web) -> None:
    with web.threads.for_inventory(), pytest.raises(Busy, match="whole inventory"), web.threads.for_inventory():
        raise AssertionError
    with web.threads.for_inventory():
        pass
