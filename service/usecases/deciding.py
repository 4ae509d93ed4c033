"""Deciding files of the inventory under the rules in force: the one place that joins facts, ranks and rules."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from service.core.model import Action, FileState
from service.core.ranks import Span, rank_recordings
from service.core.rules import RuleSet, decide
from service.db import files, locks, revisions, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from service.core.model import Decision
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow

BATCH = 500
_BREATH_S = 0.02  # between two batches others get their turn to write, arriving callbacks above all


def decide_rows(
    session: Session, rows: Sequence[MediaFileRow], rules: RuleSet, now: datetime
) -> list[tuple[MediaFileRow, Decision]]:
    """Decide each of these files; where rules count recordings, each is ranked among those that surely exist."""
    deepest = deepest_rank(rules)
    newest: dict[tuple[str, str], list[Span]] = {}
    decided = []
    for row in rows:
        rank = None
        if deepest and _can_be_ranked(row):
            stream = (row.app_id, row.stream_id)
            if stream not in newest:
                newest[stream] = files.newest_spans(session, *stream, deepest)
            rank = _rank(row, newest[stream])
        decided.append((row, decide(files.facts_of(row, rank), rules.rules, (), now)))
    return decided


def rank_of(session: Session, row: MediaFileRow, rules: RuleSet) -> int | None:
    """The rank of one file within its stream; None where no rule counts, or the file is not confirmed."""
    deepest = deepest_rank(rules)
    if not deepest or not _can_be_ranked(row):
        return None
    return _rank(row, files.newest_spans(session, row.app_id, row.stream_id, deepest))


def decide_again(session: Session, rows: Sequence[MediaFileRow], rules: RuleSet, now: datetime) -> None:
    """Decide these files and write down what was decided."""
    for row, decision in decide_rows(session, rows, rules, now):
        files.apply_decision(row, decision, rules.revision, now)
    session.flush()


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
    for row, decision in decide_rows(session, rows, rules, now):
        if row.state is FileState.KEPT or decision.action is not Action.DELETE:
            files.apply_decision(row, decision, rules.revision, now)
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
    """After a run: a file that was to go but stays counts among the newest of its stream again."""
    with database.read() as session:
        if not deepest_rank(revisions.current_rules(session)):
            return
        streams = runs.list_streams_left(session, run_id)

    def decide_one(session: Session, stream: tuple[str, str]) -> None:
        locks.lock_policy_shared(session)
        rules = revisions.current_rules(session)
        lock_ranks(session, rules, [stream])
        decide_stream(session, *stream, rules, now())

    for stream in streams:
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
