"""The answer to "why is this file kept, or deleted?", line by line; of an ended file, why it was deleted back then."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from service.model import Erasure, Hold, MediaFile, WaitReason
from service.rules.decide import WHY_UNCONFIRMED, RetentionRule, RuleSet, apply_rule, describe_erasure, describe_hold
from service.rules.match import Judgement, judge
from service.units import describe_moment, format_duration


class LineResult(StrEnum):
    """What a hold, a suspicion, an erasure or a rule contributes to the fate of a file, or did."""

    HOLDS = "holds"
    UNCONFIRMED = "unconfirmed"
    ERASES = "erases"
    DECIDES = "decides"
    WOULD_DECIDE = "would decide"
    DIFFERS = "does not match"
    UNKNOWN = "cannot be judged"
    NOT_REACHED = "not reached"
    ERASED = "erased"
    DECIDED = "decided"
    DIFFERED = "did not match"


class Line(NamedTuple):
    """One line of an explanation; `name` is that of a rule, or `hold`, `suspicion`, `erasure`."""

    name: str
    result: LineResult
    why: str


def explain(
    file: MediaFile, rules: RuleSet, holds: Iterable[Hold], erasure: Erasure | None, *, latest: str | None = None
) -> tuple[Line, ...]:
    """What counts for a file now, in the order in which it counts; `latest` is why its rank keeps it, if it does.

    `holds` are those in force that cover it. Below a hold, a suspicion or an erasure, a rule only would decide.
    """
    lines = [Line("hold", LineResult.HOLDS, describe_hold(file, hold)) for hold in holds]
    if file.suspicion is not None:
        lines.append(Line("suspicion", LineResult.UNCONFIRMED, WHY_UNCONFIRMED[file.suspicion]))
    if erasure is not None:
        lines.append(Line("erasure", LineResult.ERASES, describe_erasure(erasure)))
    decides = LineResult.WOULD_DECIDE if lines else LineResult.DECIDES
    first = None if erasure is None else f"erasure {erasure.id}"
    for rule in rules.rules:
        if first is not None:
            lines.append(Line(rule.name, LineResult.NOT_REACHED, f"{first} comes first"))
            continue
        judgement, key = judge(rule.match, file)
        if key is None:
            decision = apply_rule(file, rules, rule, None)
            lines.append(Line(rule.name, decides, latest if latest and decision.keep_latest else decision.reason))
        else:
            lines.append(Line(rule.name, LineResult(judgement.value), key.describe(rule.match, file)))
        if judgement is not Judgement.DIFFERS:
            first = f'rule "{rule.name}"'
    return tuple(lines)


def explain_past(file: MediaFile, rules: RuleSet, decided_by: str | None, reason: str) -> tuple[Line, ...]:
    """What counted for a file when a rule deleted it (None: an erasure did); rules and reason are those of then."""
    if decided_by is None:
        return (Line("erasure", LineResult.ERASED, reason),)
    decided = Line(decided_by, LineResult.DECIDED, reason)
    lines = []
    for rule in rules.rules if rules.find_rule(decided_by) else ():
        if rule.name == decided_by:
            lines.append(decided)
        elif decided in lines:
            lines.append(Line(rule.name, LineResult.NOT_REACHED, f'rule "{decided_by}" came first'))
        else:
            judgement, key = judge(rule.match, file)
            why = "it did not match then; what is known of the file has changed since"
            if judgement is Judgement.DIFFERS and key is not None:
                why = key.describe(rule.match, file)
            lines.append(Line(rule.name, LineResult.DIFFERED, why))
    return tuple(lines) or (decided,)


def describe_date(file: MediaFile, rule: RetentionRule | None, due_at: datetime | None) -> str | None:
    """How the date of a file comes about: `ended … + 30d = …`; None where it has none. No rule: an erasure gave it."""
    if due_at is None:
        return None
    date = describe_moment(due_at)
    if rule is None or rule.keep is None:
        return f"due since its erasure was requested: {date}"
    start = "arrived" if file.ended_at == file.received_at else "ended"
    if file.aged_from != file.ended_at:
        start = "made (says the vendor)"
    since = f"{start} {describe_moment(file.aged_from)} + {format_duration(rule.keep)}"
    is_so = due_at - file.aged_from == rule.keep
    return f"{since} = {date}" if is_so else f"{since} by today's facts; {date} by the facts when it was decided"


def describe_wait(file: MediaFile, now: datetime) -> str | None:
    """What a file waits for although it has a date; None where that is nothing, or over, or its date comes later."""
    if file.due_at is None or file.wait_until is None or file.wait_until <= max(now, file.due_at):
        return None
    until = describe_moment(file.wait_until)
    if file.wait_reason is WaitReason.RETRY:
        return f"the last attempt did not succeed, so it is retried after {until}"
    if file.wait_reason is WaitReason.ADOPTION:
        found = "" if file.adopted_at is None else f" on {describe_moment(file.adopted_at)}"
        return f"a listing first showed it{found}, so it waits until {until}"
    return f"its date moved earlier during a cooling-off, so it waits until {until}"
