"""Deciding: what rules, holds, suspicions and erasures mean for one file, and the row that follows from it.

Everything here leans to one side: a missing fact, a sum that overflows, a rule that cannot be judged keep the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, NamedTuple

from service.model import END_STATES, Erasure, FileState, Hold, MediaFile, Suspicion, WaitReason
from service.rules.match import Judgement, Match, compare, judge
from service.rules.patterns import matches
from service.units import describe_moment, format_duration

_KEPT: Final = FileState.KEPT
_DIFFERS, _UNKNOWN = Judgement.DIFFERS, Judgement.UNKNOWN
_NEVER_DECIDED: Final = END_STATES | {FileState.DELETING}
_EARLIEST_END: Final = datetime(2015, 1, 1, tzinfo=UTC)
_MAX_CLOCK_SKEW: Final = timedelta(minutes=2)

_WAITS_FOR_A_PERSON: Final = (
    "only a listing shows it, and nobody but the setting KEEP applied the rules: it waits until a person does"
    " (`rules apply --keep` will do)"
)
_WHY_UNCONFIRMED: Final = {
    Suspicion.STALE: "its callback was too old, or dated ahead, when it arrived",
    Suspicion.CONFLICT: "callbacks with one signature differ in what they say",
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
        window = "for ever" if self.keep is None else f"for {format_duration(self.keep)}"
        return f'rule "{self.name}" keeps it {window}'


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in their order, as one numbered revision; revision 0 stands for "no rules yet".

    `applied_by_person` is False where only the setting KEEP applied it. The revision can be taken back until
    `cooling_until` (None: there was nothing to take back). `preview_id` is the preview that it was applied from, which
    had looked at files up to the number `preview_highest_id`.
    """

    revision: int
    rules: tuple[RetentionRule, ...]
    applied_by_person: bool = True
    cooling_until: datetime | None = None
    preview_id: int | None = None
    preview_highest_id: int | None = None

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
    """What is to happen to one file, and why.

    `due_at` is when its rule deletes it (None: never), also where a hold or a suspicion keeps it for now, or it has
    failed. Where `keep_latest` is set, the newest so many of its stream are kept all the same: `rules.latest` finds
    them when files are taken for a call. `missing` is the fact for lack of which the file is kept, if so.
    """

    state: FileState
    rule: str | None
    due_at: datetime | None
    reason: str
    keep_latest: int | None = None
    missing: str | None = None


def decide(file: MediaFile, rules: RuleSet, hold: Hold | None, erasure: Erasure | None, now: datetime) -> Decision:
    """Decide about a file: holds win, then a suspicion, then an erasure, then the first rule that matches.

    No match keeps for ever. `hold` is one in force that covers the file, `erasure` the one that names it. A failed file
    stays failed.

    Raises:
        ValueError: the file has ended or is being deleted; nothing may be decided about it.
    """
    if file.state in _NEVER_DECIDED:
        raise ValueError(f"file {file.id} is {file.state}: nothing is decided about it")
    decision = decide_by_rules(file, rules) if erasure is None else _decide_by_erasure(erasure, now)
    if file.state is FileState.FAILED:
        return decision._replace(state=FileState.FAILED, reason=file.state_reason)
    if hold is not None:
        return decision._replace(state=FileState.HELD, reason=describe_hold(file, hold))
    if file.suspicion is not None:
        return decision._replace(state=FileState.UNCONFIRMED, reason=describe_suspicion(file.suspicion))
    return decision


def decide_by_rules(file: MediaFile, rules: RuleSet) -> Decision:
    """What the rules alone say of a file, before holds, suspicions and erasures."""
    rule, judgement = find_rule(file, rules.rules)
    return decide_by_rule(file, rules, rule, judgement)


