"""Claiming the files of one call: found, decided under the rules and holds in force, and written down, all at once.

Before a pass counts what is due, files that are kept for their rank, or not confirmed, are set aside: they leave the
index of what is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.audit.store import find_block
from service.database import Transaction
from service.files.deciding import is_news
from service.files.policy import Policy, PolicyReader
from service.files.store import find_files, save_decisions
from service.leader.leader import Leader, Look
from service.leader.process import read_boot_clock
from service.leader.store import find_leader
from service.model import FileState, MediaFile, Vendor, WaitReason
from service.rules.decide import RuleSet
from service.rules.latest import counts_as_recording, describe_latest, find_kept_as_latest, keep_as_latest, newest
from service.rules.store import find_current_number, list_moved_budgets, use_moved_budget
from service.sweep import claim_store, store
from service.sweep.batches import MAX_FILES_PER_CALL, count_fitting
from service.sweep.calling import Asked, OpenCall
from service.sweep.claim_store import Due, Uncounted
from service.sweep.records import Plan
from service.zego.client import url_cost

_NOT_CONFIRMED: Final = "CONFIRM=all: kept until a listing or a person confirms it"
_STREAMS_AT_ONCE: Final = 50
_FILES_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Want:
    """What to claim: the next due files of a vendor, or, of a call that is bisected, these by number.

    `room` is how many files that count the breaker allows; `approved_run` allows only what the plan of that run
    covers. If `number` is set, nothing is claimed while the audit has newer entries than that.
    """

    run_id: int
    due: Due
    vendor: Vendor
    overhead: int
    room: int
    limit: int = MAX_FILES_PER_CALL
    numbers: tuple[int, ...] = ()
    approved_run: int | None = None
    confirm_all: bool = False
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of it: a call that may be sent, or none.

    `is_exhausted`: nothing is left to claim. `is_behind`: orders have to be applied, or files decided, first.
    `is_blocked`: an order about the app has failed.
    """

    call: OpenCall | None = None
    is_exhausted: bool = False
    is_behind: bool = False
    is_blocked: bool = False


def claim_call(tx: Transaction, reader: PolicyReader, token: int, want: Want, now: datetime) -> Claim:
    """Claim the files of one call: decide each once more, write down what is refused, and the call for the others.

    What is refused leaves the index of due files in the same transaction, so that nothing is looked at for ever.
    """
    looked_at = read_boot_clock()
    if is_blocked_by_order(tx, want.due.app_id):
        return Claim(is_blocked=True)
    budgets = _Budgets.read(tx, want)
    files = _find_files(tx, want, budgets)
    policy = reader.read(tx, files)
    if _is_behind(tx, policy, want):
        return Claim(is_behind=True)
    judge = Judge(tx, policy, now, confirm_all=want.confirm_all)
    decided = [judge.judge(file) for file in files]
    news = [new for old, new in zip(files, decided, strict=True) if is_news(old, new, policy)]
    save_decisions(tx, news)
    eligible = [file for file in decided if _is_eligible(file, want, now)]
    fitting = eligible[: count_fitting((url_cost(file.file_id) for file in eligible), want.overhead, want.limit)]
    chosen = [file for file in fitting if budgets.admit(file)]
    if not chosen:
        return Claim(is_exhausted=not news)
    look = Look(token, policy.number, looked_at)
    return Claim(_open_call(tx, want, chosen, budgets, look, now))


def drop_call(tx: Transaction, call: OpenCall, now: datetime) -> None:
    """Forget a call that was not sent: its files are due as before, and what it used of budgets is there again."""
    if store.is_answered(tx, call.id):
        return
    store.drop_call(tx, call.id)
    claim_store.release_files(tx, [file.number for file in call.files], now)
    _use_budgets(tx, call, -1)


def is_blocked_by_order(tx: Transaction, app_id: str) -> bool:
    """Whether an order that could not be applied concerns an app: then none of its files is asked for."""
    return find_block(tx, app_id) is not None


def find_counting_rules(rules: RuleSet) -> dict[str, int]:
    """The rules with `keep_latest`, and how many recordings each keeps."""
    return {rule.name: rule.keep_latest for rule in rules.rules if rule.keep_latest is not None}


