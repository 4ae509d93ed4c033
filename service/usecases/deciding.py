"""Deciding files of the inventory under the rules in force: the one place that joins facts, ranks and rules."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.core.ranks import Span, rank_recordings
from service.core.rules import RuleSet, decide
from service.db import files, locks, revisions

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
        if deepest and row.suspicion is None:
            stream = (row.app_id, row.stream_id)
            if stream not in newest:
                newest[stream] = files.newest_spans(session, *stream, deepest)
            rank = _rank(row, newest[stream])
        decided.append((row, decide(files.facts_of(row, rank), rules.rules, (), now)))
    return decided


def rank_of(session: Session, row: MediaFileRow, rules: RuleSet) -> int | None:
    """The rank of one file within its stream; None where no rule counts, or the file is not confirmed."""
    deepest = deepest_rank(rules)
    if not deepest or row.suspicion is not None:
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
    """Decide again what a rank kept, after something in the stream has changed."""
    counting = [rule.name for rule in rules.rules if rule.keep_latest]
    if counting:
        decide_again(session, files.kept_by_rank(session, app_id, stream_id, counting), rules, now)


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


def deepest_rank(rules: RuleSet) -> int:
    """The largest `keep_latest` of the rules; 0 where none counts."""
    return max((rule.keep_latest or 0 for rule in rules.rules), default=0)


def _decide_batch(session: Session, now: datetime) -> int:
    locks.lock_policy_shared(session)
    rules = revisions.current_rules(session)
    rows = files.older_than_revision(session, rules.revision, BATCH)
    decide_again(session, rows, rules, now)
    return len(rows)


def _rank(row: MediaFileRow, newest: Sequence[Span]) -> int:
    own = Span(row.id, row.began_at, row.ended_at)
    others = [span for span in newest if span.id != row.id]
    return rank_recordings([*others, own])[row.id]
