"""How commands are declared: kinds of arguments, options that many share, the filters of lists."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from functools import partial
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import click

from service.cli.frame import CommandFailed
from service.units import describe_choice, parse_moment

LISTED: Final = 50
"""Rows of a table for people, unless asked otherwise."""
_HIGHEST: Final = 2**63 - 1


def number(text: str, least: int = 1) -> int:
    """A whole number from `least` on, as far as the databases count, refused in plain words."""
    wanted = f"write a whole number from {least} on"
    try:
        read = int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number; {wanted}, for example 17") from None
    if read < least:
        raise click.BadParameter(f"{text} is too small; {wanted}")
    if read > _HIGHEST:
        raise click.BadParameter(f"{text} is too large; there is no such number")
    return read


def number_from_zero(text: str) -> int:
    """A whole number from 0 on."""
    return number(text, 0)


def entry_id(text: str) -> int:
    """The number of an entry of the list that stands beside a command: names are not taken."""
    parent = click.get_current_context().parent
    try:
        return number(text)
    except click.BadParameter as error:
        if parent is None or "list" not in getattr(parent.command, "commands", ()):
            raise
        raise click.BadParameter(f"{error.message}; `{parent.command_path} list` shows the numbers") from None


def moment(text: str, *, is_past: bool = False) -> datetime:
    """A time in ISO 8601 (UTC where it names no zone), or a duration from now, or ago."""
    try:
        return parse_moment(text, click.get_current_context().obj.now(), is_past=is_past)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def past_moment(text: str) -> datetime:
    """A time that has come, or how long ago it was."""
    return moment(text, is_past=True)


def app_id(text: str) -> str:
    """An AppID; what is called by its name is refused, with its AppID."""
    from service.settings.values import parse_app_id

    try:
        return parse_app_id(text)
    except ValueError as error:
        raise click.BadParameter(_name_apps(text) or str(error)) from None


def _name_apps(name: str) -> str:
    """Which AppID is meant by a name; "" where no app has it, or the settings cannot be read."""
    from service.settings import SettingsError, load_settings

    try:
        apps = load_settings(click.get_current_context().obj.environ).apps
    except SettingsError:
        return ""
    found = " or ".join(app.app_id for app in apps if app.name == name)
    return f"{name!r} is the name of an app, not its AppID: write {found}" if found else ""


class OneOf(click.Choice[str]):
    """One of the words of an enumeration."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:  # noqa: ARG002  (click's signature)
        """Its word, not its name in the code."""
        return str(choice)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:  # noqa: ARG002  (the same)
        """That it is none of the words, and which one is meant."""
        return describe_choice(str(value), [str(each) for each in self.choices])


def option(*names: str, **attributes: Any) -> click.Option:
    """An option of a command."""
    return click.Option(names, **attributes)


def argument(name: str, **attributes: Any) -> click.Argument:
    """An argument of a command."""
    return click.Argument([name], **attributes)


def _remember(context: click.Context, shared: click.Parameter, value: Any) -> None:
    """Keep an option's value at the invocation, whatever command takes it."""
    if shared is BY and value is not None and not value.strip():
        raise click.BadParameter(
            "the name is empty; write one, or leave out --by to use your user name on this machine"
        )
    setattr(context.obj, str(shared.name), value)


_shared: Final = partial(option, expose_value=False, callback=_remember)
BY: Final = _shared("--by", help="Who does this, for the record (default: the user of this machine).")
JSON: Final = _shared("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
WIDE: Final = _shared("--wide", "is_wide", is_flag=True, help="Show every column in full, however long the lines.")
LIMIT: Final = _shared("--limit", type=number, help=f"How many to list (default: {LISTED}; with --json all).")


class Command(click.Command):
    """A command that says how to give what it takes no argument for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read arguments and options."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            options = [each.opts[0] for each in self.params if isinstance(each, click.Option) and not each.is_flag]
            if "extra argument" not in error.message or not options:
                raise
            text = f"{error.message}: write it after the option that it is for ({', '.join(options)})"
            raise click.UsageError(text, ctx) from None


class Group(click.Group):
    """A group of commands, in the order in which they were declared."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Their names."""
        return list(self.commands)

    def add(
        self, does: str, about: str, *params: click.Parameter, name: str = "", shows: bool | None = None, **given: Any
    ) -> None:
        """Add a command called like the first word of the function that carries it out (`files:add_hold`: `add`).

        One that only `shows` something fails where nobody can see it. That is what changes nothing, so needs no --by.
        """
        shows = BY not in params and not does.startswith("processes:") if shows is None else shows
        made = Command(
            name or does.partition(":")[2].partition("_")[0],
            callback=partial(_carry_out, does, shows, **given),
            params=list(params),
            help=about,
            short_help=about.splitlines()[0],
        )
        self.add_command(made)

    def add_list(self, view: str, about: str, wanted: type | None = None, name: str = "list") -> None:
        """Add a command that lists a view (`runs:RUNS` of service.views), with an option for each field of a filter."""
        options = _make_options(wanted) if wanted else ()
        self.add("show:list_view", about, *options, LIMIT, WIDE, JSON, name=name, view=view, wanted=wanted)

    def add_show(self, view: str, about: str) -> None:
        """Add a command that shows one entry of a view."""
        self.add("show:show_one", about, argument("number", type=entry_id, metavar="ID"), JSON, view=view)


def load(path: str) -> Any:
    """Load something of the service by its module and name: `views.runs:RUNS`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"service.{module}"), name)


def _carry_out(does: str, shows: bool, /, **given: Any) -> Any:  # noqa: FBT001  (bound above)
    invocation = click.get_current_context().obj
    if shows and not invocation.has_output:
        raise CommandFailed("standard output is closed, so nothing can be shown: nothing was done")
    return load(f"cli.{does}")(invocation, **given)


_READ: Final[dict[type, Callable[[str], Any]]] = {int: number, datetime: moment, str: str}


def _make_options(wanted: type) -> Iterator[click.Option]:
    """The options that a filter's fields stand for."""
    hints = get_type_hints(wanted)
    for field in dataclasses.fields(wanted):
        hint = hints[field.name]
        [kind] = [each for each in get_args(hint) or (hint,) if each is not NoneType]
        name = field.metadata.get("option") or field.metadata.get("name") or field.name
        words = kind if issubclass(kind, StrEnum) else field.metadata.get("one_of")
        known = OneOf(words) if words else app_id if field.name == "app_id" else _READ.get(kind)
        names, about = (f"--{name.replace('_', '-')}", field.name), field.metadata["help"]
        about = about.replace("this time", "then: a time, or 30d for 30 days from now") if kind is datetime else about
        yield option(*names, type=known, is_flag=kind is bool, default=field.default, help=about)
