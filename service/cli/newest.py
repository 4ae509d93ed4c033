"""Lists that begin with the newest: a table of the first few, or JSON of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.cli.invocation import ExitCode
from service.cli.tables import LISTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.cli.invocation import Invocation
    from service.db.engine import Database, Session


def print_newest(
    invocation: Invocation,
    database: Database,
    fetch: Callable[[int | None], Iterable[dict[str, Any]]],
    count_all: Callable[[Session], int],
    show: Callable[[Invocation, list[dict[str, Any]]], None],
    limit: int | None,
    *,
    as_json: bool,
) -> ExitCode:
    """Print what `fetch(limit)` gives, and for people how many more there are."""
    if as_json:
        invocation.print_json(fetch(limit))
        return ExitCode.DONE
    found = list(fetch(limit or LISTED))
    with database.read() as session:
        more = count_all(session) - len(found)
    show(invocation, found)
    if more > 0:
        invocation.note(f"{more:,} more: see them with --limit or --json")
    return ExitCode.DONE
