"""The table of listings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, func, insert, select, update

from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, count_changed, enum_column, metadata
from service.listing.record import Listing, ListingState
from service.model import Vendor

listings: Final = Table(
    "listings",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("app_id", String(20), nullable=False),
    Column("vendor", enum_column(Vendor), nullable=False),
    Column("state", enum_column(ListingState), nullable=False),
    Column("since", UtcDateTime),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("worker", Text, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("listed", BigInteger, nullable=False),
    Column("adopted", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("confirmed", BigInteger, nullable=False),
    Column("filled", BigInteger, nullable=False),
    Column("reopened", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("gone", BigInteger, nullable=False),
    Column("note", Text),
    Index("ix_listings_app", "app_id", "vendor", "id"),
)

_COLUMNS: Final = tuple(listings.c[each.name] for each in fields(Listing))
_COUNTS: Final = (*("calls", "listed", "adopted", "lost", "confirmed", "filled", "reopened", "missing", "gone"),)


def begin_listing(
    tx: Transaction, app_id: str, vendor: Vendor, since: datetime | None, worker: str, now: datetime
) -> Listing:
    """Write down that a listing begins; one of the same app and vendor that still counts as running is over."""
    interrupt_running(tx, now, app_id=app_id, vendor=vendor)
    values = {"app_id": app_id, "vendor": vendor, "state": ListingState.RUNNING, "since": since, "started_at": now}
    added = insert(listings).values(**values, worker=worker, **dict.fromkeys(_COUNTS, 0)).returning(*_COLUMNS)
    return Listing(*tx.execute(added).one())


def count_up(tx: Transaction, number: int, counts: Mapping[str, int]) -> bool:
    """Add to the counts of a running listing; False if it does not run any more."""
    values: dict[str, Any] = {name: listings.c[name] + many for name, many in counts.items() if many}
    changed = update(listings).where(listings.c.id == number, listings.c.state == ListingState.RUNNING)
    return count_changed(tx.execute(changed.values({"calls": listings.c.calls} | values))) == 1


def finish_listing(tx: Transaction, number: int, state: ListingState, note: str | None, now: datetime) -> None:
    """Write down how a running listing ended."""
    changed = update(listings).where(listings.c.id == number, listings.c.state == ListingState.RUNNING)
    tx.execute(changed.values(state=state, note=note, finished_at=now))


def interrupt_running(
    tx: Transaction, now: datetime, *, app_id: str | None = None, vendor: Vendor | None = None
) -> int:
    """End the record of listings whose process is gone, as a new leader does, or only those of an app and vendor."""
    changed = update(listings).where(listings.c.state == ListingState.RUNNING)
    if app_id is not None:
        changed = changed.where(listings.c.app_id == app_id, listings.c.vendor == vendor)
    note = "its process ended before it did; the next one starts over"
    return count_changed(tx.execute(changed.values(state=ListingState.INTERRUPTED, note=note, finished_at=now)))


def find_listing(tx: Transaction, number: int) -> Listing | None:
    """One listing."""
    row = tx.execute(select(*_COLUMNS).where(listings.c.id == number)).one_or_none()
    return None if row is None else Listing(*row)


def list_listings(
    tx: Transaction,
    limit: int | None = None,
    *,
    before: int | None = None,
    app_id: str | None = None,
    vendor: Vendor | None = None,
) -> list[Listing]:
    """Listings, the newest first, those below `before`."""
    query = select(*_COLUMNS).order_by(listings.c.id.desc()).limit(limit)
    for column, value in ((listings.c.app_id, app_id), (listings.c.vendor, vendor)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(listings.c.id < before)
    return [Listing(*row) for row in tx.execute(query)]


def count_listings(tx: Transaction, app_id: str | None = None, vendor: Vendor | None = None) -> int:
    """How many listings there are, of an app and vendor or of all."""
    query = select(func.count(listings.c.id))
    for column, value in ((listings.c.app_id, app_id), (listings.c.vendor, vendor)):
        if value is not None:
            query = query.where(column == value)
    return int(tx.execute(query).scalar_one())


def list_newest(tx: Transaction) -> list[Listing]:
    """The newest listing of each app and vendor that was to show everything."""
    newest = select(func.max(listings.c.id)).where(listings.c.since.is_(None))
    newest = newest.group_by(listings.c.app_id, listings.c.vendor)
    return [Listing(*row) for row in tx.execute(select(*_COLUMNS).where(listings.c.id.in_(newest)))]
