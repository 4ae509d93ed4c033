from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits, count_beyond

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetryPolicy(timedelta(minutes=1), timedelta(hours=6), timedelta(days=7))


@pytest.mark.parametrize(
    ("attempts", "delay"),
    [(1, timedelta(minutes=1)), (2, timedelta(minutes=2)), (5, timedelta(minutes=16)), (20, timedelta(hours=6))],
)
def test_each_attempt_waits_twice_as_long_up_to_the_last(attempts: int, delay: timedelta) -> None:
    assert POLICY.find_delay(attempts, 0.0) == delay


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.integers(1, 36_525))
def test_jitter_shortens_by_a_quarter_at_most(attempts: int, jitter: float, days: int) -> None:
    policy = RetryPolicy(timedelta(days=days), timedelta(days=36_525), timedelta(days=7))
    full = policy.find_delay(attempts, 0.0)
    assert full * 0.75 <= policy.find_delay(attempts, jitter) <= full <= policy.last


def test_a_file_is_given_up_when_its_time_is_over_and_not_before() -> None:
    last_moment = NOW + timedelta(days=7)
    assert not POLICY.is_given_up(NOW, last_moment - timedelta(seconds=1))
    assert POLICY.is_given_up(NOW, last_moment)


def test_throttling_starts_at_a_second_and_other_trouble_at_the_first_retry() -> None:
    assert POLICY.find_pause(1, 0.0, throttled=True) == timedelta(seconds=1)
    assert POLICY.find_pause(1, 0.0, throttled=False) == timedelta(minutes=1)
    assert POLICY.find_pause(4, 0.0, throttled=True) == timedelta(seconds=8)


@pytest.mark.parametrize(("seconds", "pause"), [(90, 90), (10**9, 6 * 3600), (0, 1)])
def test_a_retry_after_is_respected_but_not_beyond_the_last_retry(seconds: float, pause: float) -> None:
    found = POLICY.find_pause(1, 0.0, throttled=True, retry_after_s=seconds)
    assert found == timedelta(seconds=pause)


# The breaker's arithmetic.


@pytest.mark.parametrize(
    ("due", "present", "stops"),
    [
        (0, 0, False),
        (10_000, 1_000_000, False),
        (10_001, 1_000_000, True),
        (1_000, 1_000, False),  # up to 1,000 the share does not matter
        (1_001, 5_005, False),
        (1_001, 5_004, True),
        (2_000, 10_000, False),
        (2_001, 10_000, True),
    ],
)
def test_it_stops_beyond_the_limit_on_files_and_beyond_the_share(due: int, present: int, stops: bool) -> None:
    assert (Limits(10_000, 0.2).judge(due, present) is not None) is stops


def test_a_share_is_taken_as_it_is_written() -> None:
    # 0.07 * 100,000 is 7000.000000000001 in binary, and 0.29 * 10,000 is 2899.9999999999995.
    assert Limits(10_000, 0.29).judge(2_900, 10_000) is None
    assert Limits(10_000, 0.07).judge(7_001, 100_000) is not None


def test_it_says_why() -> None:
    why = "{} files are due without approval, more than {} in one sweep"
    assert Limits(10_000, 0.2).judge(12_000, 90_000) == why.format("12,000", "ZEGO_RETENTION_BREAKER_FILES=10,000")
    share = "ZEGO_RETENTION_BREAKER_SHARE=0.2 of its 10,000 present files"
    assert Limits(10_000, 0.2).judge(2_001, 10_000) == why.format("2,001", share)


@pytest.mark.parametrize(("files", "share"), [(0, 0.2), (-1, 0.2), (10, 0.0), (10, -0.5), (10, float("nan"))])
def test_limits_of_0_or_below_are_refused(files: int, share: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Limits(files, share)


@given(st.integers(1, 12_000), st.integers(0, 12_000))
def test_the_present_files_are_counted_only_where_they_matter(files: int, due: int) -> None:
    limits = Limits(files, 0.2)
    if not limits.needs_present(due):
        assert limits.judge(due, 0) is limits.judge(due, 1_000_000) is None


@pytest.mark.parametrize(
    ("due", "moved", "planned", "counted"),
    [
        ({(None, False): 7}, {}, 0, 7),
        ({(None, False): 7, (3, False): 5}, {3: 9}, 0, 7),
        ({(None, False): 7, (3, False): 5}, {3: 2}, 0, 10),
        ({(None, True): 3, (None, False): 4, (3, True): 5}, {4: 9}, 4, 8),
        ({(None, True): 7}, {}, 100, 0),
        ({(None, True): 3, (None, False): 4}, {}, 100, 4),
    ],
)
def test_what_previews_and_approvals_cover_does_not_count(
    due: dict[tuple[int | None, bool], int], moved: dict[int, int], planned: int, counted: int
) -> None:
    assert count_beyond(due, moved, planned) == counted
