"""The policy in force (rules, holds, erasures), and the one loop that decides about files by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final

from service.audit.store import find_head
from service.database import Transaction
from service.files import store
from service.holds.holds import HoldBook
from service.holds.store import list_holds
from service.leader.leader import Leader
from service.leader.store import lock_leader, set_progress
from service.model import END_STATES, Erasure, FileState, MediaFile
from service.rules.decide import RuleSet, decide
from service.rules.store import NO_RULES, find_current, find_current_number, find_revision
from service.rules.waiting import apply_decision

MAX_BATCH: Final = 2_000
"""Most files decided in one transaction."""

_AIM_S: Final = 0.04
"""How long a transaction may take: meanwhile, on SQLite, nobody else writes."""

_decided_facts: Final = attrgetter(*(name for name in store.DECIDED if name != "revision"))


@dataclass(frozen=True, slots=True)
class Policy:
    """What was in force at one number of the audit.

    `older` rule sets, by revision, and `erasures` are there as far as files that they decided have been looked at.
    """

    number: int
    rules: RuleSet
    holds: HoldBook
    older: dict[int, RuleSet]
    erasures: dict[int, Erasure]

    def decide_file(self, file: MediaFile, now: datetime) -> MediaFile:
        """The row of a file after a decision; `PolicyReader.read` has loaded everything that it needs.

        A file that is kept for its rank stays so while rules and date are the same and it is not flagged: its rank is
        looked at again only if something changed in its stream. Whoever changes facts of a file flags it first.
        """
        erasure = None if file.erasure_id is None else self.erasures[file.erasure_id]
        decision = decide(file, self.rules, self.holds.find(file, now), erasure, now)
        old_rule = self.find_rules(file.revision).find_rule(file.rule)
        old_latest = None if old_rule is None else old_rule.keep_latest
        if (
            old_latest is not None
            and file.state is FileState.KEPT
            and file.due_at is not None
            and not file.decide_again
            and file.revision == self.rules.revision
            and (decision.rule, decision.due_at, decision.keep_latest) == (file.rule, file.due_at, old_latest)
            and decision.state is FileState.SCHEDULED
        ):
            return file
        return apply_decision(file, decision, self.rules, now, old_rule_counts=old_latest is not None)

    def find_rules(self, revision: int) -> RuleSet:
        """The rule set of a revision, among those loaded."""
        return self.rules if revision == self.rules.revision else self.older.get(revision, NO_RULES)


@dataclass(slots=True)
class PolicyReader:
    """Reads the policy in force, again only where the audit has a new entry. One for each process and database."""

    _last: Policy | None = None

    def read(self, tx: Transaction, files: Collection[MediaFile] = ()) -> Policy:
        """The policy in force in this transaction, with all that is needed to decide about `files`."""
        number, policy = find_head(tx).number, self._last
        if policy is None or policy.number != number:
            revision = find_current(tx)
            rules = NO_RULES if revision is None else revision.rule_set
            older = {} if policy is None else {**policy.older, policy.rules.revision: policy.rules}
            erasures = {} if policy is None else policy.erasures
            # Holds that have ended are left out when a file is looked up.
            policy = Policy(number, rules, HoldBook(list_holds(tx, only_standing=True)), older, erasures)
        for number in {file.revision for file in files} - policy.older.keys() - {policy.rules.revision}:
            revision = find_revision(tx, number)
            policy.older[number] = NO_RULES if revision is None else revision.rule_set
        erased = {file.erasure_id for file in files if file.erasure_id is not None}
        if missing := erased - policy.erasures.keys():
            policy.erasures.update(store.find_erasures(tx, missing))
        self._last = policy
        return policy


def decide_files(tx: Transaction, reader: PolicyReader, files: Sequence[MediaFile], now: datetime) -> list[MediaFile]:
    """The rows of these files after a decision under the policy in force; none may have ended or have an open call."""
    policy = reader.read(tx, files)
    return [policy.decide_file(file, now) for file in files]


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

        def work(tx: Transaction) -> tuple[list[MediaFile], float]:
            started = time.monotonic()
            return step(tx, after), time.monotonic() - started

        files, took_s = self.leader.transact(work)
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

        How far it has come is written down with the decisions; files that arrive meanwhile are decided already.
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
    """Whether a decision changed more than its revision, which is news if the rule counts recordings under one only."""
    if _decided_facts(old) != _decided_facts(new):
        return True
    if old.revision == new.revision:
        return False
    before, after = policy.find_rules(old.revision), policy.find_rules(new.revision)
    return before.counts_recordings(new.rule) != after.counts_recordings(new.rule)
