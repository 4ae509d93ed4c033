"""Signing in to the console: who gets in, for how long, and who is locked out."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.model import Actor, NotPossible, Role
from service.people.people import add_person, end_sessions, remove_person, set_password
from service.people.store import find_person, list_people
from service.web.app import create_app
from tests.console.console_scene import PASSWORD
from tests.web.api_scene import ADMIN_TOKEN, open_api
from tests.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.console.console_scene import Console

BY = Actor("a test", "a test")


def test_without_a_session_every_page_leads_to_where_one_signs_in(console: Console) -> None:
    stranger = console.open()
    answer = stranger.client.get("/files?state=held")
    assert (answer.status_code, answer.location) == (302, "/sign-in?next=/files%3Fstate%3Dheld")
    part = stranger.client.get("/files", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Redirect"]) == (204, "/sign-in")
    with stranger.client.get("/static/console.css") as style:
        assert style.status_code == 200
        assert "immutable" in style.headers["Cache-Control"]


def test_a_wrong_password_says_nothing_of_who_exists(console: Console) -> None:
    console.person(Role.ADMIN)
    stranger = console.open()
    wrong, nobody = stranger.sign_in("admin", "a wrong password"), stranger.sign_in("nobody", "a wrong password")
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.text == nobody.text
    assert "the name or the password is wrong" in wrong.text


def test_who_guesses_is_locked_out_for_a_while_and_the_right_password_ends_it(console: Console) -> None:
    console.person(Role.OPERATOR)
    console.person(Role.VIEWER)
    stranger, clock = console.open(), console.api.world.clock
    for _ in range(5):
        assert stranger.sign_in("operator", "a wrong password").status_code == 401
    refused = stranger.sign_in("operator")
    assert refused.status_code == 401
    assert "too many wrong passwords" in refused.text
    assert console.open().sign_in("viewer").status_code == 303, "others are not locked out"
    clock.move(seconds=61)
    assert stranger.sign_in("operator", "a wrong password").status_code == 401
    clock.move(seconds=61)
    assert "too many wrong passwords" in stranger.sign_in("operator").text, "each lock is longer than the one before"
    clock.move(seconds=61)
    assert stranger.sign_in("operator").status_code == 303
    assert stranger.sign_in("operator", "a wrong password").status_code == 401
    assert stranger.sign_in("operator").status_code == 303, "the count began anew"


def test_a_session_ends_after_twelve_hours(console: Console) -> None:
    clock = console.api.world.clock
    console.admin.get("/files")
    clock.move(hours=11, minutes=59)
    console.admin.get("/files")
    clock.move(minutes=2)
    console.admin.get("/files", status=302)


def test_a_form_that_is_sent_after_the_session_does_nothing_says_so_and_is_led_back_to(console: Console) -> None:
    console.api.world.keep("1d")
    admin = console.admin
    admin.get("/files")
    console.api.world.clock.move(hours=12, minutes=1)
    for back, then in (("//evil.example", "/"), ("", "/"), ("/files/1?a=b&c=d", "/files/1?a=b&c=d")):
        answer = admin.post("/do/request_run", back=back, status=303)
        page = admin.get(answer.location)
        assert "The session had ended, so nothing was done." in page
        assert [unescape(text) for text in re.findall('name="next" value="([^"]*)"', page)] == [then]
    assert "so nothing was done" not in admin.get("/sign-in?next=/files")
    assert admin.sign_in("admin", next="/files/1?a=b&c=d").location == "/files/1?a=b&c=d"
    assert "No sweep has run yet." in admin.get("/runs")


def test_signing_out_ends_the_session_for_whoever_kept_the_cookie(console: Console) -> None:
    kept = console.admin.client.get_cookie("zego_retention_session")
    assert kept is not None
    assert kept.http_only
    assert kept.same_site == "Lax"
    console.admin.post("/sign-out", status=303)
    thief = console.open()
    thief.client.set_cookie("zego_retention_session", kept.value)
    thief.get("/files", status=302)


@pytest.mark.parametrize(
    "end",
    [
        lambda database, number, now: remove_person(database, number, BY, now),
        lambda database, number, now: end_sessions(database, number, BY, now),
        lambda database, number, now: set_password(database, number, "another horse battery", BY, now),
    ],
)
def test_removing_a_person_or_a_new_password_ends_their_sessions(console: Console, end: Callable[..., object]) -> None:
    console.operator.get("/files")
    end(console.api.world.database, console.person(Role.OPERATOR), console.now)
    console.operator.get("/files", status=302)
    console.viewer.get("/files")


def test_a_removed_person_signs_in_no_more_and_the_name_is_free(console: Console) -> None:
    database = console.api.world.database
    remove_person(database, console.person(Role.OPERATOR), BY, console.now)
    with pytest.raises(NotPossible, match="is removed already"):
        remove_person(database, console.person(Role.OPERATOR), BY, console.now)
    assert console.open().sign_in("operator").status_code == 401
    add_person(database, "operator", Role.VIEWER, PASSWORD, BY, console.now)
    assert console.open().sign_in("operator").status_code == 303


def test_the_token_of_the_setting_signs_in_as_admin_and_opens_nothing_without_the_setting(database_url: str) -> None:
    with open_world(database_url, ADMIN_TOKEN=ADMIN_TOKEN) as world:
        app = create_app(world.service.settings, now=world.clock)
        browser = app.test_client()
        assert browser.post("/sign-in", data={"name": "", "password": "a guess"}).status_code == 401
        assert browser.post("/sign-in", data={"name": "", "password": ADMIN_TOKEN}).status_code == 303
        assert "ADMIN_TOKEN" in browser.get("/people").text
        cookie = browser.get_cookie("zego_retention_session")
        app.extensions["zego-retention"].close()
    assert cookie is not None
    with open_world(database_url) as world:
        app = create_app(world.service.settings, now=world.clock)
        browser = app.test_client()
        browser.set_cookie("zego_retention_session", cookie.value)
        assert browser.get("/people").status_code == 302
        assert browser.post("/sign-in", data={"name": "", "password": ""}).status_code == 401
        app.extensions["zego-retention"].close()


def test_the_cookie_is_for_https_only_where_the_service_is_reached_so(database_url: str) -> None:
    with open_api(database_url, PUBLIC_URL="https://retention.example.com") as api:
        browser = api.app.test_client()
        answer = browser.post("/sign-in", data={"name": "", "password": ADMIN_TOKEN})
        over_http, over_https = browser.get("/sign-in").text, browser.get("/sign-in", base_url="https://localhost").text
        behind_proxy = browser.get("/sign-in", headers={"Sec-Fetch-Mode": "navigate"}).text
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "over plain http, where signing in does not last: open https://retention.example.com" in over_http
    assert "plain http" not in over_https + behind_proxy


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "", "files"])
def test_signing_in_leads_nowhere_else(console: Console, path: str) -> None:
    console.person(Role.VIEWER)
    answer = console.open().client.post("/sign-in", data={"name": "viewer", "password": PASSWORD, "next": path})
    assert answer.location == "/"


def test_a_sign_in_that_another_site_sends_is_refused(console: Console) -> None:
    console.person(Role.VIEWER)
    data = {"name": "viewer", "password": PASSWORD}
    answer = console.open().client.post("/sign-in", data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", PASSWORD),
        (" x", PASSWORD),
        ("a\nb", PASSWORD),
        ("x" * 101, PASSWORD),
        ("admin_token", PASSWORD),
        ("new", "short"),
    ],
)
def test_what_is_no_name_or_no_password_is_refused(console: Console, name: str, password: str) -> None:
    database = console.api.world.database
    console.person(Role.VIEWER)
    with pytest.raises(NotPossible):
        add_person(database, name, Role.VIEWER, password, BY, console.now)
    with pytest.raises(NotPossible):
        add_person(database, "viewer", Role.VIEWER, PASSWORD, BY, console.now)
    with database.read() as tx:
        assert len(list_people(tx)) == 1


def test_passwords_are_kept_as_scrypt_and_session_keys_as_hashes(console: Console) -> None:
    console.admin.get("/files")
    with console.api.world.database.read() as tx:
        assert all(person.password_hash.startswith("scrypt:") for person in list_people(tx))
        cookie = console.admin.client.get_cookie("zego_retention_session")
        assert cookie is not None
        stored = tx.exec_driver_sql("SELECT key_hash, ends_at FROM sessions").all()
    assert cookie.value not in str(stored)


def test_old_sessions_are_forgotten(console: Console) -> None:
    console.viewer.get("/files")
    console.api.world.clock.move(days=1)
    assert console.open().sign_in("viewer").status_code == 303
    with console.api.world.database.read() as tx:
        assert len(tx.exec_driver_sql("SELECT key_hash FROM sessions").all()) == 1


def test_one_changes_ones_own_password_with_the_present_one(console: Console) -> None:
    console.viewer.get("/people")
    assert console.viewer.post("/password", old="wrong", new="a new long password").status_code == 409
    assert console.viewer.post("/password", old=PASSWORD, new="a new long password").status_code == 303
    assert console.open().sign_in("viewer").status_code == 401
    assert console.open().sign_in("viewer", "a new long password").status_code == 303


def test_a_lock_lasts_an_hour_at_most(console: Console) -> None:
    console.person(Role.OPERATOR)
    stranger, clock = console.open(), console.api.world.clock
    for _ in range(10):
        stranger.sign_in("operator", "a wrong password")
        clock.move(hours=1, seconds=1)
    with console.api.world.database.read() as tx:
        person = find_person(tx, name="operator")
    assert person is not None
    assert person.locked_until is not None
    assert person.locked_until <= console.now + timedelta(hours=1)


def test_passwords_are_checked_by_a_thread_that_lets_callbacks_go_first(console: Console) -> None:
    console.operator.get("/files")
    assert max(os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path("/proc/self/task").iterdir()) == 15
