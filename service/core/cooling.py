"""Cooling-off: a change of rules that moves a file's date earlier lets nobody call it before it can be taken back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.core.model import Action
from service.core.rules import decide_by_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.core.file_sets import FileSet
    from service.core.model import Decision, MediaFile
    from service.core.rules import RuleSet


@dataclass(frozen=True, slots=True)
class Change:
    """A rule set that came into force: until when it can be taken back, and the files that its preview showed."""

    rules: RuleSet
    cooling_until: datetime | None
    preview_id: int | None = None
    previewed: FileSet | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What earlier changes left on a file: the date, the end of its cooling-off, and what approved its deletion."""

    due_at: datetime | None
    cooling_until: datetime | None
    approval: str | None


def follow_changes(
    number: int, file: MediaFile, standing: Standing, changes: Sequence[Change], now: datetime
) -> Standing:
    """What the changes since a file was last decided leave on it, one after the other; `number` is the file's own.

    Each change that moves the date earlier makes it wait, and approves it only if its preview showed the file.
    """
    for change in changes:
        due_at = decide_by_rules(file, change.rules.rules, now).due_at
        until, approval = standing.cooling_until, standing.approval
        if is_sooner(due_at, standing.due_at):
            until = max(filter(None, (until, change.cooling_until)), default=None)
            shown = change.previewed is not None and number in change.previewed
            approval = f"preview {change.preview_id}" if shown else None
        standing = Standing(due_at, until, approval)
    return standing


def is_sooner(then: datetime | None, before: datetime | None) -> bool:
    """A date that moved earlier; None is never."""
    return then is not None and (before is None or then < before)


def cool(decision: Decision, until: datetime | None, now: datetime) -> Decision:
    """The decision with the end of the cooling-off; what would be deleted before it waits."""
    if until is None or decision.action is not Action.DELETE or until <= now:
        return replace(decision, cooling_until=until)
    reason = (
        f"{decision.reason}; a change of rules moved its date earlier, so it waits until {until:%Y-%m-%d %H:%M} UTC"
    )
    return replace(decision, action=Action.WAIT, reason=reason, cooling_until=until)
