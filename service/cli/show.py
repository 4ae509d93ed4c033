"""What a person sees: tables, facts, moments and sizes; and the same as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from operator import attrgetter
from typing import IO, Any, Final

import click
import humanize
from rich import box
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from service.cli.frame import CommandFailed, Invocation
from service.cli.options import LISTED, load
from service.units import count_of, describe_moment
from service.views.form import Listed, columns_of, to_form, to_json

_ENDLESS: Final = 100_000
"""Columns of an output that is no terminal: nothing is wrapped or cut there."""
_NARROWEST_PROSE: Final = 24
_LONGEST_WORD: Final = 40
_BETWEEN_COLUMNS: Final = 2

_UNITS: Final = {"year": 2 * 31_557_600, "day": 2 * 86_400, "hour": 2 * 3_600, "minute": 2 * 60, "second": 2}
"""How many seconds two of each are."""
_WORDS: Final = {
    "green": "deleted gone done complete accepted ok approved",
    "cyan": "scheduled deleting running",
    "yellow": "unconfirmed retryable unknown stale conflict pending warning interrupted attention incomplete",
    "red": "failed stopped rejected blocked lost forged unknown_app not_understood problem misdirected",
    "dim": "skipped",
}
_STYLES: Final = {word: style for style, words in _WORDS.items() for word in words.split()}


def list_view(invocation: Invocation, *, view: str, wanted: type | None, **chosen: Any) -> None:
    show_list(invocation, load(f"views.{view}"), wanted(**chosen) if wanted else None)


def show_one(invocation: Invocation, *, view: str, number: int) -> None:
    found = load(f"views.{view}").show(invocation.service.database, number)
    if not shown_as_json(invocation, found):
        show_facts(found, invocation.now())


def show_list(invocation: Invocation, listed: Listed[Any, Any, Any], wanted: object) -> None:
    """Show the first entries of a list as a table, and how many more there are; or all as JSON."""
    database = invocation.service.database
    if shown_as_json(invocation, listed.iterate(database, wanted, invocation.limit)):
        return
    most = invocation.limit or LISTED
    found = list(listed.iterate(database, wanted, most + 1))
    if not found:
        note(f"no {listed.name[:-1]}ies" if listed.name.endswith("y") else f"no {listed.name}s")
        return
    show_rows(listed.table, found[:most], invocation.now(), listed.drop_first)
    if len(found) > most:
        note(f"{listed.count(database, wanted) - most:,} more: see them with --limit or --json")


def show_rows(table: str, rows: Iterable[object], now: datetime, drop_first: str = "") -> None:
    """Show values as a table of these columns (`id, started: started_at`); see `make_table` for `drop_first`."""
    columns = columns_of(table)
    cells = [[_describe(name, attrgetter(name)(row), now, relative) for name in columns.values()] for row in rows]
    show_table([*columns], cells, drop_first.split(", ") if drop_first else ())


def show_table(headers: Sequence[str], rows: Iterable[Iterable[object]], droppable: Sequence[str] = ()) -> None:
    show(make_table(open_console(sys.stdout), headers, rows, droppable))


def make_table(
    out: Console, headers: Sequence[str], rows: Iterable[Iterable[object]], droppable: Sequence[str] = ()
) -> Table:
    """A table in which only columns of long text are broken into lines.

    The columns with the headers `droppable` go, one after the other, if they are empty or there is too little space.
    """
    cells = [[make_cell(value) for value in row] for row in rows]
    columns = {}
    for place, header in enumerate(headers):
        texts = [row[place].plain for row in cells]
        longest = max((row[place].cell_len for row in cells), default=0)
        is_prose = longest > _LONGEST_WORD or (longest > _NARROWEST_PROSE and any(" " in text for text in texts))
        is_number = all(text == "-" or text.replace(",", "").replace(".", "").isdecimal() for text in texts)
        columns[header] = Column(
            header,
            justify="right" if is_number else "left",
            no_wrap=not is_prose,
            overflow="fold",
            min_width=max(min(longest, _NARROWEST_PROSE) if is_prose else longest, len(header)),
        )
    for header in droppable:
        is_empty = all(row[headers.index(header)].plain == "-" for row in cells)
        if is_empty or sum((column.min_width or 0) + _BETWEEN_COLUMNS for column in columns.values()) > out.width:
            del columns[header]
    is_boxed = out.is_terminal
    padding = (0, 1 if is_boxed else _BETWEEN_COLUMNS, 0, 0)
    table = Table(*columns.values(), box=box.SIMPLE_HEAD if is_boxed else None, padding=padding, header_style="bold")
    table.show_edge = table.pad_edge = False
    for row in cells:
        table.add_row(*(value for header, value in zip(headers, row, strict=True) if header in columns))
    return table


def show_facts(form: object, now: datetime, *, skip: Collection[str] = (), **others: object) -> None:
    """Show a form as names and values, with `others` after it; what is not known is left out."""
    grid = Table.grid(Column(style="bold", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, value in ({name: value for name, value in to_form(form) if name not in skip} | others).items():
        if value is not None and value not in ([], {}):
            words = name.removesuffix("_at").removesuffix("_bytes").removesuffix("_s").replace("_", " ")
            grid.add_row(words, make_cell(_describe(name, value, now, absolute)))
    show(grid)


def show(*parts: RenderableType) -> None:
    """Print for people on standard output."""
    out = open_console(sys.stdout)
    for part in parts:
        if out.is_terminal:
            out.print(part)
            continue
        with out.capture() as captured:
            out.print(part)
        # Columns are padded with spaces, which mean nothing in a pipe.
        sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def note(text: str) -> None:
    """Print a remark for people on standard error, where it is in no script's way."""
    open_console(sys.stderr).print(text)


