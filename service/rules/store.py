"""The table of rule sets: one immutable row per revision, the highest number is in force."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import Column, Table, Text, func, insert, select, update

from service.database import Transaction
from service.database.schema import BigId, columns_of, metadata
from service.rules.decide import RetentionRule, RuleSet
from service.rules.file import parse_rules

NO_RULES: Final = RuleSet(revision=0, rules=())
"""What decides while no rules were ever applied: everything is kept."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One rule set that was put in force; a row of `rule_revisions`. `rules_text` is a rules file.

    `by_person` is False where the setting KEEP applied it. `moved_count` files, up to `preview_highest_id`, become due
    sooner by it, as its preview showed; `moved_called` of them have been called. Beyond that the breaker counts them.
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
        return read_rules(self.rules_text)

    @property
    def rule_set(self) -> RuleSet:
        """What decides files under it."""
        return RuleSet(self.number, self.rules, self.by_person, self.cooling_until, self.preview_highest_id)


rule_revisions: Final = Table(
    "rule_revisions",
    metadata,
    *columns_of(
        Revision,
        number=Column("number", BigId, primary_key=True, autoincrement=False),
        rules_text=Column("rules", Text, nullable=False),
    ),
)

read_rules: Final = lru_cache(maxsize=64)(parse_rules)


def find_current_number(tx: Transaction) -> int:
    """The revision in force; 0: none yet."""
    return tx.execute(select(func.max(rule_revisions.c.number))).scalar() or 0


def find_current(tx: Transaction) -> Revision | None:
    """The rule set in force; None: none yet."""
    return find_revision(tx, find_current_number(tx))


def find_revision(tx: Transaction, number: int) -> Revision | None:
    """One rule set."""
    row = tx.execute(select(rule_revisions).where(rule_revisions.c.number == number)).one_or_none()
    return None if row is None else Revision(*row)


def list_revisions(tx: Transaction, limit: int | None = None, *, before: int | None = None) -> list[Revision]:
    """Rule sets, the newest first, those below `before`."""
    query = select(rule_revisions).order_by(rule_revisions.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(rule_revisions.c.number < before)
    return [Revision(*row) for row in tx.execute(query)]


def add_revision(tx: Transaction, revision: Revision) -> None:
    """Put a rule set in force: from the commit on, files are decided under it."""
    tx.execute(insert(rule_revisions).values(astuple(revision)))


def use_moved_budget(tx: Transaction, number: int, count: int) -> None:
    """Count files that were called because a preview had shown them."""
    called = rule_revisions.c.moved_called
    tx.execute(update(rule_revisions).where(rule_revisions.c.number == number).values({called: called + count}))


def list_moved_budgets(tx: Transaction) -> dict[int, int]:
    """How many files each previewed revision still covers, of those that its preview showed; used up ones are out."""
    left = rule_revisions.c.moved_count - rule_revisions.c.moved_called
    rows = tx.execute(select(rule_revisions.c.number, left).where(left > 0))
    return {number: count for number, count in rows}  # noqa: C416  (dict() loses the types)
