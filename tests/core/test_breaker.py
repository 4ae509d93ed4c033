from __future__ import annotations

import pytest

from service.core.breaker import Limits, judge_plan


@pytest.mark.parametrize(("due", "trips"), [(0, False), (10_000, False), (10_001, True)])
def test_it_trips_beyond_the_limit_on_files(due: int, trips: bool) -> None:
    assert (judge_plan(due, 1_000_000, Limits(10_000, 0.2)) is not None) is trips


@pytest.mark.parametrize(
    ("due", "present", "trips"),
    [
        (1_000, 1_000, False),  # up to 1,000 the share does not matter
        (1_001, 5_005, False),
        (1_001, 5_004, True),
        (2_000, 10_000, False),
        (2_001, 10_000, True),
    ],
)
def test_it_trips_beyond_the_share_where_over_a_thousand_are_due(due: int, present: int, trips: bool) -> None:
    assert (judge_plan(due, present, Limits(10_000, 0.2)) is not None) is trips


def test_a_share_is_taken_as_it_is_written() -> None:
    # 0.07 * 100,000 is 7000.000000000001 in binary, and 0.29 * 10,000 is 2899.9999999999995.
    assert judge_plan(2_900, 10_000, Limits(10_000, 0.29)) is None
    assert judge_plan(7_001, 100_000, Limits(10_000, 0.07)) is not None


def test_it_says_why() -> None:
    too_many = judge_plan(12_000, 90_000, Limits(10_000, 0.2))
    assert too_many is not None
    assert too_many.reason == "12,000 files are due that nobody approved, more than BREAKER_FILES=10,000 in one pass"
    too_much = judge_plan(2_001, 10_000, Limits(10_000, 0.2))
    assert too_much is not None
    assert too_much.reason == (
        "2,001 files are due that nobody approved, more than BREAKER_SHARE=0.2 of its 10,000 present files in one pass"
    )


@pytest.mark.parametrize(("files", "share"), [(0, 0.2), (-1, 0.2), (10, 0.0), (10, -0.5), (10, float("nan"))])
def test_limits_of_0_or_below_are_refused(files: int, share: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Limits(files, share)


@pytest.mark.parametrize("files", [5, 1_000, 10_000])
def test_the_present_files_are_counted_only_where_they_matter(files: int) -> None:
    limits = Limits(files, 0.2)
    for due in (0, 5, 6, 1_000, 1_001, 10_001):
        if not limits.needs_present(due):
            assert judge_plan(due, 0, limits) is judge_plan(due, 1_000_000, limits) is None
