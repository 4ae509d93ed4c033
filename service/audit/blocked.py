"""Which apps may not be called, because an order that concerns them could not be applied."""

from __future__ import annotations

from dataclasses import dataclass

from service.audit.order import RUN_REQUESTS
from service.audit.store import list_failed_orders
from service.database import Transaction


@dataclass(frozen=True, slots=True)
class BlockedApps:
    """The reason by app; `everything` is one that concerns all apps."""

    by_app: dict[str, str]
    everything: str | None = None

    def find(self, app_id: str) -> str | None:
        """Why an app may not be called; None: it may."""
        return self.everything or self.by_app.get(app_id)


def find_blocked_apps(tx: Transaction) -> BlockedApps:
    """The apps that orders concern which could not be applied; the reason names the first of each."""
    by_app: dict[str, str] = {}
    everything = None
    for order in list_failed_orders(tx):
        if order.kind in RUN_REQUESTS:
            continue
        reason = f"order {order.number} ({order.kind}) could not be applied: {order.failure}"
        if order.app_id is None:
            everything = everything or reason
        else:
            by_app.setdefault(order.app_id, reason)
    return BlockedApps(by_app, everything)
