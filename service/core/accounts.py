"""Accounts of decisions: a due date's arithmetic in words, and why a file went as it did back then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.durations import format_duration
from service.core.rules import Judgement, RuleExplanation, RuleResult, judge
from service.core.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.core.model import Erasure, MediaFile
    from service.core.rules import RetentionRule


def describe_arithmetic(
    file: MediaFile, rule: RetentionRule | None, due_at: datetime | None, observed_due_at: datetime | None
) -> str | None:
    """How the date on which a rule lets a file go comes about, or would if the rule did not only observe.

    None where there is no date.
    """
    date = due_at or observed_due_at
    if date is None:
        return None
    if rule is None or rule.keep is None:
        return f"due {in_words(date)}"
    since = file.aged_from
    sum_up = f"{_since(file)} {in_words(since)} + {format_duration(rule.keep)} = {in_words(since + rule.keep)}"
    if since + rule.keep != date:
        return f"{sum_up} by today's facts; {in_words(date)} by those that were decided on"
    return sum_up if due_at else f"{sum_up}: would have been let go then, but the rule only observes"


def _since(file: MediaFile) -> str:
    if file.aged_from != file.ended_at:
        return "made, says the vendor,"
    return "arrived" if file.ended_at == file.received_at else "ended"


def describe_erasure_date(erasure: Erasure) -> str:
    """Why the date of a file that is to be erased is what it is."""
    return f"due at once, when erasure {erasure.number} was requested: {in_words(erasure.requested_at)}"


def explain_past(
    file: MediaFile, rules: Sequence[RetentionRule], decided_by: str | None, reason: str
) -> tuple[RuleExplanation, ...]:
    """Say what each rule meant for a file when it was let go: `rules` are those of then, `reason` what was recorded.

    `decided_by` is the rule that let it go; None: an erasure did.
    """
    if decided_by is None:
        return (RuleExplanation("erasure", RuleResult.ERASES, reason),)
    names = [rule.name for rule in rules]
    if decided_by not in names:
        return (RuleExplanation(decided_by, RuleResult.DECIDES, reason),)
    place = names.index(decided_by)
    earlier = tuple(_explain_earlier(file, rule) for rule in rules[:place])
    later = tuple(
        RuleExplanation(name, RuleResult.NOT_REACHED, f'rule "{decided_by}" comes first') for name in names[place + 1 :]
    )
    return (*earlier, RuleExplanation(decided_by, RuleResult.DECIDES, reason), *later)


def _explain_earlier(file: MediaFile, rule: RetentionRule) -> RuleExplanation:
    result = judge(rule.match, file)
    changed = "it did not match then; what is known of the file has changed since"
    why = result.why if result.judgement is Judgement.DIFFERS else changed
    return RuleExplanation(rule.name, RuleResult.DIFFERS, why)
