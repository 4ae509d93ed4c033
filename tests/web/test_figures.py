"""Figures that take long to count hold no page up."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from service.web.api import routes
from service.web.api.routes import Backend
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.web.api_scene import Api


def test_while_figures_are_counted_a_page_shows_the_last_ones(api: Api) -> None:
    backend: Backend = api.app.extensions["zego-retention.backend"]
    assert backend.show_figures("a number", lambda: 1) == 1
    counts, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def count() -> int:
        counts.set()
        goes_on.wait(30)
        ended.set()
        return 2

    wait_until(lambda: backend.show_figures("a number", count) == 1 and counts.is_set())
    began = time.monotonic()
    assert [backend.show_figures("a number", count) for _ in range(3)] == [1, 1, 1]
    assert time.monotonic() - began < routes._MAX_FIRST_LOOK_S
    assert backend.show_figures("another", lambda: 3) == 3
    goes_on.set()
    assert ended.wait(30)
    wait_until(lambda: backend.show_figures("a number", lambda: 2) == 2)


def test_figures_that_cannot_be_counted_leave_the_last_ones(api: Api) -> None:
    backend: Backend = api.app.extensions["zego-retention.backend"]

    def fail() -> int:
        raise OSError("a test")

    assert backend.show_figures("a number", fail) is None
    assert backend.show_figures("a number", lambda: 1) == 1
    assert backend.show_figures("a number", fail) == 1


def test_counting_figures_takes_little_of_the_time_or_a_twentieth_of_long_ones() -> None:
    assert [routes.rest_for(took_s) for took_s in (0.05, 0.1, 1.0, 10.0)] == [1, 30, 60, 200]


def test_figures_that_were_just_counted_are_not_counted_again(api: Api) -> None:
    backend: Backend = api.app.extensions["zego-retention.backend"]
    counted = []

    def count() -> int:
        time.sleep(0.1)
        counted.append(1)
        return len(counted)

    assert [backend.show_figures("a number", count) for _ in range(5)] == [1] * 5


def test_a_crowd_that_asks_for_forecasts_holds_two_threads(api: Api) -> None:
    backend: Backend = api.app.extensions["zego-retention.backend"]
    began, waits = time.monotonic(), threading.Thread(target=api.ask, args=("GET", "/forecast"))
    with backend.for_inventory():
        waits.start()
        time.sleep(0.2)
        for _ in range(14):
            answer = api.ask("GET", "/forecast")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        took = time.monotonic() - began
    waits.join()
    assert took < routes._MAX_INVENTORY_WAIT_S + 1, "nobody but one waits: fourteen would take as many seconds"
    assert api.get("/forecast")["count"] == 0
