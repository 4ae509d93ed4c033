"""What the API offers: lists and their entries, how things stand, orders, rules and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field

from service.audit.chain import parse_head
from service.audit.checks import MAX_FILES, BadOrder, check_app
from service.audit.order import Order
from service.audit.store import Token
from service.audit.tokens import make_token, revoke_token
from service.callbacks.replay import place_replay
from service.files import actions
from service.filters import AuditFilter, CallbackFilter, FileFilter, HoldFilter, ListingFilter
from service.holds.holds import hold_files, place_hold, release_files, release_hold
from service.listing.reconcile import place_reconcile
from service.listing.store import Listing
from service.model import NoSuchThing, Role, Vendor, Verdict
from service.orders import read_order, require_understood
from service.preview.apply import apply_rules, candidate_of_preview, candidate_of_revision
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.sweep.breaker import Limits
from service.sweep.dry_run import dry_run
from service.sweep.orders import place_approval, place_sweep
from service.views import audit, callbacks, figures, files, rules, runs
from service.views.form import MAX_NUMBER, Page, take
from service.web.api.routes import (
    ORDER_WAIT_S,
    AppId,
    Call,
    Moment,
    Number,
    Pattern,
    Reason,
    add_list,
    body_of,
    get,
    post,
    query_of,
)

_RULES = '[[rules]]\nname = "trial rooms"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'
RulesText = Annotated[str, Field(min_length=1, max_length=100_000, examples=[_RULES])]
_STREAMS = {"app_id": AppId | None, "stream_pattern": Pattern | None, "reason": Reason}
_ERASED: dict[str, Any] = {"files": (Annotated[list[Number], Field(max_length=MAX_FILES)], []), **_STREAMS}
_SOME: tuple[Any, list[int]] = (Annotated[list[Number], Field(max_length=100)], [])
_EXPECTED = Annotated[int, Field(ge=0, le=MAX_NUMBER, strict=True, description="`files` of the preview")]
_SOONER = Annotated[int, Field(ge=0, le=MAX_NUMBER, strict=True, description="`sooner_count` of the preview")]
_REVISION = Annotated[int, Field(ge=0, le=MAX_NUMBER, strict=True, description="0: keep everything")]
_HEAD = Annotated[str, Field(pattern=r"^[0-9]{1,19}:[0-9a-f]{64}$", description="A head that was noted earlier")]

_PAGES = "List files by number. A page may hold fewer than `limit`: continue until `next_cursor` is null."
_LISTINGS = "List the comparisons with the vendors' listings, the newest first."
_RUN = "/runs/<number:number>"

add_list("/files", files.FILES, _PAGES, FileFilter, files.FileDetail)
add_list("/rules/revisions", rules.REVISIONS, "List every rule set that was in force.", None, rules.RevisionDetail)
add_list("/rules/previews", rules.PREVIEWS, "List previews, the newest first.", None, rules.Preview)
add_list("/holds", files.HOLDS, "List the holds in force, by number.", HoldFilter, files.Hold)
add_list("/erasures", files.ERASURES, "List erasures, the newest first.", None, files.ErasureDetail)
add_list("/runs", runs.RUNS, "List runs, the newest first.", None, runs.RunDetail)
add_list(f"{_RUN}/files", runs.RUN_FILES, "List what a run did to each file, in the order of its attempts.")
add_list(f"{_RUN}/calls", runs.CALLS, "List the calls of a run, with ZEGO's answers.")
add_list(f"{_RUN}/planned", runs.PLANNED, "List the files that an approval of a run's open plans would delete.")
add_list("/listings", runs.LISTINGS, _LISTINGS, ListingFilter, Listing)
add_list("/callbacks", callbacks.CALLBACKS, "List stored callbacks, the newest first.", CallbackFilter)
add_list("/audit", audit.AUDIT, "List entries, the newest first.", AuditFilter)
add_list("/audit/export", audit.AUDIT_EXPORT, "List every entry, the oldest first: what a copy elsewhere needs.")
add_list("/tokens", audit.TOKENS, "List tokens by number, without their text.", role=Role.ADMIN)


@get("/files/<number:number>/explanation")
def explain_one_file(call: Call) -> files.Explanation:
    """Explain why a file is kept or deleted, and what happens next; for a deleted file, the decision at that time."""
    return files.explain_file(call.database, call.service.reader, call.number, call.now, call.service.settings)


@get("/rules")
def show_rules(call: Call) -> rules.RevisionDetail:
    """Show the rules in force."""
    with call.database.read() as tx:
        found = rules.find_current(tx)
    if found is None:
        raise NoSuchThing("there are no rules yet: nothing is ever deleted")
    return found


@get("/rules/previews/<number:number>/sooner", query=query_of("list_sooner_files", None), reads_all=True)
def list_sooner_files(call: Call) -> Page[rules.ComparedFile]:
    """List the files that a preview makes due sooner, as they are now: stream by stream, the newest first."""
    limit, after = call.query["limit"], call.query["cursor"] or 0
    return rules.list_sooner(call.database, call.service.reader, call.number, call.now, limit, after)


@get("/callbacks/<number:number>")
def show_one_callback(call: Call) -> callbacks.CallbackDetail:
    """Show a callback; from the role operator on with its signature and its body, as it came."""
    return callbacks.show_callback(call.database, call.number, call.role)


@get("/totals")
def show_totals(call: Call) -> figures.Totals:
    """Count files by state, callbacks by verdict, runs by state, and what needs a person."""
    return figures.count_totals(call.database, call.now)


@get("/forecast")
def show_forecast(call: Call) -> rules.Forecast:
    """Count files, hours and bytes, and what is deleted on each of the next 90 days; up to a minute old."""
    return call.backend.find_figures(
        "forecast", lambda: rules.make_forecast(call.database, call.service.reader, call.now)
    )


@get("/dry-run", reads_all=True)
def show_dry_run(call: Call) -> figures.DryRun:
    """Show what a sweep would delete now, and the first 100 of these files; nothing is deleted."""
    service, settings = call.service, call.service.find_settings()
    limits = Limits(settings.breaker_files, settings.breaker_share)
    everything = (call.database, service.reader, service.app_ids, limits, call.now)
    found = dry_run(*everything, confirm_all=settings.confirm == "all", limit=100)
    return figures.describe_dry_run(call.database, found)


@get("/audit/proof", query=body_of("prove_audit", {"noted": _HEAD | None}), reads_all=True)
def prove_audit(call: Call) -> audit.AuditProof:
    """Check the whole chain of hashes: was any entry altered?"""
    noted = call.query["noted"]
    return audit.verify_audit(call.database, None if noted is None else parse_head(noted))


@get("/orders/<number:number>")
def show_order(call: Call) -> Order:
    """Show the result of an order."""
    return read_order(call.database, call.number)


@post("/files/<number:number>/retry", Role.OPERATOR, listed=files.FILES, detail=files.FileDetail)
def retry_file(call: Call) -> int:
    """Retry a file that failed, or that waits for its next attempt."""
    return actions.retry_files(call.database, call.actor, [call.number], call.now)


@post("/files/<number:number>/confirm", Role.OPERATOR, listed=files.FILES, detail=files.FileDetail)
def confirm_file(call: Call) -> int:
    """Confirm an unconfirmed file: from now on the rules decide it."""
    return actions.confirm_files(call.database, call.actor, [call.number], call.now)


@post("/files/retry", Role.OPERATOR, body={"files": _SOME})
def retry_files(call: Call) -> int:
    """Retry up to 100 files: all of them, or none if one cannot be."""
    return actions.retry_files(call.database, call.actor, call.body["files"], call.now)


@post("/files/confirm", Role.OPERATOR, body={"files": _SOME})
def confirm_files(call: Call) -> int:
    """Confirm up to 100 unconfirmed files: all of them, or none if one cannot be."""
    return actions.confirm_files(call.database, call.actor, call.body["files"], call.now)


@post("/files/hold", Role.OPERATOR, body={"files": _SOME, "reason": Reason, "until": Moment | None})
def hold_some_files(call: Call) -> int:
    """Hold up to 100 files, each with a hold of its own: all of them, or none if one cannot be."""
    return hold_files(call.database, call.actor, **call.body, now=call.now)


@post("/files/release", Role.OPERATOR, body={"files": _SOME})
def release_some_files(call: Call) -> int:
    """End the holds that name one of up to 100 files itself; holds on streams stay."""
    return release_files(call.database, call.actor, call.body["files"], call.now)


@post(
    "/holds",
    Role.OPERATOR,
    listed=files.HOLDS,
    detail=files.Hold,
    status=HTTPStatus.CREATED,
    body={"file": Number | None, **_STREAMS, "until": Moment | None},
)
def place_new_hold(call: Call) -> tuple[int, int]:
    """Put a hold in force at once."""
    return place_hold(call.database, call.actor, now=call.now, known_apps=call.service.app_ids, **call.body)


@post("/holds/<number:number>/release", Role.OPERATOR, listed=files.HOLDS, detail=files.Hold)
def release_one_hold(call: Call) -> int:
    """End a hold: the rules count again."""
    return release_hold(call.database, call.actor, call.number, call.now)


@post("/erasures/previews", Role.ADMIN, body=_ERASED)
def preview_new_erasure(call: Call) -> actions.ErasurePreview:
    """Count what an erasure would delete; changes nothing."""
    _require_understood(call)
    return actions.preview_erasure(call.database, actions.ErasureRequest(**call.body), known_apps=call.service.app_ids)


@post(
    "/erasures",
    Role.ADMIN,
    listed=files.ERASURES,
    detail=files.ErasureDetail,
    status=HTTPStatus.CREATED,
    body={**_ERASED, "expect": _EXPECTED},
)
def order_erasure(call: Call) -> tuple[int, int]:
    """Order files to be deleted by the next sweep. If their number is not `expect`, 409 with a new preview."""
    wanted, apps = dict(call.body), call.service.app_ids
    expect = wanted.pop("expect")
    _require_understood(call)
    return actions.erase_files(
        call.database, call.actor, actions.ErasureRequest(**wanted), call.now, known_apps=apps, expect=expect
    )


@post("/runs", Role.OPERATOR)
def request_run(call: Call) -> int:
    """Ask for a sweep of everything that is due. The order is applied when the sweep starts, and names its run."""
    return place_sweep(call.database, call.actor, call.now)


@post("/runs/<number:number>/approval", Role.ADMIN)
def approve_run(call: Call) -> int:
    """Approve what the breaker stopped in a run, and ask for a run that deletes only that."""
    return place_approval(call.database, call.actor, call.number, call.now)


@post("/listings", Role.OPERATOR, body={"app_id": AppId | None, "vendor": Vendor | None, "since": Moment | None})
def request_listing(call: Call) -> int:
    """Ask for listings to be read. The order is applied when all are read, and names them."""
    app_id, vendor, known = call.body["app_id"], call.body["vendor"], call.service.app_ids
    apps = sorted(known) if app_id is None else [check_app(app_id, known)]
    vendors = list(Vendor) if vendor is None else [vendor]
    return place_reconcile(call.database, call.actor, apps, vendors, call.body["since"], call.now)


@post("/callbacks/<number:number>/replay", Role.OPERATOR)
def replay_callback(call: Call) -> int:
    """Judge a stored callback again, with the current secrets and code; creates no duplicates."""
    return place_replay(call.database, call.actor, call.now, ids=[call.number])


@post("/callbacks/replay", Role.OPERATOR, body={"verdict": Verdict, "app_id": AppId | None})
def replay_verdict(call: Call) -> int:
    """Judge all callbacks of one verdict again."""
    return place_replay(call.database, call.actor, call.now, known_apps=call.service.app_ids, **call.body)


@post(
    "/rules/previews",
    Role.ADMIN,
    status=HTTPStatus.CREATED,
    body={"rules": RulesText | None, "revision": _REVISION | None},
    reads_all=True,
)
def preview_rules(call: Call) -> rules.Preview:
    """Show what rules would do to the whole inventory, and store it as a preview; changes nothing."""
    service, candidate = call.service, _read_rules(call, **call.body)
    given = (call.database, service.reader, candidate, call.actor, service.find_settings().cooling_off)
    return rules.describe_preview(make_preview(*given, call.now, known_apps=service.app_ids))


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """What putting rules in force did (not `is_new`: they were already).

    What became due sooner by it waits until its old date, at most until `cooling_until`.
    """

    revision: int
    is_new: bool
    sooner_count: int
    cooling_until: datetime | None
    order: Order | None


@post(
    "/rules/revisions",
    Role.ADMIN,
    body={"preview": Number | None, "rules": RulesText | None, "revision": _REVISION | None, "expect": _SOONER | None},
    orders=True,
)
def apply_new_rules(call: Call) -> RulesInForce:
    """Put rules in force. Rules that make files due sooner need their preview: without it, 409 with a new one.

    Where every file of an app would be deleted, they need `expect`, too: without it, 409.
    """
    service, wanted = call.service, dict(call.body)
    preview, expect = wanted.pop("preview"), wanted.pop("expect")
    if preview is not None and set(wanted.values()) == {None}:
        candidate = candidate_of_preview(call.database, preview)
    else:
        candidate = _read_rules(call, **wanted)
    given = (call.database, service.reader, candidate, call.actor, service.find_settings().cooling_off)
    with call.backend.for_inventory():
        found = apply_rules(*given, service.now, preview_id=preview, expect=expect, known_apps=service.app_ids)
    applied = None if found.order is None else call.report(found.order)
    return take(RulesInForce, found, is_new=found.order is not None, order=applied)


@post(
    "/tokens",
    Role.ADMIN,
    status=HTTPStatus.CREATED,
    body={"name": Annotated[str, Field(min_length=1, max_length=100)], "role": Role, "expires_at": Moment | None},
)
def make_new_token(call: Call) -> audit.NewToken:
    """Make a token; only this answer holds its text."""
    name, role, ends = call.body.values()
    token, text = make_token(call.database, name, role, ends, call.actor, call.now)
    return take(audit.NewToken, token, token=text)


@post("/tokens/<number:number>/revoke", Role.ADMIN)
def revoke_one_token(call: Call) -> Token:
    """Revoke a token: it stops working at once."""
    return revoke_token(call.database, call.number, call.actor, call.now)


def _require_understood(call: Call) -> None:
    """What a stream pattern matches is known only once the callbacks that are there are understood."""
    if call.body["stream_pattern"] is not None:
        require_understood(call.database, call.body["app_id"], ORDER_WAIT_S, call.service.sleep)


def _read_rules(call: Call, rules: str | None, revision: int | None) -> Candidate:
    if (rules is None) == (revision is None):
        raise BadOrder("", "give one of rules and revision")
    if revision is not None:
        return candidate_of_revision(call.database, revision)
    return Candidate(parse_rules(rules or ""), "the console" if call.actor.through == "console" else "the API")
