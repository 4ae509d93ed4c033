"""Dropping the bytes of callbacks that are old enough (INBOX_KEEP); their rows stay."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Final

from service.callbacks.store import drop_bodies
from service.leader.leader import Leader

_BATCH: Final = 500


def prune_inbox(leader: Leader, before: datetime, stop: threading.Event | None = None) -> int:
    """Drop the bytes of understood callbacks that came before a moment, in batches; returns how many.

    Those that were not understood, and the quarantine, keep theirs. It ends between two batches once `stop` is set.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    total = 0
    while stop is None or not stop.is_set():
        dropped = leader.transact(lambda tx: drop_bodies(tx, before, _BATCH))
        total += dropped
        if dropped < _BATCH:
            break
    return total
