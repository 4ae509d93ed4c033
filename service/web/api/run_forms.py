"""What the API answers about passes, and how things stand; for OpenAPI, as in `forms`."""

from __future__ import annotations

from service.web.api.forms import Form, Page, eg

_AT = "2026-03-01T12:00:00Z"


class Run(Form):
    """One pass of the sweep, with its totals."""

    id: int = eg(12)
    trigger: str = eg("schedule")
    state: str = eg("stopped")
    slot_at: str | None = eg(_AT)
    started_at: str | None = eg(_AT)
    finished_at: str | None = eg(_AT)
    worker: str = eg("host/4711")
    note: str | None = eg("the breaker stopped app 1234567890")
    calls: int = eg(3)
    outcomes: dict[str, int] = eg({"deleted": 250})
    unanswered: int = eg(0)
    purges_failed: int = eg(0)


class RunPage(Page):
    """Passes, the newest first."""

    items: list[Run]


class Plan(Form):
    """What a pass wanted to delete of an app when the breaker stopped it; `files` are the first numbers."""

    run: int = eg(12)
    app_id: str = eg("1234567890")
    state: str = eg("open")
    reason: str = eg("12,000 files are due that nobody approved, more than BREAKER_FILES=10,000 in one pass")
    files_count: int = eg(12000)
    present_count: int = eg(50000)
    made_at: str | None = eg(_AT)
    settled_at: str | None = eg(None)
    settled_by: str | None = eg(None)
    files: list[int] = eg([17, 18, 19])


class RunInFull(Run):
    """One pass, with the plans of the apps that the breaker stopped."""

    plans: list[Plan]


class Call(Form):
    """One call of DeleteMedia; `raw` is ZEGO's answer as it came."""

    id: int = eg(3)
    app_id: str = eg("1234567890")
    vendor: str = eg("Tencent")
    opened_at: str | None = eg(_AT)
    answered_at: str | None = eg(_AT)
    http_status: int | None = eg(200)
    code: str | None = eg("0")
    message: str | None = eg("success")
    request_id: str | None = eg("1234567890")
    cache_purge: str | None = eg("done")
    raw: str | None = eg('{"Code":0}')


class CallPage(Page):
    """The calls of a pass, in their order."""

    items: list[Call]


class PassRequest(Form):
    """A pass that the worker was asked for; it appears among the runs when it starts."""

    trigger: str = eg("command")
    approved_run: int | None = eg(None)
    requested_at: str | None = eg(_AT)
    requested_by: str = eg("support desk")


class Approval(PassRequest):
    """Plans that were approved, and the pass that the worker was asked for."""

    apps: list[str] = eg(["1234567890"])


class Totals(Form):
    """How much of everything there is."""

    files: dict[str, int] = eg({"kept": 10, "scheduled": 40, "deleted": 3})
    due: int = eg(2)
    cooling: int = eg(5)
    observed_due: int = eg(0)
    stopped_apps: list[str] = eg([])
    overdue_unconfirmed: int = eg(0)
    purges_failed: int = eg(0)
    oldest_due_age_s: float = eg(61.5)
    callbacks: dict[str, int] = eg({"accepted": 53})
    unfinished: int = eg(0)
    blocked: list[list[str]] = eg([["1234567890", "Tencent"]])
    paused: list[list[str]] = eg([])
    runs: dict[str, int] = eg({"done": 12})
    last_pass_at: str | None = eg(_AT)
    revision: int = eg(2)
    lost_callbacks: dict[str, int] = eg({"1234567890": 2})
    listed_at: list[list[str | None]] = eg([["1234567890", "Tencent", _AT]])
    incomplete_listings: list[list[str]] = eg([["1234567890", "Ws"]])
