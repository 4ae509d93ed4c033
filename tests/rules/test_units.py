from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.units import (
    MAX_DURATION,
    MAX_SIZE,
    count_of,
    describe_moment,
    format_duration,
    format_keep,
    format_moment,
    format_size,
    parse_duration,
    parse_keep,
    parse_moment,
    parse_size,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90m", 5_400), ("24h", 86_400), ("30d", 2_592_000), ("2w", 1_209_600), ("007d", 604_800)],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


NOT_DURATIONS = ["", "30", "d", "-1d", "+1d", "1.5h", "1e3s", "1_000s", "30 d", " 30d", "30d\n", "30D", "30days"]
NOT_DURATIONS += ["1d12h", "1y", "٣d", "３d", "36526d", "9" * 16 + "s", "9" * 5_000 + "d", "\ud800d", "0d", "000s"]


@pytest.mark.parametrize("text", [*NOT_DURATIONS, "forever"])
def test_anything_else_is_refused_in_one_line_with_a_right_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"for example [0-9]+d") as caught:
        parse_duration(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("text", "meant"), [("30D", "30d"), ("1y", "365d"), ("-5d", "5d"), ("0", "15m")])
def test_the_example_is_what_is_meant_or_fits(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"for example {meant}$"):
        parse_duration(text, "15m")
    with pytest.raises(ValueError, match="'-5d' is negative"):
        parse_duration("-5d")


def test_zero_must_be_positive() -> None:
    with pytest.raises(ValueError, match="'0d' is zero: a duration must be positive"):
        parse_duration("0d")


@pytest.mark.parametrize("text", NOT_DURATIONS)
def test_how_long_to_keep_is_as_strict_and_offers_forever(text: str) -> None:
    with pytest.raises(ValueError, match=r"for example [0-9]+d or forever"):
        parse_keep(text)


def test_forever_is_no_duration_at_all() -> None:
    assert parse_keep("forever") is None
    assert parse_keep("30d") == timedelta(days=30)
    assert (format_keep(None), format_keep(timedelta(days=30))) == ("forever", "30d")


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "59s"), (90, "90s"), (5_400, "90m"), (129_600, "36h"), (1_209_600, "14d"), (1.7, "2s")]
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(st.integers(1, int(MAX_DURATION.total_seconds())))
def test_a_written_duration_reads_the_same_back(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("800B", 800), ("500kB", 500_000), ("10MB", 10_000_000), ("2GB", 2_000_000_000), ("1000000GB", 10**15)],
)
def test_a_size_is_a_whole_number_and_a_decimal_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "MB",
        "10mb",
        "10KB",
        "10MiB",
        "1.5GB",
        "-1MB",
        "10 MB",
        "10MB ",
        "٣MB",
        "1TB",
        "1000001GB",
        "9" * 5_000,
    ],
)
def test_any_other_size_is_refused_in_one_line_with_a_right_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 10MB") as caught:
        parse_size(text)
    assert len(str(caught.value)) < 200


@given(st.integers(0, MAX_SIZE))
def test_a_written_size_reads_the_same_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T18:00:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
        ("2026-12-31 18:00", datetime(2026, 12, 31, 18, tzinfo=UTC)),
        ("2026-12-31T18:00:00+08:00", datetime(2026, 12, 31, 10, tzinfo=UTC)),
        ("30d", NOW + timedelta(days=30)),
        ("90m", NOW + timedelta(minutes=90)),
    ],
)
def test_a_moment_is_a_time_or_a_duration_from_now(text: str, moment: datetime) -> None:
    read = parse_moment(text, NOW)
    assert read == moment
    assert read.utcoffset() == timedelta(0)


def test_where_a_past_moment_is_meant_a_duration_means_ago() -> None:
    assert parse_moment("7d", NOW, is_past=True) == NOW - timedelta(days=7)
    assert parse_moment("2026-01-31", NOW, is_past=True) == datetime(2026, 1, 31, tzinfo=UTC)
    with pytest.raises(ValueError, match="or 30d for 30 days ago"):
        parse_moment("last week", NOW, is_past=True)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "-30d", "30", "0001-01-01T00:00+10:00", "9" * 5_000])
def test_any_other_moment_is_refused_with_right_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 2026-12-31"):
        parse_moment(text, NOW)


def test_zero_from_now_is_no_moment_either() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        parse_moment("0d", NOW)


def test_moments_are_shown_in_utc() -> None:
    there = datetime(2026, 3, 1, 20, 0, 30, tzinfo=timezone(timedelta(hours=8)))
    assert describe_moment(there) == "2026-03-01 12:00 UTC"
    assert format_moment(there) == "2026-03-01T12:00:30Z"
    assert parse_moment(format_moment(there), NOW) == there


def test_counts_take_the_plural() -> None:
    assert count_of(1, "file") == "1 file"
    assert count_of(0, "file") == "0 files"
    assert count_of(3_000, "entry", "entries") == "3,000 entries"
