"""The order to reconcile: placed by a person, carried out by the leader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from service.audit.order import Order, OrderKind
from service.audit.record import place_order
from service.database import Database
from service.model import Actor, NotPossible, Vendor


def place_reconcile(
    database: Database,
    actor: Actor,
    apps: Sequence[str],
    vendors: Sequence[Vendor],
    since: datetime | None,
    now: datetime,
) -> int:
    """Order that the listings of these apps and vendors are read; returns the number of the order.

    Its result is `{"listing_ids": [...]}`: the records of the listings, in the order of apps and vendors.

    Raises:
        NotPossible: no app or vendor, or a `since` that is not in the past.
        DatabaseUnavailable: the order was not written.
    """
    if not apps or not vendors:
        raise NotPossible("there is no app or vendor to reconcile")
    if since is not None and since >= now:
        raise NotPossible(f"since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC lies ahead: name a moment in the past")
    app_ids, names = sorted(set(apps)), [vendor.value for vendor in Vendor if vendor in vendors]
    moment = None if since is None else since.astimezone(UTC).isoformat()
    payload = {"apps": app_ids, "vendors": names, "since": moment}
    subject = f"app {', '.join(app_ids)}, {', '.join(names)}"
    return database.transact(
        lambda tx: place_order(tx, actor, OrderKind.RECONCILE, subject, payload, now, action="reconcile.request")
    )


def read_request(order: Order) -> tuple[list[tuple[str, Vendor]], datetime | None]:
    """What an order to reconcile asks for: apps and vendors in the order in which they are read, and `since`."""
    payload, since = order.payload, order.payload["since"]
    pairs = [(app_id, Vendor(vendor)) for app_id in payload["apps"] for vendor in payload["vendors"]]
    return pairs, None if since is None else datetime.fromisoformat(since)
