"""The one loop that decides about files: those that are flagged, and all of them after a change of rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final

from service.database import Transaction
from service.files import store
from service.files.policy import Policy, PolicyReader
from service.leader.leader import Leader
from service.leader.store import lock_leader, set_progress
from service.model import END_STATES, FileState, MediaFile
from service.rules.store import find_current_number

MAX_BATCH: Final = 2_000
"""Most files decided in one transaction."""

_AIM_S: Final = 0.04
"""How long a transaction may take: meanwhile, on SQLite, nobody else writes."""

_decided_facts: Final = attrgetter(*(name for name in store.DECIDED if name != "revision"))


@dataclass(slots=True)
class DecidingLoop:
    """Decides about whatever is flagged or was decided under older rules. It can be killed and started at any point."""

    leader: Leader
    reader: PolicyReader
    now: Callable[[], datetime]
    _fitting: int = 500
    """How many files fit into a transaction, as far as is known."""

    def run(self) -> int:
        """Decide until nothing is left; returns how many files were looked at."""
        total = 0
        for step in (self._decide_flagged, self._decide_older):
            after = 0
            while files := self._take_step(step, after):
                total += len(files)
                after = files[-1].id
        return total

    def _take_step(self, step: Callable[[Transaction, int], list[MediaFile]], after: int) -> list[MediaFile]:
        """Let a step look at the next files, and learn from how long it took how many the next one may look at."""
        took_s = 0.0

        def work(tx: Transaction) -> list[MediaFile]:
            nonlocal took_s
            started = time.monotonic()
            files = step(tx, after)
            took_s = time.monotonic() - started
            return files

        files = self.leader.transact(work)
        if len(files) >= self._fitting:
            fits = round(len(files) * _AIM_S / max(took_s, 0.001))
            self._fitting = max(50, min(fits, 2 * self._fitting, MAX_BATCH))
        return files

    def _decide_flagged(self, tx: Transaction, after: int) -> list[MediaFile]:
        """Decide the next flagged files beyond `after`."""
        files, now = store.list_flagged(tx, after, self._fitting), self.now()
        if not files:
            return []
        policy = self.reader.read(tx, files)
        decided = [
            file._replace(decide_again=False) if file.state in END_STATES else policy.decide_file(file, now)
            for file in files
        ]
        store.save_decisions(tx, decided)
        return files

    def _decide_older(self, tx: Transaction, _after: int) -> list[MediaFile]:
        """Decide the next range of files under the revision in force; none are left when all were.

        How far it has come is written down with the decisions. Files that arrive meanwhile are decided under the newest
        rules already.
        """
        row, revision = lock_leader(tx), find_current_number(tx)
        if row.decided_revision == revision:
            return []
        # Newer rules than those that the walk began with: from the start again.
        after = row.decided_up_to if row.walked_revision == revision else 0
        files = store.list_in_range(tx, after, self._fitting, columns=store.COLUMNS_TO_DECIDE)
        if not files:
            set_progress(tx, decided_revision=revision, decided_up_to=0, walked_revision=revision)
            return []
        store.flag_files(tx, [file.id for file in files if file.state is FileState.DELETING])
        old = [file for file in files if file.state is not FileState.DELETING and file.state not in END_STATES]
        policy, now = self.reader.read(tx, old), self.now()
        decided = [(file, policy.decide_file(file, now)) for file in old]
        news = [(before, after) for before, after in decided if is_news(before, after, policy)]
        store.save_decisions(tx, [after for _, after in news], before=[before for before, _ in news])
        set_progress(tx, decided_up_to=files[-1].id, walked_revision=revision)
        return files


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
