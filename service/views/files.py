"""Media files: one alone, with its attempts, with the reasons for its fate; and how they are listed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.audit.store import find_block
from service.database import Database, Transaction
from service.files import explain, list_store
from service.files.policy import PolicyReader
from service.files.store import find_file
from service.filters import FileFilter
from service.model import END_STATES, FileState, MediaFile, Outcome, Suspicion, Vendor, WaitReason
from service.rules.explain import LineResult
from service.sweep import records
from service.sweep import store as sweep_store
from service.sweep.reports import describe_app_state, describe_plan
from service.views.form import AT, Form, Known, eg
from service.views.holds import Erasure, Hold, describe_holds
from service.views.listed import Column, Kind, Listed, Page, find_row


class LastOutcome(Form):
    """What came of the last attempt that is on record."""

    outcome: Outcome = eg("retryable")
    code: str | None = eg("1000")
    message: str | None = eg("busy")
    request_id: str | None = eg("1234567890")
    at: datetime | None = eg(AT)


class File(Form):
    """A media file."""

    id: int = eg(17, "its number, which every command takes")
    app_id: str = eg("1234567890")
    vendor: Vendor = eg("Tencent")
    file_id: str = eg("5285890784273533167")
    stream_id: Known = eg("trial-7")
    event: Known = eg("record")
    state: FileState = eg("scheduled")
    state_reason: str = eg('rule "trial rooms" keeps it for 1d')
    began_at: datetime | None = eg("2026-03-01T11:00:00Z")
    ended_at: datetime | None = eg(AT)
    received_at: datetime = eg(AT, "when it became known here")
    duration_s: float | None = eg(3600.0)
    size_bytes: int | None = eg(104857600)
    replay_url: str | None = eg("https://cdn.example/5285890784273533167.mp4")
    name: str | None = eg("trial-7")
    vendor_created_at: datetime | None = eg("2026-03-01T12:00:41Z")
    adopted_at: datetime | None = eg(None)
    confirmed_at: datetime | None = eg("2026-03-01T18:30:00Z")
    rule: str | None = eg("trial rooms")
    revision: int | None = eg(2, "the rule set that it was decided under")
    due_at: datetime | None = eg("2026-03-02T12:00:00Z", "when its rule deletes it; null: never, as things stand")
    wait_until: datetime | None = eg(None, "it is not called before, whatever its date is")
    wait_reason: WaitReason | None = eg(None)
    erasure_id: int | None = eg(None)
    held: bool = eg(False)
    attempts: int = eg(1, "charged ones, since it was first asked for or retried")
    last_outcome: LastOutcome | None

    @property
    def call_after(self) -> datetime | None:
        """When it may be called: the later of its date and the end of its wait; None: never."""
        if self.due_at is None or self.wait_until is None or self.state in END_STATES:
            return None if self.state in END_STATES else self.due_at
        return max(self.due_at, self.wait_until)


class Attempt(Form):
    """One file in one call, with the decision behind it; `outcome` is null while its answer is not on record."""

    id: int = eg(5)
    run: int = eg(12, of="run_id")
    call: int = eg(3, of="call_id")
    file: int = eg(17, of="media_file_id")
    opened_at: datetime = eg(AT)
    ended_at: datetime | None = eg(AT)
    rule: str | None = eg("trial rooms")
    revision: int = eg(2)
    due_at: datetime | None = eg(AT)
    reason: str = eg('rule "trial rooms" keeps it for 1d')
    outcome: Outcome | None = eg("deleted")
    charged: bool | None = eg(True)
    code: str | None = eg("0")
    message: str | None = eg("success")
    request_id: str | None = eg("1234567890")


class FileDetail(File):
    """A media file with everything that was attempted, the oldest attempt first."""

    suspicion: Suspicion | None = eg(None)
    listed_in: int | None = eg(4, "the last listing that showed it")
    missing_since: datetime | None = eg(None, "when the first of the complete listings in a row that lack it began")
    timeline: list[Attempt]


class ExplanationLine(Form):
    """What a hold, a suspicion, an erasure or a rule contributes; `name` is that of the rule, or one of these words."""

    name: str = eg("trial rooms")
    result: LineResult = eg("decides")
    why: str = eg('rule "trial rooms" keeps it for 1d')


class AppliedRules(Form):
    """When the rules were applied that decided."""

    number: int = eg(2)
    applied_at: datetime = eg(AT)
    applied_by: str = eg("support desk")
    through: str = eg("API")
    source: str = eg("the API")


class Explanation(Form):
    """Why a file is where it is; of one that has ended, why it was deleted then.

    `state`, `rule` and `due_at` are as they would be decided now, `lines` what counts, in the order in which it counts.
    """

    file: FileDetail
    state: FileState = eg("scheduled")
    rule: str | None = eg("trial rooms")
    due_at: datetime | None = eg("2026-03-02T12:00:00Z")
    reason: str = eg('rule "trial rooms" keeps it for 1d')
    date: str | None = eg("ended 2026-03-01 12:00 UTC + 1d = 2026-03-02 12:00 UTC", "how its date comes about")
    wait: str | None = eg(None, "what it waits for")
    latest: str | None = eg(None, "why its rank among the recordings of its stream keeps it")
    lines: list[ExplanationLine]
    holds: list[Hold]
    erasure: Erasure | None
    applied: AppliedRules | None
    revision_in_force: int = eg(2)
    next_step: str = eg("deleted by the first sweep after 2026-03-02 12:00 UTC, if the rules still say so then")
    obstacles: list[str] = eg([], "what stands in the way of any call of its app")


def explain_file(
    database: Database, reader: PolicyReader, number: int, now: datetime, *, sweeps: bool = True
) -> Explanation:
    """Say why a file is where it is, and what happens next.

    Raises:
        NoSuchThing: there is no such file.
    """
    found = explain.explain_file(database, reader, number, now, sweeps=sweeps)
    file, decided = found.file, found.decided
    with database.read() as tx:
        return Explanation(
            file=_detail(tx, file),
            state=FileState.KEPT if found.latest else decided.state,
            rule=decided.rule,
            due_at=None if found.latest or decided.state is FileState.KEPT else decided.due_at,
            reason=found.latest or decided.state_reason,
            date=found.date,
            wait=found.wait,
            latest=found.latest,
            lines=[ExplanationLine.model_validate(line) for line in found.lines],
            holds=describe_holds(tx, found.holds),
            erasure=found.erasure and Erasure.model_validate(found.erasure),
            applied=found.revision and AppliedRules.model_validate(found.revision, extra="ignore"),
            revision_in_force=found.in_force,
            next_step=found.next_step,
            obstacles=[] if file.state in END_STATES else _list_obstacles(tx, file, now),
        )


def describe_files(tx: Transaction, files: Iterable[MediaFile]) -> list[File]:
    """The forms of these files, each with its last outcome."""
    files = list(files)
    numbers = {file.last_attempt_id for file in files if file.last_attempt_id is not None}
    attempts = sweep_store.find_attempts(tx, numbers)
    return [_describe(file, attempts.get(file.last_attempt_id or 0)) for file in files]


def _describe(file: MediaFile, last: records.Attempt | None) -> File:
    facts = file._asdict() | {
        "ended_at": None if file.is_adopted and file.vendor_created_at is None else file.ended_at,
        # A file that is kept for its rank has a date, which does not count as long as it is.
        "due_at": None if file.state is FileState.KEPT else file.due_at,
        "revision": file.revision if file.revision >= 0 else None,
        "held": file.state is FileState.HELD,
        "last_outcome": _describe_outcome(file, last),
    }
    return File(**{name: facts[name] for name in File.model_fields})


def _describe_outcome(file: MediaFile, last: records.Attempt | None) -> LastOutcome | None:
    if file.last_outcome is None:
        return None
    if last is None or last.outcome is None:  # it was pruned, or another one is open
        return LastOutcome(outcome=file.last_outcome, code=None, message=None, request_id=None, at=None)
    return LastOutcome(
        outcome=file.last_outcome, code=last.code, message=last.message, request_id=last.request_id, at=last.ended_at
    )


def _detail(tx: Transaction, file: MediaFile) -> FileDetail:
    [form] = describe_files(tx, [file])
    more = {name: getattr(file, name) for name in ("suspicion", "listed_in", "missing_since")}
    timeline = [Attempt.model_validate(attempt) for attempt in sweep_store.list_attempts(tx, file=file.id)]
    return FileDetail(**dict(form), **more, timeline=timeline)


def _list_obstacles(tx: Transaction, file: MediaFile, now: datetime) -> list[str]:
    states = [state for state in sweep_store.list_app_states(tx, file.app_id) if state.vendor in (None, file.vendor)]
    plan = sweep_store.find_open_plan(tx, file.app_id)
    blocked = find_block(tx, file.app_id)
    return [
        *(describe_app_state(each) for each in states if each.blocked or (each.until is not None and each.until > now)),
        *([] if plan is None else [describe_plan(plan)]),
        *([] if blocked is None else [blocked]),
    ]


def _read(tx: Transaction, wanted: FileFilter, cursor: int, limit: int) -> tuple[list[File], int | None]:
    files, resume = list_store.list_page(tx, wanted, limit, after=cursor)
    return describe_files(tx, files), resume


FILES = Listed[FileFilter, File, FileDetail](
    "file",
    "files list",
    Page[File],
    _read,
    list_store.count_files,
    find_row(find_file, _detail),
    (
        Column("id", lambda file: file.id, Kind.NUMBER),
        Column("app", lambda file: file.app_id, priority=2),
        Column("stream", lambda file: file.stream_id, Kind.PROSE),
        Column("vendor", lambda file: file.vendor, priority=3),
        Column("state", lambda file: file.state),
        Column("rule", lambda file: file.rule, Kind.PROSE, 4),
        Column("due", lambda file: file.call_after, Kind.MOMENT),
        Column("size", lambda file: file.size_bytes, Kind.SIZE, 5),
        Column("file id", lambda file: file.file_id, priority=6),
    ),
)
"""Files by number."""
