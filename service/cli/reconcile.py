"""`zego-retention reconcile`: make the inventory equal to what the vendors really store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import as_json, moment
from service.cli.stopping import stopped_by_signals
from service.cli.tables import make_table, number, show_count, word
from service.cli.wording import describe_wait, in_hours, safe
from service.core.model import Vendor
from service.core.wording import count
from service.db.models import ListingState
from service.usecases.listing_checks import collect_remarks
from service.usecases.listing_reports import count_lost_callbacks, show_listing
from service.usecases.reconcile import reconcile_lane

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from datetime import datetime

    from service.core.model import Lane
    from service.wiring import Service

_SHOWN: Final = ("listed", "adopted", "confirmed", "filled", "reopened", "gone", "calls")
_NOT_WHOLE: Final = (ListingState.INCOMPLETE, ListingState.INTERRUPTED)
_VENDORS: Final = click.Choice([vendor.value for vendor in Vendor])


@click.command("reconcile", short_help="Compare the inventory with the vendors' listings.")
@click.option("--app", "app_ids", metavar="APP", multiple=True, help="Only this AppID; may be repeated.")
@click.option("--vendor", "vendors", type=_VENDORS, multiple=True, help="Only this vendor; may be repeated.")
@click.option(
    "--since",
    type=moment,
    metavar="TIME",
    help="Only what was made since then (2026-03-01, or with a time); marks nothing gone.",
)
@as_json
@click.pass_obj
def reconcile_command(
    invocation: Invocation,
    app_ids: Sequence[str],
    vendors: Sequence[str],
    since: datetime | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Read the vendors' listings: adopt files that no callback announced, fill in facts, settle doubts.

    What a complete listing and a second look do not show is marked gone. A listing that was cut short is gone on with.
    """
    if since is not None and since >= invocation.now():
        raise click.BadParameter(
            f"{since:%Y-%m-%d %H:%M} UTC lies ahead: write a time in the past", param_hint="--since"
        )
    lanes = _choose_lanes({app.app_id for app in invocation.read_settings().apps}, app_ids, vendors)
    with invocation.opened() as service:
        found = _reconcile(invocation, service, lanes, since)
        if as_json:
            invocation.print_json(found)
        else:
            _show(invocation, service, found)
    _tell_not_begun(invocation, lanes, found)
    return _judge(found, len(lanes))


def _choose_lanes(configured: set[str], app_ids: Sequence[str], vendors: Sequence[str]) -> list[Lane]:
    """What to compare. Asked of the settings alone: a slip in the command line is to leave no new database behind."""
    if not configured:
        raise CommandFailed("no app is configured: set APP_ID, SERVER_SECRET and CALLBACK_SECRET")
    if unknown := sorted(set(app_ids) - configured):
        raise CommandFailed(f"app {unknown[0]} is not in the settings: add it, or correct --app")
    return [
        (app_id, vendor)
        for app_id in sorted(set(app_ids) or configured)
        for vendor in Vendor
        if not vendors or vendor.value in vendors
    ]


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
            on_wait=lambda holder: invocation.note(describe_wait("listing", holder, service.settings.claim_lease)),
            on_progress=progress,
        )
    return None if listing_id is None else show_listing(service.database, listing_id)


def _show(invocation: Invocation, service: Service, found: Sequence[dict[str, Any]]) -> None:
    columns = [word("app"), word("vendor"), word("state"), *(number(name) for name in _SHOWN)]
    rows = [[listing[name] for name in ("app_id", "vendor", "state", *_SHOWN)] for listing in found]
    if rows:
        invocation.show(make_table(invocation.out, columns, rows))
    invocation.show(*_describe_notes(found))
    if adopted := sum(listing["adopted"] for listing in found):
        cooling_off = service.settings.cooling_off
        wait = f", but delete none for {in_hours(cooling_off)}" if cooling_off else ""
        invocation.show(
            "",
            f"{count(adopted, 'file')} adopted: the rules decide them like any other{wait}. `zego-retention files list`"
            " shows when each is due, `zego-retention rules preview FILE` what other rules would do.",
        )
    if lost := sum(each["count"] for each in count_lost_callbacks(service.database, invocation.now())):
        invocation.show(f"{count(lost, 'callback')} lost so far: `zego-retention doctor` tells the days.")


def _describe_notes(found: Sequence[dict[str, Any]]) -> list[str]:
    """How the listings ended where that is not plain, once where several say the same."""
    lines = []
    for app_id in dict.fromkeys(listing["app_id"] for listing in found):
        of_app = [listing for listing in found if listing["app_id"] == app_id]
        is_unused = all(listing["state"] == ListingState.UNUSED for listing in of_app)
        if is_unused and len(of_app) < len(Vendor):
            lines += [f"App {app_id}, {listing['vendor']}: {safe(listing['note'])}." for listing in of_app]
            continue
        # A vendor that the app does not use is nothing to tell where it uses others.
        told = of_app if is_unused else [each for each in of_app if each["state"] in _NOT_WHOLE]
        for remark in collect_remarks(told):
            fix = f" → {remark.fix}" if remark.fix else ""
            lines.append(f"App {app_id}, {remark.vendors}: {safe(remark.text)}{fix}.")
    notes = [each["note"] for each in found if each["state"] == ListingState.COMPLETE and each["note"]]
    lines += dict.fromkeys(f"{safe(note[:1].upper() + note[1:])}." for note in notes)
    return ["", *lines] if lines else []


def _tell_not_begun(invocation: Invocation, lanes: Sequence[Lane], found: Sequence[dict[str, Any]]) -> None:
    begun = {(listing["app_id"], Vendor(listing["vendor"])) for listing in found}
    for app_id in dict.fromkeys(app_id for app_id, _ in lanes):
        left = ", ".join(lane[1].value for lane in lanes if lane[0] == app_id and lane not in begun)
        if left:
            invocation.note(f"app {app_id}: stopped before {left}; the next `zego-retention reconcile` reads them")


def _judge(found: Sequence[dict[str, Any]], wanted: int) -> int:
    states = {listing["state"] for listing in found}
    if len(found) < wanted or states & {ListingState.INTERRUPTED, ListingState.RUNNING}:
        return ExitCode.FAILED
    unused = Counter(listing["app_id"] for listing in found if listing["state"] == ListingState.UNUSED)
    if ListingState.INCOMPLETE in states or len(Vendor) in unused.values():
        return ExitCode.NEEDS_PERSON
    return ExitCode.DONE
