"""Listings: what comparing the inventory with the vendors' listings found."""

from __future__ import annotations

from service.filters import ListingFilter
from service.listing import store
from service.listing.record import Listing
from service.views.form import show_as
from service.views.listed import Listed, read_rows

show_as(Listing, needs_person="needs_person")

LISTINGS = Listed[ListingFilter, Listing, Listing](
    "listing",
    "listings list",
    Listing,
    read_rows(
        lambda tx, wanted, cursor, size: store.list_listings(
            tx, size, before=cursor or None, app_id=wanted.app_id, vendor=wanted.vendor
        ),
        Listing,
    ),
    lambda tx, wanted: store.count_listings(tx, wanted.app_id, wanted.vendor),
    store.find_listing,
    "id, started: started_at, app: app_id, vendor, state, listed, adopted, missing, gone, note",
    "note, missing, app",
)
"""Listings, the newest first."""
