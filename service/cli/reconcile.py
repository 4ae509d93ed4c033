"""`zego-retention reconcile`: make the inventory equal to what the vendors really store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import as_json, moment
from service.cli.stopping import stopped_by_signals
from service.cli.tables import make_table, number, show_count, word
from service.cli.wording import safe
from service.core.model import Vendor
from service.core.wording import count
from service.db.models import ListingState
from service.usecases.listing_reports import count_lost_callbacks, show_listing
from service.usecases.reconcile import reconcile_lane

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from datetime import datetime

    from service.core.model import Lane
    from service.wiring import Service

_SHOWN: Final = ("listed", "adopted", "confirmed", "filled", "reopened", "gone", "calls")
_VENDORS: Final = click.Choice([vendor.value for vendor in Vendor])


@click.command("reconcile", short_help="Compare the inventory with the vendors' listings.")
@click.option("--app", "app_ids", metavar="APP", multiple=True, help="Only this AppID; may be repeated.")
@click.option("--vendor", "vendors", type=_VENDORS, multiple=True, help="Only this vendor; may be repeated.")
@click.option(
    "--since", metavar="TIME", help="Only what was made since then (2026-03-01, or with a time); marks nothing gone."
)
@as_json
@click.pass_obj
def reconcile_command(
    invocation: Invocation,
    app_ids: Sequence[str],
    vendors: Sequence[str],
    since: str | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Read the vendors' listings: adopt files that no callback announced, fill in facts, settle doubts.

    What a complete listing and a second look do not show is marked gone. A listing that was cut short is gone on with.
    """
    from_then = moment(since) if since else None
    if from_then is not None and from_then >= invocation.now():
        raise click.BadParameter(f"{since} lies ahead: write a time in the past", param_hint="--since")
    with invocation.opened() as service:
        if unknown := sorted(set(app_ids) - service.app_ids):
            raise CommandFailed(f"app {unknown[0]} is not in the settings: add it, or correct --app")
        if not service.app_ids:
            raise CommandFailed("no app is configured: set APP_ID, SERVER_SECRET and CALLBACK_SECRET")
        lanes = [
            (app_id, vendor)
            for app_id in sorted(app_ids or service.app_ids)
            for vendor in Vendor
            if not vendors or vendor.value in vendors
        ]
        found = _reconcile(invocation, service, lanes, from_then)
        if as_json:
            invocation.print_json(found)
        else:
            _show(invocation, service, found)
    return _judge(found, len(lanes))


def _reconcile(
    invocation: Invocation, service: Service, lanes: Sequence[Lane], since: datetime | None
) -> list[dict[str, Any]]:
    found = []
    with stopped_by_signals() as stop:
        for lane in lanes:
            if stop.is_set():
                break
            if (listing := _reconcile_lane(invocation, service, lane, since, stop)) is not None:
                found.append(listing)
    return found


def _reconcile_lane(
    invocation: Invocation, service: Service, lane: Lane, since: datetime | None, stop: threading.Event
) -> dict[str, Any] | None:
    app_id, vendor = lane
    with show_count(invocation.err, f"app {app_id}, {vendor.value}: files listed") as progress:
        listing_id = reconcile_lane(
            service.reconciler,
            lane,
            stop,
            since=since,
            on_wait=lambda holder: invocation.note(f"waiting for the listing of {safe(holder)} to end …"),
            on_progress=progress,
        )
    return None if listing_id is None else show_listing(service.database, listing_id)


def _show(invocation: Invocation, service: Service, found: Sequence[dict[str, Any]]) -> None:
    columns = [word("app"), word("vendor"), word("state"), *(number(name) for name in _SHOWN)]
    rows = [[listing[name] for name in ("app_id", "vendor", "state", *_SHOWN)] for listing in found]
    if rows:
        invocation.show(make_table(invocation.out, columns, rows))
    for listing in found:
        if listing["note"] and listing["state"] != ListingState.UNUSED:
            invocation.show("", f"App {listing['app_id']}, {listing['vendor']}: {safe(listing['note'])}.")
    if found and all(listing["state"] == ListingState.UNUSED for listing in found):
        invocation.show("", *(f"{safe(listing['note'])}." for listing in found))
    if adopted := sum(listing["adopted"] for listing in found):
        left_alone = service.settings.cooling_off
        wait = f"; none is called before {left_alone} have passed" if left_alone else ""
        invocation.show("", f"{count(adopted, 'file')} adopted: the rules decide them like any other{wait}.")
    if lost := sum(each["count"] for each in count_lost_callbacks(service.database, invocation.now())):
        invocation.show(f"{count(lost, 'callback')} lost so far: `zego-retention doctor` tells the days.")


def _judge(found: Sequence[dict[str, Any]], wanted: int) -> int:
    states = {listing["state"] for listing in found}
    if len(found) < wanted or ListingState.INTERRUPTED in states:
        return ExitCode.FAILED
    if ListingState.INCOMPLETE in states or states == {ListingState.UNUSED}:
        return ExitCode.NEEDS_PERSON
    return ExitCode.DONE
