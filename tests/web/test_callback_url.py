from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.core.model import Verdict
from service.db import inbox
from service.web.callback import MAX_BODY_BYTES
from tests.world import CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

    from tests.web.conftest import Web

    MakeBody = Callable[[Web], bytes]


def verdicts(web: Web) -> dict[Verdict, int]:
    with web.database.read() as session:
        return inbox.count_by_verdict(session)


def assert_problem(response: TestResponse, status: int, *words: str) -> None:
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    content = json.loads(response.data)
    assert content["status"] == status
    assert set(content) == {"type", "title", "status", "detail"}
    for word in words:
        assert word in content["detail"]


STORED: dict[str, tuple[MakeBody, Verdict]] = {
    "a recording": (lambda web: web.body(), Verdict.ACCEPTED),
    "stale": (lambda web: web.body(now=web.clock() - timedelta(minutes=16)), Verdict.STALE),
    "not understood": (lambda web: web.body(extra_params="{}"), Verdict.NOT_UNDERSTOOD),
    "of no interest": (lambda web: web.body(event="snapshot"), Verdict.IGNORED),
}


@pytest.mark.parametrize("kind", STORED)
def test_what_is_authentic_is_stored_and_answered_200_with_body_1(web: Web, kind: str) -> None:
    make, verdict = STORED[kind]
    response = web.post(make(web))
    assert (response.status_code, response.data) == (200, b"1")
    assert response.content_type.startswith("text/plain")
    assert verdicts(web) == {verdict: 1}
    assert web.metric('zego_retention_callbacks_total{answer="stored"}') == 1


def test_a_duplicate_and_a_conflict_are_answered_as_the_first_one(web: Web) -> None:
    body = web.body()
    other = web.body("4444444444444444444", nonce=str(web.nonces))
    assert [web.post(each).status_code for each in (body, body, other)] == [200, 200, 200]
    assert verdicts(web) == {Verdict.CONFLICT: 2}


def test_a_wrong_signature_is_answered_401_and_kept_in_the_quarantine(web: Web) -> None:
    assert_problem(web.post(web.body(secret="not-the-secret")), 401, "signature")
    assert verdicts(web) == {Verdict.FORGED: 1}
    assert web.metric('zego_retention_callbacks_total{answer="refused"}') == 1


def test_an_unknown_app_is_answered_401(web: Web) -> None:
    assert_problem(web.post(web.body(app_id="42")), 401, "appid")
    assert verdicts(web) == {Verdict.UNKNOWN_APP: 1}


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"event": "record"}', b"\xff\xfe", b"{" * 60_000])
def test_what_holds_no_signature_is_answered_400(web: Web, body: bytes) -> None:
    assert_problem(web.post(body), 400)
    assert verdicts(web) == {}
    assert web.metric('zego_retention_callbacks_total{answer="unreadable"}') == 1


def padded(web: Web, size: int) -> bytes:
    body = web.body()
    return body + b" " * (size - len(body))


def test_64_kib_are_taken(web: Web) -> None:
    assert web.post(padded(web, MAX_BODY_BYTES)).status_code == 200


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, MAX_BODY_BYTES + 2, 5_000_000])
def test_more_than_64_kib_are_answered_413(web: Web, size: int) -> None:
    assert_problem(web.post(padded(web, size)), 413, "64 KiB")
    assert verdicts(web) == {}
    assert web.metric('zego_retention_callbacks_total{answer="too_large"}') == 1


def test_a_body_without_a_length_is_capped_as_well(web: Web) -> None:
    # As servers hand over chunked bodies: no length, and a stream that ends by itself.
    sizes = {MAX_BODY_BYTES: 200, MAX_BODY_BYTES + 1: 413, MAX_BODY_BYTES * 2: 413}
    for size, status in sizes.items():
        response = web.client.post(
            "/zego/callback",
            data=padded(web, size),
            content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        )
        assert response.status_code == status, size


def test_a_body_shorter_than_announced_is_not_taken_for_whole(web: Web) -> None:
    body = web.body()
    for overrides in ({}, {"wsgi.input_terminated": True}):
        response = web.client.post(
            "/zego/callback", data=body, environ_overrides={"CONTENT_LENGTH": str(len(body) + 1), **overrides}
        )
        assert_problem(response, 400, "Content-Length")
    assert verdicts(web) == {}


def test_what_cannot_be_stored_is_answered_503_and_stored_when_sent_again(web: Web) -> None:
    body = web.body()
    with web.database.write() as session:
        session.execute(text("ALTER TABLE callbacks RENAME TO elsewhere"))
    response = web.post(body)
    assert_problem(response, 503, "again")
    assert "elsewhere" not in response.text
    assert int(response.headers["Retry-After"]) > 0
    assert web.metric('zego_retention_callbacks_total{answer="unavailable"}') == 1

    with web.database.write() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO callbacks"))
    assert web.post(body).status_code == 200
    assert verdicts(web) == {Verdict.ACCEPTED: 1}


def test_an_error_that_nobody_expected_is_answered_503_and_logged(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    web.clock.time = web.clock.time.replace(tzinfo=None)  # the database refuses times without a zone
    assert_problem(web.post(web.body()), 503)
    assert "ValueError" in "".join(capsys.readouterr())


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_callback_url_takes_post_only(web: Web, method: str) -> None:
    response = web.client.open("/zego/callback", method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/zego/callback/", "/nothing", "/static/app.py", "/..%2f"])
def test_an_unknown_path_is_answered_404(web: Web, path: str) -> None:
    assert_problem(web.client.get(path), 404)


def test_every_answer_is_closed_to_guessing_and_caching(web: Web) -> None:
    answers = [web.post(web.body()), web.post(b""), *map(web.client.get, ("/healthz", "/readyz", "/metrics", "/none"))]
    for response in answers:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Werkzeug" not in str(response.headers)


def test_no_secret_and_no_body_is_logged(web: Web, capfd: pytest.CaptureFixture[str]) -> None:
    for body in (web.body("f" * 40), web.body("f" * 40, secret="wrong"), web.body("f" * 40, app_id="77")):
        web.post(body)
    logged = "".join(capfd.readouterr())
    assert "callback_stored" in logged
    assert logged.count("callback_refused") == 2
    for private in (CALLBACK_SECRET, "f" * 40):
        assert private not in logged
