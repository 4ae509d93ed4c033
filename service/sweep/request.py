"""Asking for a sweep: an order that the leader finishes when the run has started."""

from __future__ import annotations

from datetime import datetime

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.database import Database
from service.model import Actor


def place_sweep(database: Database, actor: Actor, now: datetime) -> int:
    """Ask for a sweep over everything that is due; returns the order's number, its result will be `{"run_id": …}`.

    Raises:
        DatabaseUnavailable: the database refused or could not be reached.
    """
    return database.transact(
        lambda tx: place_order(tx, actor, OrderKind.SWEEP, "a sweep", {}, now, action="sweep.request")
    )
