"""Durations, sizes and moments as people write them: `30d`, `forever`, `10MB`, `2026-12-31`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

FOREVER: Final = "forever"
MAX_DURATION: Final = timedelta(days=36_525)
"""100 years. Who wants more writes `forever`."""
MAX_SIZE: Final = 10**15
"""In bytes: 1,000,000 GB."""

_DURATION: Final = re.compile(r"([0-9]+)([smhdw])")
_SIZE: Final = re.compile(r"([0-9]+)(B|kB|MB|GB)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_BYTES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_MAX_DIGITS: Final = 15
_MAX_QUOTED: Final = 40


def parse_duration(text: str) -> timedelta:
    """Read `<integer><unit>` with the units s, m, h, d and w.

    Raises:
        ValueError: anything else, zero, or more than 100 years; the message shows a right one.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{_quote(text)} is not a duration: write a whole number and one of s, m, h, d, w, for example 30d"
        )
    seconds = _read_number(found[1]) * _SECONDS[found[2]]
    if seconds == 0:
        raise ValueError(f"{_quote(text)} is zero: a duration must be positive, for example 30d")
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError(f"{_quote(text)} is more than 100 years: write a shorter duration, for example 30d")
    return timedelta(seconds=seconds)


def parse_keep(text: str) -> timedelta | None:
    """Read how long to keep: a duration, or `forever` (None).

    Raises:
        ValueError: neither of the two; the message shows a right one.
    """
    if text == FOREVER:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error} or {FOREVER}") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """Read a time in ISO 8601 (UTC where it names no zone), or a duration, which counts from `now`.

    Raises:
        ValueError: it is neither; the message shows a right one.
    """
    if _DURATION.fullmatch(text):
        return now + parse_duration(text)
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{_quote(text)} is not a time: write for example 2026-12-31, 2026-12-31T18:00:00Z,"
            " or 30d for 30 days from now"
        ) from None


def parse_size(text: str) -> int:
    """Read `<integer><unit>` with the decimal units B, kB, MB and GB; the answer is in bytes.

    Raises:
        ValueError: anything else, or more than 1,000,000 GB; the message shows a right one.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{_quote(text)} is not a size: write a whole number and one of B, kB, MB, GB, for example 10MB"
        )
    size = _read_number(found[1]) * _BYTES[found[2]]
    if size > MAX_SIZE:
        raise ValueError(f"{_quote(text)} is more than 1000000GB: write a smaller size, for example 10MB")
    return size


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads the same back, in the largest unit up to days that divides it.

    Weeks are written as days: people compare retention windows in days. Fractions of a second are rounded.
    """
    seconds = round(duration.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def format_keep(keep: timedelta | None) -> str:
    """Write how long to keep so that `parse_keep` reads the same back."""
    return FOREVER if keep is None else format_duration(keep)


def format_size(size: int) -> str:
    """Write a number of bytes so that `parse_size` reads the same back, in the largest unit that divides it."""
    for unit in ("GB", "MB", "kB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def format_moment(moment: datetime) -> str:
    """Write a moment in ISO 8601, in UTC with `Z`, as the API and `--json` show it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def describe_moment(moment: datetime) -> str:
    """A moment for a sentence or a table, to the minute: `2026-03-01 12:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 file`, `3,000 files`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _read_number(digits: str) -> int:
    """The number, capped: Python refuses to read thousands of digits, and the cap exceeds every limit."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS + 1


def _quote(text: str) -> str:
    return ascii(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")
