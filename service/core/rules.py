"""Retention rules: what a file is matched against, and what the rules and holds decide about it.

Everything here leans to one side: a missing fact, a sum that overflows, a rule that cannot be judged keep the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from service.core.durations import format_duration
from service.core.matching import Judgement, Match, MatchResult, judge, match_implies, settle
from service.core.model import Action, Decision, Hold, Suspicion
from service.core.patterns import matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.core.model import Erasure, MediaFile

__all__ = [
    "Judgement",
    "Match",
    "MatchResult",
    "Mode",
    "RetentionRule",
    "RuleExplanation",
    "RuleResult",
    "RuleSet",
    "believe_end",
    "decide",
    "decide_by_rules",
    "explain",
    "find_hold",
    "find_hold_end",
    "find_rule",
    "find_unreachable",
    "is_kept_for_lack_of_a_fact",
    "judge",
]

_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_CLOCK_SKEW: Final = timedelta(minutes=2)

_WHY_UNCONFIRMED: Final = {
    Suspicion.STALE: "its callback was too old, or dated ahead, when it arrived",
    Suspicion.CONFLICT: "callbacks with one signature told different things",
    Suspicion.UNLISTED: "CONFIRM=all: it has not been seen in a listing yet",
}


class Mode(StrEnum):
    """Whether a rule deletes, or only tells what it would delete; documented in docs/rules.md."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long matching files are kept: until `keep` after `MediaFile.aged_from` (None: for ever).

    Of the recordings that it decides, the newest `keep_latest` of each stream are kept whatever their age. A rule that
    only observes decides as well, so that no later rule does, but lets nothing go.
    """

    name: str
    match: Match
    keep: timedelta | None
    keep_latest: int | None = None
    mode: Mode = Mode.ENFORCE


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in their order, as one numbered revision."""

    revision: int
    rules: tuple[RetentionRule, ...]


class RuleResult(StrEnum):
    """What one rule or hold contributes to the fate of a file."""

    DECIDES = "decides"
    WOULD_DECIDE = "would decide"
    DIFFERS = "does not match"
    UNKNOWN = "cannot be judged"
    NOT_REACHED = "not reached"
    HOLDS = "holds"
    ERASES = "erases"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """One line of the answer to "why is this file kept, or deleted?"."""

    name: str
    result: RuleResult
    why: str


def decide(file: MediaFile, rules: Sequence[RetentionRule], holds: Sequence[Hold], now: datetime) -> Decision:
    """Decide the fate of a file: holds win, then suspicion, then an erasure, then the first rule that matches.

    No match keeps for ever. `rules` are those in force, in their order; `holds` may include ended ones and those of
    other files.
    """
    by_order = _decide_by_erasure(file.erasure, now) if file.erasure else decide_by_rules(file, rules, now)
    hold = find_hold(file, holds, now)
    if hold is not None:
        return replace(by_order, action=Action.HOLD, reason=_describe_hold(file, hold))
    if file.suspicion is not None:
        return replace(by_order, action=Action.CONFIRM, reason=_describe_suspicion(file.suspicion))
    return by_order


def decide_by_rules(file: MediaFile, rules: Sequence[RetentionRule], now: datetime) -> Decision:
    """What the rules alone say, before holds, suspicions and erasures."""
    for rule in rules:
        if settle(rule.match, file) is not Judgement.DIFFERS:
            return _apply(rule, judge(rule.match, file), file, now)
    return Decision(Action.KEEP, None, None, "no rule matches it" if rules else "there are no rules")


def find_rule(file: MediaFile, rules: Sequence[RetentionRule]) -> int | None:
    """The place of the rule that decides a file; None if none matches, or the first that may cannot be judged."""
    for place, rule in enumerate(rules):
        judgement = settle(rule.match, file)
        if judgement is not Judgement.DIFFERS:
            return place if judgement is Judgement.MATCHES else None
    return None


