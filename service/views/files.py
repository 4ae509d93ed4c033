"""Media files, with their attempts and the reasons for their fate; and what people order for them: holds, erasures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from service import model
from service.audit.order import OrderKind
from service.audit.store import find_block
from service.database import Database, Transaction
from service.files import explain
from service.files import store as files_store
from service.files.actions import list_possible
from service.files.policy import PolicyReader
from service.filters import FileFilter, HoldFilter
from service.health.checks import NO_LEADER, check_worker, find_slots
from service.holds import store as holds_store
from service.model import END_STATES, FileState, MediaFile, Outcome, Suspicion, Vendor, WaitReason
from service.rules.decide import is_unjudged
from service.rules.explain import Line
from service.rules.store import Revision
from service.settings import Settings
from service.sweep import records
from service.sweep import store as sweep_store
from service.views.form import Known, Listed, show_as, take


@dataclass(frozen=True, slots=True)
class LastOutcome:
    """What came of the last attempt that is on record."""

    outcome: Outcome
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A media file.

    `due_at` is when its rule deletes it (None: never, as things stand), whatever it waits for; `revision` the rule set
    that it was decided under, `attempts` the charged ones since it was first asked for or retried,
    `call_after` the later of its date and the end of its wait. `note` says of a file that only a listing shows it
    ("only listed"), and that `rule` could not be judged for it ("rule not judged"). `possible` are the orders that it
    is open to.
    """

    id: int
    app_id: str
    vendor: Vendor
    file_id: str
    stream_id: str
    event: str
    state: FileState
    state_reason: str
    began_at: datetime | None
    ended_at: datetime | None
    received_at: datetime
    duration_s: float | None
    size_bytes: int | None
    replay_url: str | None
    name: str | None
    vendor_created_at: datetime | None
    adopted_at: datetime | None
    confirmed_at: datetime | None
    rule: str | None
    revision: int | None
    due_at: datetime | None
    wait_until: datetime | None
    wait_reason: WaitReason | None
    erasure_id: int | None
    held: bool
    attempts: int
    suspicion: Suspicion | None
    listed_in: int | None
    missing_since: datetime | None
    last_outcome: LastOutcome | None
    call_after: datetime | None
    note: str | None
    possible: list[OrderKind]

    @property
    def called(self) -> str:
        """Its name, or its id where it has none."""
        return self.name or self.file_id

    def waits_until(self, now: datetime) -> datetime | None:
        """The end of its wait, where that is later than its date and not over."""
        is_waiting = self.call_after is not None and self.call_after > now
        return self.call_after if is_waiting and self.call_after != self.due_at else None

    def why(self, now: datetime) -> str:
        """Why it is in its state, and what it waits for."""
        is_waiting = self.call_after is not None and self.call_after == self.wait_until and self.call_after > now
        waits = f"; waits: {self.wait_reason.replace('_', ' ')}" if is_waiting and self.wait_reason else ""
        return self.state_reason + waits


@dataclass(frozen=True, slots=True)
class FileDetail(File):
    """A media file with everything that was attempted, the oldest attempt first."""

    timeline: list[records.Attempt]


@dataclass(frozen=True, slots=True)
class Hold(model.Hold):
    """An order to keep: one file (`file` is its number), or every file of the streams of an app that fit a pattern."""

    file: int | None = None


