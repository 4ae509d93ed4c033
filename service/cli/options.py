"""Kinds of arguments and options that several commands take."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = click.IntRange(1, 2**63 - 1)
"""The number of a file, callback or run, as the databases count."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
one_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
by = click.option("--by", help="Who does this, for the record (default: the user of this machine).")


class Moment(click.ParamType):
    """A time in ISO 8601; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401
        """Read it, or say what a right one looks like."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time; write for example 2026-12-31 or 2026-12-31T18:00:00Z", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def limit(default: int | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How many rows to list; JSON output has no bound of its own."""
    text = f"How many to list (default: {default}, with --json all)."
    return click.option("--limit", type=click.IntRange(min=1), help=text)


def who(given: str | None) -> str:
    """Who does something: as given, else the user of this machine."""
    if given:
        return given[:200]
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"
