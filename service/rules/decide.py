"""Deciding: what rules, holds, suspicions and erasures mean for one file, and the row that follows from it.

Everything here leans to one side: a missing fact, a sum that overflows, a rule that cannot be judged keep the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from service.model import END_STATES, Erasure, FileState, Hold, MediaFile, Suspicion
from service.rules.match import Judgement, Key, Match, judge, matches
from service.units import describe_moment, format_duration

_NEVER_DECIDED: Final = END_STATES | {FileState.DELETING}
_EARLIEST_END: Final = datetime(2015, 1, 1, tzinfo=UTC)
_MAX_CLOCK_SKEW: Final = timedelta(minutes=2)
_WAITS_FOR_A_PERSON: Final = (
    "only a listing shows it, and the rules come from ZEGO_RETENTION_KEEP alone: it waits until a person applies rules,"
    " for example with `zego-retention rules apply --keep`"
)
_UNTIL_CONFIRMED: Final = "kept until a listing or a person confirms it"
WHY_UNCONFIRMED: Final = {
    Suspicion.STALE: f"its callback was too old, or dated in the future, when it arrived: {_UNTIL_CONFIRMED}",
    Suspicion.CONFLICT: f"callbacks about it contradict each other, by a fact or signature: {_UNTIL_CONFIRMED}",
}


@dataclass(frozen=True)
class RetentionRule:
    """How long matching files are kept: until `keep` after `MediaFile.aged_from` (None: for ever).

    Of the recordings that it decides, the newest `keep_latest` of each stream are kept whatever their age.
    """

    name: str
    match: Match
    keep: timedelta | None
    keep_latest: int | None = None

    @cached_property
    def reason(self) -> str:
        """What it does with a file that it decides, as a reason."""
        does = "keeps files for ever" if self.keep is None else f"deletes files older than {format_duration(self.keep)}"
        if self.keep is not None and self.keep_latest is not None:
            does += f", but the newest {self.keep_latest} of each stream stay"
        return f'rule "{self.name}" {does}'


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in their order, as one numbered revision (0: no rules yet) that can be taken back until `cooling_until`.

    Its preview (None: there was none) had looked at files up to the number `shown_up_to`.
    """

    revision: int
    rules: tuple[RetentionRule, ...]
    applied_by_person: bool = True
    cooling_until: datetime | None = None
    shown_up_to: int | None = None

    def find_rule(self, name: str | None) -> RetentionRule | None:
        """The rule of that name, if there is one."""
        for rule in self.rules:  # no generator: it is asked for every file of a walk
            if rule.name == name:
                return rule
        return None

    def counts_recordings(self, name: str | None) -> bool:
        """Whether the rule of that name has `keep_latest`: what `apply_decision` asks of the file's old rule."""
        rule = self.find_rule(name)
        return rule is not None and rule.keep_latest is not None


class Decision(NamedTuple):
    """What is to happen to one file, and why; its rank is judged later (`rules.latest`), where `keep_latest` is set.

    `due_at`: its rule deletes it (None: never), also where something else keeps it for now. `missing`: for lack of this
    fact it is kept.
    """

    state: FileState
    rule: str | None
    due_at: datetime | None
    reason: str
    keep_latest: int | None = None
    missing: str | None = None


Found: TypeAlias = tuple[RetentionRule | None, Key | None]
"""The rule that decides a file (None: no rule does), and the key for which a fact is missing to judge that rule."""


def find_rule(file: MediaFile, rules: Sequence[RetentionRule]) -> Found:
    """The first rule that does not differ."""
    for rule in rules:
        judgement, key = judge(rule.match, file)
        if judgement is not Judgement.DIFFERS:
            return rule, key
    return None, None


