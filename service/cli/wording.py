"""How facts are put for people: times, sizes, lengths of time, and text that strangers sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import humanize
from rich.text import Text

from service.units import describe_moment

_GOOD: Final = ("deleted", "gone", "done", "complete", "accepted", "ok", "approved")
_UNDER_WAY: Final = ("scheduled", "deleting", "running")
_OPEN: Final = (
    *("unconfirmed", "retryable", "unknown", "stale", "conflict", "pending", "warning", "interrupted"),
    *("attention", "incomplete"),
)
_BAD: Final = (
    *("failed", "stopped", "rejected", "blocked", "lost", "forged", "unknown_app", "not_understood", "problem"),
    "misdirected",
)
STYLES: Final = {
    **dict.fromkeys(_GOOD, "green"),
    **dict.fromkeys(_UNDER_WAY, "cyan"),
    **dict.fromkeys(_OPEN, "yellow"),
    **dict.fromkeys(_BAD, "red"),
    "skipped": "dim",
}
"""The colour of each word that says how something stands, where there are colours."""


def safe(value: object, *, lines: bool = False) -> str:
    """A text with every character escaped that could steer a terminal; `lines` keeps line breaks."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else repr(c)[1:-1] for c in str(value))


def cell(value: object) -> Text:
    """A value in a table, "-" where there is none; words of state are coloured."""
    text = "-" if value is None or value == "" else safe(value)
    return Text(text, style=STYLES.get(text, ""))


def parse_moment(text: str | None) -> datetime | None:
    """Read back a time that a JSON form holds."""
    return None if text is None else datetime.fromisoformat(text)


def relative(moment: datetime | None, now: datetime) -> str:
    """A time as the distance from now, "-" where there is none."""
    if moment is None:
        return "-"
    distance = moment - now
    if abs(distance) < timedelta(seconds=2):
        return "now"
    words = humanize.naturaldelta(distance, months=False)
    return f"in {words}" if distance > timedelta(0) else f"{words} ago"


def absolute(moment: datetime | None, now: datetime) -> str:
    """A time in full with its distance from now."""
    return "-" if moment is None else f"{describe_moment(moment)} ({relative(moment, now)})"


def size(size_bytes: int | None) -> str:
    """A size in decimal units."""
    return "-" if size_bytes is None else humanize.naturalsize(size_bytes)


def span(seconds: float | None) -> str:
    """A length of time."""
    if seconds is None:
        return "-"
    brief = 60
    return f"{seconds:.1f} s" if seconds < brief else humanize.precisedelta(timedelta(seconds=round(seconds)))


def in_hours(length: timedelta) -> str:
    """A length of time, up to two days without days: "24 hours" leaves no doubt."""
    brief = timedelta(days=2)
    return humanize.precisedelta(length, suppress=["days"] if length <= brief else [])
