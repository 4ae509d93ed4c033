"""What views hold, for people and programs: lists as tables, single things as names and values, both as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from service.cli.invocation import ExitCode
from service.cli.options import LISTED
from service.cli.tables import make_facts, make_table, number, prose, word
from service.cli.wording import absolute, relative, size, span
from service.units import count_of
from service.views.form import Form, to_json
from service.views.listed import Column, Kind, Listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from service.cli.invocation import Invocation
    from service.database import Database

FilterT = TypeVar("FilterT")
FormT = TypeVar("FormT", bound=Form)
DetailT = TypeVar("DetailT", bound=Form)

_KINDS = {Kind.NUMBER: number, Kind.SIZE: number, Kind.WORD: word, Kind.MOMENT: word, Kind.PROSE: prose}
_UNITS = ("_at", "_bytes", "_s")


def print_list(
    invocation: Invocation,
    listed: Listed[FilterT, FormT, DetailT],
    wanted: FilterT,
    limit: int | None,
    *,
    as_json: bool,
) -> int:
    """Carry out a list command: a table of the first entries, or one line of JSON for each."""
    with invocation.opened() as service:
        if as_json:
            print_forms(invocation, listed.iterate(service.database, wanted, limit))
        else:
            show_list(invocation, service.database, listed, wanted, limit)
    return ExitCode.DONE


def show_list(
    invocation: Invocation,
    database: Database,
    listed: Listed[FilterT, FormT, DetailT],
    wanted: FilterT,
    limit: int | None = None,
    *,
    more: str = "--limit or --json",
) -> None:
    """Show the first entries of a list as a table, and say how many more there are and what shows them."""
    most = limit or LISTED
    found = list(listed.iterate(database, wanted, most + 1))
    if not found:
        invocation.note(f"no {_pluralize(listed.name)}")
        return
    show_rows(invocation, listed.columns, found[:most])
    if len(found) > most:
        invocation.note(f"{listed.count(database, wanted) - most:,} more: see them with {more}")


def show_rows(invocation: Invocation, columns: Sequence[Column[FormT]], forms: Iterable[FormT]) -> None:
    """Show forms as a table; where the terminal is narrow, the columns of the highest priority go first."""
    now = invocation.now()
    rows = [[_describe_cell(column.kind, column.value(form), now) for column in columns] for form in forms]
    by_priority = sorted((column for column in columns if column.priority), key=lambda column: -column.priority)
    invocation.show(
        make_table(
            invocation.out,
            [_KINDS[column.kind](column.header) for column in columns],
            rows,
            drop_first=[column.header for column in by_priority],
        )
    )


def print_forms(invocation: Invocation, forms: Iterable[Form]) -> None:
    """Print forms as JSON, one per line."""
    invocation.print_json(map(to_json, forms))


def show_facts(
    invocation: Invocation,
    form: Form,
    *,
    first: Iterable[tuple[str, object]] = (),
    last: Iterable[tuple[str, object]] = (),
    skip: Collection[str] = (),
) -> None:
    """Show a form as names and values, between those that come `first` and `last`; lists and what is None are not."""
    invocation.show(make_facts([*first, *_list_facts(form, skip, invocation.now()), *last]))


def describe_counts(counts: Mapping[Any, int]) -> str:
    """Counts by name in one line: `3 deleted, 1 gone`."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def _list_facts(form: Form, skip: Collection[str], now: datetime) -> Iterator[tuple[str, object]]:
    for name, value in form:
        if name in skip or value is None or isinstance(value, list | Form):
            continue
        unit = next((each for each in _UNITS if name.endswith(each)), "")
        yield name.removesuffix(unit).replace("_", " "), _describe_fact(unit, value, now)


def _describe_fact(unit: str, value: Any, now: datetime) -> str:  # noqa: ANN401  (whatever a form holds)
    if isinstance(value, datetime):
        return absolute(value, now)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        is_counts = all(isinstance(each, int) for each in value.values())
        return describe_counts(value) if is_counts else json.dumps(value, ensure_ascii=False)
    if unit in ("_bytes", "_s"):
        return size(value) if unit == "_bytes" else span(value)
    return str(value)


def _describe_cell(kind: Kind, value: Any, now: datetime) -> object:  # noqa: ANN401  (whatever a column holds)
    if kind is Kind.MOMENT:
        return relative(value, now)
    return size(value) if kind is Kind.SIZE else value


def _pluralize(noun: str) -> str:
    return count_of(2, noun, f"{noun[:-1]}ies" if noun.endswith("y") else None).removeprefix("2 ")