@dataclass(slots=True)
class Judge:
    """Decides due files as a call would have it: by rules, holds and suspicions, then by rank, then `CONFIRM=all`."""

    tx: Transaction
    policy: Policy
    now: datetime
    confirm_all: bool
    _newest: dict[tuple[str, str, str], frozenset[int]] = field(default_factory=dict)
    _counting: dict[str, int] | None = None

    def judge(self, file: MediaFile) -> MediaFile:
        """The row of a file after deciding; `scheduled` if nothing keeps it."""
        decided = self.policy.decide_file(file, self.now)
        if decided.state is not FileState.SCHEDULED or decided.due_at is None or decided.due_at > self.now:
            return decided
        if self._counting is None:
            self._counting = find_counting_rules(self.policy.rules)
        if decided.rule in self._counting and (reason := self._find_rank(decided, self._counting[decided.rule])):
            return keep_as_latest(decided, reason, self.now)
        if self.confirm_all and decided.confirmed_at is None:
            return decided._replace(state=FileState.UNCONFIRMED, state_reason=_NOT_CONFIRMED, state_at=self.now)
        return decided

    def find_newest(self, app_id: str, stream_id: str, rule: str, keep_latest: int) -> frozenset[int]:
        """The files that belong to the newest recordings of a stream, of those that a rule decides."""
        key = (app_id, stream_id, rule)
        if key not in self._newest:
            spans = claim_store.iterate_spans(self.tx, app_id, stream_id, rule, self.now)
            self._newest[key] = newest(spans, keep_latest)
        return self._newest[key]

    def _find_rank(self, file: MediaFile, keep_latest: int) -> str | None:
        rule = file.rule or ""
        if file.id in self.find_newest(file.app_id, file.stream_id, rule, keep_latest):
            return describe_latest(rule, keep_latest)
        if counts_as_recording(file, self.now):
            return None
        # One that does not count, as after an attempt of unknown outcome, may still be among the newest itself.
        spans = claim_store.iterate_spans(self.tx, file.app_id, file.stream_id, rule, self.now)
        return find_kept_as_latest(file, spans, keep_latest)


def set_aside_ranked(leader: Leader, reader: PolicyReader, due: Due, now: Callable[[], datetime]) -> int:
    """Keep the due files of an app that are among the newest of their stream; returns how many.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    with leader.database.read() as tx:
        counting = find_counting_rules(reader.read(tx).rules)
        streams = claim_store.list_ranked_streams(tx, due, counting) if counting else []
    kept = 0
    for start in range(0, len(streams), _STREAMS_AT_ONCE):
        batch = streams[start : start + _STREAMS_AT_ONCE]
        kept += leader.transact(lambda tx: _keep_newest(tx, reader, due, batch, now()))  # noqa: B023  (called at once)
    return kept


def set_aside_unconfirmed(leader: Leader, due: Due, now: Callable[[], datetime]) -> int:
    """Let due files that nobody has confirmed wait for that (`CONFIRM=all`); returns how many.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    total = 0
    for vendor in Vendor:
        while count := leader.transact(lambda tx: _refuse_unconfirmed(tx, due, vendor, now())):  # noqa: B023
            total += count
    return total


@dataclass(slots=True)
class _Budgets:
    """What a claim may use: the breaker's room, what is left of previews, and of an approved plan."""

    revision: int
    room: int
    moved: dict[int, int]
    plan: Plan | None
    only_plan: bool
    used_room: int = 0
    used_moved: Counter[int] = field(default_factory=Counter)
    used_plan: int = 0

    @classmethod
    def read(cls, tx: Transaction, want: Want) -> _Budgets:
        revision = find_current_number(tx)
        plan = store.find_approved_plan(tx, want.due.app_id, revision, run_id=want.approved_run)
        return cls(revision, want.room, list_moved_budgets(tx), plan, want.approved_run is not None)

    @property
    def uncounted(self) -> Uncounted | None:
        """Which files to look for; None: any."""
        if self.only_plan or self.room <= 0:
            return Uncounted(self.moved, self.plan, only_plan=self.only_plan)
        return None

    def admit(self, file: MediaFile) -> bool:
        """Whether a file may be called, and what covers it: a preview, an approval, or the breaker's room."""
        if file.erasure_id is not None or file.last_outcome is not None:
            return not self.only_plan
        if file.moved_by is not None and self.used_moved[file.moved_by] < self.moved.get(file.moved_by, 0):
            self.used_moved[file.moved_by] += 1
            return True
        if self.plan is not None and self.used_plan < self.plan.budget and self._is_in_plan(file, self.plan):
            self.used_plan += 1
            return True
        if self.only_plan or self.used_room >= self.room:
            return False
        self.used_room += 1
        return True

    def _is_in_plan(self, file: MediaFile, plan: Plan) -> bool:
        return file.id <= plan.highest_id and file.call_after is not None and file.call_after <= plan.made_at


