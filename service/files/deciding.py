"""The one loop that decides about files: those that are flagged, and all of them after a change of rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Final

from service.database import Transaction
from service.files import store
from service.files.policy import Policy, PolicyReader, decide_files
from service.leader.leader import Leader
from service.leader.store import find_leader, set_progress
from service.model import END_STATES, FileState, MediaFile
from service.rules.store import find_current_number

MAX_BATCH: Final = 2_000
"""Most files decided in one transaction."""

_AIM_S: Final = 0.04
"""How long a transaction may take: meanwhile, on SQLite, nobody else writes."""

_NEVER_DECIDED: Final = END_STATES | {FileState.DELETING}
_decided_facts: Final = attrgetter(*(name for name in store.DECIDED if name != "revision"))


@dataclass(slots=True)
class DecidingLoop:
    """Decides about whatever is flagged or was decided under older rules. It can be killed and started at any point."""

    leader: Leader
    reader: PolicyReader
    now: Callable[[], datetime]
    _fitting: int = field(default=500)
    """How many files fit into a transaction, as far as is known."""

    def run(self) -> int:
        """Decide until nothing is left; returns how many files were looked at.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        total, after = 0, 0
        while count := self._transact(lambda tx: self._decide_flagged(tx, after)):  # noqa: B023
            total += count[0]
            after = count[1]
        while (looked := self._transact(self._decide_older)) is not None:
            total += looked[0]
        return total

    def _transact(self, work: Callable[[Transaction], tuple[int, int] | None]) -> tuple[int, int] | None:
        """Run one step, and learn from how long it took how many files the next one may look at."""
        took_s = 0.0

        def measure(tx: Transaction) -> tuple[int, int] | None:
            nonlocal took_s
            started = time.monotonic()
            result = work(tx)
            took_s = time.monotonic() - started
            return result

        result = self.leader.transact(measure)
        if result is not None and result[0] >= self._fitting:
            fits = round(result[0] * _AIM_S / max(took_s, 0.001))
            self._fitting = max(50, min(fits, 2 * self._fitting, MAX_BATCH))
        return result

    def _decide_flagged(self, tx: Transaction, after: int) -> tuple[int, int] | None:
        """Decide the next flagged files: how many, and the last one's number; None when there are none."""
        files = store.list_flagged(tx, after, self._fitting)
        if not files:
            return None
        decidable = [file for file in files if file.state not in END_STATES]
        decided = decide_files(tx, self.reader, decidable, self.now())
        ended = [file._replace(decide_again=False) for file in files if file.state in END_STATES]
        store.save_decisions(tx, [*decided, *ended])
        return len(files), files[-1].id

    def _decide_older(self, tx: Transaction) -> tuple[int, int] | None:
        """Decide the next range of files under the revision in force; None when all were.

        How far it has come is written down with the decisions. Files that arrive meanwhile are decided under the newest
        rules already.
        """
        row = find_leader(tx)
        revision = find_current_number(tx)
        if row is None or row.decided_revision == revision:
            return None
        # Newer rules than those that the walk began with: from the start again.
        after = row.decided_up_to if row.walked_revision == revision else 0
        files = store.list_in_range(tx, after, self._fitting, columns=store.COLUMNS_TO_DECIDE)
        if not files:
            set_progress(tx, decided_revision=revision, decided_up_to=0, walked_revision=revision)
            return None
        decidable = [file for file in files if file.state not in _NEVER_DECIDED]
        decided = decide_files(tx, self.reader, decidable, self.now())
        policy = self.reader.read(tx)
        news = [(old, new) for old, new in zip(decidable, decided, strict=True) if is_news(old, new, policy)]
        store.save_decisions(tx, [new for _, new in news], before=[old for old, _ in news])
        waiting = [file.id for file in files if file.state is FileState.DELETING]
        store.flag_files(tx, waiting)
        set_progress(tx, decided_up_to=files[-1].id, walked_revision=revision)
        return len(files), files[-1].id


def is_news(old: MediaFile, new: MediaFile, policy: Policy) -> bool:
    """Whether a decision changed more than the revision that it was made under.

    The revision alone is news if the rule counts recordings under one of the two only: that is asked of it later.
    """
    if _decided_facts(old) != _decided_facts(new):
        return True
    return old.revision != new.revision and (
        policy.find_rules(old.revision).counts_recordings(new.rule)
        != policy.find_rules(new.revision).counts_recordings(new.rule)
    )
