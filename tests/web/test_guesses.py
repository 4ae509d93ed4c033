"""Whoever guesses tokens or passwords is slowed down; nobody else is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from service.audit.tokens import make_token
from service.model import Role
from service.web.app import create_app
from service.web.guesses import Guesses, TooManyGuesses
from tests.processes import ask
from tests.web.api_scene import ADMIN_TOKEN, open_api
from tests.web.test_app import callback, serve
from tests.world import TESTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask
    from werkzeug.test import TestResponse

    from tests.web.api_scene import Api

GUESSER, NEIGHBOUR = "192.0.2.1", "192.0.2.2"
AT_ONCE = 30


class Wrong(Exception):  # noqa: N818  (as those of the service)
    """It is not right."""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guesses(clock: Clock) -> Guesses:
    return Guesses(clock)


def be_wrong() -> None:
    raise Wrong


def guess(guesses: Guesses, address: str, secret: str) -> str:
    try:
        guesses.attempt(address, secret, be_wrong, Wrong)
    except Wrong:
        return "wrong"
    except TooManyGuesses as error:
        return f"wait {error.wait_s}"
    raise AssertionError


def exhaust(guesses: Guesses, address: str = GUESSER, word: str = "guess") -> None:
    for number in range(AT_ONCE):
        assert guess(guesses, address, f"{address} {word} {number}") == "wrong"
    assert guess(guesses, address, f"{address} {word}, one more") == "wait 2"


def test_so_many_at_once_then_one_every_two_seconds(guesses: Guesses, clock: Clock) -> None:
    exhaust(guesses)
    clock.time += 2
    assert guess(guesses, GUESSER, "later") == "wrong"
    assert guess(guesses, GUESSER, "at once") == "wait 2"
    clock.time += 60
    exhaust(guesses, word="later")


def test_what_was_right_here_before_is_not_slowed_down_and_the_same_wrong_one_is_no_guess(guesses: Guesses) -> None:
    assert guesses.attempt(GUESSER, "right", lambda: "found", Wrong) == "found"
    for _ in range(3 * AT_ONCE):
        assert guess(guesses, GUESSER, "an old token") == "wrong"
    for number in range(AT_ONCE - 1):
        assert guess(guesses, GUESSER, f"{number}") == "wrong"
    assert guess(guesses, GUESSER, "one more") == "wait 2"
    assert guesses.attempt(GUESSER, "right", lambda: "found", Wrong) == "found"
    assert guess(guesses, GUESSER, "an old token") == "wrong"


def test_others_are_not_slowed_down_until_all_together_guess_too_much(guesses: Guesses, clock: Clock) -> None:
    exhaust(guesses)
    assert guess(guesses, NEIGHBOUR, "a typing error") == "wrong"
    answers = [guess(guesses, f"198.51.100.{number}", f"{number}") for number in range(250)]
    assert set(answers) == {"wrong"}
    more = [guess(guesses, f"203.0.113.{number}", f"more {number}") for number in range(50)]
    assert set(more) == {"wrong", "wait 1"}
    clock.time += 0.3
    assert guess(guesses, NEIGHBOUR, "another") == "wrong"


def test_an_ipv6_customer_is_one_and_an_address_is_the_same_in_both_spellings(guesses: Guesses) -> None:
    exhaust(guesses, "2001:db8:1:2::1")
    assert guess(guesses, "2001:db8:1:2:ffff::9", "x") == "wait 2"
    assert guess(guesses, "2001:db8:1:3::1", "x1") == "wrong"
    exhaust(guesses, GUESSER)
    assert guess(guesses, f"::ffff:{GUESSER}", "x") == "wait 2"
    exhaust(guesses, "not an address")
    assert guess(guesses, "nor this", "x") == "wait 2"


def test_an_error_on_our_side_counts_for_nobody(guesses: Guesses) -> None:
    for _ in range(2 * AT_ONCE):
        with pytest.raises(ZeroDivisionError):
            guesses.attempt(GUESSER, "a secret", lambda: 1 / 0, Wrong)
    exhaust(guesses)


def test_guesses_that_are_sent_at_once_are_no_more(guesses: Guesses) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: guess(guesses, GUESSER, f"{number}"), range(200)))
    assert answers.count("wrong") == AT_ONCE


def test_what_is_remembered_has_a_bound(guesses: Guesses, clock: Clock) -> None:
    for number in range(5_000):
        clock.time += 0.2
        assert guess(guesses, f"198.18.{number // 250}.{number % 250}", f"{number}") == "wrong"
        guesses.attempt(NEIGHBOUR, f"right {number}", lambda: None, Wrong)
    assert max(len(known) for known in vars(guesses).values() if hasattr(known, "popitem")) <= 1_000


@pytest.fixture
def guessed(sqlite_url: str) -> Iterator[tuple[Api, Flask]]:
    """An API at which somebody has guessed as much as they may."""
    with open_api(sqlite_url) as api:
        app = create_app(api.world.service.settings, now=api.world.clock)
        statuses = [list_files(app, f"guess {number}").status_code for number in range(AT_ONCE + 1)]
        assert statuses == [401] * AT_ONCE + [429]
        yield api, app
        app.extensions["zego-retention"].close()


def list_files(app: Flask, token: str, address: str = GUESSER) -> TestResponse:
    headers, environ = {"Authorization": f"Bearer {token}"}, {"REMOTE_ADDR": address}
    return app.test_client().get("/api/v1/files", headers=headers, environ_overrides=environ)


def sign_in(app: Flask, address: str, **data: str) -> TestResponse:
    return app.test_client().post("/sign-in", data=data, environ_overrides={"REMOTE_ADDR": address})


def test_the_token_of_the_setting_is_not_guessed_at_through_the_api(guessed: tuple[Api, Flask]) -> None:
    _, app = guessed
    refused = list_files(app, ADMIN_TOKEN)
    assert refused.status_code == 429, "the right one neither, or it could be guessed"
    assert 0 < int(refused.headers["Retry-After"]) <= 2
    assert refused.content_type == "application/problem+json"
    assert "try again in" in refused.json["detail"]  # type: ignore[index]
    assert list_files(app, ADMIN_TOKEN, NEIGHBOUR).status_code == 200
    assert list_files(app, ADMIN_TOKEN).status_code == 200, "it is known now, and no guess"


def test_a_guesser_shuts_out_no_token_of_the_database_at_the_same_address(guessed: tuple[Api, Flask]) -> None:
    api, app = guessed
    made = make_token(api.world.database, "made meanwhile", Role.VIEWER, None, TESTER, api.world.clock())[1]
    for token in (api.tokens["viewer"], made):
        assert list_files(app, token).status_code == 200
    assert list_files(app, api.tokens["revoked"]).status_code == 429


def test_signing_in_is_slowed_down_alike(sqlite_url: str) -> None:
    with open_api(sqlite_url) as api:
        app = api.app
        for number in range(AT_ONCE - 1):
            assert sign_in(app, GUESSER, password=f"guess {number}").status_code == 401
        assert sign_in(app, GUESSER, name="li.wei", password="a wrong password").status_code == 401
        refused = sign_in(app, GUESSER, name="li.wei", password="another")
        assert (refused.status_code, refused.headers["Retry-After"] in ("1", "2")) == (429, True)
        assert "from this address: try again in" in refused.text
        assert sign_in(app, GUESSER, password=ADMIN_TOKEN).status_code == 429
        assert sign_in(app, NEIGHBOUR, password=ADMIN_TOKEN).status_code == 303
        assert sign_in(app, GUESSER, password=ADMIN_TOKEN).status_code == 303


def test_callbacks_are_taken_while_somebody_guesses(sqlite_url: str) -> None:
    with open_api(sqlite_url) as api, serve(api.app) as port:

        def flood(number: int) -> int:
            return api.app.test_client().get("/api/v1/files", headers={"Authorization": f"Bearer {number}"}).status_code

        with ThreadPoolExecutor(4) as pool:
            flooding = pool.map(flood, range(200))
            for _ in range(10):
                assert ask(port, "POST", "/zego/callback", json.dumps(callback()).encode())[0] == 200
            assert list(flooding).count(401) == AT_ONCE
        assert flood(201) == 429
