"""How figures look to people, in a terminal and on a page alike: distances in time, durations, sizes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import humanize

_UNITS: Final = {"year": 31_557_600, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_ABOUT_TWO: Final = 2 * 0.99
_MINUTE: Final = 60


def measure_distance(distance: timedelta) -> tuple[int, str] | None:
    """A distance in time, rounded, in the largest unit of which it has about two: `(47, "hour")`; None: it is now."""
    seconds = abs(distance.total_seconds())
    for unit, size in _UNITS.items():
        if seconds >= (2 if size == 1 else _ABOUT_TWO * size):
            return round(seconds / size), unit
    return None


def describe_span(seconds: float) -> str:
    """A duration, in the language of humanize."""
    return f"{seconds:.1f} s" if seconds < _MINUTE else humanize.precisedelta(timedelta(seconds=round(seconds)))


def describe_size(count: float) -> str:
    """Bytes in a unit that people compare."""
    return re.sub(" Bytes?$", " B", humanize.naturalsize(count))


def describe_amount(field: str, value: float) -> str | None:
    """A number in words if the field's name says that it counts bytes or seconds, else None."""
    if field.endswith("_bytes"):
        return describe_size(value)
    return describe_span(value) if field.endswith("_s") else None


def name_field(field: str) -> str:
    """What people call a field of a resource; its unit shows in its value."""
    return re.sub("_(at|bytes|s)$", "", field).replace("_", " ")
