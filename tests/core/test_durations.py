from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.durations import (
    LARGEST,
    LONGEST,
    format_duration,
    format_keep,
    format_size,
    parse_duration,
    parse_keep,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5_400),
        ("24h", 86_400),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("007d", 604_800),
        ("36525d", 36_525 * 86_400),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


NOT_DURATIONS = [
    "",
    "30",
    "d",
    "0d",
    "000s",
    "-1d",
    "+1d",
    "1.5h",
    "1e3s",
    "1_000s",
    "30 d",
    " 30d",
    "30d\n",
    "30D",
    "30days",
    "1d12h",
    "1y",
    "٣d",
    "３d",
    "forever",
    "36526d",
    "5219w",
    "9" * 15 + "s",
    "9" * 16 + "s",
    "9" * 5_000 + "d",
    "\ud800d",
]


@pytest.mark.parametrize("text", NOT_DURATIONS)
def test_anything_else_is_refused_in_one_line_with_a_right_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 30d") as caught:
        parse_duration(text)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize("text", [text for text in NOT_DURATIONS if text != "forever"])
def test_how_long_to_keep_is_as_strict_and_offers_forever(text: str) -> None:
    with pytest.raises(ValueError, match="for example 30d or forever"):
        parse_keep(text)


def test_forever_is_no_duration_at_all() -> None:
    assert parse_keep("forever") is None
    assert parse_keep("30d") == timedelta(days=30)
    assert format_keep(None) == "forever"
    assert format_keep(timedelta(days=30)) == "30d"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=36), "36h"),
        (timedelta(days=14), "14d"),
        (timedelta(0), "0s"),
        (timedelta(seconds=1, milliseconds=700), "2s"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.integers(1, int(LONGEST.total_seconds())))
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
        "10M",
        "1.5GB",
        "-1MB",
        "10 MB",
        "10MB ",
        "٣MB",
        "1TB",
        "1000001GB",
        "9" * 5_000 + "B",
    ],
)
def test_any_other_size_is_refused_in_one_line_with_a_right_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 10MB") as caught:
        parse_size(text)
    assert len(str(caught.value)) < 200


@given(st.integers(0, LARGEST))
def test_a_written_size_reads_the_same_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_a_size_is_written_in_the_largest_unit_that_divides_it() -> None:
    assert [format_size(size) for size in (0, 999, 1_500, 2_000, 10**7, 10**9)] == [
        "0B",
        "999B",
        "1500B",
        "2kB",
        "10MB",
        "1GB",
    ]
