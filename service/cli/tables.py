"""Tables for people: boxed on a terminal, bare columns in a pipe, ids never cut."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, NoReturn

from rich import box
from rich.console import Console
from rich.table import Column, Table

from service.cli.invocation import ReaderGone
from service.cli.wording import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.text import Text

_ENDLESS: Final = 100_000
"""Columns of an output that is no terminal: nothing is wrapped or cut there."""

_NARROWEST_PROSE: Final = 24
_BETWEEN_COLUMNS: Final = 2
_QUIET_S: Final = 2.0
_BETWEEN_LINES_S: Final = 10.0


class Output(Console):
    """A console that takes text literally and, unless it is a terminal, never wraps."""

    def __init__(self, stream: IO[str]) -> None:
        self.on_terminal = stream.isatty()
        width = None if self.on_terminal else _ENDLESS
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Let the command end quietly."""
        raise ReaderGone


def number(header: str) -> Column:
    """A column of numbers."""
    return Column(header, justify="right", no_wrap=True)


def word(header: str) -> Column:
    """A column of short words or ids, never broken."""
    return Column(header, no_wrap=True)


def prose(header: str) -> Column:
    """A column of text that is broken into lines where it has to be, and never cut."""
    return Column(header, overflow="fold")


def make_table(
    out: Output, columns: Sequence[Column], rows: Iterable[Iterable[object]], *, drop_first: Sequence[str] = ()
) -> Table:
    """A table of cells; values are shown literally.

    Where the terminal is too narrow, the columns whose headers `drop_first` names are left out, one after the other.
    """
    cells = [[cell(value) for value in row] for row in rows]
    gap = 1 if out.on_terminal else 2
    shown = _choose_columns(out.width, columns, cells, drop_first)
    table = Table(
        *(columns[index] for index in shown),
        box=box.SIMPLE_HEAD if out.on_terminal else None,
        show_edge=False,
        pad_edge=False,
        header_style="bold",
        padding=(0, gap, 0, 0),
    )
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    return table


def make_facts(facts: Iterable[tuple[str, object]]) -> Table:
    """Names and values, one pair per line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, cell(value))
    return table


@contextmanager
def show_progress(err: Output, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show how far a long task is, on standard error; the function given takes how many more are done.

    `total` is None where nobody knows the end.
    """
    if not err.on_terminal:
        yield _plain_progress(err, what, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


def _choose_columns(
    width: int, columns: Sequence[Column], rows: Sequence[Sequence[Text]], drop_first: Sequence[str]
) -> list[int]:
    """The columns that fit, by their place."""
    widths = []
    for index, column in enumerate(columns):
        longest = max((row[index].cell_len for row in rows), default=0)
        needed = longest if column.no_wrap else min(longest, _NARROWEST_PROSE)
        widths.append(max(needed, len(str(column.header))) + _BETWEEN_COLUMNS)
    shown = list(range(len(columns)))
    for header in drop_first:
        if sum(widths[index] for index in shown) - _BETWEEN_COLUMNS <= width:
            break
        shown = [index for index in shown if columns[index].header != header]
    return shown


def _plain_progress(err: Output, what: str, total: int | None) -> Callable[[int], None]:
    """A line now and then, beginning only when the task turns out to take its time."""
    of_all = "" if total is None else f" of {total:,}"
    done = 0
    next_line = time.monotonic() + _QUIET_S

    def advance(more: int) -> None:
        nonlocal done, next_line
        done += more
        if time.monotonic() >= next_line:
            err.print(f"{what}: {done:,}{of_all}")
            next_line = time.monotonic() + _BETWEEN_LINES_S

    return advance
