"""What listings found, when the next ones are due, and which callbacks were lost (docs/reconcile.md)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from service.core.model import Vendor
from service.db import leases, listings
from service.db.models import ListingState
from service.usecases.batches import read_in_batches
from service.usecases.inventory import iso
from service.usecases.reconcile import RECONCILE_LEASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from service.core.model import Lane
    from service.db.engine import Database, Session
    from service.db.models import ListingRow
    from service.usecases.batches import JsonObject

_GONE_ON_WITH_AFTER: Final = timedelta(minutes=15)
_TRIED_AGAIN_AFTER: Final = timedelta(hours=6)
CALLBACK_ON_ITS_WAY: Final = timedelta(minutes=5)
"""A file may be listed a little before its callback comes: it does not count as lost for so long."""


def listing_as_json(row: ListingRow) -> dict[str, Any]:
    """A listing as the API and `--json` show it (docs/api.md, "A listing")."""
    return {
        "id": row.id,
        "app_id": row.app_id,
        "vendor": row.vendor.value,
        "state": row.state.value,
        "since": iso(row.since),
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "worker": row.worker,
        "calls": row.calls,
        **{name: getattr(row, name) for name in listings.COUNTS},
        "note": row.note,
    }


def list_listings(database: Database, limit: int | None = None, *, before: int | None = None) -> Iterator[JsonObject]:
    """Listings, the newest first, those below `before`."""

    def fetch(session: Session, last: int, size: int) -> list[JsonObject]:
        return [listing_as_json(row) for row in listings.list_listings(session, size, before=last or None)]

    return read_in_batches(database, fetch, before or 0, limit)


def show_listing(database: Database, listing_id: int) -> JsonObject | None:
    """One listing; None if there is none of that number."""
    with database.read() as session:
        row = listings.find_listing(session, listing_id)
        return None if row is None else listing_as_json(row)


def find_due_lanes(database: Database, app_ids: Iterable[str], every: timedelta, now: datetime) -> list[Lane]:
    """The apps and vendors whose listing is to be read now: never read, read long enough ago, or cut short."""
    with database.read() as session:
        lanes = [(app_id, vendor) for app_id in sorted(app_ids) for vendor in Vendor]
        return [lane for lane in lanes if _is_due(session, lane, every, now)]


def _is_due(session: Session, lane: Lane, every: timedelta, now: datetime) -> bool:
    last = listings.newest_listing(session, lane)
    if last is None or last.heartbeat_at > now + _GONE_ON_WITH_AFTER:  # (the clock has jumped back since)
        return True
    if last.state is ListingState.RUNNING:
        lease = leases.find_lease(session, f"{RECONCILE_LEASES}{lane[0]}/{lane[1]}")
        return lease is None or not lease.holder or lease.expires_at <= now
    if last.state is ListingState.INTERRUPTED:
        return last.heartbeat_at + min(every, _GONE_ON_WITH_AFTER) <= now
    if last.state is ListingState.INCOMPLETE:
        return last.heartbeat_at + min(every, _TRIED_AGAIN_AFTER) <= now
    return last.started_at + every <= now


def count_lost_callbacks(database: Database, now: datetime) -> list[JsonObject]:
    """How many callbacks were lost, by app and UTC day, the newest day first."""
    with database.read() as session:
        found = listings.count_lost(session, now - CALLBACK_ON_ITS_WAY)
    return [{"app_id": app_id, "day": day, "count": many} for app_id, day, many in found]


def list_newest(database: Database, app_ids: Iterable[str]) -> list[JsonObject]:
    """The newest listing of each app and vendor that has one."""
    with database.read() as session:
        found = [listings.newest_listing(session, (app_id, vendor)) for app_id in sorted(app_ids) for vendor in Vendor]
        return [listing_as_json(row) for row in found if row is not None]
