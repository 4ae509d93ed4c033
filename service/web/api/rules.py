"""Rules: those in force, their history, previews, and applying a change that a preview is bound to."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints, model_validator

from service.core.model import Role
from service.core.rules_file import parse_rules
from service.usecases.applying import apply_rules, candidate_of_preview
from service.usecases.inventory import NoSuchThing, iso
from service.usecases.policy import Candidate, candidate_of, list_revisions, show_revision
from service.usecases.previewing import make_preview, show_preview
from service.web.api.fields import Number, Query, Strict, page_of
from service.web.api.routes import JsonObject, Routes
from service.web.api.rule_forms import RULES, AppliedRules, Preview, Revision, RevisionPage

if TYPE_CHECKING:
    from service.core.model import Actor
    from service.wiring import Service

routes = Routes("rules", "The retention rules: in force, as they were, and as they could be.")

_LONGEST = 100_000
_SOURCE = "the API"

RulesText = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST)]


class PreviewOrder(Strict):
    """Rules to hold against those in force: a rules file in TOML, or an earlier revision."""

    rules: RulesText | None = Field(None, examples=[RULES])
    revision: Number | None = Field(None, examples=[None], description="An earlier revision, to go back to it")

    @model_validator(mode="after")
    def _choose(self) -> PreviewOrder:
        if (self.rules is None) == (self.revision is None):
            raise ValueError("give one of rules and revision")
        return self


class Change(Strict):
    """Rules to put in force: those of a preview, or others that make no file due sooner than the preview shows."""

    preview: Number | None = Field(None, examples=[7], description="The preview that was looked at")
    rules: RulesText | None = Field(None, examples=[None])
    revision: Number | None = Field(None, examples=[None], description="An earlier revision, to go back to it")

    @model_validator(mode="after")
    def _choose(self) -> Change:
        if self.rules is not None and self.revision is not None:
            raise ValueError("give no more than one of rules and revision")
        if self.preview is None and self.rules is None and self.revision is None:
            raise ValueError("give preview, rules or revision")
        return self


@routes.get("/rules", role=Role.VIEWER, answer=Revision, problems=[HTTPStatus.NOT_FOUND])
def show_rules(service: Service) -> JsonObject:
    """Show the rules in force."""
    found = show_revision(service.database)
    if found is None:
        raise NoSuchThing("there are no rules yet: nothing is ever deleted")
    return found


@routes.get("/rules/revisions", role=Role.VIEWER, answer=RevisionPage, query=Query)
def list_all_revisions(service: Service, query: Query) -> JsonObject:
    """List every rule set that was in force, the newest first."""
    found = list_revisions(service.database, query.limit + 1, before=query.cursor)
    return page_of(found, query.limit, key="number")


@routes.get("/rules/revisions/<number:number>", role=Role.VIEWER, answer=Revision)
def show_one_revision(service: Service, number: int) -> JsonObject:
    """Show a revision with its rules."""
    found = show_revision(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no revision {number}")
    return found


@routes.post(
    "/rules/previews",
    role=Role.ADMIN,
    answer=Preview,
    body=PreviewOrder,
    status=HTTPStatus.CREATED,
    problems=[HTTPStatus.NOT_FOUND],
)
def preview_rules(service: Service, body: PreviewOrder, actor: Actor) -> JsonObject:
    """Tell what rules would do, over the whole inventory; changes nothing, and is remembered for applying them."""
    candidate = _read(service, body.rules, body.revision)
    return make_preview(service.database, candidate, actor, service.settings.cooling_off, service.now())


@routes.get("/rules/previews/<number:number>", role=Role.VIEWER, answer=Preview)
def show_one_preview(service: Service, number: int) -> JsonObject:
    """Show a preview as it was made."""
    found = show_preview(service.database, number)
    if found is None:
        raise NoSuchThing(f"there is no preview {number}")
    return found


@routes.post(
    "/rules/revisions",
    role=Role.ADMIN,
    answer=AppliedRules,
    body=Change,
    problems=[HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT],
)
def change_rules(service: Service, body: Change, actor: Actor) -> JsonObject:
    """Put rules in force. What makes files due sooner needs their preview: without it, 409 with a new one."""
    if body.preview is not None and body.rules is None and body.revision is None:
        candidate = candidate_of_preview(service.database, body.preview)
    else:
        candidate = _read(service, body.rules, body.revision)
    applied = apply_rules(
        service.database, candidate, actor, service.settings.cooling_off, service.now, preview_id=body.preview
    )
    return {
        "revision": applied.revision,
        "is_new": applied.is_new,
        "decided": applied.decided,
        "sooner": applied.sooner,
        "cooling_until": iso(applied.cooling_until),
    }


def _read(service: Service, text: str | None, number: int | None) -> Candidate:
    if number is not None:
        return candidate_of(service.database, number)
    return Candidate(parse_rules(text or ""), _SOURCE)
