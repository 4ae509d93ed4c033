"""Durations, sizes and moments as people write them: `30d`, `forever`, `10MB`, `2026-12-31`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

FOREVER: Final = "forever"
MAX_DURATION: Final = timedelta(days=36_525)
"""100 years. Who wants more writes `forever`."""
MAX_SIZE: Final = 10**15
"""In bytes: 1,000,000 GB."""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_BYTES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_AMOUNT: Final = re.compile(r"([0-9]{1,15})([A-Za-z]+)")
_MAX_QUOTED: Final = 40
_OTHER_NAMES: Final = {"Ws": "wangsu"}


def parse_duration(text: str, example: str = "30d") -> timedelta:
    """Read `<integer><unit>` with the units s, m, h, d and w; a ValueError shows what is meant, or `example`."""
    if meant := re.fullmatch("(-?)([1-9][0-9]{0,3})([smhdwyDHMSWY])", text):
        amount, unit = int(meant[2]), meant[3].lower()
        example = f"{365 * amount}d" if unit == "y" else f"{amount}{unit}"
        if meant[1]:
            raise ValueError(f"{quote(text)} is negative: a duration must be positive, for example {example}")
    seconds = _read_amount(text, _SECONDS, "duration", example)
    if seconds == 0:
        raise ValueError(f"{quote(text)} is zero: a duration must be positive, for example {example}")
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError(f"{quote(text)} is more than 100 years: write a shorter duration, for example {example}")
    return timedelta(seconds=seconds)


def parse_keep(text: str) -> timedelta | None:
    """Read how long to keep: a duration, or `forever` (None); a ValueError shows right ones."""
    if text == FOREVER:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error} or {FOREVER}") from None


def parse_size(text: str) -> int:
    """Read `<integer><unit>` with the decimal units B, kB, MB and GB, in bytes; a ValueError shows a right one."""
    size = _read_amount(text, _BYTES, "size", "10MB")
    if size > MAX_SIZE:
        raise ValueError(f"{quote(text)} is more than 1000000GB: write a smaller size, for example 10MB")
    return size


def parse_moment(text: str, now: datetime, *, is_past: bool = False) -> datetime:
    """Read a time in ISO 8601 (UTC where it names no zone), or a duration from `now`; a ValueError shows right ones.

    `is_past`: a moment in the past is meant, so that a duration means ago.
    """
    if re.fullmatch("[0-9]{1,15}[smhdw]", text):
        return now - parse_duration(text) if is_past else now + parse_duration(text)
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{quote(text)} is not a time: write for example 2026-12-31, 2026-12-31T18:00:00Z,"
            f" or 30d for 30 days {'ago' if is_past else 'from now'}"
        ) from None


def format_duration(duration: timedelta) -> str:
    """Write whole seconds so that `parse_duration` reads the same back; weeks as days, which people compare."""
    return _write_amount(round(duration.total_seconds()), _SECONDS, ("d", "h", "m", "s"))


def format_keep(keep: timedelta | None) -> str:
    """Write how long to keep so that `parse_keep` reads the same back."""
    return FOREVER if keep is None else format_duration(keep)


def format_size(size: int) -> str:
    """Write a number of bytes so that `parse_size` reads the same back."""
    return _write_amount(size, _BYTES, ("GB", "MB", "kB", "B"))


def format_moment(moment: datetime) -> str:
    """Write a moment in ISO 8601, in UTC with `Z`, as the API and `--json` show it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def describe_moment(moment: datetime) -> str:
    """A moment for a sentence or a table, to the minute: `2026-03-01 12:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def describe_choice(text: str, choices: Sequence[str]) -> str:
    """That a word is none of these, and which one is meant, if that is clear."""
    meant = [each for each in choices if text.lower() in (each.lower(), _OTHER_NAMES.get(each))]
    return f"{quote(text)} is none of {', '.join(choices)}" + "".join(f': write "{each}"' for each in meant)


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 file`, `3,000 files`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _read_amount(text: str, units: Mapping[str, int], noun: str, example: str) -> int:
    found = _AMOUNT.fullmatch(text)
    if found is None or found[2] not in units:
        right = f"write a whole number and one of {', '.join(units)}, for example {example}"
        raise ValueError(f"{quote(text)} is not a {noun}: {right}")
    return int(found[1]) * units[found[2]]


def _write_amount(number: int, units: Mapping[str, int], largest_first: Sequence[str]) -> str:
    """In the largest unit that divides the number; the last unit is 1."""
    fitting = (unit for unit in largest_first if number and number % units[unit] == 0)
    unit = next(fitting, largest_first[-1])
    return f"{number // units[unit]}{unit}"


def quote(text: str) -> str:
    """A text that was read, in quotes and shortened, for an error message."""
    return ascii(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")
