"""What is on record of a sweep: runs, calls, attempts, plans, and why an app is not called at the moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.model import Outcome, Vendor


class RunState(StrEnum):
    """How the record of one run stands; documented in docs/files.md."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    LOST = "lost"


class Trigger(StrEnum):
    """What started a run."""

    SCHEDULE = "schedule"
    RETRY = "retry"
    COMMAND = "command"
    APPROVAL = "approval"


class PlanState(StrEnum):
    """How a plan stands that the breaker stopped; documented in docs/files.md."""

    OPEN = "open"
    APPROVED = "approved"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Run:
    """The record of one sweep; its totals are counted from its attempts."""

    id: int
    trigger: Trigger
    state: RunState
    started_at: datetime
    finished_at: datetime | None
    worker: str
    note: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One DeleteMedia call: written before it is sent, completed when its answer is understood."""

    id: int
    run_id: int
    app_id: str
    vendor: Vendor
    opened_at: datetime
    answered_at: datetime | None
    http_status: int | None
    code: str | None
    message: str | None
    request_id: str | None
    cache_code: str | None
    raw: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One file in one call: written before the call with the decision behind it, completed with the outcome."""

    id: int
    call_id: int
    run_id: int
    media_file_id: int
    opened_at: datetime
    rule: str | None
    revision: int
    due_at: datetime | None
    reason: str
    outcome: Outcome | None
    charged: bool | None
    code: str | None
    message: str | None
    request_id: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would have deleted of one app when the breaker stopped it.

    It is a predicate with a number, not a list: files of the app that were due at `made_at` under `revision`, with
    numbers up to `highest_id`; `files_count` of them. Approved, it is a budget, of which `called` are used up.
    """

    run_id: int
    app_id: str
    made_at: datetime
    revision: int
    highest_id: int
    files_count: int
    present_count: int
    reason: str
    state: PlanState
    ended_at: datetime | None
    ended_by: str | None
    called: int

    @property
    def budget(self) -> int:
        """How many files it still covers."""
        return max(self.files_count - self.called, 0)


@dataclass(frozen=True, slots=True)
class AppState:
    """Why an app, or one vendor of it (`vendor` set), is not called at the moment. No such record: it is.

    `blocked`: a person has to act, and one probe call per sweep looks whether that has happened. Else it pauses until
    `until`.
    """

    app_id: str
    vendor: Vendor | None
    blocked: bool
    since: datetime
    until: datetime | None
    failures: int
    code: str
    message: str
