"""Comparing the rules in force with a candidate: one walk over the inventory, deciding each file as a leader would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from service.database import Database
from service.files.policy import Policy, PolicyReader
from service.files.store import find_highest_id
from service.leader.store import find_leader
from service.model import FileState, MediaFile, NotPossible, Vendor
from service.preview.forecast import Change
from service.preview.store import Place, find_place, list_by_stream
from service.rules.decide import Found, RetentionRule, RuleSet, apply_decision, decide, find_rule
from service.rules.latest import NewestCounter, counts_as_recording, span_of

_CHUNK: Final = 2_000
"""Files read in one transaction."""


class Comparison:
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
        self._database, self._reader, self.cooling_off, self.now = database, reader, cooling_off, now
        with database.read() as tx:
            self.in_force = reader.read(tx).rules
            self.highest_id = find_highest_id(tx)
            leader = find_leader(tx)
        self._are_all_decided = leader is not None and leader.decided_revision == self.in_force.revision
        self._has_candidate = candidate is not None
        until = now + cooling_off if cooling_off else None
        self._candidate = RuleSet(self.in_force.revision + 1, tuple(candidate or ()), cooling_until=until)
        self._remembers = all(rule.match.looks_only_at_origin for rule in self._candidate.rules)
        self._stream: tuple[str, str] | None = None
        self._found: dict[tuple[Vendor, str], Found] = {}

    def run(self, start: Place | None = None, progress: Callable[[int], None] | None = None) -> Iterator[Change]:
        """Compare every file that has not ended: stream by stream, the newest first, so that ranks need no second look.

        Reads only, in short transactions; `progress` is given the number of files in each. `start`: begin behind this
        place, which must not lie within a stream whose recordings a rule counts. NotPossible: other rules came into
        force meanwhile.
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
            self._found.clear()
            self._ranks_before, self._ranks_after = _start_counting(self.in_force), _start_counting(self._candidate)
        is_called, hold = file.state is FileState.DELETING, policy.holds.find(file, self.now)
        before = file
        if not (is_called or self._is_up_to_date(file, is_held=hold is not None)):
            before = policy.decide_file(file, self.now)
        date_before = _find_date(before, self._ranks_before, self.now)
        ends = [] if hold is None else [each.until for each in policy.holds.iterate(file, self.now)]
        held_until = None if None in ends else max((end for end in ends if end is not None), default=None)
        if not self._has_candidate:
            return Change(before, before, date_before, date_before, held_until, None)
        erasure = None if file.erasure_id is None else policy.erasures[file.erasure_id]
        open_file = file._replace(state=FileState.SCHEDULED) if is_called else file
        decision = decide(open_file, self._candidate, hold, erasure, self.now, self._find_rule)
        if is_called:  # what comes of its call is not known yet
            after = file._replace(rule=decision.rule, due_at=decision.due_at)
        else:  # from the row as it is stored, as a leader does
            counted = policy.find_rules(file.revision).counts_recordings(file.rule)
            after = apply_decision(file, decision, self._candidate, self.now, old_rule_counts=counted)
        date_after = _find_date(after, self._ranks_after, self.now)
        return Change(before, after, date_before, date_after, held_until, decision.missing)

    def _is_up_to_date(self, file: MediaFile, *, is_held: bool) -> bool:
        """Whether the row says what the rules and holds in force say, so that the leader has nothing to decide."""
        is_decided = self._are_all_decided or file.revision == self.in_force.revision
        return is_decided and is_held == (file.state is FileState.HELD) and not file.decide_again

    def _find_rule(self, file: MediaFile, rules: Sequence[RetentionRule]) -> Found:
        """As `find_rule`, with a memo for files of one stream and origin, where the matches look at nothing else."""
        if not self._remembers:
            return find_rule(file, rules)
        origin = (file.vendor, file.event)
        if origin not in self._found:
            self._found[origin] = find_rule(file, rules)
        return self._found[origin]


def _start_counting(rules: RuleSet) -> dict[str | None, NewestCounter]:
    return {rule.name: NewestCounter(rule.keep_latest) for rule in rules.rules if rule.keep_latest is not None}


def _find_date(row: MediaFile, ranks: dict[str | None, NewestCounter], now: datetime) -> datetime | None:
    """When the rules delete a file that they decided; None: never, as long as its rank is what it is."""
    counter = ranks.get(row.rule)
    if row.due_at is None or counter is None:
        return row.due_at
    is_newest = counter.add if counts_as_recording(row, now) else counter.covers
    return None if is_newest(span_of(row)) else row.due_at
