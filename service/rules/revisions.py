"""Putting rules in force: the next revision, written down with its order (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.audit.store import lock_head
from service.database import Database, Transaction
from service.model import Actor
from service.rules import store
from service.rules.decide import RetentionRule
from service.rules.file import catch_all, format_rules
from service.units import format_moment

KEEP_SOURCE: Final = "the KEEP setting"
_KEEP: Final = Actor("KEEP", "settings")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person had seen of a rule set before it was put in force.

    `sooner_count` files become due sooner by it, among those with numbers up to `highest_id`.
    """

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
    """Make rules the next revision; in force when the transaction commits.

    To be called last in the transaction: from here on it holds the head of the audit, so that revisions get their
    numbers one after the other.

    Args:
        tx: the transaction.
        actor: who applies them, and through what.
        rules: the rules, in their order.
        source: where they come from, for people.
        now: the time.
        cooling_off: how long files whose date moves earlier wait; nothing: they do not.
        preview: what was shown of them before; None: nothing.
        by_person: False where only the setting KEEP applies them.

    Returns:
        The revision, and the number of the order.
    """
    lock_head(tx)
    number = store.find_current_number(tx) + 1
    revision = store.Revision(
        number=number,
        applied_at=now,
        applied_by=actor.name,
        through=actor.through,
        by_person=by_person,
        source=source,
        rules_text=format_rules(rules),
        cooling_until=now + cooling_off if cooling_off > timedelta(0) else None,
        preview_id=None if preview is None else preview.preview_id,
        preview_highest_id=None if preview is None else preview.highest_id,
        moved_count=0 if preview is None else preview.sooner_count,
        moved_called=0,
    )
    store.add_revision(tx, revision)
    detail = {
        "source": source,
        "preview": revision.preview_id,
        "sooner": revision.moved_count,
        "cooling_until": None if revision.cooling_until is None else format_moment(revision.cooling_until),
    }
    order = place_order(
        tx,
        actor,
        OrderKind.RULES,
        f"revision {number}",
        {"revision": number},
        now,
        action="rules.apply",
        detail=detail,
    )
    return number, order


def apply_revision(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:  # noqa: ARG001
    """Apply an order of kind RULES: nothing to flag, the deciding loop compares revisions by itself."""
    return Step({"revision": order.payload["revision"]})


def ensure_first_rules(database: Database, keep: str | None, cooling_off: timedelta, now: datetime) -> bool:
    """While there are no rules, put the catch-all of the setting KEEP in force as revision 1.

    Returns whether it did.

    Raises:
        DatabaseUnavailable: the database refused or could not be reached.
    """
    if keep is None:
        return False
    with database.read() as tx:
        if store.find_current_number(tx):
            return False

    def put_first(tx: Transaction) -> bool:
        lock_head(tx)
        if store.find_current_number(tx):  # another process was faster
            return False
        put_in_force(tx, _KEEP, catch_all(keep), KEEP_SOURCE, now, cooling_off, by_person=False)
        return True

    was_first = database.transact(put_first)
    if was_first:
        log.info("rules_applied", revision=1, source=KEEP_SOURCE, keep=keep)
    return was_first


def keep_differs(tx: Transaction, keep: str | None) -> str | None:
    """One line if the setting KEEP is not what is in force; None if it is, or is unset."""
    current = store.find_current(tx)
    if keep is None or (current is not None and current.rules == catch_all(keep)):
        return None
    rules = "there are no rules yet" if current is None else f"revision {current.number} decides"
    return (
        f"ZEGO_RETENTION_KEEP={keep} is not in force: {rules}; see `zego-retention rules list`, or put it in force with"
        " `zego-retention rules apply --keep`"
    )
