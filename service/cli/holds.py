"""`zego-retention holds`: orders to keep files, whatever the rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import NUMBER, actor, as_json, by, limit, moment
from service.cli.tables import LISTED, make_table, number, prose, show_progress, word
from service.cli.wording import parse_moment, relative, safe
from service.core.wording import count
from service.db import files
from service.usecases.holding import HoldOrder, list_holds, place_hold, release_hold

if TYPE_CHECKING:
    from datetime import datetime

    from service.wiring import Service

_ENDLESS_S = float("inf")
_NAMED_IN_FLIGHT = 50
_NOTHING_FITS = (
    "no file that could still be deleted fits it: see `zego-retention files list --stream PATTERN`;"
    " only * and ? are special in a pattern"
)


@click.group("holds")
def holds_group() -> None:
    """Keep files whatever the rules say: add, list, release."""


@holds_group.command("add")
@click.option("--file", type=NUMBER, metavar="ID", help="Hold this file.")
@click.option("--stream", metavar="PATTERN", help="Hold every file of the streams that fit, those to come included.")
@click.option("--app", help="The AppID of the streams; not needed where one app is configured.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--until", type=moment, metavar="TIME", help="When the hold ends by itself (default: never).")
@by
@click.pass_obj
def add_command(
    invocation: Invocation,
    file: int | None,
    stream: str | None,
    app: str | None,
    reason: str,
    until: datetime | None,
    by: str | None,
) -> int:
    """Put a hold in force, at once."""
    if (file is None) == (stream is None):
        raise click.UsageError("give either --file or --stream")
    with invocation.opened() as service:
        order = HoldOrder(app or (default_app(service) if stream is not None else None), file, stream, reason, until)
        with show_progress(invocation.err, "deciding files", _count_files(service)) as progress:
            placed = place_hold(
                service.database,
                order,
                actor(by),
                invocation.now(),
                known_apps=service.app_ids,
                patience_s=_ENDLESS_S,
                progress=progress,
            )
    _show_placed(invocation, placed)
    return ExitCode.DONE


@holds_group.command("list")
@click.option("--app", help="Only holds of this AppID.")
@click.option("--released", is_flag=True, help="Those that were released, too.")
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, app: str | None, released: bool, limit: int | None, as_json: bool) -> int:  # noqa: FBT001
    """List the holds that stand, the oldest first."""
    with invocation.opened() as service:
        if as_json:
            invocation.print_json(list_holds(service.database, app_id=app, released=released, limit=limit))
            return ExitCode.DONE
        most = limit or LISTED
        found = list(list_holds(service.database, app_id=app, released=released, limit=most + 1))
    _show_list(invocation, found[:most])
    if len(found) > most:
        invocation.note("more: see them with --limit or --json")
    return ExitCode.DONE


@holds_group.command("release")
@click.argument("hold", metavar="NUMBER", type=NUMBER)
@by
@click.pass_obj
def release_command(invocation: Invocation, hold: int, by: str | None) -> int:
    """End a hold: what else counts for its files (rules, erasures, other holds) decides again."""
    with invocation.opened() as service, show_progress(invocation.err, "deciding files", _count_files(service)) as done:
        released = release_hold(
            service.database, hold, actor(by), invocation.now(), patience_s=_ENDLESS_S, progress=done
        )
    still = f" {count(released['files'], 'file')} of it stay held by others." if released["files"] else ""
    what = "what else counts for its files (rules, erasures, other holds) decides again"
    invocation.show(f"Hold {hold} is released; {what}.{still}")
    return ExitCode.DONE


def default_app(service: Service) -> str | None:
    """The app that is meant where none is named: the only one that is configured, if there is only one."""
    return next(iter(service.app_ids)) if len(service.app_ids) == 1 else None


def _show_placed(invocation: Invocation, placed: dict[str, Any]) -> None:
    later = "" if placed["file"] else "; files that arrive later are, too"
    invocation.show(f"Hold {placed['id']} is in force: {count(placed['files'], 'file')} held now{later}.")
    in_flight = placed["in_flight"]
    if not placed["files"] and not in_flight:
        remark = f"a sweep would not delete this file anyway: see `zego-retention files explain {placed['file']}`"
        invocation.note(_NOTHING_FITS if placed["file"] is None else remark)
    if in_flight:
        named = ", ".join(str(each) for each in in_flight[:_NAMED_IN_FLIGHT])
        more = f" and {len(in_flight) - _NAMED_IN_FLIGHT:,} more" if len(in_flight) > _NAMED_IN_FLIGHT else ""
        invocation.show(f"In flight, so they may still be deleted by the call under way: file {named}{more}.")


def _show_list(invocation: Invocation, found: list[dict[str, Any]]) -> None:
    if not found:
        invocation.note("no holds")
        return
    now = invocation.now()
    columns = [number("id"), word("app"), prose("holds"), prose("reason"), prose("by"), word("since"), word("until")]
    rows = (
        (
            hold["id"],
            hold["app_id"],
            _describe_target(hold),
            hold["reason"],
            hold["placed_by"],
            relative(parse_moment(hold["placed_at"]), now),
            _describe_end(hold, now),
        )
        for hold in found
    )
    invocation.show(make_table(invocation.out, columns, rows))


def _describe_target(hold: dict[str, Any]) -> str:
    if hold["stream_pattern"] is not None:
        return f"stream {hold['stream_pattern']}"
    return f"file {hold['file']}" if hold["file"] else f"{hold['vendor']} {hold['file_id']}"


def _describe_end(hold: dict[str, Any], now: datetime) -> str:
    if hold["released_at"] is not None:
        return f"released {relative(parse_moment(hold['released_at']), now)} by {safe(hold['released_by'])}"
    until = parse_moment(hold["until"])
    if until is not None and until <= now:
        return f"over {relative(until, now)}"
    return relative(until, now)


def _count_files(service: Service) -> int:
    with service.database.read() as session:
        return sum(files.count_by_state(session).values())
