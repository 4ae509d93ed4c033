"""`zego-retention holds`: orders to keep files, whatever the rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import Invocation  # noqa: TC001  (a runtime import costs nothing, and all commands alike)
from service.cli.options import NUMBER, as_json, by, limit, name_actor, one_json, read_moment
from service.units import count_of

if TYPE_CHECKING:
    from service.wiring import Service


@click.group("holds")
def holds_group() -> None:
    """Keep files whatever the rules say: add, list, release."""


@holds_group.command("add")
@click.option("--file", type=NUMBER, metavar="ID", help="Hold this file.")
@click.option("--stream", metavar="PATTERN", help="Hold every file of the streams that fit, also those to come.")
@click.option("--app", help="The AppID of the streams; not needed where one app is configured.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--until", metavar="TIME", help="When the hold ends by itself: a time, or for example 30d from now.")
@by
@one_json
@click.pass_obj
def add_command(
    invocation: Invocation,
    /,
    *,
    file: int | None,
    stream: str | None,
    app: str | None,
    reason: str,
    until: str | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Put a hold in force, at once."""
    from service.cli.orders import report_order
    from service.holds.holds import place_hold

    if (file is None) == (stream is None):
        raise click.UsageError("give either --file or --stream")
    now = invocation.now()
    with invocation.opened() as service:
        hold, order = place_hold(
            service.database,
            name_actor(by),
            reason=reason,
            now=now,
            known_apps=service.app_ids,
            app_id=choose_app(service, app) if file is None else app,
            file=file,
            stream_pattern=stream,
            until=None if until is None else read_moment(until, now),
        )
        if not as_json:
            invocation.show(f"Hold {hold} is in force.")
        return report_order(invocation, service, order, _describe_placed, as_json=as_json)


@holds_group.command("list")
@click.option("--app", help="Only holds of this AppID.")
@click.option("--released", is_flag=True, help="Those that were released, too.")
@limit
@as_json
@click.pass_obj
def list_command(
    invocation: Invocation, /, *, app: str | None, released: bool, limit: int | None, as_json: bool
) -> int:
    """List the holds that are in force, the oldest first."""
    from service.cli.lists import print_list
    from service.views.holds import HOLDS, HoldFilter

    return print_list(invocation, HOLDS, HoldFilter(app, released), limit, as_json=as_json)


@holds_group.command("release")
@click.argument("hold", metavar="ID", type=NUMBER)
@by
@one_json
@click.pass_obj
def release_command(invocation: Invocation, /, *, hold: int, by: str | None, as_json: bool) -> int:
    """End a hold: rules, erasures and other holds decide its files again."""
    from service.cli.orders import report_order
    from service.holds.holds import release_hold

    with invocation.opened() as service:
        order = release_hold(service.database, name_actor(by), hold, invocation.now())
        if not as_json:
            invocation.show(f"Hold {hold} is released.")
        return report_order(invocation, service, order, _describe_released, as_json=as_json)


def choose_app(service: Service, given: str | None) -> str | None:
    """The app that is meant: the one given, or the only one that is configured."""
    return next(iter(service.app_ids)) if given is None and len(service.app_ids) == 1 else given


def describe_unknown_stream(count: int) -> str:
    """How many of the files before it are among them because their stream is not known."""
    return f" ({count:,} of them because their stream is not known)" if count else ""


def _describe_placed(result: dict[str, Any]) -> str:
    text = f"It holds {count_of(result['files'], 'file')} now{describe_unknown_stream(result['unknown_stream'])}."
    open_calls = result["open_calls"]
    if not open_calls["count"]:
        return text
    named = ", ".join(map(str, open_calls["files"]))
    more = open_calls["count"] - len(open_calls["files"])
    return (
        f"{text}\nA call for {count_of(open_calls['count'], 'file')} has left already and may still delete"
        f" {'it' if open_calls['count'] == 1 else 'them'}: file {named}{f' and {more:,} more' if more else ''}."
    )


def _describe_released(result: dict[str, Any]) -> str:
    files = count_of(result["files"], "file")
    return f"Its {files}{describe_unknown_stream(result['unknown_stream'])} are decided again."
