"""Revisions of the rules: immutable, numbered; the highest number is in force."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.core.cooling import Change
from service.core.rules import RetentionRule, RuleSet
from service.core.rules_file import parse_rules
from service.db import previews
from service.db.models import RevisionRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

NO_RULES = RuleSet(0, ())
"""What is in force while nobody has applied a rule: nothing is ever deleted."""

_HIGHEST = 2**31 - 1  # the column takes no larger number


@dataclass(frozen=True, slots=True)
class Revision:
    """One applied rule set with its history; `rules` is its text in the form of a rules file.

    `through` is None for revisions from before it was recorded. Until `cooling_until` (None: at once) no file is called
    whose date this revision moved earlier. `preview_id` is the preview that it was bound to.
    """

    number: int
    applied_at: datetime
    applied_by: str
    through: str | None
    source: str
    rules: str
    cooling_until: datetime | None = None
    preview_id: int | None = None


def current_number(session: Session) -> int:
    """The number of the revision in force; 0 while there is none."""
    return session.scalar(select(func.max(RevisionRow.number))) or 0


def current_rules(session: Session) -> RuleSet:
    """The rules in force."""
    revision = current_revision(session)
    return RuleSet(revision.number, _parse(revision.rules)) if revision else NO_RULES


def current_revision(session: Session) -> Revision | None:
    """The revision in force, as it was applied."""
    row = session.scalar(select(RevisionRow).order_by(RevisionRow.number.desc()).limit(1))
    return _revision(row) if row else None


def find_revision(session: Session, number: int) -> Revision | None:
    """One revision, as it was applied."""
    row = session.get(RevisionRow, number) if number <= _HIGHEST else None
    return _revision(row) if row else None


def find_rules(session: Session, number: int) -> RuleSet | None:
    """The rules of one revision (0: none, before the first); None if there is no such revision."""
    if number == 0:
        return NO_RULES
    revision = find_revision(session, number)
    return RuleSet(number, _parse(revision.rules)) if revision else None


def list_changes(session: Session, after: int, upto: int) -> list[Change]:
    """The revisions beyond one, up to another, in their order, as changes that decisions have to follow."""
    rows = _rows(session, after, upto)
    return [_change(session, row, rows.get(number - 1)) for number, row in rows.items() if number > after]


def list_cooling(session: Session, upto: int, now: datetime) -> list[Change]:
    """The revisions up to one that can still be taken back, in their order."""
    cooling = select(func.min(RevisionRow.number)).where(RevisionRow.number <= upto, RevisionRow.cooling_until > now)
    first = session.scalar(cooling)
    if first is None:
        return []
    rows = _rows(session, first - 1, upto)
    found = [_cooling_change(rows, number) for number in rows if number >= first]
    return [change for change in found if change.cooling_until is not None and change.cooling_until > now]


def add_revision(session: Session, revision: Revision) -> None:
    """Put a rule set in force. The caller holds the policy exclusively, so that its number is free."""
    session.add(
        RevisionRow(
            number=revision.number,
            applied_at=revision.applied_at,
            applied_by=revision.applied_by,
            through=revision.through,
            source=revision.source,
            rules=revision.rules,
            cooling_until=revision.cooling_until,
            preview_id=revision.preview_id,
        )
    )
    session.flush()


def _revision(row: RevisionRow) -> Revision:
    return Revision(
        row.number,
        row.applied_at,
        row.applied_by,
        row.through,
        row.source,
        row.rules,
        row.cooling_until,
        row.preview_id,
    )


def _rows(session: Session, first: int, last: int) -> dict[int, RevisionRow]:
    query = select(RevisionRow).where(RevisionRow.number >= first, RevisionRow.number <= last)
    return {row.number: row for row in session.scalars(query.order_by(RevisionRow.number))}


def _change(session: Session, row: RevisionRow, before: RevisionRow | None) -> Change:
    previewed = previews.load_sooner(session, row.preview_id) if row.preview_id is not None else None
    return Change(_rule_set(before), _rule_set(row), row.applied_at, row.cooling_until, row.preview_id, previewed)


def _cooling_change(rows: dict[int, RevisionRow], number: int) -> Change:
    row, after = rows[number], rows.get(number + 1)
    until = row.cooling_until
    if until is not None and after is not None and after.applied_at < row.applied_at:
        # It was applied under a clock that has jumped back since: its wait begins when that showed, or would never end.
        until = after.applied_at + (until - row.applied_at)
    return Change(_rule_set(rows.get(number - 1)), _rule_set(row), row.applied_at, until)


def _rule_set(row: RevisionRow | None) -> RuleSet:
    return NO_RULES if row is None else RuleSet(row.number, _parse(row.rules))


@lru_cache(maxsize=16)
def _parse(text: str) -> tuple[RetentionRule, ...]:
    return parse_rules(text)
