"""What the API shows: lists and their entries, and how things stand."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import Field

from service.audit.chain import parse_head
from service.audit.order import Order
from service.filters import AuditFilter, CallbackFilter, FileFilter, HoldFilter, ListingFilter
from service.listing.record import Listing
from service.model import NoSuchThing, Role
from service.orders.wait import read_order
from service.sweep.dry_run import dry_run
from service.views.audit import AUDIT, AUDIT_EXPORT, TOKENS, AuditProof, verify_audit
from service.views.callbacks import CALLBACKS, CallbackDetail, show_callback
from service.views.figures import DryRun, Totals, count_totals, describe_dry_run
from service.views.files import FILES, Explanation, FileDetail, explain_file
from service.views.form import form_of
from service.views.holds import ERASURES, HOLDS, ErasureDetail, Hold
from service.views.listed import Page
from service.views.listings import LISTINGS
from service.views.rules import (
    PREVIEWS,
    REVISIONS,
    ComparedFile,
    Forecast,
    Preview,
    RevisionDetail,
    find_current,
    list_sooner,
    make_forecast,
)
from service.views.runs import CALLS, RUN_FILES, RUNS, RunDetail
from service.web.api.fields import Strict, query_of
from service.web.api.routes import Call, add_list, add_show, get, page_of

add_list(
    "/files",
    FILES,
    "List files by number; a page may hold fewer than fit: ask on until `next_cursor` is null.",
    FileFilter,
)
add_show(
    "/files/<number:number>",
    FILES,
    FileDetail,
    "Show everything that is known of a file, with every attempt to delete it.",
)
add_list("/rules/revisions", REVISIONS, "List every rule set that was in force, the newest first.")
add_show("/rules/revisions/<number:number>", REVISIONS, RevisionDetail, "Show a revision with its rules.")
add_list("/rules/previews", PREVIEWS, "List previews, the newest first.")
add_show("/rules/previews/<number:number>", PREVIEWS, Preview, "Show a preview as it was made.")
add_list("/holds", HOLDS, "List the holds that stand, by number.", HoldFilter)
add_show("/holds/<number:number>", HOLDS, Hold, "Show a hold.")
add_list("/erasures", ERASURES, "List erasures, the newest first.")
add_show("/erasures/<number:number>", ERASURES, ErasureDetail, "Show an erasure, with its files by their state now.")
add_list("/runs", RUNS, "List runs, the newest first.")
add_show(
    "/runs/<number:number>",
    RUNS,
    RunDetail,
    "Show a run with its totals, and the plans of the apps that the breaker stopped.",
)
add_list("/runs/<number:number>/files", RUN_FILES, "List what a run did to each file, in the order of its attempts.")
add_list("/runs/<number:number>/calls", CALLS, "List the calls of a run, with ZEGO's answers.")
add_list("/listings", LISTINGS, "List the comparisons with the vendors' listings, the newest first.", ListingFilter)
add_show(
    "/listings/<number:number>",
    LISTINGS,
    Listing,
    "Show one comparison with its counts, and why it is incomplete if it is.",
)
add_list("/callbacks", CALLBACKS, "List stored callbacks, the newest first.", CallbackFilter)
add_list("/audit", AUDIT, "List entries, the newest first.", AuditFilter)
add_list("/audit/export", AUDIT_EXPORT, "List every entry, the oldest first: what a copy elsewhere needs.")
add_list("/tokens", TOKENS, "List tokens by number, without their text.", role=Role.ADMIN)


class ProofQuery(Strict):
    """Against what the audit is proved."""

    noted: str | None = Field(None, pattern=r"^[0-9]{1,19}:[0-9a-f]{64}$", description="A head that was noted earlier")


@get("/files/<number:number>/explanation", form_of(Explanation))
def explain_one_file(call: Call) -> Explanation:
    """Say why a file is kept or deleted, and what happens next; of a deleted one, the decision as it was."""
    sweeps = call.service.settings.sweep_slots is not None
    return explain_file(call.database, call.service.reader, call.number, call.now, sweeps=sweeps)


@get("/rules", form_of(RevisionDetail), [HTTPStatus.NOT_FOUND])
def show_rules(call: Call) -> RevisionDetail:
    """Show the rules in force."""
    with call.database.read() as tx:
        found = find_current(tx)
    if found is None:
        raise NoSuchThing("there are no rules yet: nothing is ever deleted")
    return found


@get(
    "/rules/previews/<number:number>/sooner",
    page_of(ComparedFile),
    [HTTPStatus.CONFLICT],
    query=query_of("list_sooner_files", None),
    reads_all=True,
)
def list_sooner_files(call: Call) -> Page[ComparedFile]:
    """List the files that a preview makes due sooner, as they are now: stream by stream, the newest first."""
    limit, after = call.query["limit"], call.query["cursor"] or 0
    return list_sooner(call.database, call.service.reader, call.number, call.now, limit, after)


@get("/callbacks/<number:number>", form_of(CallbackDetail))
def show_one_callback(call: Call) -> CallbackDetail:
    """Show a callback; from the role operator on with its signature and its body, as it came."""
    return show_callback(call.database, call.number, call.role)


@get("/totals", form_of(Totals))
def show_totals(call: Call) -> Totals:
    """Count files by state, callbacks by verdict, runs by state, and what waits for whom."""
    return count_totals(call.database, call.now)


@get("/forecast", form_of(Forecast), [HTTPStatus.CONFLICT])
def show_forecast(call: Call) -> Forecast:
    """Count files, hours and bytes, and what is deleted on each of the next 90 days; up to a minute old."""
    cache = call.backend.forecast
    known = cache.find()
    if known is not None:
        return known
    with call.backend.threads.for_inventory():
        return cache.find() or cache.keep(make_forecast(call.database, call.service.reader, call.now))


@get("/dry-run", form_of(DryRun), reads_all=True)
def show_dry_run(call: Call) -> DryRun:
    """Show what a sweep would delete now, and the first 100 of these files; nothing is deleted."""
    service, sweeper = call.service, call.service.sweeper
    confirm_all = sweeper.confirm_all
    found = dry_run(
        call.database, service.reader, service.app_ids, sweeper.limits, call.now, confirm_all=confirm_all, limit=100
    )
    return describe_dry_run(call.database, found)


@get("/audit/proof", form_of(AuditProof), query=ProofQuery, reads_all=True)
def prove_audit(call: Call) -> AuditProof:
    """Follow the whole chain of hashes, and say whether anything in it was altered."""
    noted = call.query["noted"]
    return verify_audit(call.database, None if noted is None else parse_head(noted))


@get("/orders/<number:number>", form_of(Order))
def show_order(call: Call) -> Order:
    """Show what came of an order."""
    return read_order(call.database, call.number)
