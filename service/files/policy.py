"""The policy in force: the rules, holds and erasures that decide about files, kept in memory while nothing changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.audit.store import find_head
from service.database import Transaction
from service.files import store
from service.holds.book import HoldBook
from service.holds.store import list_holds
from service.model import Erasure, FileState, MediaFile
from service.rules.decide import RuleSet, apply_decision, decide
from service.rules.store import NO_RULES, find_current, find_revision


@dataclass(frozen=True, slots=True)
class Policy:
    """What was in force at one number of the audit.

    `older` are the rule sets before, by revision, as far as files that were decided under them have been looked at;
    `erasures` likewise. Both never change once they are stored.
    """

    number: int
    rules: RuleSet
    holds: HoldBook
    older: dict[int, RuleSet]
    erasures: dict[int, Erasure]

    def decide_file(self, file: MediaFile, now: datetime) -> MediaFile:
        """The row of a file after a decision; everything that it needs was loaded by `PolicyReader.read`.

        A file that is kept for its rank stays so while rules and date are the same and it is not flagged: its rank is
        looked at again only if something changed in its stream. (Under other rules, its own may decide other files.)
        Whoever changes facts of a file flags it first.
        """
        erasure = None if file.erasure_id is None else self.erasures[file.erasure_id]
        decision = decide(file, self.rules, self.holds.find(file, now), erasure, now)
        old_rule = self.find_rules(file.revision).find_rule(file.rule)
        old_latest = None if old_rule is None else old_rule.keep_latest
        if (
            old_latest is not None
            and is_kept_for_rank(file)
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


def is_kept_for_rank(file: MediaFile) -> bool:
    """Its rule would delete it, were it not among the newest of its stream (`keep_latest`)."""
    return file.state is FileState.KEPT and file.due_at is not None


@dataclass(slots=True)
class PolicyReader:
    """Reads the policy in force; what was read before is used again while the audit has no new entry.

    One for each process and database.
    """

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
