"""Claiming the files of one call: found, decided under the rules and holds in force, and written down, all at once.

Before a pass counts what is due, files that are kept for their rank, or not confirmed, are set aside: they leave the
index of what is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from service.audit.store import find_block
from service.database import Transaction
from service.files.policy import Policy, PolicyReader, is_news
from service.files.store import find_files, save_decisions
from service.leader.leader import Leader, Look, read_boot_clock
from service.leader.store import find_leader
from service.model import FileState, MediaFile, Vendor, WaitReason
from service.rules.latest import NewestCounter, Span, describe_latest, find_kept_as_latest, keep_as_latest, newest
from service.rules.store import use_moved_budget
from service.sweep import claim_store
from service.sweep.bisect import MAX_FILES_PER_CALL, count_fitting
from service.sweep.claim_store import Budgets, Due
from service.sweep.store import list_app_states, use_plan
from service.zego.client import url_cost

_NOT_CONFIRMED: Final = "ZEGO_RETENTION_CONFIRM=all: kept until a listing or a person confirms it"
_STREAMS_AT_ONCE: Final = 50

ROOM: Final = "the breaker's room"
PLAN: Final = "the approved plan"


@dataclass(frozen=True, slots=True)
class Want:
    """What to claim: the next due files of a vendor, or, of a call that is bisected, these by number.

    `revision` is that of the rules when the pass began, `room` how many files that count the breaker allows;
    `approved_run` allows only what the plan of that run covers. If `number` is set, nothing is claimed while the audit
    has newer entries than that: orders up to it have been applied. `shares` is how much of previews' budgets, by
    revision, is left for the app in this pass (None: all).
    """

    run_id: int
    due: Due
    revision: int
    room: int
    confirm_all: bool
    approved_run: int | None = None
    vendor: Vendor = Vendor.TENCENT
    overhead: int = 0
    limit: int = MAX_FILES_PER_CALL
    numbers: tuple[int, ...] = ()
    number: int | None = None
    shares: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that is written down and may be sent on the strength of its look.

    `files` are their ids at ZEGO, by number; `used` what they use up: of previews (by revision), of the approved plan
    of the run `plan_run`, and of the breaker's room.
    """

    id: int
    app_id: str
    vendor: Vendor
    files: dict[int, str]
    look: Look
    used: Counter[int | str]
    plan_run: int | None


class NoCall(StrEnum):
    """Why nothing was claimed."""

    EXHAUSTED = "nothing is left to claim"
    REFUSED = "what was looked at may not go, and is out of the way now"
    BEHIND = "orders have to be applied, or files decided, first"
    BLOCKED = "an order about the app could not be applied"
    REFUSED_CLOCK = "the clock was set, or is off ZEGO's"


def claim_call(tx: Transaction, reader: PolicyReader, token: int, want: Want, now: datetime) -> OpenCall | NoCall:
    """Claim the files of one call: decide each once more, write down what is refused, and the call for the others.

    What is refused leaves the index of due files in the same transaction, so that nothing is looked at for ever.
    """
    looked_at = read_boot_clock()
    app_id = want.due.app_id
    if find_block(tx, app_id):
        return NoCall.BLOCKED
    policy = reader.read(tx)
    if _is_behind(tx, policy, want.number):
        return NoCall.BEHIND
    revision = policy.rules.revision
    budgets = claim_store.read_budgets(tx, app_id, revision, approved_run=want.approved_run, shares=want.shares)
    if want.numbers:
        files = [file for file in find_files(tx, want.numbers).values() if file.state is FileState.SCHEDULED]
    else:
        within = budgets if budgets.only_plan or want.room <= 0 else None
        files = claim_store.list_due(tx, want.due, want.vendor, want.limit, within=within)
    policy = reader.read(tx, files)
    judge = Judge(tx, policy, now, confirm_all=want.confirm_all)
    decided = [judge.judge(file) for file in files]
    news = [new for old, new in zip(files, decided, strict=True) if is_news(old, new, policy)]
    save_decisions(tx, news)
    eligible = [file for file in decided if _is_eligible(file, want, now)]
    fitting = eligible[: count_fitting((url_cost(file.file_id) for file in eligible), want.overhead, want.limit)]
    chosen, used = _choose(fitting, budgets, want.room)
    if not chosen:
        return NoCall.REFUSED if news else NoCall.EXHAUSTED
    number = claim_store.open_call(tx, want.run_id, app_id, want.vendor, chosen, revision, now)
    names = {file.id: file.file_id for file in chosen}
    plan_run = budgets.plan.run_id if budgets.plan else None
    call = OpenCall(number, app_id, want.vendor, names, Look(token, policy.number, looked_at), used, plan_run)
    _use_budgets(tx, call, 1)
    return call


def drop_call(tx: Transaction, call: OpenCall, now: datetime) -> None:
    """Forget a call that was not sent: its files are due as before, and what it used of budgets is there again."""
    if claim_store.drop_call(tx, call.id, list(call.files), now):
        _use_budgets(tx, call, -1)


