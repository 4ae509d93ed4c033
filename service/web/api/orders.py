"""What people order through the API; and what else changes something: previews, rules and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from flask import Response
from pydantic import Field

from service.audit.checks import MAX_FILES, BadOrder, check_app
from service.audit.order import Order
from service.audit.store import Token
from service.audit.tokens import make_token, revoke_token
from service.callbacks.replay import place_replay
from service.files.actions import (
    ErasurePreview,
    ErasureRequest,
    confirm_files,
    erase_files,
    preview_erasure,
    retry_files,
)
from service.holds.holds import place_hold, release_hold
from service.listing.reconcile import place_reconcile
from service.model import Role, Vendor, Verdict
from service.preview.apply import apply_rules, candidate_of_preview, candidate_of_revision
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.sweep.orders import place_approval, place_sweep
from service.views.audit import NewToken
from service.views.files import FILES, FileDetail
from service.views.form import form_of, take, to_json
from service.views.holds import ERASURES, HOLDS, ErasureDetail, Hold
from service.views.listed import MAX_NUMBER
from service.views.rules import Preview, describe_preview
from service.web.api.fields import AppId, Moment, Number, Pattern, Reason
from service.web.api.routes import Call, answer_order, order, post

_RULES = '[[rules]]\nname = "trial rooms"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'
RulesText = Annotated[str, Field(min_length=1, max_length=100_000, examples=[_RULES])]
_STREAMS = {"app_id": AppId | None, "stream_pattern": Pattern | None, "reason": Reason}
_ERASED = {"files": Annotated[list[Number], Field(max_length=MAX_FILES)] | None, **_STREAMS}
_EXPECTED = Annotated[int, Field(ge=0, le=MAX_NUMBER, strict=True, description="`files` of the preview")]


@order("/files/<number:number>/retry", Role.OPERATOR, FILES, FileDetail)
def retry_file(call: Call) -> int:
    """Start over with a file that failed, or waits for its next attempt."""
    return retry_files(call.database, call.actor, [call.number], call.now)


@order("/files/<number:number>/confirm", Role.OPERATOR, FILES, FileDetail)
def confirm_file(call: Call) -> int:
    """Confirm an unconfirmed file: from now on the rules decide it."""
    return confirm_files(call.database, call.actor, [call.number], call.now)


@order(
    "/holds",
    Role.OPERATOR,
    HOLDS,
    Hold,
    status=HTTPStatus.CREATED,
    body={"file": Number | None, **_STREAMS, "until": Moment | None},
)
def place_new_hold(call: Call) -> tuple[int, int]:
    """Put a hold in force at once."""
    return place_hold(call.database, call.actor, now=call.now, known_apps=call.service.app_ids, **call.body)


@order("/holds/<number:number>/release", Role.OPERATOR, HOLDS, Hold)
def release_one_hold(call: Call) -> int:
    """End a hold: the rules count again."""
    return release_hold(call.database, call.actor, call.number, call.now)


@post("/erasures/previews", Role.ADMIN, form_of(ErasurePreview), body=_ERASED)
def preview_new_erasure(call: Call) -> ErasurePreview:
    """Show what an erasure would take; changes nothing."""
    return preview_erasure(call.database, _read_erasure(**call.body), known_apps=call.service.app_ids)


@order(
    "/erasures", Role.ADMIN, ERASURES, ErasureDetail, status=HTTPStatus.CREATED, body={**_ERASED, "expect": _EXPECTED}
)
def order_erasure(call: Call) -> tuple[int, int]:
    """Order files to be deleted by the next sweep; refused with a new preview if they are not as many as expected."""
    wanted, apps = dict(call.body), call.service.app_ids
    expect = wanted.pop("expect")
    return erase_files(call.database, call.actor, _read_erasure(**wanted), call.now, known_apps=apps, expect=expect)


@order("/runs", Role.OPERATOR)
def request_run(call: Call) -> int:
    """Ask for a sweep over everything that is due; the order is applied when it starts, and names its run."""
    return place_sweep(call.database, call.actor, call.now)


@order("/runs/<number:number>/approval", Role.ADMIN)
def approve_run(call: Call) -> int:
    """Approve what the breaker stopped in a run, and ask for one that deletes just that."""
    return place_approval(call.database, call.actor, call.number, call.now)


@order(
    "/listings",
    Role.OPERATOR,
    body={"app_id": AppId | None, "vendor": Vendor | None, "since": Moment | None},
)
def request_listing(call: Call) -> int:
    """Ask for listings to be read; the order is applied when all of them are, and names them."""
    app_id, vendor, known = call.body["app_id"], call.body["vendor"], call.service.app_ids
    apps = sorted(known) if app_id is None else [check_app(app_id, known)]
    vendors = list(Vendor) if vendor is None else [vendor]
    return place_reconcile(call.database, call.actor, apps, vendors, call.body["since"], call.now)


@order("/callbacks/<number:number>/replay", Role.OPERATOR)
def replay_callback(call: Call) -> int:
    """Judge a stored callback again, with the settings and the code of today; nothing is doubled."""
    return place_replay(call.database, call.actor, call.now, ids=[call.number])


@order("/callbacks/replay", Role.OPERATOR, body={"verdict": Verdict, "app_id": AppId | None})
def replay_verdict(call: Call) -> int:
    """Judge all callbacks of a verdict again."""
    return place_replay(call.database, call.actor, call.now, **call.body)


@post(
    "/rules/previews",
    Role.ADMIN,
    form_of(Preview),
    status=HTTPStatus.CREATED,
    body={"rules": RulesText | None, "revision": Number | None},
    reads_all=True,
)
def preview_rules(call: Call) -> Preview:
    """Show what rules would do, over the whole inventory; changes nothing, and is remembered for applying them."""
    service, candidate = call.service, _read_rules(call, **call.body)
    rules = (call.database, service.reader, candidate, call.actor, service.settings.cooling_off)
    return describe_preview(make_preview(*rules, call.now, known_apps=service.app_ids))


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """What putting rules in force did (not `is_new`: they were already); nothing is called before `cooling_until`."""

    revision: int
    is_new: bool
    sooner_count: int
    cooling_until: datetime | None
    order: Order | None


@post(
    "/rules/revisions",
    Role.ADMIN,
    form_of(RulesInForce),
    body={"preview": Number | None, "rules": RulesText | None, "revision": Number | None},
    orders=True,
)
def apply_new_rules(call: Call) -> Response:
    """Put rules in force. What makes files due sooner needs their preview: without it, 409 with a new one."""
    service, wanted = call.service, dict(call.body)
    preview = wanted.pop("preview")
    if preview is not None and set(wanted.values()) == {None}:
        candidate = candidate_of_preview(call.database, preview)
    else:
        candidate = _read_rules(call, **wanted)
    rules = (call.database, service.reader, candidate, call.actor, service.settings.cooling_off)
    with call.backend.threads.for_inventory():
        found = apply_rules(*rules, service.now, preview_id=preview, known_apps=service.app_ids)
    applied = None if found.order is None else call.report(found.order)
    return answer_order(to_json(take(RulesInForce, found, is_new=found.order is not None, order=applied)), applied)


@post(
    "/tokens",
    Role.ADMIN,
    form_of(NewToken),
    status=HTTPStatus.CREATED,
    body={"name": Annotated[str, Field(min_length=1, max_length=100)], "role": Role, "expires_at": Moment | None},
)
def make_new_token(call: Call) -> NewToken:
    """Make a token; the answer holds its text, this once."""
    name, role, ends = call.body.values()
    token, text = make_token(call.database, name, role, ends, call.actor, call.now)
    return take(NewToken, token, token=text)


@post("/tokens/<number:number>/revoke", Role.ADMIN, form_of(Token))
def revoke_one_token(call: Call) -> Token:
    """Make a token useless from now on."""
    return revoke_token(call.database, call.number, call.actor, call.now)


def _read_erasure(files: list[int] | None, **more: Any) -> ErasureRequest:  # noqa: ANN401  (its other fields)
    return ErasureRequest(files=tuple(files or ()), **more)


def _read_rules(call: Call, rules: str | None, revision: int | None) -> Candidate:
    if (rules is None) == (revision is None):
        raise BadOrder("", "give one of rules and revision")
    if revision is not None:
        return candidate_of_revision(call.database, revision)
    return Candidate(parse_rules(rules or ""), "the API")
