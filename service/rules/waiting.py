"""What a decision makes of a file's dates: when it is due, what it waits for (cooling-off), when it may be called.

A file whose date moves earlier waits until the change can no longer be taken back (docs/rules.md).
"""

from __future__ import annotations

from datetime import datetime

from service.model import MediaFile, WaitReason
from service.rules.decide import Decision, RuleSet


def apply_decision(
    file: MediaFile, decision: Decision, rules: RuleSet, now: datetime, *, old_rule_counts: bool = False
) -> MediaFile:
    """The row of a file after a decision under `rules`.

    `old_rule_counts` is whether the rule that decided it before has `keep_latest`: it may have been kept for its rank,
    so its old date counts as "never", unless nothing changes. So does the date of an erasure that is over.

    No decision lowers `wait_until`, with one exception: an erasure is a person's explicit order, so it ends the waits
    for a cooling-off and for an adoption (never that of a retry).
    """
    due_at = decision.due_at
    was_erased = file.rule is None and file.due_at is not None  # a date without a rule
    is_erased = decision.rule is None and due_at is not None
    is_same = (file.revision, file.rule, file.due_at) == (rules.revision, decision.rule, due_at)
    old_due_at = file.due_at if was_erased == is_erased and (is_same or not old_rule_counts) else None
    is_sooner = due_at is not None and file.revision >= 0 and (old_due_at is None or due_at < old_due_at)

    wait_until, wait_reason = file.wait_until, file.wait_reason
    if is_erased:
        if wait_reason is not WaitReason.RETRY:
            wait_until = wait_reason = None
    elif is_sooner and rules.cooling_until is not None and now < rules.cooling_until:
        until = rules.cooling_until
        if old_due_at is not None and file.call_after is not None:
            until = min(file.call_after, until)
        if wait_until is None or until > wait_until:
            wait_until, wait_reason = until, WaitReason.COOLING_OFF

    moved_by = file.moved_by if due_at == file.due_at else None
    if is_sooner:  # what becomes known of a file later, under the same revision, was in no preview
        was_shown = rules.shown_up_to is not None and file.id <= rules.shown_up_to and not is_erased
        moved_by = rules.revision if was_shown and file.revision != rules.revision else None
    return file._replace(
        state=decision.state,
        state_reason=decision.reason,
        state_at=now if decision.state is not file.state or file.state_at is None else file.state_at,
        rule=decision.rule,
        due_at=due_at,
        wait_until=wait_until,
        wait_reason=wait_reason,
        call_after=find_call_after(due_at, wait_until),
        revision=rules.revision,
        decide_again=False,
        moved_by=moved_by,
    )


def find_call_after(due_at: datetime | None, wait_until: datetime | None) -> datetime | None:
    """The later of the two; None (never) without a date."""
    return due_at if due_at is None or wait_until is None else max(due_at, wait_until)
