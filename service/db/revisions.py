"""Revisions of the rules: immutable, numbered; the highest number is in force."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.core.rules import RetentionRule, RuleSet
from service.core.rules_file import parse_rules
from service.db.models import RevisionRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

NO_RULES = RuleSet(0, ())
"""What is in force while nobody has applied a rule: nothing is ever deleted."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One applied rule set with its history; `rules` is its text in the form of a rules file."""

    number: int
    applied_at: datetime
    applied_by: str
    source: str
    rules: str


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
    return Revision(row.number, row.applied_at, row.applied_by, row.source, row.rules) if row else None


def add_revision(session: Session, revision: Revision) -> None:
    """Put a rule set in force. The caller holds the policy exclusively, so that its number is free."""
    session.add(
        RevisionRow(
            number=revision.number,
            applied_at=revision.applied_at,
            applied_by=revision.applied_by,
            source=revision.source,
            rules=revision.rules,
        )
    )
    session.flush()


@lru_cache(maxsize=16)
def _parse(text: str) -> tuple[RetentionRule, ...]:
    return parse_rules(text)
