"""What views hold, for people and programs: lists as tables, single things as names and values, both as JSON.

Nothing slow is loaded before a command runs.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import LISTED, NUMBER, as_json, limit, one_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from service.database import Database
    from service.views.form import Form
    from service.views.listed import Column, Kind, Listed

FormT = TypeVar("FormT", bound="Form")

_UNITS = ("_at", "_bytes", "_s")


def add_list(
    group: click.Group,
    view: str,
    about: str,
    *options: Callable[[Any], Any],
    wanted: str | None = None,
    name: str = "list",
) -> None:
    """Add a command that lists a view (`views.runs:RUNS`); `wanted` is its filter, whose fields the options name."""

    @limit
    @as_json
    @click.pass_obj
    def list_command(
        invocation: Invocation,
        /,
        *,
        limit: int | None,
        as_json: bool,
        **chosen: Any,  # noqa: ANN401  (as click hands them over)
    ) -> int:
        listed = load(view)
        make_filter = (lambda: None) if wanted is None else load(wanted)
        with invocation.opened() as service:
            if as_json:
                print_forms(invocation, listed.iterate(service.database, make_filter(**chosen), limit))
            else:
                show_list(invocation, service.database, listed, make_filter(**chosen), limit)
        return ExitCode.DONE

    for option in reversed(options):
        list_command = option(list_command)
    group.command(name, help=about)(list_command)


def add_show(group: click.Group, view: str, about: str) -> None:
    """Add a command `show ID` for a view."""

    @group.command("show", help=about)
    @click.argument("number", metavar="ID", type=NUMBER)
    @one_json
    @click.pass_obj
    def show_command(invocation: Invocation, /, *, number: int, as_json: bool) -> int:
        with invocation.opened() as service:
            found = load(view).show(service.database, number)
        if as_json:
            print_forms(invocation, [found])
        else:
            show_facts(invocation, found)
        return ExitCode.DONE


def load(path: str) -> Any:  # noqa: ANN401  (whatever is there)
    """Load something of the service by its module and name: `views.runs:RUNS`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"service.{module}"), name)


def show_list(
    invocation: Invocation, database: Database, listed: Listed[Any, Any, Any], wanted: object, limit: int | None
) -> None:
    """Show the first entries of a list as a table, and say how many more there are."""
    most = limit or LISTED
    found = list(listed.iterate(database, wanted, most + 1))
    if not found:
        name = listed.name
        invocation.note(f"no {name[:-1]}ies" if name.endswith("y") else f"no {name}s")
        return
    show_rows(invocation, listed.columns, found[:most])
    if len(found) > most:
        invocation.note(f"{listed.count(database, wanted) - most:,} more: see them with --limit or --json")


def show_rows(invocation: Invocation, columns: Sequence[Column[FormT]], forms: Iterable[FormT]) -> None:
    """Show forms as a table; where the terminal is narrow, the columns of the highest priority go first."""
    from service.cli.tables import make_table, number, prose, word
    from service.views.listed import Kind

    kinds = {Kind.NUMBER: number, Kind.SIZE: number, Kind.PROSE: prose}
    now = invocation.now()
    rows = [[_describe_cell(column.kind, column.value(form), now) for column in columns] for form in forms]
    by_priority = sorted((column for column in columns if column.priority), key=lambda column: -column.priority)
    invocation.show(
        make_table(
            invocation.out,
            [kinds.get(column.kind, word)(column.header) for column in columns],
            rows,
            drop_first=[column.header for column in by_priority],
        )
    )


def print_forms(invocation: Invocation, forms: Iterable[Form]) -> None:
    """Print forms as JSON, one per line."""
    from service.views.form import to_json

    invocation.print_json(map(to_json, forms))


def show_facts(
    invocation: Invocation,
    form: Form,
    *,
    first: Iterable[tuple[str, object]] = (),
    last: Iterable[tuple[str, object]] = (),
    skip: Collection[str] = (),
) -> None:
    """Show a form as names and values, between those that come `first` and `last`; what is None is left out."""
    from service.cli.tables import make_facts

    invocation.show(make_facts([*first, *_list_facts(form, skip, invocation.now()), *last]))


def describe_counts(counts: Mapping[Any, int]) -> str:
    """Counts by name in one line: `3 deleted, 1 gone`."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def _list_facts(form: Form, skip: Collection[str], now: datetime) -> Iterator[tuple[str, object]]:
    for name, value in form:
        if name in skip or value is None or value == []:
            continue
        unit = next((each for each in _UNITS if name.endswith(each)), "")
        yield name.removesuffix(unit).replace("_", " "), _describe_fact(unit, value, now)


def _describe_fact(unit: str, value: Any, now: datetime) -> str:  # noqa: ANN401  (whatever a form holds)
    from service.cli.wording import absolute, size, span

    if isinstance(value, datetime):
        return absolute(value, now)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        is_counts = all(isinstance(each, int) for each in value.values())
        return describe_counts(value) if is_counts else json.dumps(value, ensure_ascii=False)
    if unit in ("_bytes", "_s"):
        return size(value) if unit == "_bytes" else span(value)
    return str(value)


def _describe_cell(kind: Kind, value: Any, now: datetime) -> object:  # noqa: ANN401  (whatever a column holds)
    from service.cli.wording import relative, size

    if isinstance(value, datetime):
        return relative(value, now)
    return size(value) if kind == "size" else value
