"""Kinds of arguments and options that several commands take."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any, Final

import click

from service.model import Actor

if TYPE_CHECKING:
    from datetime import datetime

LISTED: Final = 50
"""Rows of a table for people, unless asked otherwise."""

_HIGHEST: Final = 2**63 - 1
_LONGEST_NAME: Final = 200


class WholeNumber(click.ParamType[int]):
    """A whole number from 1 on, as far as the databases count, refused in plain words."""

    name = "number"

    def convert(
        self,
        value: Any,  # noqa: ANN401  (click's signature)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Read it."""
        try:
            read = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a number; write a whole number from 1 on, for example 17", param, ctx)
        if read < 1:
            self.fail(f"{value} is too small; write a whole number from 1 on", param, ctx)
        if read > _HIGHEST:
            self.fail(f"{value} is too large; there is no such number", param, ctx)
        return read


def _read_name(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise click.BadParameter("the name is empty; write one, or leave --by out to be named as this machine's user")
    return text


NUMBER: Final = WholeNumber()
"""The number of a file, callback or run; or how many."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
one_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
limit = click.option("--limit", type=NUMBER, help=f"How many to list (default: {LISTED}; with --json all).")
by = click.option(
    "--by", callback=_read_name, help="Who does this, for the record (default: the user of this machine)."
)


def read_moment(text: str, now: datetime) -> datetime:
    """Read a time in ISO 8601 (UTC where it names no zone), or a duration, which counts from now.

    Raises:
        click.BadParameter: it is neither; the message shows a right one.
    """
    from service.units import parse_moment

    try:
        return parse_moment(text, now)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def name_actor(given: str | None) -> Actor:
    """Who changes something through the command line: as given with --by, else the user of this machine."""
    return Actor((given or _name_user())[:_LONGEST_NAME], "command line")


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"
