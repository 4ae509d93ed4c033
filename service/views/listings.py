"""Listings: what comparing the inventory with the vendors' listings found."""

from __future__ import annotations

from datetime import datetime

from service.filters import ListingFilter
from service.listing import store
from service.listing.record import ListingState
from service.model import Vendor
from service.views.form import AT, Form, eg
from service.views.listed import Column, Kind, Listed, Page, find_row, read_rows, take_from


class Listing(Form):
    """One comparison of an app and vendor with its listing (docs/reconcile.md)."""

    id: int = eg(4)
    app_id: str = eg("1234567890")
    vendor: Vendor = eg("Tencent")
    state: ListingState = eg("complete")
    since: datetime | None = eg(None)
    started_at: datetime = eg(AT)
    finished_at: datetime | None = eg("2026-03-01T12:01:12Z")
    worker: str = eg("host/4711")
    calls: int = eg(42)
    listed: int = eg(41_000)
    adopted: int = eg(12)
    lost: int = eg(2, "of the adopted ones, those whose callback must have been lost")
    confirmed: int = eg(3)
    filled: int = eg(900)
    reopened: int = eg(0)
    missing: int = eg(5)
    gone: int = eg(5)
    note: str | None = eg(None)
    needs_person: bool = eg(False)


LISTINGS = Listed[ListingFilter, Listing, Listing](
    "listing",
    "listings list",
    Page[Listing],
    read_rows(
        lambda tx, wanted, cursor, size: store.list_listings(
            tx, size, before=cursor or None, app_id=wanted.app_id, vendor=wanted.vendor
        ),
        take_from(Listing),
    ),
    lambda tx, wanted: store.count_listings(tx, wanted.app_id, wanted.vendor),
    find_row(store.find_listing, take_from(Listing)),
    (
        Column("id", lambda each: each.id, Kind.NUMBER),
        Column("started", lambda each: each.started_at, Kind.MOMENT),
        Column("app", lambda each: each.app_id, priority=1),
        Column("vendor", lambda each: each.vendor),
        Column("state", lambda each: each.state),
        Column("listed", lambda each: each.listed, Kind.NUMBER),
        Column("adopted", lambda each: each.adopted, Kind.NUMBER),
        Column("missing", lambda each: each.missing, Kind.NUMBER, 2),
        Column("gone", lambda each: each.gone, Kind.NUMBER),
        Column("note", lambda each: each.note, Kind.PROSE, 3),
    ),
)
"""Listings, the newest first."""
