"""How facts are put for people: times, sizes, counts, and text that strangers sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import humanize
from rich.text import Text

from service.core.wording import in_words

STYLES: Final = {
    "deleted": "green",
    "gone": "green",
    "done": "green",
    "accepted": "green",
    "ok": "green",
    "approved": "green",
    "scheduled": "cyan",
    "deleting": "cyan",
    "running": "cyan",
    "unconfirmed": "yellow",
    "retryable": "yellow",
    "unknown": "yellow",
    "stale": "yellow",
    "conflict": "yellow",
    "pending": "yellow",
    "warning": "yellow",
    "interrupted": "yellow",
    "attention": "yellow",
    "failed": "red",
    "stopped": "red",
    "rejected": "red",
    "blocked": "red",
    "lost": "red",
    "forged": "red",
    "unknown_app": "red",
    "not_understood": "red",
    "problem": "red",
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
    return "-" if moment is None else f"{in_words(moment)} ({relative(moment, now)})"


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


def describe_wait(what: str, holder: str, patience: timedelta) -> str:
    """Who is waited for, and for how long at most if that process has died."""
    longest = span(patience.total_seconds())
    return f"waiting for the {what} of {safe(holder)} to end (if it has died: {longest} after its last sign of life) …"
