"""Putting rules in force: the next revision, written down with its order (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

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

log = structlog.get_logger(__name__)


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

    `source` is where they come from, for people. To be called last in the transaction: from here on it holds the head
    of the audit, so that revisions get their numbers one after the other.
    """
    lock_head(tx)
    number = store.find_current_number(tx) + 1
    preview_id, highest_id, sooner = preview or (None, None, 0)
    until = now + cooling_off if cooling_off else None
    text = format_rules(rules)
    revision = store.Revision(
        number, now, actor.name, actor.through, by_person, source, text, until, preview_id, highest_id, sooner, 0
    )
    store.add_revision(tx, revision)
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
        if store.find_current_number(tx):  # another process was faster
            return False
        put_in_force(
            tx, Actor("KEEP", "settings"), catch_all(keep or ""), KEEP_SOURCE, now, cooling_off, by_person=False
        )
        return True

    if keep is None:
        return False
    with database.read() as tx:
        has_rules = store.find_current_number(tx) > 0
    if has_rules or not database.transact(put_first):
        return False
    log.info("rules_applied", revision=1, source=KEEP_SOURCE, keep=keep)
    return True


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
