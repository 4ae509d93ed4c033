"""Runs and listings: what was done at ZEGO; asking for a sweep or a listing, and approving what the breaker stopped."""

from __future__ import annotations

from pydantic import Field

from service.audit.checks import check_app
from service.filters import ListingFilter
from service.listing.request import place_reconcile
from service.model import Role, Vendor
from service.sweep.approve import place_approval
from service.sweep.request import place_sweep
from service.views.audit import Order
from service.views.listed import Page
from service.views.listings import LISTINGS, Listing
from service.views.runs import CALLS, RUN_FILES, RUNS, Run, RunDetail, RunFile
from service.views.runs import Call as MadeCall
from service.web.api.fields import AppId, Moment, NoBody, NoQuery, Paging, Strict
from service.web.api.routes import Call, Plain, Routes, page

routes = Routes("runs", "Every run of the sweep.")
listing_routes = Routes("listings", "The inventory compared with what the vendors really store.")


class ListingQuery(Paging):
    """Which listings."""

    app: AppId | None = None
    vendor: Vendor | None = None


class NewListing(Strict):
    """Which listings are to be read; without an app or vendor, those of all."""

    app_id: AppId | None = Field(None, examples=["1234567890"])
    vendor: Vendor | None = Field(None, examples=["Tencent"])
    since: Moment | None = Field(None, examples=[None], description="Only what was made after this time")


@routes.get("/runs")
def list_runs(call: Call[Paging, NoBody]) -> Page[Run]:
    """List runs, the newest first."""
    return page(call, RUNS, None)


@routes.get("/runs/<number:number>")
def show_run(call: Plain) -> RunDetail:
    """Show a run with its totals, and the plans of the apps that the breaker stopped."""
    return RUNS.show(call.database, call.number)


@routes.get("/runs/<number:number>/files")
def list_files_of_run(call: Call[Paging, NoBody]) -> Page[RunFile]:
    """List what a run did to each file, in the order of its attempts."""
    return page(call, RUN_FILES, call.number)


@routes.get("/runs/<number:number>/calls")
def list_calls_of_run(call: Call[Paging, NoBody]) -> Page[MadeCall]:
    """List the calls of a run, with ZEGO's answers."""
    return page(call, CALLS, call.number)


@routes.post("/runs", role=Role.OPERATOR)
def request_run(call: Plain) -> Order:
    """Ask for a sweep over everything that is due; the order is applied when it starts, and names its run."""
    return call.report(place_sweep(call.database, call.actor, call.now()))


@routes.post("/runs/<number:number>/approval", role=Role.ADMIN)
def approve_run(call: Plain) -> Order:
    """Approve what the breaker stopped in a run, and ask for one that deletes just that."""
    return call.report(place_approval(call.database, call.actor, call.number, call.now()))


@listing_routes.get("/listings")
def list_listings(call: Call[ListingQuery, NoBody]) -> Page[Listing]:
    """List the comparisons with the vendors' listings, the newest first."""
    return page(call, LISTINGS, ListingFilter(call.query.app, call.query.vendor))


@listing_routes.get("/listings/<number:number>")
def show_listing(call: Plain) -> Listing:
    """Show one comparison with its counts, and why it is incomplete if it is."""
    return LISTINGS.show(call.database, call.number)


@listing_routes.post("/listings", role=Role.OPERATOR)
def request_listing(call: Call[NoQuery, NewListing]) -> Order:
    """Ask for listings to be read; the order is applied when all of them are, and names them."""
    body = call.body
    apps = sorted(call.service.app_ids) if body.app_id is None else [check_app(body.app_id, call.service.app_ids)]
    vendors = list(Vendor) if body.vendor is None else [body.vendor]
    return call.report(place_reconcile(call.database, call.actor, apps, vendors, body.since, call.now()))
