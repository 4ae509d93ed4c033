"""Forgetting what is old enough: raw bodies of callbacks, attempts that ended nothing (docs/operations.md, "Growth").

In small transactions with a pause after each, so that callbacks get their turn; a kill between two loses nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from service.db import pruning

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from service.db.engine import Database

BATCH: Final = 500
_BREATH_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long raw bodies of callbacks and attempts are kept; None: for ever."""

    inbox: timedelta | None
    history: timedelta | None


@dataclass(slots=True)
class Pruned:
    """How many bodies were dropped, and how many rows of each kind."""

    callbacks: int = 0
    attempts: int = 0
    calls: int = 0
    runs: int = 0
    listings: int = 0

    @property
    def any(self) -> bool:
        """Something was dropped."""
        return any((self.callbacks, self.attempts, self.calls, self.runs, self.listings))


def prune(
    database: Database,
    keeping: Keeping,
    now: Callable[[], datetime],
    is_over: Callable[[], bool] = lambda: False,
    batch: int = BATCH,
) -> Pruned:
    """Drop what is older than it has to be kept; stops between two batches once `is_over` says so."""
    pruned = Pruned()
    if keeping.inbox is not None:
        _prune_callbacks(database, now() - keeping.inbox, now, is_over, batch, pruned)
    if keeping.history is not None:
        before = now() - keeping.history
        _prune_attempts(database, before, is_over, batch, pruned)
        _prune_runs(database, before, is_over, batch, pruned)
        if not is_over():
            pruned.listings = database.transact(partial(pruning.drop_listings, before=before))
    return pruned


def _prune_callbacks(
    database: Database,
    before: datetime,
    now: Callable[[], datetime],
    is_over: Callable[[], bool],
    batch: int,
    pruned: Pruned,
) -> None:
    after = None
    while not is_over():
        with database.read() as session:
            found = pruning.find_callbacks(session, before, after, batch)
        if not found:
            return
        numbers = [number for _, number in found]
        pruned.callbacks += database.transact(partial(pruning.drop_bodies, numbers=numbers, now=now()))
        after = found[-1]
        time.sleep(_BREATH_S)


def _prune_attempts(
    database: Database, before: datetime, is_over: Callable[[], bool], batch: int, pruned: Pruned
) -> None:
    after = None
    while not is_over():
        with database.read() as session:
            found = pruning.find_attempts(session, before, after, batch)
        if not found:
            return
        dropped = database.transact(partial(pruning.drop_attempts, numbers=[number for _, number in found]))
        pruned.attempts += dropped.attempts
        pruned.calls += dropped.calls
        after = found[-1]
        time.sleep(_BREATH_S)


def _prune_runs(database: Database, before: datetime, is_over: Callable[[], bool], batch: int, pruned: Pruned) -> None:
    after = 0
    while not is_over():
        with database.read() as session:
            found = pruning.find_runs(session, before, after, batch)
        if not found:
            return
        pruned.runs += database.transact(partial(pruning.drop_runs, numbers=found))
        after = found[-1]
        time.sleep(_BREATH_S)
