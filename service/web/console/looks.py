"""How values look on a page: moments, sizes and durations in words, words of state in colour, figures as pictures.

Tables have hundreds of them. (`Markup` escapes what `%` puts in as `format` does, in less than half the time.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from flask import g
from markupsafe import Markup, escape

from service.sweep.records import DeletionTotal
from service.units import describe_moment, format_moment
from service.views import values
from service.views.form import is_id
from service.views.values import describe_amount, measure_distance
from service.web.console.links import link_sentence
from service.web.console.words import gettext, translate_sentence

_GOOD, _WAITING, _BAD, _CALM, _PLAIN = "green", "yellow", "red", "blue", "secondary"
_COLOURS: Final = {
    **dict.fromkeys(("deleted", "accepted", "done", "complete", "applied", "ok", "approved"), _GOOD),
    **dict.fromkeys(("scheduled", "deleting", "running", "pending", "open", "waiting"), _CALM),
    **dict.fromkeys(("unconfirmed", "held", "stale", "retryable", "unknown", "interrupted", "warning"), _WAITING),
    **dict.fromkeys(("failed", "conflict", "forged", "rejected", "blocked", "stopped", "lost"), _BAD),
    **dict.fromkeys(("not_understood", "misdirected", "incomplete", "problem", "attention"), _BAD),
}
_in_minutes: Final = re.compile("分(?!钟)").sub
"""Humanize says 分 for minutes, which people read as a share, or as cents."""

_LONG: Final = 24
"""Characters that a text may have without a break; a longer one may be broken within a word."""

_SENTENCES: Final = frozenset({"reason", "state_reason", "why", "note", "source", "through", "files", "message"})
"""What the service has written; all else is shown as it is: streams, names, what ZEGO answered."""


def colour_of(word: str) -> str:
    """The colour of a word of state; what is neither good nor bad is grey."""
    return _COLOURS.get(word, _PLAIN)


def badge(word: str) -> Markup:
    """A word of state, in its colour."""
    return Markup('<span class="badge bg-%s-lt">%s</span>') % (colour_of(word), gettext(word.replace("_", " ")))


def moment(at: datetime | None) -> Markup:
    """A moment as the distance from now; in full where one points at it."""
    if at is None:
        return missing()
    full = describe_moment(at)
    return Markup('<time datetime="%s" title="%s">%s</time>') % (at.isoformat(), full, _distance(at - g.now))


def _distance(distance: timedelta) -> str:
    measured = measure_distance(distance)
    if measured is None:
        return gettext("now")
    words = {
        "year": gettext("%(count)s years"),
        "day": gettext("%(count)s days"),
        "hour": gettext("%(count)s hours"),
        "minute": gettext("%(count)s minutes"),
        "second": gettext("%(count)s seconds"),
    }[measured[1]] % {"count": number(measured[0])}
    return gettext("in %(time)s", time=words) if distance > timedelta(0) else gettext("%(time)s ago", time=words)


def moment_in_full(at: datetime | None) -> Markup:
    """A moment in full, with the distance from now."""
    if at is None:
        return missing()
    return Markup('{} <span class="text-secondary">({})</span>').format(describe_moment(at), moment(at))


def missing() -> Markup:
    """What stands where nothing is known."""
    return Markup('<span class="text-secondary">–</span>')


def number(value: float) -> str:
    """A number with separators."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


size: Final = values.describe_size


def hours(count: float | None) -> str:
    """Hours of recording."""
    return f"{number(round(count or 0))} h"


_FIELDS: Final = {
    "media_file_id": "file",
    "file_ids": "files",
    "preview_id": "preview",
    "present_count": "files that are there",
    "moved_count": "files that became due sooner",
    "moved_called": "of these, asked for deletion",
    "called": "asked for deletion",
    "by_person": "applied by a person",
}


def name_field(field: str) -> str:
    """What people call a field of a resource; its unit shows in its value."""
    return _FIELDS.get(field) or values.name_field(field.replace("app_id", "app").removesuffix("_count"))


