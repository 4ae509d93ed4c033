"""What the API answers about orders of people: holds, erasures, plans, the audit; for OpenAPI, as in `forms`."""

from __future__ import annotations

from typing import Any

from service.web.api.forms import Attempt, File, Form, Page, eg

_AT = "2026-03-01T12:00:00Z"


class Hold(Form):
    """An order to keep."""

    id: int = eg(4)
    app_id: str = eg("1234567890")
    file: int | None = eg(None)
    vendor: str | None = eg(None)
    file_id: str | None = eg(None)
    stream_pattern: str | None = eg("lesson-*")
    reason: str = eg("audit of the spring term")
    until: str | None = eg("2026-12-31T00:00:00Z")
    placed_at: str | None = eg(_AT)
    placed_by: str = eg("support desk")
    through: str = eg("API")
    released_at: str | None = eg(None)
    released_by: str | None = eg(None)
    settled_at: str | None = eg(_AT)


class HoldPage(Page):
    """Holds by number."""

    items: list[Hold]


class SettledHold(Hold):
    """A hold, with how many files it covers that are held now."""

    files: int = eg(12)


class PlacedHold(SettledHold):
    """A new hold, with the files that a call may have been sent for before it was there."""

    in_flight: list[int] = eg([])


class Erasure(Form):
    """A request that files go."""

    id: int = eg(2)
    requested_at: str | None = eg(_AT)
    requested_by: str = eg("support desk")
    through: str = eg("API")
    reason: str = eg("the learner asked for it, ticket 4711")
    app_id: str | None = eg("1234567890")
    stream_pattern: str | None = eg("lesson-4711")
    files: int = eg(3)
    settled_at: str | None = eg(_AT)


class ErasurePage(Page):
    """Erasures by number."""

    items: list[Erasure]


class ErasureInFull(Erasure):
    """An erasure, with its files by their state now."""

    by_state: dict[str, int] = eg({"scheduled": 3})


class ErasurePreview(Form):
    """What an erasure would do; `files` and `digest` are what to expect in the request."""

    app_id: str | None = eg("1234567890")
    stream_pattern: str | None = eg("lesson-4711")
    files: int = eg(3)
    digest: str = eg("5f2b9e0c41d7a386")
    held: int = eg(0)
    unconfirmed: int = eg(0)
    failed: int = eg(0)
    ended: int = eg(1)
    by_state: dict[str, int] = eg({"kept": 3})
    by_vendor: dict[str, int] = eg({"Tencent": 3})
    samples: list[File]


class AuditEntry(Form):
    """One change by a person, a token or the settings, with its place in the chain."""

    id: int = eg(90)
    at: str | None = eg(_AT)
    actor: str = eg("support desk")
    through: str = eg("API")
    action: str = eg("place_hold")
    subject: str = eg("hold 4")
    detail: Any = eg({"stream_pattern": "lesson-*"})
    position: int | None = eg(90)
    hash: str | None = eg("5f2b9e0c41d7a3865f2b9e0c41d7a3865f2b9e0c41d7a3865f2b9e0c41d7a386")


class AuditPage(Page):
    """Entries of the audit, the newest first."""

    items: list[AuditEntry]


class ExplainedRule(Form):
    """What one line (a hold, a doubt, an erasure, a rule) means for a file."""

    name: str = eg("trial rooms")
    result: str = eg("decides")
    why: str = eg('rule "trial rooms" keeps it for 1d')


class AppliedRevision(Form):
    """When the rules were applied that decided."""

    at: str | None = eg(_AT)
    by: str = eg("support desk")
    through: str | None = eg("API")
    source: str = eg("the API")


class Decision(Form):
    """What rules and holds say of a file."""

    action: str = eg("wait")
    rule: str | None = eg("trial rooms")
    due_at: str | None = eg("2026-03-02T12:00:00Z")
    observed_due_at: str | None = eg(None)
    reason: str = eg('rule "trial rooms" keeps it for 1d')
    arithmetic: str | None = eg("ended 2026-03-01 12:00 UTC + 1d = 2026-03-02 12:00 UTC")
    approval: str | None = eg("preview 7")


class Explanation(Form):
    """Why a file is where it is; `as_of` is null where the decision is that of now."""

    file: File
    as_of: str | None = eg(None)
    revision: int = eg(2)
    revision_in_force: int = eg(2)
    applied: AppliedRevision | None
    decision: Decision
    rules: list[ExplainedRule]
    holds: list[Hold]
    erasure: Erasure | None
    cooling: str | None = eg(None)
    attempts: list[Attempt]
    next_step: str = eg("deleted by the first sweep after 2026-03-02 12:00:00 UTC, if the rules still let it go then")
