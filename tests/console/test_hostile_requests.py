"""Requests that nobody in their right mind makes: each is answered in words, and none does what it should not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from service.model import Role
from service.web.app import create_app
from service.web.console.pages import SECTIONS
from service.web.console.rules_pages import FIELDS
from tests.console.console_scene import PASSWORD
from tests.web.api_scene import ADMIN_TOKEN, EVERYTHING
from tests.world import open_world

if TYPE_CHECKING:
    from werkzeug.test import Cookie

    from tests.console.console_scene import Console

LONG = "9" * 5_000
DATES = ("9999-12-31", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:00-10:00", "0001-01-01", "0001-01-01T00:00+10:00")
NONSENSE = ("x", "-1", "0", "²", "\x00", LONG, str(2**63), "%", "\u202e")


@pytest.mark.parametrize("text", NONSENSE, ids=ascii)
def test_no_parameter_of_a_page_is_an_error_on_our_side(console: Console, text: str) -> None:
    console.api.world.keep("30d")
    console.api.world.add(2)
    console.api.post("/rules/previews", {"rules": EVERYTHING.format("1d")}, status=201)
    for path in ["", "rules", "people", "apps", "previews/1", *SECTIONS]:
        for name in ("order", "cursor", "after", "file", "app", "stream", "text", "actor", "due_before"):
            answer = console.admin.client.get(f"/{path}", query_string={name: text})
            assert answer.status_code in (200, 422), (path, name, answer.text)
    assert console.open().sign_in(text, text).status_code == 401


@pytest.mark.parametrize("text", DATES)
def test_no_date_is_an_error_on_our_side(console: Console, text: str) -> None:
    world, admin, api = console.api.world, console.admin, console.api
    world.keep("1d")
    world.add(2)
    world.sweep()
    world.send("new")
    status = 422 if "+10" in text or "-10" in text else 200
    for path in ("report", "export/report.csv", "files", "export/files.csv", "callbacks", "audit"):
        for name in ("from", "to", "due_before", "due_after"):
            answer = admin.client.get(f"/{path}", query_string={name: text})
            assert answer.status_code in (200, 422), (path, name, answer.text)
    for fields in ({"file": 3}, {"stream_pattern": "*"}):
        body: dict[str, Any] = {"reason": "x", "until": text, **fields}
        assert admin.post("/do/place_new_hold", **body, back="/").status_code < 500
        assert api.ask("POST", "/holds", body).status_code < 500
    assert admin.post("/do/make_new_token", name="x", role="viewer", expires_at=text).status_code < 500
    assert api.ask("POST", "/tokens", {"name": "y", "role": "viewer", "expires_at": text}).status_code < 500
    assert api.ask("POST", "/listings", {"since": text}).status_code < 500
    assert api.ask("GET", f"/files?due_before={text.replace('+', '%2B')}").status_code == status
    for path in ("/", "/holds", "/files/3", "/files", "/tokens", "/listings", "/callbacks", "/apps"):
        admin.get(path)


def test_a_report_to_the_last_day_holds_all(console: Console) -> None:
    console.api.world.keep("1d")
    console.api.world.add(2)
    console.api.world.sweep()
    assert "9999-12-31 23:59:58 UTC" in console.viewer.get("/report?to=9999-12-31")
    console.viewer.get("/report?from=0001-01-01&to=0001-01-01T00:00:00.5Z")
    assert console.viewer.get("/export/report.csv?to=9999-12-31").count("file-0") == 2


@pytest.mark.parametrize("text", NONSENSE, ids=ascii)
def test_no_field_of_a_form_is_an_error_on_our_side(console: Console, text: str) -> None:
    admin, row = console.admin, dict.fromkeys(FIELDS, "") | {"rule": "a", "keep": "1d"}
    for path in ("/rules/edit", "/rules/try", "/rules/preview"):
        for field in ("move", "keep_latest", "keep", "rule", "min_size", "min_duration", "stream", "adopted"):
            given: dict[str, Any] = row | {field: f"up {text}" if field == "move" else text}
            answer = admin.post(path, **given)
            assert answer.status_code in (200, 303, 422), (path, field, answer.text)
    named = {"reason": text, "app_id": text, "stream_pattern": text, "until": text, "files": text, "expect": text}
    forms: dict[str, dict[str, Any]] = {
        "/do/place_new_hold": {"file": text, **named},
        "/do/order_erasure": named,
        "/do/make_new_token": {"name": text, "role": text, "expires_at": text},
        "/do/apply_new_rules": {"preview": text, "rules": text},
        "/do/retry_file": {},
        "/do/nothing": {},
        "/people": {"name": text, "role": text, "password": text},
        "/password": {"old": text, "new": text},
        "/language": {"language": text, "back": text},
    }
    for path, fields in forms.items():
        answer = admin.post(path, **fields)
        assert 300 <= answer.status_code < 500, (path, answer.text)
    rules = f'[[rules]]\nname = "a"\nkeep = "1d"\nkeep_latest = {text}\n'
    assert console.api.ask("POST", "/rules/previews", {"rules": rules}).status_code == 422


@pytest.mark.parametrize("path", ["/do/place_new_hold", "/sign-in", "/people"])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_body_that_is_too_large_is_refused_in_words_under_any_server(
    console: Console, path: str, *, as_file: bool
) -> None:
    part = '--x\r\nContent-Disposition: form-data; name="reason"; filename="a"\r\n\r\n' if as_file else "reason="
    kind = "multipart/form-data; boundary=x" if as_file else "application/x-www-form-urlencoded"
    answer = console.admin.client.post(path, data=part + "x" * 2_000_000, content_type=kind)
    assert (answer.status_code, "Traceback" in answer.text) == (413, False)


def test_guesses_that_are_sent_at_once_are_no_more_than_those_one_by_one(console: Console) -> None:
    console.person(Role.OPERATOR)
    app = console.api.app

    def guess(number: int) -> str:
        data = {"name": "operator", "password": f"guess number {number}" if number < 15 else PASSWORD}
        return app.test_client().post("/sign-in", data=data).text

    with ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(guess, range(15)))
    assert sum("the name or the password is wrong" in text for text in texts) <= 5
    assert "too many wrong passwords" in guess(15)


def test_another_token_ends_the_sessions_of_the_one_before(database_url: str) -> None:
    kept: Cookie | None = None
    for token, status in ((ADMIN_TOKEN, 302), (f"new-{ADMIN_TOKEN}", 302), (ADMIN_TOKEN, 200)):
        with open_world(database_url, ADMIN_TOKEN=token) as world:
            app = create_app(world.service.settings, now=world.clock)
            browser = app.test_client()
            if kept is not None:
                browser.set_cookie(kept.key, kept.value)
            assert browser.get("/people").status_code == status
            if kept is None:
                assert browser.post("/sign-in", data={"password": token}).status_code == 303
                assert browser.get("/people").status_code == 200
                kept = browser.get_cookie("zego_retention_session")
            app.extensions["zego-retention"].close()


def test_after_signing_in_one_sees_what_one_asked_for(console: Console) -> None:
    console.person(Role.VIEWER)
    stranger = console.open()
    answer = stranger.client.get("/files?state=held&stream=a%26b")
    assert 'value="/files?state=held&amp;stream=a%26b"' in stranger.get(answer.location)


@pytest.mark.parametrize(
    "path", ["../session.py", "..%2fsession.py", "%2e%2e/session.py", "/etc/passwd", "vendor/../../session.py", "x\x00"]
)
def test_nothing_but_static_files_is_served_and_what_is_not_there_may_come(console: Console, path: str) -> None:
    answer = console.open().client.get(f"/static/{path}")
    assert answer.status_code in (302, 404)
    assert "immutable" not in answer.headers.get("Cache-Control", "")


def test_a_refusal_leads_back_within_this_service_only(console: Console) -> None:
    answer = console.viewer.post("/do/request_run", back="//evil.example")
    assert answer.status_code == 403
    assert "evil" not in answer.text
