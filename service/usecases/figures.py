"""Figures of the database for the metrics: counted over indexes, so that a large inventory stays cheap to watch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.core.model import FileState, Verdict
from service.db import figures, files, gates, inbox, listings, plans, revisions, runs
from service.db.models import RunState
from service.usecases.listing_reports import CALLBACK_ON_ITS_WAY

if TYPE_CHECKING:
    from service.db.engine import Database


_LISTED_LATELY = timedelta(days=7)
"""A listing older than this is of an app that is not configured any more, or nobody reads listings."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How much of everything there is. Every state and verdict has its number, be it 0.

    `due` leaves out those that wait for a cooling-off (`cooling`), `observed_due` counts what rules that only observe
    would have deleted. `stopped_apps` have an open plan.
    `blocked` and `paused` name the closed gates by app and vendor (`*`: the whole app). `lost_callbacks` counts by app;
    `listed_at` tells, by app and vendor, when the last complete listing ended, and `incomplete_listings` where the
    newest one is not complete.
    """

    files: dict[str, int]
    due: int
    cooling: int
    observed_due: int
    stopped_apps: tuple[str, ...]
    overdue_unconfirmed: int
    purges_failed: int
    oldest_due_age: timedelta
    callbacks: dict[str, int]
    unfinished: int
    blocked: tuple[tuple[str, str], ...]
    paused: tuple[tuple[str, str], ...]
    runs: dict[str, int]
    last_pass_at: datetime | None
    revision: int
    lost_callbacks: dict[str, int]
    listed_at: tuple[tuple[str, str, datetime], ...]
    incomplete_listings: tuple[tuple[str, str], ...]


def count_figures(database: Database, now: datetime) -> Figures:
    """Count everything in one look at the database.

    Raises:
        DatabaseUnavailable: it cannot be asked.
    """
    with database.read() as session:
        by_state = files.count_by_state(session)
        by_verdict = inbox.count_by_verdict(session)
        by_run = figures.count_runs_by_state(session)
        oldest = figures.oldest_due_at(session, now)
        standing = gates.list_gates(session)
        last = runs.last_full_pass(session)
        return Figures(
            files={state.value: by_state.get(state, 0) for state in FileState},
            due=figures.count_due(session, now),
            cooling=figures.count_cooling(session, now)[0],
            observed_due=sum(figures.count_observed(session, now).values()),
            stopped_apps=tuple(plans.open_runs(session)),
            overdue_unconfirmed=files.count_overdue_unconfirmed(session, now),
            purges_failed=figures.count_failed_purges(session),
            oldest_due_age=max(now - oldest, timedelta(0)) if oldest else timedelta(0),
            callbacks={verdict.value: by_verdict.get(verdict, 0) for verdict in Verdict},
            unfinished=by_verdict.get(Verdict.PENDING, 0),
            blocked=tuple((gate.app_id, gate.vendor) for gate in standing if gate.blocked),
            paused=tuple((gate.app_id, gate.vendor) for gate in standing if not gate.blocked and gate.is_closed(now)),
            runs={state.value: by_run.get(state, 0) for state in RunState},
            last_pass_at=last.finished_at if last else None,
            revision=revisions.current_number(session),
            lost_callbacks=listings.sum_lost(session, now - CALLBACK_ON_ITS_WAY),
            listed_at=tuple(listings.list_completed(session)),
            incomplete_listings=tuple(listings.list_incomplete(session, now - _LISTED_LATELY)),
        )
