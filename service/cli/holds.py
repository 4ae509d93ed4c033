"""`zego-retention holds`: orders to keep files, whatever the rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import Invocation
from service.cli.lists import add_list
from service.cli.options import MOMENT, NUMBER, by, name_actor, one_json
from service.units import count_of

if TYPE_CHECKING:
    from service.wiring import Service


@click.group("holds")
def holds_group() -> None:
    """Keep files whatever the rules say: add, list, release."""


@holds_group.command("add")
@click.option("--file", type=NUMBER, metavar="ID", help="Hold this file.")
@click.option("--stream", "stream_pattern", metavar="PATTERN", help="Hold the streams that fit, also those to come.")
@click.option("--app", "app_id", help="The AppID of the streams; not needed where one app is configured.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--until", type=MOMENT, help="When the hold ends by itself: a time, or for example 30d from now.")
@by
@one_json
@click.pass_obj
def add_command(
    invocation: Invocation,
    /,
    *,
    by: str | None,
    as_json: bool,
    **target: Any,  # noqa: ANN401  (what place_hold takes, by its names)
) -> int:
    """Put a hold in force, at once."""
    from service.cli.orders import report_order
    from service.holds.holds import place_hold

    if (target["file"] is None) == (target["stream_pattern"] is None):
        raise click.UsageError("give either --file or --stream")
    with invocation.opened() as service:
        if target["file"] is None:
            target["app_id"] = choose_app(service, target["app_id"])
        hold, order = place_hold(
            service.database, name_actor(by), now=invocation.now(), known_apps=service.app_ids, **target
        )
        if not as_json:
            invocation.show(f"Hold {hold} is in force.")
        return report_order(invocation, service, order, _describe_placed, as_json=as_json)


add_list(
    holds_group,
    "views.holds:HOLDS",
    "List the holds that are in force, the oldest first.",
    click.option("--app", "app_id", help="Only holds of this AppID."),
    click.option("--released", is_flag=True, help="Those that were released, too."),
    wanted="filters:HoldFilter",
)


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
        return report_order(invocation, service, order, _describe_released, as_json=as_json)


def choose_app(service: Service, given: str | None) -> str | None:
    """The app that is meant: the one given, or the only one that is configured."""
    return next(iter(service.app_ids)) if given is None and len(service.app_ids) == 1 else given


def _describe_placed(result: dict[str, Any]) -> str:
    text = f"It holds {_describe_files(result)} now."
    open_calls = result["open_calls"]
    if not open_calls["count"]:
        return text
    named = ", ".join(map(str, open_calls["files"]))
    more = open_calls["count"] - len(open_calls["files"])
    return (
        f"{text}\nA call has left already that may still delete file {named}"
        f"{f' and {more:,} more' if more else ''}: see `zego-retention files show ID` in a moment."
    )


def _describe_released(result: dict[str, Any]) -> str:
    return f"Hold {result['hold']} is released: {_describe_files(result)} decided again."


def _describe_files(result: dict[str, Any]) -> str:
    unknown = result["unknown_stream"]
    why = f" ({unknown:,} of them because their stream is not known)" if unknown else ""
    return f"{count_of(result['files'], 'file')}{why}"
