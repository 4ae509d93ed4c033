"""Dropping history that no proof and no decision needs (HISTORY_KEEP), in small transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from service.leader.leader import Leader
from service.sweep import history_store

_BATCH: Final = 500


def prune_history(leader: Leader, before: datetime) -> int:
    """Drop old attempts that ended nothing, calls that none is left of, and runs that did nothing; returns how many.

    What ended a file stays, and so does every attempt of unknown outcome: whoever finds the file gone later credits it.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    dropped, after = 0, 0
    while numbers := leader.transact(lambda tx: history_store.drop_attempts(tx, before, after, _BATCH)):  # noqa: B023
        dropped, after = dropped + len(numbers), numbers[-1]
    while count := leader.transact(lambda tx: history_store.drop_runs(tx, before, _BATCH)):
        dropped += count
    return dropped