def value(name: str, given: Any, *, in_full: bool = False) -> Markup:  # noqa: ANN401, PLR0911  (a field of any resource)
    """A field of a resource; its name says what it is a number of."""
    match given:
        case _ if given is None or given in ("", [], {}, ()):  # (as a pattern {} would fit any mapping)
            return missing()
        case datetime():
            return moment_in_full(given) if in_full else moment(given)
        case bool():
            return escape(gettext("yes") if given else gettext("no"))
        case StrEnum() if name in ("state", "verdict", "outcome", "result", "status"):
            return badge(given.value)
        case StrEnum():
            return escape(gettext(given.replace("_", " ")))
        case int() | float() if amount := describe_amount(name, given):
            return escape(_in_minutes("分钟", amount))
        case int() if not is_id(name):
            return escape(number(given))
        case Mapping():
            counts = (f"{count:,} {gettext(each.replace('_', ' '))}" for each, count in given.items())
            return escape(gettext(", ").join(counts))
        case list() | tuple():
            return escape(", ".join(map(str, given)))
    text = gettext(given.replace("_", " ")) if name == "action" else str(given)
    is_ours = name in _SENTENCES and (" " in text or name in ("source", "through"))
    length = "long" if len(text) > _LONG else "short"
    return Markup('<bdi class="%s-text">%s</bdi>') % (length, link_sentence(text) if is_ours else text)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what stands above it, the attribute in it, and those below that one, with their labels."""

    label: str
    attribute: str
    below: dict[str, str]


def lay_out(columns: Mapping[str, str], below: Mapping[str, str]) -> list[Column]:
    """The columns of a list, by their headers, some `below` another one ("": nowhere)."""
    made = {header: Column(gettext(header), columns[header], {}) for header in columns if header not in below}
    for header, above in below.items():
        if header in columns and above in made:
            made[above].below[columns[header]] = gettext(header)
    return list(made.values())


def cell(path: str, attribute: str, given: object) -> Markup:
    """What stands in a column: under a `path`, and for a file, a link to the entry."""
    place = path or ("files" if attribute in ("file", "media_file_id") and given else "")
    return Markup('<a href="/%s/%s">%s</a>') % (place, given, given) if place else value(attribute, given)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a ring: what it is, how much, its colour, where it leads to, and its place on the circle in percent."""

    name: str
    count: int
    colour: str
    href: str
    share: float
    start: float


def make_ring(counts: Mapping[str, int], path: str) -> list[Slice]:
    """The parts of a whole, in their order; `path` with the word behind it lists what is in a part."""
    whole, start, slices = sum(counts.values()) or 1, 0.0, []
    for word, count in counts.items():
        share = 100 * count / whole
        if count:
            slices.append(Slice(word, count, colour_of(word), f"{path}{word}", share, start))
        start += share
    return slices


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart, in units of the picture, with what it says when one points at it."""

    x: float
    y: float
    height: float
    kind: str
    label: str


def make_bars(series: Sequence[tuple[str, str, int]], height: int = 100) -> tuple[list[Bar], int]:
    """Bars for values of a kind, each with its label, side by side; and the value that the full height stands for."""
    highest = max((count for _, _, count in series), default=0)
    bars = []
    for place, (kind, label, count) in enumerate(series):
        tall = 0.0 if not count else max(height * count / highest, 1.0)
        bars.append(Bar(place * 10 + 1, height - tall, tall, kind, f"{label}: {count:,}"))
    return bars, highest


def stamp(at: datetime) -> str:
    """A moment as a filter takes it."""
    return format_moment(at)


def in_utc(at: datetime) -> str:
    """A moment as it is written in a report: to the second, wherever it is read."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def period(since: datetime, until: datetime) -> str:
    """A period, with the last second that belongs to it."""
    return f"{in_utc(since)} – {in_utc(until - min(timedelta(seconds=1), until - since))}"


def rows_of(entries: Sequence[object], *names: str) -> list[list[object]]:
    """Some attributes of entries as the cells of a report."""
    return [[_look_in_report(name, getattr(entry, name)) for name in names] for entry in entries]


def _look_in_report(name: str, cell: object) -> object:
    match cell:
        case datetime():
            return in_utc(cell)
        case StrEnum():
            return gettext(cell.value)
        case str() if name in _SENTENCES and (" " in cell or name == "source"):
            return translate_sentence(cell)
        case int() if name == "media_file_id":
            return Markup('<a href="/files/{0}">{0}</a>').format(cell)
    return cell


def rows_of_totals(totals: Sequence[DeletionTotal]) -> list[list[object]]:
    """Totals as the cells of a report."""
    hours_and_size = ((number(each.duration_s / 3600), size(each.size_bytes)) for each in totals)
    cells = rows_of(totals, "outcome", "app_id", "rule", "revision", "files")
    return [
        [outcome, app, rule or gettext("erasure"), *rest, *more]
        for (outcome, app, rule, *rest), more in zip(cells, hours_and_size, strict=True)
    ]


def days_of(counts: Sequence[int]) -> list[tuple[str, str, int]]:
    """A forecast as bars: what is deleted now, and on each day from now on."""
    return [("due" if day else "now", gettext("day %(day)s", day=day), count) for day, count in enumerate(counts)]