def find_rule(file: MediaFile, rules: Sequence[RetentionRule]) -> tuple[RetentionRule | None, Judgement]:
    """The first rule that does not differ: it decides the file, or it cannot be judged (UNKNOWN); None: there is none.

    Where `looks_only_at_origin` is true of the rules, the answer is the same for all files of an app, vendor, event and
    stream, so a loop over very many files may remember it.
    """
    for rule in rules:
        judgement = compare(rule.match, file)
        if judgement is not _DIFFERS:
            return rule, judgement
    return None, _DIFFERS


def looks_only_at_origin(rules: Sequence[RetentionRule]) -> bool:
    """Whether these rules look at nothing but the app, vendor, event and stream of a file."""
    return all(rule.match.looks_only_at_origin for rule in rules)


def decide_by_rule(file: MediaFile, rules: RuleSet, rule: RetentionRule | None, judgement: Judgement) -> Decision:
    """What the answer of `find_rule` means for a file."""
    if rule is None:
        return Decision(_KEPT, None, None, "no rule matches it" if rules.rules else "there are no rules")
    if judgement is _UNKNOWN:
        result = judge(rule.match, file)
        reason = f'rule "{rule.name}" cannot be judged: {result.why}'
        return Decision(_KEPT, rule.name, None, reason, missing=result.fact)
    return _apply_rule(rule, file, rules)


def apply_decision(
    file: MediaFile, decision: Decision, rules: RuleSet, now: datetime, *, old_rule_counts: bool = False
) -> MediaFile:
    """The row of a file after a decision under `rules`.

    `old_rule_counts` is whether the rule that decided it before has `keep_latest` (`RuleSet.counts_recordings` of the
    revision `file.revision`): such a file may have been kept for its rank, so its old date counts as "never", unless
    nothing changes.

    No decision lowers `wait_until`, with one exception: an erasure is a person's explicit order, so it ends the waits
    for a cooling-off and for an adoption (never that of a retry). A file that an erasure had decided, and does no more,
    counts as one without a date: what it had waited for is not known any more.

    Raises:
        ValueError: the file has ended or is being deleted.
    """
    if file.state in _NEVER_DECIDED:
        raise ValueError(f"file {file.id} is {file.state}: nothing is decided about it")
    had_date = _has_date_to_compare(file, decision, rules, old_rule_counts=old_rule_counts)
    is_forward = _is_brought_forward(file, decision, had_date=had_date)
    wait_until, wait_reason = file.wait_until, file.wait_reason
    if _is_erased(decision):
        if wait_reason is not WaitReason.RETRY:
            wait_until = wait_reason = None
    elif is_forward and rules.cooling_until is not None and now < rules.cooling_until:
        until = min(file.call_after, rules.cooling_until) if had_date and file.call_after else rules.cooling_until
        if wait_until is None or until > wait_until:
            wait_until, wait_reason = until, WaitReason.COOLING_OFF
    return file._replace(
        state=decision.state,
        state_reason=decision.reason,
        state_at=now if decision.state is not file.state or file.state_at is None else file.state_at,
        rule=decision.rule,
        due_at=decision.due_at,
        wait_until=wait_until,
        wait_reason=wait_reason,
        call_after=find_call_after(decision.due_at, wait_until),
        revision=rules.revision,
        decide_again=False,
        moved_by=_find_mover(file, decision, rules, is_forward=is_forward),
    )


def find_call_after(due_at: datetime | None, wait_until: datetime | None) -> datetime | None:
    """The later of the two; None (never) without a date."""
    return due_at if due_at is None or wait_until is None else max(due_at, wait_until)


def trust_end(
    began_at: datetime | None, ended_at: datetime | None, received_at: datetime
) -> tuple[datetime | None, datetime]:
    """Judge the times that a callback claims: the begin (None: not trusted) and the end that ages are counted from.

    An end is trusted from 2015 until two minutes after its arrival, unless it lies before the begin; else the arrival
    counts. The begin returned is never after the end.
    """
    end = received_at
    if ended_at is not None and _EARLIEST_END <= ended_at <= received_at + _MAX_CLOCK_SKEW:
        end = ended_at if began_at is None or began_at <= ended_at else received_at
    begin = began_at if began_at is not None and _EARLIEST_END <= began_at <= end else None
    return begin, end


