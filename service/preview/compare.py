"""Comparing the rules in force with a candidate: one walk over the inventory, deciding each file as a leader would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from service.database import Database
from service.files.policy import Policy, PolicyReader
from service.files.store import find_highest_id
from service.leader.store import find_leader
from service.model import FileState, Hold, MediaFile, NotPossible, Vendor
from service.preview.forecast import Change
from service.preview.store import Place, find_place, list_by_stream
from service.rules.decide import (
    Decision,
    RetentionRule,
    RuleSet,
    apply_decision,
    decide,
    decide_by_rule,
    find_rule,
    looks_only_at_origin,
)
from service.rules.latest import NewestCounter, counts_as_recording, span_of
from service.rules.match import Judgement

_CHUNK: Final = 2_000
"""Files read in one transaction."""


class Comparing:
    """One comparison of the rules in force with a candidate that would be applied at `now`; None: they stay.

    `in_force` and `highest_id` are the rules and the end of the inventory that it began with.
    """

    def __init__(
        self,
        database: Database,
        reader: PolicyReader,
        candidate: Sequence[RetentionRule] | None,
        cooling_off: timedelta,
        now: datetime,
    ) -> None:
        self._database, self._reader = database, reader
        self.now, self.cooling_off = now, cooling_off
        with database.read() as tx:
            self.in_force = reader.read(tx).rules
            self.highest_id = find_highest_id(tx)
            leader = find_leader(tx)
        self._are_all_decided = leader is not None and leader.decided_revision == self.in_force.revision
        self._rules = self.in_force
        self._has_candidate = candidate is not None
        if candidate is not None:
            until = now + cooling_off if cooling_off else None
            self._rules = RuleSet(self.in_force.revision + 1, tuple(candidate), cooling_until=until)
        self._ranks_before = _Ranks(self.in_force.rules, now)
        self._ranks_after = _Ranks(self._rules.rules, now)
        self._remembers = looks_only_at_origin(self._rules.rules)
        self._stream: tuple[str, str] | None = None
        self._known: dict[tuple[Vendor, str], tuple[RetentionRule | None, Judgement]] = {}

    def run(self, start: Place | None = None, progress: Callable[[int], None] | None = None) -> Iterator[Change]:
        """Compare every file that has not ended: stream by stream, the newest first, so that ranks need no second look.

        Reads only, in short transactions; `progress` is given the number of files in each. `start`: begin behind this
        place, which must not lie within a stream whose recordings a rule counts.

        Raises:
            NotPossible: other rules came into force meanwhile.
        """
        while True:
            with self._database.read() as tx:
                files = list_by_stream(tx, start, self.highest_id, _CHUNK)
                policy = self._reader.read(tx, files)
            if policy.rules.revision != self.in_force.revision:
                raise NotPossible(f"revision {policy.rules.revision} came into force meanwhile: try it again")
            if not files:
                return
            for file in files:
                yield self._compare(file, policy)
            start = find_place(files[-1])
            if progress is not None:
                progress(len(files))

    def _compare(self, file: MediaFile, policy: Policy) -> Change:
        if (file.app_id, file.stream_id) != self._stream:
            self._stream = (file.app_id, file.stream_id)
            self._known.clear()
            self._ranks_before.start_stream()
            self._ranks_after.start_stream()
        hold = policy.holds.find(file, self.now)
        before = self._bring_up_to_date(file, hold, policy)
        date_before = self._ranks_before.find_date(before)
        held_until = None if hold is None else _find_end(policy.holds.iterate(file, self.now))
        if not self._has_candidate:
            return Change(before, before, date_before, date_before, held_until, None)
        if file.state is FileState.DELETING:  # what comes of its call is not known yet
            decision = self._decide(file._replace(state=FileState.SCHEDULED), hold, policy)
            after = file._replace(rule=decision.rule, due_at=decision.due_at)
        else:
            decision = self._decide(file, hold, policy)
            counted = policy.find_rules(file.revision).counts_recordings(file.rule)
            # From the row as it is stored, as a leader does.
            after = apply_decision(file, decision, self._rules, self.now, old_rule_counts=counted)
        return Change(before, after, date_before, self._ranks_after.find_date(after), held_until, decision.missing)

    def _bring_up_to_date(self, file: MediaFile, hold: Hold | None, policy: Policy) -> MediaFile:
        """The row of a file under the rules in force, where the leader has yet to decide about it."""
        is_decided = self._are_all_decided or file.revision == self.in_force.revision
        is_decided = is_decided and (hold is not None) == (file.state is FileState.HELD) and not file.decide_again
        return file if is_decided or file.state is FileState.DELETING else policy.decide_file(file, self.now)

    def _decide(self, file: MediaFile, hold: Hold | None, policy: Policy) -> Decision:
        """What `decide` says under the candidate; files of one origin are compared with its matches only once."""
        erasure = None if file.erasure_id is None else policy.erasures[file.erasure_id]
        is_plain = hold is None and erasure is None and file.suspicion is None and file.state is not FileState.FAILED
        if not is_plain or not self._remembers:
            return decide(file, self._rules, hold, erasure, self.now)
        origin = (file.vendor, file.event)
        if origin not in self._known:
            self._known[origin] = find_rule(file, self._rules.rules)
        return decide_by_rule(file, self._rules, *self._known[origin])


class _Ranks:
    """Finds the files that one rule set keeps for their rank, stream by stream, the newest file of each first."""

    def __init__(self, rules: Sequence[RetentionRule], now: datetime) -> None:
        self._keep_latest = {rule.name: rule.keep_latest for rule in rules if rule.keep_latest is not None}
        self._now = now
        self._counters: dict[str | None, NewestCounter] = {}

    def start_stream(self) -> None:
        """Begin with the next stream."""
        self._counters.clear()

    def find_date(self, row: MediaFile) -> datetime | None:
        """When the rules delete a file that they decided; None: never, as long as its rank is what it is."""
        if row.due_at is None or row.rule not in self._keep_latest:
            return row.due_at
        counter = self._counters.get(row.rule)
        if counter is None:
            counter = self._counters[row.rule] = NewestCounter(self._keep_latest[row.rule])
        is_newest = counter.add if counts_as_recording(row, self._now) else counter.covers
        return None if is_newest(span_of(row)) else row.due_at


def _find_end(holds: Iterable[Hold]) -> datetime | None:
    """When the last of these holds ends; None: one has no end."""
    ends = [hold.until for hold in holds]
    return None if None in ends else max(end for end in ends if end is not None)