def is_kept_for_lack_of_a_fact(file: MediaFile, rules: Sequence[RetentionRule]) -> bool:
    """The rules keep a file because one cannot be judged for it, or counts recordings and its stream is not known."""
    for rule in rules:
        judgement = settle(rule.match, file)
        if judgement is Judgement.MATCHES:
            return rule.keep is not None and file.rank is None and _keep_as_latest(rule, file) is not None
        if judgement is Judgement.UNKNOWN:
            return True
    return False


def find_hold(file: MediaFile, holds: Sequence[Hold], now: datetime) -> Hold | None:
    """The first hold in force on a file; an error while looking for it is one, too."""
    try:
        return next(_holds_in_force(file, holds, now), None)
    except Exception as error:  # noqa: BLE001  (whatever it is: in doubt, the file is held)
        return Hold(file.app_id, f"the holds could not be checked ({type(error).__name__}): report this as a defect")


def find_hold_end(file: MediaFile, holds: Sequence[Hold], now: datetime) -> tuple[bool, datetime | None]:
    """Whether holds keep a file, and when the last of them ends (None: not before somebody releases it)."""
    try:
        ends = [hold.until for hold in _holds_in_force(file, holds, now)]
        return bool(ends), None if None in ends else max((end for end in ends if end), default=None)
    except Exception:  # noqa: BLE001  (whatever it is: in doubt, the file is held)
        return True, None


def explain(
    file: MediaFile, rules: Sequence[RetentionRule], holds: Sequence[Hold], now: datetime
) -> tuple[RuleExplanation, ...]:
    """Say what each hold in force, a suspicion and each rule mean for a file, in the order in which they count.

    Lines named `hold`, `suspicion` and `erasure` come before those of the rules; below one, the rule that matches
    only would decide.
    """
    in_force = _holds_in_force(file, holds, now)
    lines = [RuleExplanation("hold", RuleResult.HOLDS, _describe_hold(file, hold)) for hold in in_force]
    if file.suspicion is not None:
        lines.append(RuleExplanation("suspicion", RuleResult.UNCONFIRMED, _describe_suspicion(file.suspicion)))
    decided_by: str | None = None
    if file.erasure is not None:
        lines.append(RuleExplanation("erasure", RuleResult.ERASES, _describe_erasure(file.erasure)))
        rules = ()
    lines_above = bool(lines)
    for rule in rules:
        if decided_by is not None:
            lines.append(RuleExplanation(rule.name, RuleResult.NOT_REACHED, f'rule "{decided_by}" comes first'))
            continue
        lines.append(_explain_rule(file, rule, now, RuleResult.WOULD_DECIDE if lines_above else RuleResult.DECIDES))
        if lines[-1].result is not RuleResult.DIFFERS:
            decided_by = rule.name
    return tuple(lines)


def believe_end(
    began_at: datetime | None, ended_at: datetime | None, received_at: datetime
) -> tuple[datetime | None, datetime]:
    """Judge the times that a callback claims: the begin (None: not believed) and the end that ages are counted from.

    An end is believed from 2015 until two minutes after its arrival unless it lies before the begin; else the arrival
    counts. Never answers a begin after the end.
    """
    believed = (
        ended_at is not None
        and _EARLIEST <= ended_at <= received_at + _CLOCK_SKEW
        and (began_at is None or began_at <= ended_at)
    )
    end = ended_at if believed and ended_at is not None else received_at
    begin = began_at if began_at is not None and _EARLIEST <= began_at <= end else None
    return begin, end


def find_unreachable(rules: Sequence[RetentionRule]) -> tuple[RetentionRule, RetentionRule] | None:
    """Find a rule that can never decide because one earlier rule takes every file first: (rule, earlier rule).

    Only what a single earlier rule provably implies, key by key, counts.
    """
    for number, rule in enumerate(rules):
        for earlier in rules[:number]:
            if match_implies(rule.match, earlier.match):
                return rule, earlier
    return None


