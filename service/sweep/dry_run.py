"""The dry run: what a pass would delete now, decided as the pass would; nothing is written or called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.audit.store import find_block
from service.database import Database, Transaction
from service.files.policy import PolicyReader
from service.files.store import find_highest_id
from service.model import FileState, MediaFile, Vendor, WaitReason
from service.sweep import claim_store
from service.sweep.breaker import Limits, WouldStop, ask_breaker, share_moved
from service.sweep.claim import Judge, find_counting
from service.sweep.claim_store import Due
from service.sweep.gate import list_refusals
from service.sweep.records import describe_unknown
from service.sweep.store import list_app_states
from service.sweep.trust import Cause
from service.units import count_of

_BATCH: Final = 500


@dataclass(slots=True)
class KeptBack:
    """Files whose date has come and that are not deleted all the same, by why.

    `ranked` are kept as the newest of their stream, `waiting` are by what they wait for (until `until` at most).
    """

    held: int = 0
    unconfirmed: int = 0
    ranked: int = 0
    waiting: Counter[WaitReason] = field(default_factory=Counter)
    until: datetime | None = None

    def add(self, state: FileState, reason: WaitReason | None, until: datetime | None, count: int = 1) -> None:
        """Count files of one state, and of one reason to wait."""
        if state is FileState.HELD:
            self.held += count
        elif state is FileState.UNCONFIRMED:
            self.unconfirmed += count
        elif state is FileState.KEPT:
            self.ranked += count
        elif reason is not None:
            self.waiting[reason] += count
            self.until = max(filter(None, (self.until, until)), default=None)


@dataclass(frozen=True, slots=True)
class NotCalled:
    """Due files of an app, or of one vendor of it, that wait because it is not called at the moment."""

    app_id: str
    vendor: Vendor | None
    files_count: int
    reason: str

    @property
    def sentence(self) -> str:
        """Why it is not called, what to do, and how many files wait for that."""
        waiting = count_of(self.files_count, "due file waits for that", "due files wait for that")
        return f"{self.reason}; {waiting}"


@dataclass(slots=True)
class DryRun:
    """What a pass would delete at `as_of`: files by rule (empty: an erasure), and by app and vendor; the first of them.

    `stops` are the apps of which the breaker would let nothing be deleted, `not_called` those that are blocked, pause
    or are not configured; their files are not among the others. `refusals` say why nothing at all is deleted now.
    `orders` and `callbacks` have not been applied and understood yet, which may change all this.
    """

    as_of: datetime
    orders: int
    callbacks: int
    total: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    by_vendor: Counter[tuple[str, Vendor]] = field(default_factory=Counter)
    files: list[MediaFile] = field(default_factory=list)
    kept_back: KeptBack = field(default_factory=KeptBack)
    stops: list[WouldStop] = field(default_factory=list)
    not_called: list[NotCalled] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def leave_out(self, files: list[MediaFile], app_id: str, vendor: Vendor | None, why: str) -> list[MediaFile]:
        """Count those of these files that wait because their vendor, or the app (None), is not called; the others."""
        others = [file for file in files if vendor not in (None, file.vendor)]
        if len(others) < len(files):
            self.not_called.append(NotCalled(app_id, vendor, len(files) - len(others), why))
        return others


def dry_run(
    database: Database,
    reader: PolicyReader,
    app_ids: Collection[str],
    limits: Limits,
    now: datetime,
    *,
    confirm_all: bool,
    limit: int,
) -> DryRun:
    """Decide what is due of these apps as a pass would, and report it; the first `limit` files are listed."""
    with database.read() as tx:
        result = DryRun(now, *claim_store.count_unapplied(tx))
        refusals = list_refusals(tx, now)
        result.refusals = list(refusals.values())
        if Cause.RULES in refusals:
            return result
        highest_id, revision = find_highest_id(tx), reader.read(tx).rules.revision
        result.kept_back = count_kept_back(tx, reader, now)
        others = Counter[int]()
        for app_id in sorted(app_ids):
            files = []
            for file in _judge_due(tx, reader, Due(app_id, now, highest_id), confirm_all=confirm_all):
                if file.state is FileState.SCHEDULED and file.call_after and file.call_after <= now:
                    files.append(file)
                elif file.due_at is not None and file.due_at <= now:
                    result.kept_back.add(file.state, file.wait_reason, file.wait_until)
            budgets = claim_store.read_budgets(tx, app_id, revision, others=others)
            counted = Counter((file.moved_by, budgets.is_in_plan(file)) for file in files if claim_store.is_base(file))
            _, stop = ask_breaker(tx, limits, app_id, revision, counted, budgets)
            if stop:
                result.stops.append(stop)
                continue
            others += share_moved(counted, budgets.moved)
            for vendor, why in _list_obstacles(tx, app_id, now):
                files = result.leave_out(files, app_id, vendor, why)
            result.total += len(files)
            result.by_rule.update(file.rule or "" for file in files)
            result.by_vendor.update((app_id, file.vendor) for file in files)
            result.files += files[: max(limit - len(result.files), 0)]
        due = claim_store.count_due(tx, now)
        unknown = sorted(due.keys() - set(app_ids))
        result.not_called += [NotCalled(app_id, None, due[app_id], describe_unknown(app_id)) for app_id in unknown]
    return result


def count_kept_back(tx: Transaction, reader: PolicyReader, now: datetime) -> KeptBack:
    """Files whose date has come and that are not due. One that waits is kept for its rank, if that keeps it as well."""
    kept = KeptBack()
    for state, reason, count, until in claim_store.count_kept_back(tx, now):
        kept.add(state, reason, until, count)
    counting, after = find_counting(reader.read(tx)), 0
    while counting and (files := claim_store.list_waiting(tx, counting, now, after, _BATCH)):
        after, judge = files[-1].id, Judge(tx, reader.read(tx, files), now)
        ranked = [file for file in files if file.wait_reason and judge.judge(file).state is FileState.KEPT]
        kept.ranked += len(ranked)
        kept.waiting.subtract(file.wait_reason for file in ranked if file.wait_reason)
    return kept


def _list_obstacles(tx: Transaction, app_id: str, now: datetime) -> Iterator[tuple[Vendor | None, str]]:
    """Why an app (None), or a vendor of it, is not called now."""
    if (why := find_block(tx, app_id)) is not None:
        yield None, why
    for state in list_app_states(tx, app_id):
        if state.stops_calls_at(now):
            yield state.vendor, state.describe()


def _judge_due(tx: Transaction, reader: PolicyReader, due: Due, *, confirm_all: bool) -> Iterator[MediaFile]:
    for vendor in Vendor:
        after = None
        while files := claim_store.list_due(tx, due, vendor, _BATCH, after=after):
            after = (files[-1].call_after or due.moment, files[-1].id)
            judge = Judge(tx, reader.read(tx, files), due.moment, confirm_all=confirm_all)
            yield from map(judge.judge, files)
