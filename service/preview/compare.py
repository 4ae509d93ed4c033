"""Comparing the rules in force with a candidate: one walk over the inventory, deciding each file as a sweep would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from service.files.store import find_highest_id
from service.leader.store import find_leader
from service.model import FileState, NotPossible
from service.preview.forecast import Change
from service.preview.store import find_place, list_by_stream
from service.rules.decide import (
    RuleSet,
    apply_decision,
    decide,
    decide_by_rule,
    find_rule,
    looks_only_at_origin,
)
from service.rules.latest import NewestCounter, counts_as_recording, span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from service.database import Database
    from service.files.policy import Policy, PolicyReader
    from service.model import Hold, MediaFile, Vendor
    from service.preview.store import Place
    from service.rules.decide import Decision, RetentionRule
    from service.rules.match import Judgement

_CHUNK: Final = 2_000
"""Files read in one transaction."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Rules that may be put in force, and where they come from."""

    rules: tuple[RetentionRule, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Base:
    """What a candidate is compared with: the rules in force, and how far the inventory goes.

    `is_decided` is whether all files have been decided under these rules.
    """

    rules: RuleSet
    highest_id: int
    is_decided: bool


def find_base(database: Database, reader: PolicyReader) -> Base:
    """What a candidate would be compared with now."""
    with database.read() as tx:
        rules, leader = reader.read(tx).rules, find_leader(tx)
        return Base(rules, find_highest_id(tx), leader is not None and leader.decided_revision == rules.revision)


def compare_inventory(
    database: Database,
    reader: PolicyReader,
    base: Base,
    candidate: Sequence[RetentionRule] | None,
    cooling_off: timedelta,
    now: datetime,
    *,
    start: Place | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Change]:
    """Compare every file that has not ended, stream by stream, the newest first. Reads only, in short transactions.

    Args:
        database: where the inventory is.
        reader: reads holds and erasures.
        base: the rules in force, and the highest number to look at.
        candidate: the rules that might be applied now; None: what is in force stays.
        cooling_off: how long files would wait whose date moves earlier.
        now: the moment that everything is decided at.
        start: begin behind this place, which must not lie within a stream whose recordings a rule counts.
        progress: is given the number of files of each chunk.

    Raises:
        NotPossible: other rules came into force meanwhile.
    """
    comparer = _Comparer(base, candidate, cooling_off, now)
    while True:
        with database.read() as tx:
            files = list_by_stream(tx, start, base.highest_id, _CHUNK)
            policy = reader.read(tx, files)
        if policy.rules.revision != base.rules.revision:
            raise NotPossible(f"revision {policy.rules.revision} came into force meanwhile: try it again")
        if not files:
            return
        for file in files:
            yield comparer.compare(file, policy)
        start = find_place(files[-1])
        if progress is not None:
            progress(len(files))


class _Comparer:
    """Decides file after file under both rule sets; the files of a stream must come newest first."""

    def __init__(
        self, base: Base, candidate: Sequence[RetentionRule] | None, cooling_off: timedelta, now: datetime
    ) -> None:
        self._base = base
        self._candidate: RuleSet | None = None
        if candidate is not None:
            until = now + cooling_off if cooling_off else None
            self._candidate = RuleSet(base.rules.revision + 1, tuple(candidate), cooling_until=until)
        self._now = now
        self._ranks_before = _Ranks(base.rules.rules, now)
        self._ranks_after = _Ranks(candidate or (), now)
        self._remembers = candidate is not None and looks_only_at_origin(candidate)
        self._stream: tuple[str, str] | None = None
        self._known: dict[tuple[Vendor, str], tuple[RetentionRule | None, Judgement]] = {}

    def compare(self, file: MediaFile, policy: Policy) -> Change:
        """What becomes of a file."""
        if (file.app_id, file.stream_id) != self._stream:
            self._stream = (file.app_id, file.stream_id)
            self._known.clear()
            self._ranks_before.start_stream()
            self._ranks_after.start_stream()
        hold = policy.holds.find(file, self._now)
        before = self._bring_up_to_date(file, hold, policy)
        date_before = self._ranks_before.find_date(before)
        held_until = None if hold is None else find_hold_end(policy.holds.iterate(file, self._now))
        if self._candidate is None:
            return Change(before, before, date_before, date_before, held_until, None)
        if file.state is FileState.DELETING:  # whatever comes of its call is not known yet
            decision = self._decide(file._replace(state=FileState.SCHEDULED), hold, policy)
            after = file._replace(rule=decision.rule, due_at=decision.due_at)
        else:
            decision = self._decide(file, hold, policy)
            counted = policy.find_rules(file.revision).counts_recordings(file.rule)
            # From the row as it is stored: that is what a leader would begin with.
            after = apply_decision(file, decision, self._candidate, self._now, old_rule_counts=counted)
        return Change(before, after, date_before, self._ranks_after.find_date(after), held_until, decision.missing)

    def _bring_up_to_date(self, file: MediaFile, hold: Hold | None, policy: Policy) -> MediaFile:
        """The row of a file under the rules in force, where the leader has yet to decide about it."""
        state = file.state
        is_decided = self._base.is_decided or file.revision == self._base.rules.revision
        if is_decided and not file.decide_again and (hold is None) is (state is not FileState.HELD):
            return file
        if state is FileState.DELETING:
            return file
        return policy.decide_file(file, self._now)

    def _decide(self, file: MediaFile, hold: Hold | None, policy: Policy) -> Decision:
        """What `decide` says under the candidate; files of one origin are compared with its matches only once."""
        rules = cast("RuleSet", self._candidate)
        erasure = None if file.erasure_id is None else policy.erasures[file.erasure_id]
        is_plain = hold is None and erasure is None and file.suspicion is None and file.state is not FileState.FAILED
        if not is_plain or not self._remembers:
            return decide(file, rules, hold, erasure, self._now)
        origin = (file.vendor, file.event)
        found = self._known.get(origin)
        if found is None:
            found = self._known[origin] = find_rule(file, rules.rules)
        return decide_by_rule(file, rules, *found)


class _Ranks:
    """Finds the files that one rule set keeps for their rank, stream by stream, the newest file of each first."""

    def __init__(self, rules: Sequence[RetentionRule], now: datetime) -> None:
        self._keep_latest = {rule.name: rule.keep_latest for rule in rules if rule.keep_latest is not None}
        self._now = now
        self._counters: dict[str, NewestCounter] = {}

    def start_stream(self) -> None:
        """Begin with the next stream."""
        self._counters.clear()

    def find_date(self, row: MediaFile) -> datetime | None:
        """When the rules delete a file that they decided; None: never, as long as its rank is what it is."""
        keep_latest = self._keep_latest.get(row.rule or "")
        if keep_latest is None or row.due_at is None or not row.stream_id:
            return row.due_at
        counter = self._counters.get(row.rule or "")
        if counter is None:
            counter = self._counters[row.rule or ""] = NewestCounter(keep_latest)
        find_rank = counter.add if counts_as_recording(row, self._now) else counter.covers
        return None if find_rank(span_of(row)) else row.due_at


def find_hold_end(holds: Iterable[Hold]) -> datetime | None:
    """When the last of these holds ends; None: one has no end."""
    latest = None
    for hold in holds:
        if hold.until is None:
            return None
        latest = hold.until if latest is None else max(latest, hold.until)
    return latest