def decide(
    file: MediaFile,
    rules: RuleSet,
    hold: Hold | None,
    erasure: Erasure | None,
    now: datetime,
    find: Callable[[MediaFile, Sequence[RetentionRule]], Found] = find_rule,
) -> Decision:
    """Decide about a file: holds win, then a suspicion, then an erasure, then the first rule that matches.

    `hold` is one in force that covers the file, `erasure` the one that names it. A failed file stays failed.
    """
    if file.state in _NEVER_DECIDED:
        raise ValueError(f"file {file.id} is {file.state}: nothing is decided about it")
    if erasure is None:
        decision = apply_rule(file, rules, *find(file, rules.rules))
    else:  # due at once, even if the clock ran ahead when it was requested
        due_at = min(erasure.requested_at, now)
        decision = Decision(FileState.SCHEDULED, None, due_at, describe_erasure(erasure))
    if file.state is FileState.FAILED:
        return decision._replace(state=FileState.FAILED, reason=file.state_reason)
    if hold is not None:
        return decision._replace(state=FileState.HELD, reason=describe_hold(file, hold))
    if file.suspicion is not None:
        return decision._replace(state=FileState.UNCONFIRMED, reason=WHY_UNCONFIRMED[file.suspicion])
    return decision


def apply_rule(file: MediaFile, rules: RuleSet, rule: RetentionRule | None, missing: Key | None) -> Decision:
    """What the answer of `find_rule` means for a file."""
    if rule is None:
        return Decision(FileState.KEPT, None, None, "no rule matches it" if rules.rules else "there are no rules")
    fact = None
    if missing is not None:
        fact, reason = missing.fact, f"{_start_unjudged(rule.name)}{missing.describe(rule.match, file)}"
        if file.is_adopted:
            reason += "; only a listing shows it: a rule can match it by `name`, or by `adopted = true`"
    elif rule.keep is None:
        reason = rule.reason
    elif rule.keep_latest is not None and not file.stream_id:
        fact = "stream"
        reason = f'rule "{rule.name}" keeps the newest {rule.keep_latest} of each stream, and its stream is not known'
    elif not rules.applied_by_person and file.is_adopted:
        reason = f"{rule.reason}, but {_WAITS_FOR_A_PERSON}"
    else:
        try:
            due_at = file.aged_from + rule.keep
            return Decision(FileState.SCHEDULED, rule.name, due_at, rule.reason, rule.keep_latest)
        except OverflowError:
            reason = f"{rule.reason}, but that date is past the end of the calendar"
    return Decision(FileState.KEPT, rule.name, None, reason, missing=fact)


def is_unjudged(file: MediaFile) -> bool:
    """Whether a file is kept because its rule could not be judged: it did not match."""
    return file.rule is not None and file.state_reason.startswith(_start_unjudged(file.rule))


def _start_unjudged(rule: str) -> str:
    return f'rule "{rule}" cannot be judged: '


def trust_end(
    began_at: datetime | None, ended_at: datetime | None, received_at: datetime
) -> tuple[datetime | None, datetime]:
    """The begin that a callback claims (None: not trusted), and the end that ages count from: if need be, the arrival.

    An end is trusted from 2015 until two minutes after its arrival, unless it lies before the begin.
    """
    end = received_at
    if ended_at is not None and _EARLIEST_END <= ended_at <= received_at + _MAX_CLOCK_SKEW:
        end = ended_at if began_at is None or began_at <= ended_at else received_at
    begin = began_at if began_at is not None and _EARLIEST_END <= began_at <= end else None
    return begin, end


def describe_hold(file: MediaFile, hold: Hold) -> str:
    """A hold as the reason why a file is kept."""
    until = "" if hold.until is None else f" until {describe_moment(hold.until)}"
    unknown = (
        " (its stream is not known, so the hold may concern it)" if hold.file_id is None and not file.stream_id else ""
    )
    return f"held{until}: {hold.reason}{unknown}"


def describe_erasure(erasure: Erasure) -> str:
    """An erasure as the reason why a file is deleted."""
    return f"erasure {erasure.id} of {describe_moment(erasure.requested_at)}: {erasure.reason}"


def leaves_erasure(before: MediaFile, after: MediaFile, erasure: Erasure) -> bool:
    """Whether an erasure by pattern loses a file, because the stream that it rested on is dropped or corrected."""
    if erasure.stream_pattern is None or before.stream_id == after.stream_id:
        return False
    return not after.stream_id or not matches(erasure.stream_pattern, after.stream_id)