def describe_hold(file: MediaFile, hold: Hold) -> str:
    """A hold as the reason why a file is kept."""
    until = "" if hold.until is None else f" until {describe_moment(hold.until)}"
    unknown = " (its stream is not known, so it may be meant)" if hold.file_id is None and not file.stream_id else ""
    return f"held{until}: {hold.reason}{unknown}"


def describe_suspicion(suspicion: Suspicion) -> str:
    """A suspicion as the reason why a file is kept."""
    return f"{_WHY_UNCONFIRMED[suspicion]}: kept until a listing or a person confirms it"


def describe_erasure(erasure: Erasure) -> str:
    """An erasure as the reason why a file is deleted."""
    return f"erasure {erasure.id} of {describe_moment(erasure.requested_at)}: {erasure.reason}"


def leaves_erasure(before: MediaFile, after: MediaFile, erasure: Erasure) -> bool:
    """Whether an erasure by pattern loses a file, because the stream that it rested on is dropped or corrected."""
    if erasure.stream_pattern is None or before.stream_id == after.stream_id:
        return False
    return not after.stream_id or not matches(erasure.stream_pattern, after.stream_id)


def _decide_by_erasure(erasure: Erasure, now: datetime) -> Decision:
    # Due at once, even if the clock ran ahead when it was requested.
    return Decision(FileState.SCHEDULED, None, min(erasure.requested_at, now), describe_erasure(erasure))


def _apply_rule(rule: RetentionRule, file: MediaFile, rules: RuleSet) -> Decision:
    """What a rule gives for a file that it matches."""
    if rule.keep is None:
        return Decision(_KEPT, rule.name, None, rule.reason)
    if rule.keep_latest is not None and not file.stream_id:
        reason = f'rule "{rule.name}" keeps the newest {rule.keep_latest} of each stream, and its stream is not known'
        return Decision(_KEPT, rule.name, None, reason, missing="stream")
    if not rules.applied_by_person and file.is_adopted:
        return Decision(_KEPT, rule.name, None, f"{rule.reason}, but {_WAITS_FOR_A_PERSON}")
    try:
        due_at = file.aged_from + rule.keep
    except OverflowError:
        return Decision(_KEPT, rule.name, None, f"{rule.reason}, which is past the end of the calendar")
    return Decision(FileState.SCHEDULED, rule.name, due_at, rule.reason, rule.keep_latest)


def _has_date_to_compare(file: MediaFile, decision: Decision, rules: RuleSet, *, old_rule_counts: bool) -> bool:
    """Whether the date that a file had counts: not if a rank may have kept it all the same, or an erasure gave it.

    A decision that changes nothing must not make a file wait, whatever its rank was.
    """
    if file.due_at is None or _is_erased(file) != _is_erased(decision):
        return False
    is_unchanged = (file.revision, file.rule, file.due_at) == (rules.revision, decision.rule, decision.due_at)
    return is_unchanged or not old_rule_counts


def _is_brought_forward(file: MediaFile, decision: Decision, *, had_date: bool) -> bool:
    """Whether a decision gives a file that was decided before an earlier date than it had; none counts as never."""
    if decision.due_at is None or file.revision < 0:
        return False
    return not had_date or file.due_at is None or decision.due_at < file.due_at


def _find_mover(file: MediaFile, decision: Decision, rules: RuleSet, *, is_forward: bool) -> int | None:
    """The previewed revision that moved the date earlier: this one, or that of before if the date stays.

    What becomes known of a file later, under the same revision, was in no preview.
    """
    if not is_forward:
        return file.moved_by if decision.due_at == file.due_at else None
    was_shown = rules.preview_id is not None and file.id <= (rules.preview_highest_id or 0)
    return rules.revision if was_shown and file.revision != rules.revision and not _is_erased(decision) else None


def _is_erased(decided: MediaFile | Decision) -> bool:
    """Whether an erasure gave the date: it is a date without a rule."""
    return decided.rule is None and decided.due_at is not None
