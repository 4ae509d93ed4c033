"""Tables for people: boxed on a terminal, bare columns in a pipe, ids never cut."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich import box
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from service.cli.wording import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from service.cli.invocation import Output

LISTED: Final = 50
"""Rows of a table for people, unless asked otherwise."""

_QUIET_S: Final = 2.0
_BETWEEN_LINES_S: Final = 10.0


def number(header: str) -> Column:
    """A column of numbers."""
    return Column(header, justify="right", no_wrap=True)


def word(header: str) -> Column:
    """A column of short words, never broken."""
    return Column(header, no_wrap=True)


def prose(header: str) -> Column:
    """A column of text that is broken into lines where it has to be, and never cut."""
    return Column(header, overflow="fold")


def make_table(out: Output, columns: Iterable[Column], rows: Iterable[Iterable[object]]) -> Table:
    """A table of cells; values are shown literally."""
    look = box.SIMPLE_HEAD if out.on_terminal else None
    gap = (0, 1 if out.on_terminal else 2, 0, 0)
    table = Table(*columns, box=look, show_edge=False, pad_edge=False, header_style="bold", padding=gap)
    for row in rows:
        table.add_row(*(cell(value) for value in row))
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
def show_progress(err: Output, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Tell how far a long task is, on standard error; the function given takes how many more are done."""
    if not err.on_terminal:
        yield _plain_progress(err, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


@contextmanager
def show_count(err: Output, what: str) -> Iterator[Callable[[int], None]]:
    """Tell how far a long task is whose end nobody knows, on standard error; the function given takes how many more."""
    if not err.on_terminal:
        yield _plain_progress(err, what, None)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done: progress.advance(task, done)


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