@dataclass(frozen=True, slots=True)
class ErasureDetail(model.Erasure):
    """An erasure, with the files that it took by their state now."""

    by_state: dict[FileState, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is; of one that has ended, why it was deleted then.

    `state`, `rule` and `due_at` are as they would be decided now, `lines` what counts, in the order in which it counts;
    `date`: how its date comes about, `wait`: what it waits for, `latest`: why its rank keeps it, `obstacles`: what
    stands in the way of any call of its app.
    """

    file: FileDetail
    state: FileState
    rule: str | None
    due_at: datetime | None
    reason: str
    date: str | None
    wait: str | None
    latest: str | None
    lines: list[Line]
    holds: list[Hold]
    erasure: model.Erasure | None
    applied: Revision | None
    revision_in_force: int
    next_step: str
    obstacles: list[str]


show_as(File, stream_id=Known, event=Known, call_after=None, possible=None)
show_as(model.Erasure, file_numbers="file_ids", files="files_count")


def explain_file(
    database: Database, reader: PolicyReader, number: int, now: datetime, settings: Settings
) -> Explanation:
    """Say why a file is where it is, and what happens next; NoSuchThing if there is none of that number."""
    with database.read() as tx:
        sweeps = find_slots(settings, tx) is not None
    found = explain.explain_file(database, reader, number, now, sweeps=sweeps)
    file, decided = found.file, found.decided
    with database.read() as tx:
        is_promised = sweeps and decided.state is FileState.SCHEDULED and found.latest is None
        checked = check_worker(settings, tx, now) if is_promised else ()
        no_worker = [finding[1] for finding in checked if NO_LEADER in finding]
        return take(
            Explanation,
            found,
            file=_detail(tx, file),
            state=FileState.KEPT if found.latest else decided.state,
            rule=decided.rule,
            due_at=None if found.latest or decided.state is FileState.KEPT else decided.due_at,
            reason=found.latest or decided.state_reason,
            lines=list(found.lines),
            holds=list(describe_holds(tx, found.holds)),
            applied=found.revision,
            revision_in_force=found.in_force,
            obstacles=[*no_worker, *([] if file.state in END_STATES else _list_obstacles(tx, file, now))],
        )


def describe_files(tx: Transaction, files: Iterable[MediaFile]) -> list[File]:
    """Files as they are listed, each with its last outcome."""
    files = list(files)
    numbers = {file.last_attempt_id for file in files if file.last_attempt_id is not None}
    attempts = sweep_store.find_attempts(tx, numbers)
    return [_describe(file, attempts.get(file.last_attempt_id or 0)) for file in files]


def _describe(file: MediaFile, last: records.Attempt | None) -> File:
    outcome = None if file.last_outcome is None else LastOutcome(file.last_outcome)
    if outcome is not None and last is not None and last.outcome is not None:  # else pruned, or another one is open
        outcome = LastOutcome(outcome.outcome, last.code, last.message, last.request_id, last.ended_at)
    return take(
        File,
        file,
        ended_at=None if file.is_adopted and file.vendor_created_at is None else file.ended_at,
        # A file that is kept for its rank has a date, which does not count as long as it is.
        due_at=None if file.state is FileState.KEPT else file.due_at,
        call_after=None if file.state in (FileState.KEPT, FileState.FAILED, *END_STATES) else file.call_after,
        revision=file.revision if file.revision >= 0 else None,
        held=file.state is FileState.HELD,
        note=", ".join([*["only listed"] * file.is_adopted, *["rule not judged"] * is_unjudged(file)]) or None,
        last_outcome=outcome,
        possible=list_possible(file),
    )


def _detail(tx: Transaction, file: MediaFile) -> FileDetail:
    [listed] = describe_files(tx, [file])
    return take(FileDetail, listed, timeline=sweep_store.list_attempts(tx, file=file.id))


def describe_holds(tx: Transaction, holds: Iterable[model.Hold]) -> Iterator[Hold]:
    """Holds, each with the number of its file."""
    for hold in holds:
        numbers: list[int] = []
        if hold.vendor is not None and hold.file_id is not None:
            found = files_store.find_by_identity(tx, hold.app_id, hold.vendor, [hold.file_id])
            numbers = [file.id for file in found.values()]
        yield take(Hold, hold, file=numbers[0] if numbers else None)


def _find_hold(tx: Transaction, number: int) -> Hold | None:
    return next(describe_holds(tx, filter(None, [holds_store.find_hold(tx, number)])), None)


def _find_erasure(tx: Transaction, number: int) -> ErasureDetail | None:
    found = files_store.find_erasures(tx, [number]).get(number)
    return None if found is None else take(ErasureDetail, found, by_state=files_store.count_erased(tx, number))


def _list_obstacles(tx: Transaction, file: MediaFile, now: datetime) -> list[str]:
    states = [state for state in sweep_store.list_app_states(tx, file.app_id) if state.vendor in (None, file.vendor)]
    plans = sweep_store.list_plans(tx, app_id=file.app_id, only_open=True)
    blocked = find_block(tx, file.app_id)
    return [
        *(each.describe() for each in states if each.stops_calls_at(now)),
        *(plan.describe() for plan in plans),
        *([] if blocked is None else [blocked]),
    ]


def _find_file(tx: Transaction, number: int) -> FileDetail | None:
    file = files_store.find_file(tx, number)
    return None if file is None else _detail(tx, file)


def _list_files(tx: Transaction, wanted: FileFilter, cursor: int, size: int) -> tuple[list[File], int | None]:
    files, resume = files_store.list_page(tx, wanted, size - 1, after=cursor)
    return describe_files(tx, files), resume


FILES = Listed[FileFilter, File, FileDetail](
    "file",
    "files list",
    File,
    _list_files,
    files_store.count_files,
    "id, stream: stream_id, file: called, age: ended_at, size: size_bytes, state, due: due_at,"
    " waits until: waits_until, note, why, vendor, app: app_id, rule",
    "rule, app, vendor, size, age, waits until, file, note, why",
    _find_file,
)
"""Files by number."""

HOLDS = Listed[HoldFilter, Hold, Hold](
    "hold",
    "holds list",
    Hold,
    lambda tx, wanted, cursor, size: describe_holds(
        tx, holds_store.list_holds(tx, size, after=cursor, only_standing=not wanted.released, app_id=wanted.app_id)
    ),
    lambda tx, wanted: holds_store.count_holds(tx, only_standing=not wanted.released, app_id=wanted.app_id),
    "id, app: app_id, stream: stream_pattern, file, until, reason, placed by: placed_by, placed: placed_at,"
    " released: released_at",
    "placed, placed by, app, released",
    _find_hold,
)
"""Holds by number."""

ERASURES = Listed[None, model.Erasure, ErasureDetail](
    "erasure",
    "erasures list",
    model.Erasure,
    lambda tx, _, cursor, size: files_store.list_erasures(tx, size, before=cursor or None),
    lambda tx, _: files_store.count_erasures(tx),
    "id, requested: requested_at, stream: stream_pattern, files: files_count, reason, requested by: requested_by,"
    " app: app_id",
    "app, requested by",
    _find_erasure,
)
"""Erasures, the newest first."""