def shown_as_json(invocation: Invocation, shown: object) -> bool:
    """Whether JSON is asked for; then one value or several are printed so, one on a line."""
    if invocation.as_json:
        print_json([shown] if isinstance(shown, Mapping) or not isinstance(shown, Iterable) else shown)
    return invocation.as_json


def print_json(objects: Iterable[object]) -> None:
    """Print one JSON object per line, in ASCII: any terminal and any encoding can take it."""
    for item in objects:
        sys.stdout.write(json.dumps(item if isinstance(item, Mapping) else to_json(item)) + "\n")


def open_console(stream: IO[str]) -> Console:
    """A console that takes text literally and, unless it is a terminal, never wraps."""
    is_terminal = stream.isatty()
    width = None if is_terminal else _ENDLESS
    return Console(file=stream, width=width, force_terminal=is_terminal, highlight=False, markup=False, emoji=False)


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int], None]]:
    """Show how far a long task is where a person looks on; the function given takes how many more are done."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        status.update(f"{what}: {done:,}")

    with open_console(sys.stderr).status(what) as status:
        yield advance


def ask_number(wanted: int, what: str) -> None:
    """Have a person type how many files are concerned, before anything is done to them."""
    typed = click.prompt(f"Type the number of files {what} ({wanted})", default="", show_default=False, err=True)
    if typed.strip().replace(",", "") != str(wanted):
        raise CommandFailed(f"{typed!r} is not {wanted}: nothing was done")


def safe(value: object, *, lines: bool = False) -> str:
    """A text with every character escaped that could steer a terminal; `lines` keeps line breaks."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else repr(c)[1:-1] for c in str(value))


def make_cell(value: object) -> Text:
    """A value, "-" where there is none; words of state are coloured."""
    text = "-" if value is None or value == "" else safe(value)
    return Text(text, style=_STYLES.get(text, ""))


def relative(moment: datetime, now: datetime) -> str:
    """A time as the distance from now, rounded to the largest unit of which it has about two."""
    distance = (moment - now).total_seconds()
    if abs(distance) < _UNITS["second"]:
        return "now"
    unit, seconds = next((unit, size) for unit, size in _UNITS.items() if abs(distance) >= 0.99 * size)
    words = count_of(round(2 * abs(distance) / seconds), unit)
    return f"in {words}" if distance > 0 else f"{words} ago"


def absolute(moment: datetime, now: datetime) -> str:
    """A time in full with its distance from now."""
    return f"{describe_moment(moment)} ({relative(moment, now)})"


def span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else humanize.precisedelta(timedelta(seconds=round(seconds)))  # noqa: PLR2004


def describe_counts(counts: Mapping[Any, int]) -> str:
    """Counts by name in one line: `3 deleted, 1 gone`."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def _describe(name: str, value: Any, now: datetime, at: Callable[[datetime, datetime], str]) -> object:
    """A value in words; its name says what it is a number of, `at` how a time is written."""
    match value:
        case datetime():
            return at(value, now)
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return describe_counts(value)
        case int() | float() if name.endswith(("_bytes", "_s")):
            return humanize.naturalsize(value) if name.endswith("_bytes") else span(value)
    return value
