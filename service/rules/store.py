"""Revisions: one immutable row per rule set, the highest number is in force; putting rules in force (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import Column, Table, Text, func, insert, select, update

from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.audit.store import lock_head
from service.database import Database, Transaction
from service.database.columns import BigId, columns_of, metadata
from service.model import Actor
from service.rules.decide import RetentionRule, RuleSet
from service.rules.file import RulesError, catch_all, format_rules, parse_rules
from service.units import format_moment

KEEP_SOURCE: Final = "the KEEP setting"

log = structlog.get_logger(__name__)

NO_RULES: Final = RuleSet(revision=0, rules=())
"""What decides while no rules were ever applied: everything is kept."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One rule set that was put in force; a row of `rule_revisions`. `rules_text` is a rules file.

    `by_person`: not by the setting KEEP. `moved_count` files, up to `preview_highest_id`, become due sooner by it, as
    its preview showed; `moved_called` of them have been called. Beyond that the breaker counts them.
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


def find_fault_of_rules(tx: Transaction) -> str | None:
    """Why this release cannot read the rules in force, and what to do; None if it can."""
    current = find_current(tx)
    if current is None:
        return None
    try:
        _ = current.rules
    except RulesError as error:
        text = f"this release cannot read the rules in force, revision {current.number}: {error}"
        return f"{text}; run the release that they were applied with"
    return None


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


def use_moved_budget(tx: Transaction, number: int, count: int) -> None:
    """Count files that were called because a preview had shown them."""
    called = rule_revisions.c.moved_called
    tx.execute(update(rule_revisions).where(rule_revisions.c.number == number).values({called: called + count}))


def list_moved_budgets(tx: Transaction) -> dict[int, int]:
    """How many files each previewed revision still covers, of those that its preview showed; used up ones are out."""
    left = rule_revisions.c.moved_count - rule_revisions.c.moved_called
    rows = tx.execute(select(rule_revisions.c.number, left).where(left > 0))
    return {number: count for number, count in rows}  # noqa: C416  (dict() loses the types)


class Shown(NamedTuple):
    """What a preview had shown: so many files, of those with numbers up to `highest_id`, become due sooner."""

    preview_id: int
    highest_id: int
    sooner_count: int


def put_in_force(
    tx: Transaction,
    actor: Actor,
    rules: Sequence[RetentionRule],
    source: str,
    now: datetime,
    cooling_off: timedelta,
    *,
    preview: Shown | None = None,
    by_person: bool = True,
) -> tuple[int, int]:
    """Make rules the next revision, in force when the transaction commits; returns it, and the number of the order.

    `source` is where they come from. To be called last in the transaction: it holds the head of the audit.
    """
    lock_head(tx)
    number = find_current_number(tx) + 1
    preview_id, highest_id, sooner = preview or (None, None, 0)
    until = now + cooling_off if cooling_off else None
    text = format_rules(rules)
    by = (actor.name, actor.through, by_person)
    values = (number, now, *by, source, text, until, preview_id, highest_id, sooner, 0)
    tx.execute(insert(rule_revisions).values(values))
    detail = {"source": source, "preview": preview_id, "sooner": sooner}
    detail["cooling_until"] = None if until is None else format_moment(until)
    about = (OrderKind.RULES, f"revision {number}", {"revision": number})
    return number, place_order(tx, actor, *about, now, action="rules.apply", detail=detail)


def apply_revision(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:  # noqa: ARG001
    """Apply an order of kind RULES: nothing to flag, the deciding loop compares revisions by itself."""
    return Step({"revision": order.payload["revision"]})


def ensure_first_rules(database: Database, keep: str | None, cooling_off: timedelta, now: datetime) -> bool:
    """While there are no rules, put the catch-all of the setting KEEP in force as revision 1; whether it did."""

    def put_first(tx: Transaction) -> bool:
        lock_head(tx)
        if find_current_number(tx):  # another process was faster
            return False
        actor, rules = Actor("KEEP", "settings"), catch_all(keep or "")
        put_in_force(tx, actor, rules, KEEP_SOURCE, now, cooling_off, by_person=False)
        return True

    if keep is None:
        return False
    with database.read() as tx:
        has_rules = find_current_number(tx) > 0
    if has_rules or not database.transact(put_first):
        return False
    log.info("rules_applied", revision=1, source=KEEP_SOURCE, keep=keep)
    return True


def keep_differs(tx: Transaction, keep: str | None) -> str | None:
    """One line if the setting KEEP is not what is in force; None if it is, or is unset."""
    current = find_current(tx)
    if keep is None or (current is not None and current.rules == catch_all(keep)):
        return None
    rules = "there are no rules yet" if current is None else f"revision {current.number} decides"
    return (
        f"ZEGO_RETENTION_KEEP={keep} is not in force: {rules}; see `zego-retention rules list`, or put it in force with"
        " `zego-retention rules apply --keep`"
    )