def _decide_by_erasure(erasure: Erasure, now: datetime) -> Decision:
    # Due at once, even if the clock ran ahead when it was requested.
    return Decision(Action.DELETE, None, min(erasure.requested_at, now), _describe_erasure(erasure))


def _apply(rule: RetentionRule, result: MatchResult, file: MediaFile, now: datetime) -> Decision:
    """What a rule gives for a file that it matches, or that it cannot be judged for."""
    if result.judgement is Judgement.UNKNOWN:
        return _keep(rule, f'rule "{rule.name}" cannot be judged: {result.why}')
    if rule.keep is None:
        return _keep(rule, f'rule "{rule.name}" keeps it for ever')
    latest = _keep_as_latest(rule, file)
    if latest is not None:
        return latest
    window = format_duration(rule.keep)
    try:
        due_at = file.aged_from + rule.keep
    except OverflowError:
        return _keep(rule, f'rule "{rule.name}" keeps it for {window}, which is past the end of the calendar')
    if rule.mode is Mode.OBSERVE:
        reason = f'rule "{rule.name}" only observes: it would have let it go after {window}'
        return Decision(Action.OBSERVE, rule.name, None, reason, observed_due_at=due_at)
    action = Action.DELETE if due_at <= now else Action.WAIT
    return Decision(action, rule.name, due_at, f'rule "{rule.name}" keeps it for {window}')


def _keep(rule: RetentionRule, reason: str) -> Decision:
    return Decision(Action.KEEP, rule.name, None, reason)


def _keep_as_latest(rule: RetentionRule, file: MediaFile) -> Decision | None:
    """Keep a file that is, or may be, among the newest of its stream.

    A suspect file has no rank before it is confirmed; it must stay `unconfirmed`, not `kept`, so that somebody looks.
    """
    if rule.keep_latest is None or (file.rank is None and file.suspicion is not None):
        return None
    newest = f'rule "{rule.name}" keeps the newest {rule.keep_latest} that it decides of each stream'
    if file.rank is None:
        return _keep(rule, f"{newest}, and its rank is not known")
    return _keep(rule, f"{newest}, and it is number {file.rank}") if file.rank <= rule.keep_latest else None


def _explain_rule(file: MediaFile, rule: RetentionRule, now: datetime, if_it_matches: RuleResult) -> RuleExplanation:
    result = judge(rule.match, file)
    if result.judgement is Judgement.MATCHES:
        return RuleExplanation(rule.name, if_it_matches, _apply(rule, result, file, now).reason)
    kind = RuleResult.UNKNOWN if result.judgement is Judgement.UNKNOWN else RuleResult.DIFFERS
    return RuleExplanation(rule.name, kind, result.why)


def _holds_in_force(file: MediaFile, holds: Sequence[Hold], now: datetime) -> Iterator[Hold]:
    return (hold for hold in holds if (hold.until is None or now < hold.until) and _covers(hold, file))


def _covers(hold: Hold, file: MediaFile) -> bool:
    """Tell whether a hold may be meant for a file: one whose stream is not known may belong to any pattern."""
    if hold.app_id != file.app_id:
        return False
    if hold.file is not None and hold.file == (file.vendor, file.file_id):
        return True
    if hold.stream_pattern is None:
        return hold.file is None
    return not file.stream_id or matches(hold.stream_pattern, file.stream_id)


def _describe_hold(file: MediaFile, hold: Hold) -> str:
    until = "" if hold.until is None else f" until {hold.until:%Y-%m-%d %H:%M} UTC"
    doubt = " (its stream is not known)" if hold.file is None and not file.stream_id else ""
    return f"held{until}: {hold.reason}{doubt}"


def _describe_erasure(erasure: Erasure) -> str:
    return f"erasure {erasure.number} of {erasure.requested_at:%Y-%m-%d %H:%M} UTC: {erasure.reason}"


def _describe_suspicion(suspicion: Suspicion) -> str:
    return f"{_WHY_UNCONFIRMED[suspicion]}: confirm it to let it go"
