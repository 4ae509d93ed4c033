"""Kinds of arguments and options that several commands take."""

from __future__ import annotations

import getpass
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from service.model import Actor
from service.units import parse_moment

if TYPE_CHECKING:
    from enum import StrEnum

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


class Moment(click.ParamType[datetime]):
    """A time in ISO 8601 (UTC where it names no zone), or a duration, which counts from now."""

    name = "time"

    def convert(
        self,
        value: Any,  # noqa: ANN401  (click's signature)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        """Read it."""
        try:
            return value if isinstance(value, datetime) else parse_moment(value, click.get_current_context().obj.now())
        except ValueError as error:
            self.fail(str(error), param, ctx)


class OneOf(click.Choice[str]):
    """One of the words of an enumeration."""

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__([word.value for word in words])
        self._words = words

    def convert(
        self,
        value: Any,  # noqa: ANN401  (click's signature)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> StrEnum:
        """Read it."""
        return self._words(super().convert(value, param, ctx))


def _read_name(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise click.BadParameter("the name is empty; write one, or leave --by out to be named as this machine's user")
    return text


MOMENT: Final = Moment()
NUMBER: Final = WholeNumber()
"""The number of a file, callback or run; or how many."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
one_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
limit = click.option("--limit", type=NUMBER, help=f"How many to list (default: {LISTED}; with --json all).")
by = click.option(
    "--by", callback=_read_name, help="Who does this, for the record (default: the user of this machine)."
)


def name_actor(given: str | None) -> Actor:
    """Who changes something through the command line: as given with --by, else the user of this machine."""
    return Actor((given or _name_user())[:_LONGEST_NAME], "command line")


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"
