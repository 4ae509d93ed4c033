"""What is on record of a sweep: runs, calls, attempts, plans, and why an app is not called at the moment.

The fields of the records are the columns of their tables, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.model import FileState, MediaFile, Outcome, Vendor
from service.units import describe_moment
from service.zego.messages import Transport
from service.zego.refusals import advise_on_code


class RunState(StrEnum):
    """How the record of one run stands; documented in docs/sweep.md."""

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
    """How a plan stands that the breaker stopped; documented in docs/sweep.md."""

    OPEN = "open"
    APPROVED = "approved"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Run:
    """One sweep with its totals: each file counts by its last outcome in it, or as `unanswered`.

    `purges_failed` are deleted files that Wangsu's cache still has; `freed_…` is what the deleted ones held, as far as
    known.
    """

    id: int
    trigger: Trigger
    state: RunState
    started_at: datetime
    finished_at: datetime | None
    worker: str
    note: str | None
    calls: int
    unanswered: int
    deleted: int
    gone: int
    retryable: int
    rejected: int
    blocked: int
    unknown: int
    purges_failed: int
    freed_s: float
    freed_bytes: int

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many files had which outcome; without those that none had."""
        found = {outcome: getattr(self, outcome.value) for outcome in Outcome}
        return {outcome: count for outcome, count in found.items() if count}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of DeleteMedia: written before it is sent, completed when its answer is understood."""

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

    A predicate with a number, not a list: files of the app that were due at `made_at` under `revision`, with numbers up
    to `highest_id`; `files_count` of them. Approved, it is a budget, of which `called` are used up.
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

    def covers(self, file: MediaFile) -> bool:
        """Whether a file was due and known when it was made."""
        return file.id <= self.highest_id and file.call_after is not None and file.call_after <= self.made_at

    def describe(self) -> str:
        """What the breaker stopped, and what to do."""
        when = describe_moment(self.made_at)
        return f"the breaker stopped app {self.app_id} at {when}: {self.reason}; {describe_remedy(self.run_id)}"


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

    def pauses_at(self, now: datetime) -> bool:
        """Whether it pauses; a pause that began under a clock that was set back is over."""
        return self.until is not None and self.since <= now < self.until

    def stops_calls_at(self, now: datetime) -> bool:
        """Whether it is blocked, or pauses."""
        return self.blocked or self.pauses_at(now)

    def describe(self) -> str:
        """Why it is not called, and what to do."""
        what = f"app {self.app_id}" + (f", vendor {self.vendor.value}" if self.vendor else "")
        if not self.blocked:
            until = "" if self.until is None else f" until {describe_moment(self.until)}"
            return f"{what} pauses{until}: {self.answer}"
        return f"{what} has been blocked since {describe_moment(self.since)}: {self.answer}; {self.advice}"

    @property
    def answer(self) -> str:
        """What ZEGO answered, or why nothing came back."""
        return self.message if self.code in set(Transport) else f"ZEGO answered {self.code} {self.message}".rstrip()

    @property
    def advice(self) -> str:
        """What a person can do where it is blocked."""
        return f"{advise_on_code(self.code)}; the next sweep tries one file"


def describe_unknown(app_id: str) -> str:
    """What is wrong with an app of which files are due."""
    return f"app {app_id} is not in the settings: add it"


def describe_remedy(plan_run: int) -> str:
    """What to do about an open plan."""
    return f"see `zego-retention runs show {plan_run}`, then `zego-retention sweep --approve {plan_run}`"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A file that a call ended: `deleted`, or `gone` already; with the decision behind it and ZEGO's request id.

    `state` is the one of now: a listing may have found the file again. An erasure has no rule and no revision.
    """

    id: int
    deleted_at: datetime
    outcome: Outcome
    app_id: str
    vendor: Vendor
    media_file_id: int
    file_id: str
    stream_id: str
    name: str | None
    duration_s: float | None
    size_bytes: int | None
    rule: str | None
    revision: int | None
    due_at: datetime | None
    reason: str
    erasure_id: int | None
    asked_at: datetime
    run_id: int
    call_id: int
    request_id: str | None
    code: str | None
    message: str | None
    state: FileState


@dataclass(frozen=True, slots=True)
class DeletionTotal:
    """How many files a rule of a revision has ended of an app, and how much they held as far as that is known.

    Erasures have no rule and no revision.
    """

    outcome: Outcome
    app_id: str
    rule: str | None
    revision: int | None
    files: int
    duration_s: float
    size_bytes: int
