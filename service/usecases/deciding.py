"""Deciding files of the inventory under the rules in force: the one place that joins facts, ranks and rules."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from service.core.cooling import Approved, cool, find_wait, follow_approval
from service.core.model import Action, FileState, Suspicion
from service.core.ranks import Span, rank_recordings
from service.core.rules import RuleSet, decide, decide_by_rules, find_rule
from service.db import erasures, files, holds, locks, revisions, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from service.core.cooling import Change
    from service.core.model import Decision, Erasure, Hold, MediaFile
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow

BATCH = 500
_QUIETED = 1_000  # streams decided again at the end of a pass; the next one goes on
_BREATH_S = 0.02  # between two batches others get their turn to write, arriving callbacks above all


class Decided(NamedTuple):
    """A file of the inventory, what is decided of it, and what approved its deletion if anything has."""

    row: MediaFileRow
    decision: Decision
    approval: str | None


class Circumstances:
    """What files are decided under, read in the transaction that decides: rules, their changes, holds, erasures, ranks.

    Whoever locks rows does so before, so that the holds read here are no older than the locks.
    """

    def __init__(self, session: Session, rules: RuleSet, now: datetime) -> None:
        """Decide under `rules` as of `now`."""
        self._session = session
        self._rules = rules
        self._now = now
        self._cooling = revisions.list_cooling(session, rules.revision, now)
        self._newest: dict[tuple[str, str, int, int, datetime | None], list[Span]] = {}
        self._holds: dict[str, list[Hold]] = {}
        self._erasures: dict[int, Erasure] = {}
        self._changes: list[Change] = []
        self._changes_after = rules.revision

    def decide(self, row: MediaFileRow) -> Decided:
        """Decide one file; what waits for a cooling-off is not let go."""
        changes = self._changes_since(row.revision)
        file = self.facts_of(row)
        decision = decide(file, self._rules.rules, self.holds_of(row), self._now)
        if file.erasure is not None:
            return Decided(row, decision, f"erasure {file.erasure.number}")
        approved = Approved(row.approval, row.due_at)
        approved = follow_approval(row.id, approved, changes, partial(self._date_under, row))
        approval = approved.approval if decision.due_at == approved.due_at else None
        change = self.wait_of(row, decision)
        return Decided(row, cool(decision, change, row.quiet_until, self._now), approval)

    def wait_of(self, row: MediaFileRow, decision: Decision) -> Change | None:
        """The change of rules whose cooling-off a file waits for."""
        if row.erasure_id is not None:
            return None
        return find_wait(row.received_at, decision.due_at, self._cooling, self._now, partial(self._date_under, row))

    def facts_of(self, row: MediaFileRow) -> MediaFile:
        """What is known of a file, with its rank where its rule counts recordings, and the request to erase it."""
        return self._facts_under(row, self._rules, None)

    def holds_of(self, row: MediaFileRow) -> list[Hold]:
        """The holds in force of the file's app."""
        if row.app_id not in self._holds:
            self._holds[row.app_id] = holds.list_in_force(self._session, [row.app_id], self._now)
        return self._holds[row.app_id]

    def _date_under(self, row: MediaFileRow, rules: RuleSet, announced_by: datetime | None) -> datetime | None:
        return decide_by_rules(self._facts_under(row, rules, announced_by), rules.rules, self._now).due_at

    def _facts_under(self, row: MediaFileRow, rules: RuleSet, announced_by: datetime | None) -> MediaFile:
        facts = files.facts_of(row, None, self._erasure_of(row))
        rank = self._rank_of(row, facts, rules, announced_by) if deepest_rank(rules) else None
        return facts if rank is None else replace(facts, rank=rank)

    def _rank_of(
        self, row: MediaFileRow, facts: MediaFile, rules: RuleSet, announced_by: datetime | None
    ) -> int | None:
        """The rank among what the rule decides that decides it in this rule set, where that counts."""
        place = find_rule(facts, rules.rules) if _can_be_ranked(row) else None
        if place is None or not rules.rules[place].keep_latest:
            return None
        key = (row.app_id, row.stream_id, rules.revision, place, announced_by)
        if key not in self._newest:
            stream = (row.app_id, row.stream_id)
            found = files.newest_spans(self._session, *stream, rules.rules, place, self._now, announced_by)
            self._newest[key] = found
        return _rank(row, self._newest[key])

    def _erasure_of(self, row: MediaFileRow) -> Erasure | None:
        if row.erasure_id is None:
            return None
        if row.erasure_id not in self._erasures:
            self._erasures |= erasures.find_orders(self._session, [row.erasure_id])
        return self._erasures[row.erasure_id]

    def _changes_since(self, revision: int) -> list[Change]:
        """What came into force since a file was decided; nothing for one that never was."""
        if revision < 0:
            return []
        if revision < self._changes_after:
            self._changes = revisions.list_changes(self._session, revision, self._rules.revision)
            self._changes_after = revision
        return [change for change in self._changes if revision < change.rules.revision]