def _find_files(tx: Transaction, want: Want, budgets: _Budgets) -> list[MediaFile]:
    if want.numbers:
        found = find_files(tx, want.numbers)
        return [file for file in found.values() if file.state is FileState.SCHEDULED]
    return claim_store.list_due(tx, want.due, want.vendor, want.limit, uncounted=budgets.uncounted)


def _is_eligible(file: MediaFile, want: Want, now: datetime) -> bool:
    moment = min(want.due.moment, now)  # the clock may have been set back since the pass began
    if file.state is not FileState.SCHEDULED or file.due_at is None or file.call_after is None:
        return False
    if want.numbers:  # its whole call failed a moment ago: that wait is for others, the bisection goes on
        is_waiting = file.wait_until is not None and file.wait_until > now and file.wait_reason is not WaitReason.RETRY
        return file.due_at <= moment and not is_waiting
    return file.call_after <= moment


def _is_behind(tx: Transaction, policy: Policy, want: Want) -> bool:
    if want.number is not None and policy.number != want.number:
        return True
    if not find_counting_rules(policy.rules):
        return False
    # Ranks are found by the rule that decided each file, so all have to be decided under the rules in force.
    leader = find_leader(tx)
    return leader is None or leader.decided_revision != policy.rules.revision


def _open_call(
    tx: Transaction, want: Want, files: Sequence[MediaFile], used: _Budgets, look: Look, now: datetime
) -> OpenCall:
    """Write down a call with the decision behind each of its files, and what it uses of budgets."""
    call = OpenCall(
        id=store.open_call(tx, want.run_id, want.due.app_id, want.vendor, now),
        app_id=want.due.app_id,
        vendor=want.vendor,
        files=tuple(Asked(file.id, file.file_id) for file in files),
        look=look,
        opened_at=now,
        counted=used.used_room,
        moved=tuple(sorted(used.used_moved.items())),
        approved_run=used.plan.run_id if used.plan else None,
        approved=used.used_plan,
    )
    claim_store.claim_files(tx, want.run_id, call.id, [file.id for file in files], used.revision, now)
    _use_budgets(tx, call, 1)
    return call


def _use_budgets(tx: Transaction, call: OpenCall, sign: int) -> None:
    for revision, count in call.moved:
        use_moved_budget(tx, revision, sign * count)
    if call.approved_run is not None and call.approved:
        store.use_plan(tx, call.approved_run, call.app_id, sign * call.approved)


def _keep_newest(
    tx: Transaction, reader: PolicyReader, due: Due, streams: Sequence[tuple[str, str]], now: datetime
) -> int:
    policy = reader.read(tx)
    judge = Judge(tx, policy, now, confirm_all=False)
    counting = find_counting_rules(policy.rules)
    total = 0
    for rule, stream_id in streams:
        if rule not in counting:
            continue
        newest = judge.find_newest(due.app_id, stream_id, rule, counting[rule])
        reason = describe_latest(rule, counting[rule])
        kept = [
            keep_as_latest(file, reason, now)
            for file in find_files(tx, newest).values()
            if file.state is FileState.SCHEDULED and file.call_after is not None and file.call_after <= due.moment
        ]
        save_decisions(tx, kept)
        if kept:  # they may count only since their wait for an adoption is over, which no decision sees
            claim_store.flag_outranked(tx, due.app_id, stream_id, rule, newest)
        total += len(kept)
    return total


def _refuse_unconfirmed(tx: Transaction, due: Due, vendor: Vendor, now: datetime) -> int:
    files = claim_store.list_unconfirmed(tx, due, vendor, _FILES_AT_ONCE)
    refused = [file._replace(state=FileState.UNCONFIRMED, state_reason=_NOT_CONFIRMED, state_at=now) for file in files]
    save_decisions(tx, refused)
    return len(files)
