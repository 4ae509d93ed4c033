"""Calls that have ended, and what came of their files, counted on from one look to the next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from service.database import Transaction
from service.health import store


@dataclass(slots=True)
class EndedCalls:
    """What has ended since the first look: calls by app and code, files by app, outcome and code.

    A look costs as much as has ended since the one before, however much is on record.
    """

    calls: Counter[tuple[str, ...]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _up_to: int | None = None
    _open: frozenset[int] = frozenset()

    def count_on(self, tx: Transaction) -> None:
        """Count what has ended since the last look."""
        highest = store.find_highest_call(tx)
        still_open = frozenset(number for number in store.list_open_calls(tx) if number <= highest)
        if self._up_to is not None:
            ended = (self._up_to, highest, sorted(self._open - still_open), sorted(still_open))
            calls, outcomes = store.count_ended_calls(tx, *ended), store.count_outcomes(tx, *ended)
            self.calls.update(calls)
            self.outcomes.update(outcomes)
        self._up_to, self._open = highest, still_open