def decide_rows(session: Session, rows: Sequence[MediaFileRow], rules: RuleSet, now: datetime) -> list[Decided]:
    """Decide each of these files; where rules count recordings, each is ranked among those that surely exist."""
    circumstances = Circumstances(session, rules, now)
    return [circumstances.decide(row) for row in rows]


def decide_again(session: Session, rows: Sequence[MediaFileRow], rules: RuleSet, now: datetime) -> None:
    """Decide these files and write down what was decided."""
    for row, decision, approval in decide_rows(session, rows, rules, now):
        files.apply_decision(row, decision, approval, rules.revision, now)
    session.flush()


def demand_confirmation(row: MediaFileRow) -> bool:
    """With CONFIRM=all: doubt a file that neither a listing nor a person has confirmed; False if one has, or it is."""
    if row.suspicion is not None or row.confirmed_at is not None or row.listed_at is not None:
        return False
    row.suspicion = Suspicion.UNLISTED
    return True


def lock_ranks(session: Session, rules: RuleSet, streams: Iterable[tuple[str, str]]) -> None:
    """Where rules count recordings, keep the ranks within these streams as they are until the transaction ends."""
    if deepest_rank(rules):
        locks.lock_streams(session, streams)


def decide_stream(session: Session, app_id: str, stream_id: str, rules: RuleSet, now: datetime) -> None:
    """Decide again what a rank kept, and what a rank let go but is not deleted yet, after a change in the stream.

    A claim on a file that is to be kept now is broken: its call is not sent, unless it is on its way already.
    """
    counting = [rule.name for rule in rules.rules if rule.keep_latest]
    if not counting:
        return
    rows = files.ruled_by_rank(session, app_id, stream_id, counting)
    for row, decision, approval in decide_rows(session, rows, rules, now):
        if row.state is FileState.KEPT or decision.action is not Action.DELETE:
            files.apply_decision(row, decision, approval, rules.revision, now)
    session.flush()


def decide_older(database: Database, now: Callable[[], datetime], progress: Callable[[int], None] | None = None) -> int:
    """Decide every undecided file that an older rule set decided, in batches, until none is left; returns how many.

    Can be killed and started again at any point, and run beside arriving callbacks and other processes.
    """
    total = 0
    while count := database.transact(lambda session: _decide_batch(session, now())):
        total += count
        time.sleep(_BREATH_S)
        if progress:
            progress(count)
    return total


def decide_streams(database: Database, run_id: int, now: Callable[[], datetime]) -> None:
    """After a run: a file that was to go but stays counts among the newest of its stream again.

    So does one that has been left alone for long enough since a listing showed it: it may take another's place now.
    """
    with database.read() as session:
        if not deepest_rank(revisions.current_rules(session)):
            return
        streams = runs.list_streams_left(session, run_id)
        quieted = files.list_quieted_streams(session, now(), _QUIETED)

    def decide_one(session: Session, stream: tuple[str, str]) -> None:
        locks.lock_policy_shared(session)
        rules = revisions.current_rules(session)
        lock_ranks(session, rules, [stream])
        moment = now()
        files.end_quiet(session, *stream, moment)
        decide_stream(session, *stream, rules, moment)

    for stream in {*streams, *quieted}:
        database.transact(partial(decide_one, stream=stream))


def deepest_rank(rules: RuleSet) -> int:
    """The largest `keep_latest` of the rules; 0 where none counts."""
    return max((rule.keep_latest or 0 for rule in rules.rules), default=0)


def _decide_batch(session: Session, now: datetime) -> int:
    locks.lock_policy_shared(session)
    rules = revisions.current_rules(session)
    if deepest_rank(rules):
        peeked = files.older_than_revision(session, rules.revision, BATCH, lock=False)
        lock_ranks(session, rules, [(row.app_id, row.stream_id) for row in peeked])
        session.expire_all()
    rows = files.older_than_revision(session, rules.revision, BATCH)
    decide_again(session, rows, rules, now)
    return len(rows)


def _can_be_ranked(row: MediaFileRow) -> bool:
    # Files whose stream is not known share no stream: none of them is known not to be the newest of its own.
    return row.suspicion is None and bool(row.stream_id)


def _rank(row: MediaFileRow, newest: Sequence[Span]) -> int:
    own = Span(row.id, row.began_at, row.ended_at)
    others = [span for span in newest if span.id != row.id]
    return rank_recordings([*others, own])[row.id]
