from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.backoff import GiveUp, RetryPolicy, TryAgain, decide_pause, decide_retry

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetryPolicy(timedelta(minutes=1), timedelta(hours=6), timedelta(days=7))


@pytest.mark.parametrize(
    ("attempts", "delay"),
    [(1, timedelta(minutes=1)), (2, timedelta(minutes=2)), (5, timedelta(minutes=16)), (20, timedelta(hours=6))],
)
def test_each_attempt_waits_twice_as_long_up_to_the_last(attempts: int, delay: timedelta) -> None:
    assert decide_retry(attempts, NOW, NOW, POLICY, 0.0) == TryAgain(NOW + delay)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_shortens_by_a_quarter_at_most(attempts: int, jitter: float) -> None:
    full, shortened = (decide_retry(attempts, NOW, NOW, POLICY, share) for share in (0.0, jitter))
    assert isinstance(full, TryAgain)
    assert isinstance(shortened, TryAgain)
    assert (full.at - NOW) * 0.75 <= shortened.at - NOW <= full.at - NOW


def test_a_file_is_given_up_when_its_time_is_over_and_not_before() -> None:
    last_moment = NOW + timedelta(days=7)
    assert isinstance(decide_retry(30, NOW, last_moment - timedelta(seconds=1), POLICY, 0.0), TryAgain)
    given_up = decide_retry(31, NOW, last_moment, POLICY, 0.0)
    assert isinstance(given_up, GiveUp)
    assert "31 attempts" in given_up.reason


def test_throttling_starts_at_a_second_and_other_trouble_at_the_first_retry() -> None:
    assert decide_pause(1, NOW, POLICY, 0.0, throttled=True) == NOW + timedelta(seconds=1)
    assert decide_pause(1, NOW, POLICY, 0.0, throttled=False) == NOW + timedelta(minutes=1)
    assert decide_pause(4, NOW, POLICY, 0.0, throttled=True) == NOW + timedelta(seconds=8)


def test_a_retry_after_is_respected_but_not_beyond_the_last_retry() -> None:
    def pause(seconds: float) -> timedelta:
        return decide_pause(1, NOW, POLICY, 0.0, throttled=True, retry_after_s=seconds) - NOW

    assert pause(90) == timedelta(seconds=90)
    assert pause(10**9) == timedelta(hours=6)
    assert pause(0) == timedelta(seconds=1)
