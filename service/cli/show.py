"""What a person sees: tables, facts, moments and sizes; and the same as JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import IO, Any, Final

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from service.cli.frame import CommandFailed, Invocation
from service.cli.options import LISTED, load
from service.filters import FileFilter
from service.orders import count_waiting, describe_waiting
from service.units import count_of, describe_moment
from service.views.form import Listed, columns_of, find_cell, to_form, to_json
from service.views.values import describe_amount, measure_distance, name_field

_ENDLESS: Final = 100_000
"""Columns of an output that is no terminal: nothing is wrapped or cut there."""
_NARROWEST_PROSE: Final = 24
_BETWEEN_COLUMNS: Final = 2
_NAMES: Final = frozenset({"actor", "by", "placed by", "requested by", "source"})
"""Columns of names that may be shortened like long text; ids and streams never are."""
_NUMBER: Final = re.compile(r"-|[0-9][0-9,.]*")

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
    if wanted is FileFilter and (waiting := count_waiting(invocation.service.database)):
        note(f"{describe_waiting(waiting)}: list again in a moment")


def show_one(invocation: Invocation, *, view: str, number: int) -> None:
    found = load(f"views.{view}").show(invocation.service.database, number)
    if not shown_as_json(invocation, found):
        show_facts(found, invocation.now())


def show_list(invocation: Invocation, listed: Listed[Any, Any, Any], wanted: object) -> None:
    """Show the first entries of a list as a table, one line each, and how many more there are; or all as JSON."""
    database, most = invocation.service.database, invocation.limit or LISTED
    rows = listed.iterate(database, wanted, invocation.limit if invocation.as_json else most + 1)
    first = next(rows, None)
    if first is None:
        from service.views.wanted import check_wanted

        check_wanted(database, wanted, invocation.service.app_ids)
    if shown_as_json(invocation, () if first is None else chain([first], rows)):
        return
    if first is None:
        note(f"no {listed.name[:-1]}ies" if listed.name.endswith("y") else f"no {listed.name}s")
        return
    found = [first, *rows]
    show_rows(invocation, listed.table, found[:most], listed.drop_first, is_list=True)
    if len(found) > most:
        note(f"{listed.count(database, wanted) - most:,} more: see them with --limit or --json")


def show_rows(
    invocation: Invocation, table: str, rows: Iterable[object], drop_first: str = "", *, is_list: bool = False
) -> None:
    """Show values as a table of these columns (`id, started: started_at`); what it lacks space for is named.

    The columns `drop_first` go in this order if there is too little space. A list has one line an entry.
    """
    columns, now = columns_of(table), invocation.now()
    cells = [
        [_describe(name, find_cell(row, name, now), now, _AT.get(header, relative)) for header, name in columns.items()]
        for row in rows
    ]
    out = open_console(sys.stdout, is_wide=invocation.is_wide)
    made, lacking = make_table(out, [*columns], cells, drop_first.split(", ") if drop_first else (), is_list=is_list)
    show(made, is_wide=invocation.is_wide)
    if lacking:
        note(f"no space for all of: {', '.join(lacking)}; --wide or --json shows them")


def show_table(headers: Sequence[str], rows: Iterable[Iterable[object]], droppable: Sequence[str] = ()) -> None:
    made, _ = make_table(open_console(sys.stdout), headers, rows, droppable)
    show(made)


def make_table(
    out: Console,
    headers: Sequence[str],
    rows: Iterable[Iterable[object]],
    droppable: Sequence[str] = (),
    *,
    is_list: bool = False,
) -> tuple[Table, list[str]]:
    """A table in which ids and other single words are whole, and the headers of the columns that lack space.

    Of the columns `droppable`, the least important first, those go for which there is no space, and empty ones. Long
    text is broken into lines; in a list it is shortened.
    """
    cells = [[make_cell(value) for value in row] for row in rows]
    columns, longest, prose = {}, {}, set()
    for place, header in enumerate(headers):
        texts = [row[place].plain for row in cells]
        longest[header] = max(map(cell_len, [header, *texts]))
        if longest[header] > _NARROWEST_PROSE and (header in _NAMES or any(" " in text for text in texts)):
            prose.add(header)
        columns[header] = Column(
            header,
            justify="right" if all(_NUMBER.fullmatch(text) for text in texts) else "left",
            no_wrap=is_list or header not in prose,
            overflow="ellipsis" if is_list and header in prose else "fold",
            width=_NARROWEST_PROSE if header in prose else longest[header],
        )
    empty = {header for place, header in enumerate(headers) if all(row[place].plain == "-" for row in cells)}
    kept = [header for header in headers if header not in droppable]
    for header in reversed(droppable):
        if header not in empty and _find_space(out, columns, [*kept, header]) >= 0:
            kept.append(header)
    kept = [header for header in headers if header in kept]
    for header in sorted(prose & {*kept}, key=longest.__getitem__):
        width = _NARROWEST_PROSE + max(_find_space(out, columns, kept), 0)
        columns[header].width = min(longest[header], width)
    for header in sorted(kept, key=lambda each: (each not in prose, -longest[each])):
        space = _find_space(out, columns, kept)
        if space < 0:  # what cannot go has to be narrower: text first, then words that are too long for a line
            least = _NARROWEST_PROSE // (2 if header in prose else 1)
            columns[header].width = max((columns[header].width or 0) + space, min(longest[header], least))
            columns[header].no_wrap &= header in prose and is_list
    is_boxed = out.is_terminal
    padding = (0, 1 if is_boxed else _BETWEEN_COLUMNS, 0, 0)
    shown = [columns[header] for header in kept]
    table = Table(*shown, box=box.SIMPLE_HEAD if is_boxed else None, padding=padding, header_style="bold")
    table.show_edge = table.pad_edge = False
    for row in cells:
        table.add_row(*(value for header, value in zip(headers, row, strict=True) if header in kept))
    cut = {header for header in prose if is_list and (columns[header].width or 0) < longest[header]}
    return table, [header for header in headers if header in cut or header not in {*kept, *empty}]


def _find_space(out: Console, columns: Mapping[str, Column], kept: Collection[str]) -> int:
    """How much wider these columns could be; negative: how much too wide they are."""
    return out.width + 1 - sum((columns[header].width or 0) + _BETWEEN_COLUMNS for header in kept)


def show_facts(form: object, now: datetime, *, skip: Collection[str] = (), **others: object) -> None:
    """Show a form as names and values, with `others` after it; what is not known is left out."""
    grid = Table.grid(Column(style="bold", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, value in ({name: value for name, value in to_form(form) if name not in skip} | others).items():
        if value is not None and value not in ([], {}):
            grid.add_row(name_field(name), make_cell(_describe(name, value, now, absolute)))
    show(grid)


def show(*parts: RenderableType, is_wide: bool = False) -> None:
    """Print for people on standard output."""
    out = open_console(sys.stdout, is_wide=is_wide)
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


def open_console(stream: IO[str], *, is_wide: bool = False) -> Console:
    """A console that takes text literally and, unless it is a terminal, never wraps (nor if it `is_wide`)."""
    is_terminal = stream.isatty()
    width = None if is_terminal and not is_wide else _ENDLESS
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


def ask_number(wanted: int, what: str) -> int:
    """Have a person type how many files are concerned, before anything is done to them."""
    typed = click.prompt(f"Type the number of files {what} ({wanted})", default="", show_default=False, err=True)
    if typed.strip().replace(",", "") != str(wanted):
        raise CommandFailed(f"{typed!r} is not {wanted}: nothing was done")
    return wanted


def safe(value: object, *, lines: bool = False) -> str:
    """A text with every character escaped that could steer a terminal; `lines` keeps line breaks."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else repr(c)[1:-1] for c in str(value))


def make_cell(value: object) -> Text:
    """A value, "-" where there is none; words of state are coloured."""
    text = "-" if value is None or value == "" else safe(value)
    return Text(text, style=_STYLES.get(text, ""))


def relative(moment: datetime, now: datetime) -> str:
    """A time as the distance from now."""
    measured = measure_distance(moment - now)
    if measured is None:
        return "now"
    words = count_of(*measured)
    return f"in {words}" if moment > now else f"{words} ago"


def _age(moment: datetime, now: datetime) -> str:
    """How long ago a time was."""
    return relative(moment, now).removesuffix(" ago")


_AT: Final = {"age": _age}
"""How the moments of a column are written, but as a distance."""


def absolute(moment: datetime, now: datetime) -> str:
    """A time in full with its distance from now."""
    return f"{describe_moment(moment)} ({relative(moment, now)})"


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
        case int() | float():
            return describe_amount(name, value) or value
    return value
