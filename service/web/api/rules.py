"""Rules: those in force, their history, previews, and applying a change that a preview is bound to."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from service.model import NoSuchThing, Role
from service.preview.apply import apply_rules, candidate_of_preview, candidate_of_revision
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.views.audit import Order
from service.views.form import Form, eg
from service.views.listed import Page
from service.views.rules import (
    PREVIEWS,
    REVISIONS,
    RULES,
    ComparedFile,
    Preview,
    PreviewInShort,
    Revision,
    RevisionDetail,
    describe_preview,
    find_current,
    list_sooner,
)
from service.web.api.fields import NoBody, NoQuery, Number, Paging, Strict
from service.web.api.routes import Call, Plain, Routes, page

routes = Routes("rules", "The retention rules: in force, as they were, and as they could be.")

_SOURCE = "the API"

RulesText = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class NewPreview(Strict):
    """Rules to compare with those in force: a rules file in TOML, or an earlier revision."""

    rules: RulesText | None = Field(None, examples=[RULES])
    revision: Number | None = Field(None, examples=[None], description="An earlier revision, to return to it")

    @model_validator(mode="after")
    def _choose(self) -> NewPreview:
        if (self.rules is None) == (self.revision is None):
            raise ValueError("give one of rules and revision")
        return self


class NewRules(Strict):
    """Rules to put in force: those of a preview, or others that make no more files due sooner than it shows."""

    preview: Number | None = Field(None, examples=[7], description="The preview that was looked at")
    rules: RulesText | None = Field(None, examples=[None])
    revision: Number | None = Field(None, examples=[None], description="An earlier revision, to return to it")

    @model_validator(mode="after")
    def _choose(self) -> NewRules:
        if self.rules is not None and self.revision is not None:
            raise ValueError("give no more than one of rules and revision")
        if self.preview is None and self.rules is None and self.revision is None:
            raise ValueError("give preview, rules or revision")
        return self


class RulesInForce(Form):
    """What putting rules in force did; none of the files made due sooner is called before `cooling_until`."""

    revision: int = eg(2)
    is_new: bool = eg(True, "false: these rules were in force already")
    sooner_count: int = eg(12)
    cooling_until: datetime | None = eg("2026-03-02T12:00:00Z")
    order: Order | None


@routes.get("/rules", problems=[HTTPStatus.NOT_FOUND])
def show_rules(call: Plain) -> RevisionDetail:
    """Show the rules in force."""
    with call.database.read() as tx:
        found = find_current(tx)
    if found is None:
        raise NoSuchThing("there are no rules yet: nothing is ever deleted")
    return found


@routes.get("/rules/revisions")
def list_revisions(call: Call[Paging, NoBody]) -> Page[Revision]:
    """List every rule set that was in force, the newest first."""
    return page(call, REVISIONS, None)


@routes.get("/rules/revisions/<number:number>")
def show_revision(call: Plain) -> RevisionDetail:
    """Show a revision with its rules."""
    return REVISIONS.show(call.database, call.number)


@routes.get("/rules/previews")
def list_previews(call: Call[Paging, NoBody]) -> Page[PreviewInShort]:
    """List previews, the newest first."""
    return page(call, PREVIEWS, None)


@routes.post("/rules/previews", role=Role.ADMIN, status=HTTPStatus.CREATED)
def preview_rules(call: Call[NoQuery, NewPreview]) -> Preview:
    """Show what rules would do, over the whole inventory; changes nothing, and is remembered for applying them."""
    candidate = _read(call, call.body.rules, call.body.revision)
    service = call.service
    with call.backend.threads.for_inventory():
        made = make_preview(
            call.database,
            service.reader,
            candidate,
            call.actor,
            service.settings.cooling_off,
            call.now(),
            known_apps=service.app_ids,
        )
    return describe_preview(made)


@routes.get("/rules/previews/<number:number>")
def show_preview(call: Plain) -> Preview:
    """Show a preview as it was made."""
    return PREVIEWS.show(call.database, call.number)


@routes.get("/rules/previews/<number:number>/sooner", problems=[HTTPStatus.CONFLICT])
def list_sooner_files(call: Call[Paging, NoBody]) -> Page[ComparedFile]:
    """List the files that a preview makes due sooner, as they are now: stream by stream, the newest first."""
    limit, after = call.query.limit, call.query.cursor or 0
    with call.backend.threads.for_inventory():
        return list_sooner(call.database, call.service.reader, call.number, call.now(), limit, after)


@routes.post("/rules/revisions", role=Role.ADMIN)
def apply_new_rules(call: Call[NoQuery, NewRules]) -> RulesInForce:
    """Put rules in force. What makes files due sooner needs their preview: without it, 409 with a new one."""
    body, service = call.body, call.service
    if body.preview is not None and body.rules is None and body.revision is None:
        candidate = candidate_of_preview(call.database, body.preview)
    else:
        candidate = _read(call, body.rules, body.revision)
    with call.backend.threads.for_inventory():
        applied = apply_rules(
            call.database,
            service.reader,
            candidate,
            call.actor,
            service.settings.cooling_off,
            service.now,
            preview_id=body.preview,
            known_apps=service.app_ids,
        )
    return RulesInForce(
        revision=applied.revision,
        is_new=applied.order is not None,
        sooner_count=applied.sooner_count,
        cooling_until=applied.cooling_until,
        order=None if applied.order is None else call.report(applied.order),
    )


def _read(call: Call[NoQuery, NewPreview] | Call[NoQuery, NewRules], text: str | None, number: int | None) -> Candidate:
    if number is not None:
        return candidate_of_revision(call.database, number)
    return Candidate(parse_rules(text or ""), _SOURCE)
