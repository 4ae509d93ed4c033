"""Cooling-off: a change of rules that moves a file's date earlier lets nobody call it before it can be taken back.

Whether a file waits is reckoned anew with each decision, from what is known of it then: a rank or a size that becomes
known later must not let go at once what the rules of yesterday still keep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from service.core.model import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from service.core.file_sets import FileSet
    from service.core.model import Decision
    from service.core.rules import RuleSet

DateUnder: TypeAlias = "Callable[[RuleSet, datetime | None], datetime | None]"
"""The date that a rule set gives one file (None: never), ranked among the files announced by a moment (None: all)."""


@dataclass(frozen=True, slots=True)
class Change:
    """A rule set that came into force, and the one before it: until when it can be taken back (None: not at all).

    `previewed` are the files that its preview showed as due sooner.
    """

    before: RuleSet
    rules: RuleSet
    applied_at: datetime
    cooling_until: datetime | None
    preview_id: int | None = None
    previewed: FileSet | None = None


def find_wait(
    received_at: datetime, due_at: datetime | None, changes: Sequence[Change], now: datetime, date_under: DateUnder
) -> Change | None:
    """The change that a file waits for: the one that can be taken back the longest among those that moved its date.

    Such a change came after the file was announced, can still be taken back, and the date of today is earlier than the
    one that the rules before it give. Under those, only files that the change found count: what came later and goes
    again meanwhile must not change who waits. None: nothing has to be waited for.
    """
    found = [
        (change.cooling_until, place)
        for place, change in enumerate(changes)
        if change.cooling_until is not None
        and now < change.cooling_until
        and received_at <= change.applied_at
        and is_sooner(due_at, date_under(change.before, change.applied_at))
    ]
    return changes[max(found)[1]] if found else None


@dataclass(frozen=True, slots=True)
class Approved:
    """What approved the deletion of a file, if anything has, and the date for which it did."""

    approval: str | None
    due_at: datetime | None


def follow_approval(number: int, approved: Approved, changes: Sequence[Change], date_under: DateUnder) -> Approved:
    """What is left of an approval after changes, one after the other; `number` is the file's own.

    An approval is bound to the date that was shown: it ends with that date, and a preview gives a new one only to
    files that it shows as due sooner.
    """
    for change in changes:
        before, after = date_under(change.before, None), date_under(change.rules, None)
        approval = approved.approval if before == after == approved.due_at else None
        if is_sooner(after, before) and change.previewed is not None and number in change.previewed:
            approval = f"preview {change.preview_id}"
        approved = Approved(approval, after)
    return approved


def is_sooner(then: datetime | None, before: datetime | None) -> bool:
    """A date that moved earlier; None is never."""
    return then is not None and (before is None or then < before)


def cool(decision: Decision, change: Change | None, quiet_until: datetime | None, now: datetime) -> Decision:
    """The decision with the end of what it waits for; what would be deleted before it waits.

    `quiet_until` is when a file that was adopted from a listing has been left alone for long enough.
    """
    waits = [] if change is None or change.cooling_until is None else [(change.cooling_until, _MOVED)]
    if quiet_until is not None and now < quiet_until and is_sooner(decision.due_at, quiet_until):
        waits.append((quiet_until, _ADOPTED))
    until, why = max(waits, default=(None, ""))
    if until is None or decision.action is not Action.DELETE or until <= now:
        return replace(decision, cooling_until=until)
    reason = f"{decision.reason}; {why}, so it waits until {until:%Y-%m-%d %H:%M} UTC"
    return replace(decision, action=Action.WAIT, reason=reason, cooling_until=until)


_MOVED = "a change of rules moved its date earlier"
_ADOPTED = "it was found in a listing only a while ago"
