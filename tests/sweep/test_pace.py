"""ZEGO's 20 calls a second: never more in any second, and nearly as many."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from service.model import Vendor
from service.sweep.pace import Pace
from tests import faults
from tests.sweep.stage import APP, OTHER, open_stage


def test_no_second_sees_more_than_20_calls_of_an_app(sqlite_url: str) -> None:
    with open_stage(sqlite_url, calls_per_second=20) as stage:
        stage.sweeper.sleep = time.sleep
        stage.sandbox.calls_per_second = 20
        stage.sandbox.latency_s = 0.15
        stage.keep("1d")
        for app_id in (APP, OTHER):
            # Seven of these fill a call.
            stage.add(*[f"{n:04}/" + "x" * 950 for n in range(7 * 50)], app_id=app_id, vendor=Vendor.HUAWEI)
        started = time.monotonic()
        stage.sweep()
        took = time.monotonic() - started
        assert not stage.stored(APP) | stage.stored(OTHER)
        assert {call.code for call in stage.sandbox.calls} == {0}
        for app_id in (APP, OTHER):
            assert stage.sandbox.max_calls_in_any_second(app_id) <= 20
        assert took > 50 / 20


def test_threads_that_were_held_up_do_not_catch_up_all_at_once() -> None:
    pace = Pace(20)
    with ThreadPoolExecutor(50) as pool:
        sent = sorted(departure.at for departure in pool.map(lambda _: pace.wait_for_window(), range(50)))
    spans = [later - earlier for earlier, later in zip(sent, sent[18:], strict=False)]
    assert min(spans) >= 1.0, "listings have the rest of the 20"


def test_a_call_whose_answer_took_unusually_long_counts_from_when_it_may_have_arrived() -> None:
    pace = Pace(20)
    for _ in range(16):
        pace.note_answer(pace.wait_for_window())
    late = pace.wait_for_window()
    left_at = late.at
    time.sleep(0.3)
    pace.note_answer(late)
    assert late.at > left_at + 0.2


def test_the_pace_is_slower_after_throttling_and_comes_back() -> None:
    pace = Pace(20)
    nominal = pace.interval_s
    assert 0.053 < nominal < 0.055
    for _ in range(3):
        pace.slow_down()
    assert pace.interval_s == nominal * 8
    for _ in range(40):
        pace.slow_down()
    assert pace.interval_s == 1.0
    for _ in range(500):
        pace.speed_up()
    assert pace.interval_s == nominal


def test_a_slot_that_is_missed_by_little_does_not_move_the_next() -> None:
    pace = Pace(20)
    pace.take_slot()
    first = pace.find_wait()
    time.sleep(first + 0.03)
    pace.take_slot()
    assert pace.find_wait() < pace.interval_s - 0.02
    time.sleep(0.6)
    pace.take_slot()
    assert pace.find_wait() < pace.interval_s, "but a long standstill is not caught up at once"
    pace.take_slot()
    pace.take_slot()
    pace.take_slot()
    pace.take_slot()
    assert pace.find_wait() > 0


def test_throttling_is_answered_with_a_slower_pace(sqlite_url: str) -> None:
    with open_stage(sqlite_url) as stage:
        stage.keep("1d")
        stage.add("file")
        stage.sandbox.next(faults.answer_code(6))
        stage.sweep()
        assert stage.sweeper._paces[APP].interval_s > 1 / 2_000