@dataclass(slots=True)
class Judge:
    """Decides due files as a call would have it: by rules, holds and suspicions, then by rank, then `CONFIRM=all`."""

    tx: Transaction
    policy: Policy
    now: datetime
    confirm_all: bool = False
    _newest: dict[tuple[str, str, str], list[Span]] = field(default_factory=dict)

    def judge(self, file: MediaFile) -> MediaFile:
        """The row of a file after deciding; `scheduled` if nothing keeps it."""
        decided = self.policy.decide_file(file, self.now)
        if decided.state is not FileState.SCHEDULED or decided.due_at is None or decided.due_at > self.now:
            return decided
        rule = self.policy.rules.find_rule(decided.rule)
        if rule is not None and rule.keep_latest is not None:
            spans = self.list_newest(file.app_id, file.stream_id, rule.name, rule.keep_latest)
            if reason := find_kept_as_latest(decided, spans, rule.keep_latest):
                return keep_as_latest(decided, reason, self.now)
        if self.confirm_all and decided.confirmed_at is None:
            return decided._replace(state=FileState.UNCONFIRMED, state_reason=_NOT_CONFIRMED, state_at=self.now)
        return decided

    def list_newest(self, app_id: str, stream_id: str, rule: str, keep_latest: int) -> list[Span]:
        """The newest recordings of a stream, of those that a rule decides, and the one after them."""
        key = (app_id, stream_id, rule)
        if key not in self._newest:
            counter, spans = NewestCounter(keep_latest), self._newest.setdefault(key, [])
            for span in claim_store.iterate_spans(self.tx, app_id, stream_id, rule, self.now):
                spans.append(span)
                if not counter.add(span):
                    break
        return self._newest[key]


def set_aside(
    leader: Leader, reader: PolicyReader, due: Due, now: Callable[[], datetime], *, confirm_all: bool
) -> None:
    """Keep the due files of an app that are among the newest of their stream, or that wait to be confirmed."""
    with leader.database.read() as tx:
        counting = find_counting(reader.read(tx))
        streams = claim_store.list_ranked_streams(tx, due, counting) if counting else []
    for start in range(0, len(streams), _STREAMS_AT_ONCE):
        batch = streams[start : start + _STREAMS_AT_ONCE]
        leader.transact(lambda tx: _keep_newest(tx, reader, due, batch, now()))  # noqa: B023  (called at once)
    while confirm_all and leader.transact(lambda tx: claim_store.refuse_unconfirmed(tx, due, _NOT_CONFIRMED, now())):
        pass


def _keep_newest(
    tx: Transaction, reader: PolicyReader, due: Due, streams: Sequence[tuple[str, str]], now: datetime
) -> None:
    policy = reader.read(tx)
    judge, counting = Judge(tx, policy, now), find_counting(policy)
    for rule, stream_id in streams:
        if (keep_latest := counting.get(rule)) is None:
            continue
        ids = newest(judge.list_newest(due.app_id, stream_id, rule, keep_latest), keep_latest)
        due_files = [file for file in find_files(tx, ids).values() if _is_due(file, due.moment)]
        if due_files:
            reason = describe_latest(rule, keep_latest)
            save_decisions(tx, [keep_as_latest(file, reason, now) for file in due_files])
            # They may count only since their wait for an adoption is over, which no decision sees.
            claim_store.flag_outranked(tx, due.app_id, stream_id, rule, ids)


def find_counting(policy: Policy) -> dict[str, int]:
    """What the rules in force keep of each stream, by rule."""
    return {rule.name: rule.keep_latest for rule in policy.rules.rules if rule.keep_latest is not None}


def find_vendors(tx: Transaction, due: Due, now: datetime, *, may_probe: bool) -> list[Vendor]:
    """The vendors of an app that have due files and may be called; blocked ones only where they may be probed."""
    vendors = claim_store.list_due_vendors(tx, due)
    if not vendors or find_block(tx, due.app_id):
        return []
    states = list_app_states(tx, due.app_id)
    shut = {state.vendor for state in states if (state.blocked and not may_probe) or state.pauses_at(now)}
    return [] if None in shut else [vendor for vendor in vendors if vendor not in shut]


def _is_behind(tx: Transaction, policy: Policy, number: int | None) -> bool:
    if number is not None and policy.number != number:
        return True
    if not find_counting(policy):
        return False
    # Ranks are found by the rule that decided each file, so all have to be decided under the rules in force.
    leader = find_leader(tx)
    return leader is None or leader.decided_revision != policy.rules.revision


def _is_due(file: MediaFile, moment: datetime) -> bool:
    return file.state is FileState.SCHEDULED and file.call_after is not None and file.call_after <= moment


def _is_eligible(file: MediaFile, want: Want, now: datetime) -> bool:
    moment = min(want.due.moment, now)  # the clock may have been set back since the pass began
    if not want.numbers:
        return _is_due(file, moment)
    # Its whole call failed a moment ago: that wait is for others, the bisection goes on.
    is_waiting = file.wait_until is not None and file.wait_until > now and file.wait_reason is not WaitReason.RETRY
    is_due = file.due_at is not None and file.due_at <= moment
    return file.state is FileState.SCHEDULED and is_due and not is_waiting


def _choose(files: Sequence[MediaFile], budgets: Budgets, room: int) -> tuple[list[MediaFile], Counter[int | str]]:
    """Those of these files that may be called, and what they use up."""
    planned = budgets.plan.budget if budgets.plan else 0
    left: dict[Any, int] = {**budgets.moved, PLAN: planned, ROOM: 0 if budgets.only_plan else room}
    chosen, used = [], Counter[int | str]()
    for file in files:
        if claim_store.is_base(file):
            covering = (file.moved_by, PLAN if budgets.is_in_plan(file) else None, ROOM)
            budget = next((each for each in covering if left.get(each, 0) > 0), None)
            if budget is None:
                continue
            left[budget] -= 1
            used[budget] += 1
        chosen.append(file)
    return chosen, used


def _use_budgets(tx: Transaction, call: OpenCall, sign: int) -> None:
    for budget, count in call.used.items():
        if isinstance(budget, int):
            use_moved_budget(tx, budget, sign * count)
        elif budget == PLAN and call.plan_run is not None:
            use_plan(tx, call.plan_run, call.app_id, sign * count)
