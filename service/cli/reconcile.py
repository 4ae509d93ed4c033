"""`zego-retention reconcile` and `zego-retention listings`: the inventory beside what the vendors really store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.lists import add_list, add_show, print_forms, show_rows
from service.cli.options import MOMENT, OneOf, as_json, by, name_actor
from service.model import Vendor
from service.units import count_of, format_duration

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from datetime import datetime

    from service.audit.order import Order
    from service.views.listings import Listing
    from service.wiring import Service


@click.command("reconcile")
@click.option("--app", "app_ids", metavar="APP", multiple=True, help="Only this AppID; may be repeated.")
@click.option("--vendor", "vendors", type=OneOf(Vendor), multiple=True, help="Only this vendor; may be repeated.")
@click.option("--since", type=MOMENT, help="Only what was made since then, for example 2026-03-01; ends no file.")
@by
@as_json
@click.pass_obj
def reconcile_command(
    invocation: Invocation,
    /,
    *,
    app_ids: tuple[str, ...],
    vendors: tuple[Vendor, ...],
    since: datetime | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Read the vendors' listings: adopt files that no callback announced, fill in facts, confirm unconfirmed files.

    A file is gone when two complete listings in a row, begun at least an hour apart, do not show it.
    """
    from service.listing.request import place_reconcile

    with invocation.opened() as service:
        apps, chosen = _choose_apps(service, app_ids), vendors or tuple(Vendor)
        order = place_reconcile(service.database, name_actor(by), apps, chosen, since, invocation.now())
        found = _reconcile(invocation, service, order)
        if as_json:
            print_forms(invocation, found)
        else:
            _show(invocation, service, found)
    return ExitCode.NEEDS_PERSON if any(listing.needs_person for listing in found) else ExitCode.DONE


@click.group("listings")
def listings_group() -> None:
    """What reading the vendors' listings found: list, show."""


add_list(
    listings_group,
    "views.listings:LISTINGS",
    "List listings, the newest first.",
    click.option("--app", "app_id", help="Only listings of this AppID."),
    click.option("--vendor", type=OneOf(Vendor), help="Only listings of this vendor."),
    wanted="filters:ListingFilter",
)
add_show(listings_group, "views.listings:LISTINGS", "Show one listing.")


def _reconcile(invocation: Invocation, service: Service, number: int) -> list[Listing]:
    """Have the listings read that an order asks for, by whoever leads; what they found."""
    from service.audit.store import finish_order
    from service.cli.orders import Errand, stopped_by_signals
    from service.orders.wait import read_order
    from service.views.listings import LISTINGS

    with stopped_by_signals() as stop:

        def work(order: Order, end: threading.Event) -> None:
            numbers = service.reconciler.run_request(order, end)
            if end.is_set() and not stop.is_wanted:
                return  # the worker that continues with it begins with it again
            result = {"listing_ids": numbers}
            service.leader.transact(lambda tx: finish_order(tx, order.number, service.now(), result))

        errand = Errand(invocation, service, work, lambda _: True, stop)
        while not errand.run(number):
            pass
        if stop.is_wanted:
            invocation.note("the listings that were read are kept: see `zego-retention listings list`")
            raise KeyboardInterrupt
    result = read_order(service.database, number).result or {}
    return [LISTINGS.show(service.database, each) for each in result["listing_ids"]]


def _show(invocation: Invocation, service: Service, found: Sequence[Listing]) -> None:
    from service.cli.wording import safe
    from service.views.listings import LISTINGS

    show_rows(
        invocation, [column for column in LISTINGS.columns if column.header not in ("id", "started", "note")], found
    )
    notes = [f"App {each.app_id}, {each.vendor}: {safe(each.note)}." for each in found if each.note]
    if notes:
        invocation.show("", *notes)
    if adopted := sum(listing.adopted for listing in found):
        invocation.show("", f"{count_of(adopted, 'file')} adopted: {_describe_fate(service)}.")
    if lost := sum(listing.lost for listing in found):
        invocation.show(
            f"{count_of(lost, 'callback')} must have been lost: `zego-retention doctor` says what to check."
        )


def _describe_fate(service: Service) -> str:
    """What becomes of adopted files."""
    from service.rules.store import find_current

    with service.database.read() as tx:
        revision = find_current(tx)
    if revision is not None and not revision.by_person:
        return "kept until a person has applied rules (`zego-retention rules apply --keep` will do)"
    cooling_off = service.settings.cooling_off
    wait = f", and none is deleted within {format_duration(cooling_off)}" if cooling_off else ""
    return f"the rules decide them like any other{wait}"


def _choose_apps(service: Service, given: Sequence[str]) -> list[str]:
    if not service.app_ids:
        raise CommandFailed(
            "no app is configured: set ZEGO_RETENTION_APP_ID, ZEGO_RETENTION_SERVER_SECRET and"
            " ZEGO_RETENTION_CALLBACK_SECRET"
        )
    if unknown := sorted(set(given) - service.app_ids):
        raise CommandFailed(f"app {unknown[0]} is not in the settings: add it, or correct --app")
    return sorted(set(given) or service.app_ids)
