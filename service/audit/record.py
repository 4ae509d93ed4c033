"""Writing the audit: an entry, alone or with the order that it stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.audit import store
from service.audit.chain import hash_entry
from service.audit.order import Order, OrderKind
from service.audit.store import Entry
from service.database import Transaction
from service.model import Actor


def record_entry(
    tx: Transaction, actor: Actor, action: str, subject: str, detail: Mapping[str, Any], now: datetime
) -> int:
    """Write down a change in the transaction that makes it; returns the entry's number.

    Numbers commit in their order: the head of the chain stays locked until the transaction ends. So this comes last in
    it, and nothing slow after it.
    """
    head = store.lock_head(tx)
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"))
    entry = Entry(head.number + 1, now, actor.name, actor.through, action, subject, text)
    store.add_entry(tx, replace(entry, hash=hash_entry(head, entry)))
    return entry.number


def place_order(  # noqa: PLR0913  (an entry's parts, each by its own name)
    tx: Transaction,
    actor: Actor,
    kind: OrderKind,
    subject: str,
    payload: dict[str, Any],
    now: datetime,
    *,
    action: str,
    app_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Write an order and its audit entry; in force when the transaction commits. Returns the order's number.

    `subject` is what it is about, for people ("hold 3"); `payload` what the leader needs to apply it, in JSON; `action`
    what the audit calls it ("hold.place"); `app_id` the only app that it concerns (None: all); `detail` what the audit
    says of it beyond that (None: the payload).
    """
    number = record_entry(tx, actor, action, subject, payload if detail is None else detail, now)
    store.add_order(tx, Order(number, kind, app_id, payload))
    return number
