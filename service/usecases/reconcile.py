"""Reconcile: hold the inventory against what the vendor really stores, lane by lane (docs/reconcile.md).

A listing is read page by page, and where it goes on is written down after each, so that a kill costs one page. Only a
complete listing, and a second look at what it did not show, make a file `gone`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from service.db import leases, listings
from service.db.models import ListingState
from service.usecases.listing_run import Comparison
from service.usecases.turns import Turn

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime

    from service.core.model import Lane
    from service.db.engine import Session
    from service.db.models import ListingRow
    from service.usecases.listing_run import Reconciler

RECONCILE_LEASES: Final = "reconcile/"
"""One process at a time lists a lane: it holds the lease `reconcile/<app>/<vendor>`."""

_RESUMED_FOR: Final = timedelta(hours=24)


def reconcile_lane(
    reconciler: Reconciler,
    lane: Lane,
    stop: threading.Event,
    *,
    since: datetime | None = None,
    on_wait: Callable[[str], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> int | None:
    """Compare one app and vendor with its listing; returns the number of the listing's record.

    A listing that was cut short within the last day is gone on with. One under way in another process is waited for
    where `on_wait` is given (it hears who); else, or when stopped while waiting, the answer is None. `on_progress`
    hears how many more files were listed.

    Raises:
        DatabaseUnavailable: the database failed; the listing can be gone on with.
    """
    name = f"{RECONCILE_LEASES}{lane[0]}/{lane[1]}"
    turn = Turn(reconciler.database, name, reconciler.name, reconciler.patience, reconciler.now)
    fence = turn.take() if on_wait is None else turn.wait_for(stop, on_wait)
    if fence is None:
        return None
    try:
        listing = reconciler.database.transact(partial(_begin, reconciler=reconciler, lane=lane, since=since))
        Comparison(reconciler, lane, listing, name, fence, stop, on_progress).run()
    finally:
        reconciler.database.transact(lambda session: leases.release_lease(session, name, fence, reconciler.now()))
    reconciler.after_listing(lane[0])
    return listing.id


def _begin(session: Session, reconciler: Reconciler, lane: Lane, since: datetime | None) -> ListingRow:
    """The record of the listing: a new one, or that of one to go on with."""
    now = reconciler.now()
    last = listings.newest_listing(session, lane, since)
    if last is not None and last.state in (ListingState.RUNNING, ListingState.INTERRUPTED):
        if abs(now - last.started_at) <= _RESUMED_FOR:
            last.state, last.heartbeat_at, last.worker, last.finished_at = (
                ListingState.RUNNING,
                now,
                reconciler.name,
                None,
            )
            return last
        last.state, last.finished_at, last.cursor = ListingState.INCOMPLETE, now, None
        last.note = "cut short, and not gone on with in time"
    if last is not None and last.state is ListingState.UNUSED:
        # A vendor that the app does not use is on record once, not once a day.
        last.state, last.since, last.started_at, last.heartbeat_at = ListingState.RUNNING, since, now, now
        last.worker, last.finished_at, last.cursor = reconciler.name, None, None
        return last
    return listings.add_listing(session, lane, since, reconciler.name, now)
