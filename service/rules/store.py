"""The table of rule sets: one immutable row per revision, the highest number is in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Table, Text, insert, select, update

from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, metadata
from service.rules.decide import RetentionRule, RuleSet
from service.rules.file import parse_rules

rule_revisions: Final = Table(
    "rule_revisions",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=False),
    Column("applied_at", UtcDateTime, nullable=False),
    Column("applied_by", Text, nullable=False),
    Column("through", Text, nullable=False),
    # A person applied it, not the setting KEEP.
    Column("by_person", Boolean, nullable=False),
    # Where the rules came from, for people.
    Column("source", Text, nullable=False),
    # The rules as a rules file.
    Column("rules", Text, nullable=False),
    Column("cooling_until", UtcDateTime),
    # What its preview showed: files that become due sooner, up to this number of the inventory; and how many of them
    # have been called since. Beyond that the breaker counts them.
    Column("preview_id", BigInteger),
    Column("preview_highest_id", BigInteger),
    Column("moved_count", BigInteger, nullable=False),
    Column("moved_called", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Revision:
    """One rule set that was put in force.

    `moved_count` files become due sooner by it, as its preview showed; `moved_called` of them have been called.
    """

    number: int
    applied_at: datetime
    applied_by: str
    through: str
    by_person: bool
    source: str
    rules_text: str
    cooling_until: datetime | None
    preview_id: int | None
    preview_highest_id: int | None
    moved_count: int
    moved_called: int

    @property
    def rules(self) -> tuple[RetentionRule, ...]:
        """Its rules, in their order."""
        return _read_rules(self.rules_text)

    @property
    def rule_set(self) -> RuleSet:
        """What decides files under it."""
        return RuleSet(
            revision=self.number,
            rules=self.rules,
            applied_by_person=self.by_person,
            cooling_until=self.cooling_until,
            shown_up_to=self.preview_highest_id,
        )


NO_RULES: Final = RuleSet(revision=0, rules=())
"""What decides while no rules were ever applied: everything is kept."""


def find_current_number(tx: Transaction) -> int:
    """The revision in force; 0: none yet."""
    query = select(rule_revisions.c.number).order_by(rule_revisions.c.number.desc()).limit(1)
    return tx.execute(query).scalar() or 0


def find_current(tx: Transaction) -> Revision | None:
    """The rule set in force; None: none yet."""
    query = select(rule_revisions).order_by(rule_revisions.c.number.desc()).limit(1)
    row = tx.execute(query).one_or_none()
    return None if row is None else _read_revision(row)


def find_revision(tx: Transaction, number: int) -> Revision | None:
    """One rule set."""
    row = tx.execute(select(rule_revisions).where(rule_revisions.c.number == number)).one_or_none()
    return None if row is None else _read_revision(row)


def list_revisions(tx: Transaction, limit: int | None = None, *, before: int | None = None) -> Iterator[Revision]:
    """Rule sets, the newest first, those below `before`."""
    query = select(rule_revisions).order_by(rule_revisions.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(rule_revisions.c.number < before)
    for row in tx.execute(query):
        yield _read_revision(row)


def add_revision(tx: Transaction, revision: Revision) -> None:
    """Put a rule set in force: from the commit on, files are decided under it."""
    tx.execute(
        insert(rule_revisions).values(
            number=revision.number,
            applied_at=revision.applied_at,
            applied_by=revision.applied_by,
            through=revision.through,
            by_person=revision.by_person,
            source=revision.source,
            rules=revision.rules_text,
            cooling_until=revision.cooling_until,
            preview_id=revision.preview_id,
            preview_highest_id=revision.preview_highest_id,
            moved_count=revision.moved_count,
            moved_called=revision.moved_called,
        )
    )


def use_moved_budget(tx: Transaction, number: int, count: int) -> None:
    """Count files that were called because a preview had shown them."""
    tx.execute(
        update(rule_revisions)
        .where(rule_revisions.c.number == number)
        .values(moved_called=rule_revisions.c.moved_called + count)
    )


def list_moved_budgets(tx: Transaction) -> dict[int, int]:
    """How many files each previewed revision still covers, of those that its preview showed; used up ones are out."""
    left = rule_revisions.c.moved_count - rule_revisions.c.moved_called
    rows = tx.execute(select(rule_revisions.c.number, left).where(left > 0))
    return {number: count for number, count in rows}  # noqa: C416  (dict() loses the types)


@lru_cache(maxsize=64)
def _read_rules(text: str) -> tuple[RetentionRule, ...]:
    return parse_rules(text)


def _read_revision(row: Any) -> Revision:  # noqa: ANN401  (a row has no better type)
    return Revision(*row)
