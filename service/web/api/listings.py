"""Listings: what the vendors' listings showed, and the callbacks that were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.model import Role
from service.usecases.inventory import NoSuchThing
from service.usecases.listing_reports import count_lost_callbacks, list_listings, show_listing
from service.web.api.fields import Query, page_of
from service.web.api.listing_forms import Listing, ListingPage, LostCallbacks
from service.web.api.routes import JsonObject, Routes

if TYPE_CHECKING:
    from service.wiring import Service

routes = Routes("listings", "The inventory held against what the vendors really store.")


@routes.get("/listings", role=Role.VIEWER, answer=ListingPage, query=Query)
def list_all_listings(service: Service, query: Query) -> JsonObject:
    """List the comparisons with the vendors' listings, the newest first."""
    return page_of(list_listings(service.database, query.limit + 1, before=query.cursor), query.limit)


@routes.get("/listings/<number:number>", role=Role.VIEWER, answer=Listing)
def show_one_listing(service: Service, number: int) -> JsonObject:
    """Show one comparison with its counts, and why it is incomplete if it is."""
    found = show_listing(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no listing {number}")
    return found


@routes.get("/lost-callbacks", role=Role.VIEWER, answer=LostCallbacks)
def list_lost_callbacks(service: Service) -> JsonObject:
    """Count the callbacks that never came, by app and UTC day: files that only a listing showed."""
    return {"items": count_lost_callbacks(service.database, service.now())}
