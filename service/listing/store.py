"""The records of listings, and what listings read and write of the inventory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Integer,
    String,
    Table,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from service.callbacks.store import callbacks
from service.database import Transaction
from service.database.columns import BigId, columns_of, count_changed, metadata
from service.files.store import COLUMNS, find_erasures, media_files
from service.listing.adopt import Known
from service.model import END_STATES, FileState, MediaFile, Outcome, Vendor, Verdict
from service.sweep.store import attempts


class ListingState(StrEnum):
    """How the record of one listing stands; documented in docs/reconcile.md."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Listing:
    """The record of one comparison of an app and vendor with the vendor's listing; it counts distinct files.

    `since`: only what was made after that was listed. `lost` are adopted files that were made after the app's first
    callback. `missing` were known before and not listed; `gone` of them were missing from the complete listing before.
    """

    id: int
    app_id: str
    vendor: Vendor
    state: ListingState
    since: datetime | None
    started_at: datetime
    finished_at: datetime | None
    worker: str
    calls: int = 0
    listed: int = 0
    adopted: int = 0
    lost: int = 0
    confirmed: int = 0
    filled: int = 0
    reopened: int = 0
    missing: int = 0
    gone: int = 0
    note: str | None = None

    @property
    def needs_person(self) -> bool:
        """It did not end as it should, or it shows that something is wrong: `note` says what, and what to do."""
        return self.state is ListingState.INCOMPLETE or (self.state is ListingState.COMPLETE and bool(self.note))


ENDED: Final = tuple(state for state in ListingState if state is not ListingState.RUNNING)
COMPLETE: Final = (ListingState.COMPLETE, ListingState.UNUSED)
"""Nothing is left to be read."""
RANGE: Final = 5_000
"""How many numbers of the inventory one transaction looks at for files that are missing."""

listings: Final = Table(
    "listings",
    metadata,
    *columns_of(Listing, id=Column("id", BigId, primary_key=True), app_id=String(20), calls=Integer()),
    Index("ix_listings_app", "app_id", "vendor", "id"),
)


def begin_listing(
    tx: Transaction, app_id: str, vendor: Vendor, since: datetime | None, worker: str, now: datetime
) -> Listing:
    """Write down that a listing begins; one of the same app and vendor that still counts as running is over."""
    interrupt_running(tx, now, app_id=app_id, vendor=vendor)
    begun = Listing(0, app_id, vendor, ListingState.RUNNING, since, now, None, worker)
    row = {name: value for name, value in asdict(begun).items() if name != "id"}
    return Listing(*tx.execute(insert(listings).values(row).returning(listings)).one())


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
    changed = update(listings).where(listings.c.state == ListingState.RUNNING, *_of(app_id, vendor))
    note = "its process ended before the listing did; the next one starts over"
    return count_changed(tx.execute(changed.values(state=ListingState.INTERRUPTED, note=note, finished_at=now)))


def find_listing(tx: Transaction, number: int) -> Listing | None:
    """One listing."""
    row = tx.execute(select(listings).where(listings.c.id == number)).one_or_none()
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
    query = select(listings).where(*_of(app_id, vendor)).order_by(listings.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(listings.c.id < before)
    return [Listing(*row) for row in tx.execute(query)]


def count_listings(tx: Transaction, app_id: str | None = None, vendor: Vendor | None = None) -> int:
    """How many listings there are, of an app and vendor or of all."""
    return int(tx.execute(select(func.count(listings.c.id)).where(*_of(app_id, vendor))).scalar_one())


def find_newest(
    tx: Transaction, states: Collection[ListingState], *, is_whole: bool = False
) -> dict[tuple[str, Vendor], Listing]:
    """The newest listing in one of these states of each app and vendor; `is_whole`: that was to show everything."""
    newest = select(func.max(listings.c.id)).where(listings.c.state.in_(states))
    if is_whole:
        newest = newest.where(listings.c.since.is_(None))
    newest = newest.group_by(listings.c.app_id, listings.c.vendor)
    found = (Listing(*row) for row in tx.execute(select(listings).where(listings.c.id.in_(newest))))
    return {(listing.app_id, listing.vendor): listing for listing in found}


def _of(app_id: str | None, vendor: Vendor | None) -> list[ColumnElement[bool]]:
    wanted = ((listings.c.app_id, app_id), (listings.c.vendor, vendor))
    return [column == value for column, value in wanted if value is not None]


# The inventory, the inbox and the attempts


def describe_known(tx: Transaction, files: Sequence[MediaFile]) -> list[Known]:
    """Files with what the inbox says about those that are suspected, and the erasures that name them.

    A trusted callback counts only if it came before a conflict: later ones fill in, and replace nothing.
    """
    accepted: dict[int, int] = {}
    conflicts: dict[int, int] = {}
    suspected_at: dict[int, datetime] = {}
    if suspected := [file.id for file in files if file.suspicion is not None]:
        file_id, verdict = callbacks.c.media_file_id, callbacks.c.verdict
        query = select(file_id, verdict, func.min(callbacks.c.id), func.max(callbacks.c.understood_at))
        query = query.where(
            file_id.in_(suspected),
            verdict.in_((Verdict.ACCEPTED, Verdict.STALE, Verdict.CONFLICT)),
            callbacks.c.understood_at.is_not(None),
        )
        for number, judged, first_id, last_at in tx.execute(query.group_by(file_id, verdict)):
            if judged is Verdict.ACCEPTED:
                accepted[number] = first_id
                continue
            suspected_at[number] = max(last_at, suspected_at.get(number, last_at))
            if judged is Verdict.CONFLICT:
                conflicts[number] = first_id
    erasures = find_erasures(tx, {file.erasure_id for file in files if file.erasure_id is not None})
    announced = {number for number, first_id in accepted.items() if first_id < conflicts.get(number, first_id + 1)}
    return [
        Known(file, file.id in announced, suspected_at.get(file.id), erasures.get(file.erasure_id or 0))
        for file in files
    ]


def mark_seen(tx: Transaction, listing: int, files: Iterable[MediaFile], at: datetime) -> None:
    """Note that a listing shows these files, which confirms those that nothing makes suspicious."""
    confirmed_at = case((media_files.c.suspicion.is_(None), at), else_=media_files.c.confirmed_at)
    seen = update(media_files).where(media_files.c.id.in_([file.id for file in files]))
    tx.execute(seen.values(listed_in=listing, missing_since=None, confirmed_at=confirmed_at))


def count_missing(tx: Transaction, listing: Listing, missing_by: datetime) -> tuple[int, int, int]:
    """Count the files that are there as far as is known, those that a listing lacks, and those that are to end by it.

    To end are those that are missing since `missing_by` or before.
    """
    missing = _missing(listing)
    to_end = func.count().filter(*missing, media_files.c.missing_since <= missing_by)
    query = select(func.count(), func.count().filter(*missing), to_end)
    present, lacking, ending = tx.execute(query.where(*_present(listing))).one()
    return present, lacking, ending


def mark_missing(tx: Transaction, listing: Listing, after: int) -> None:
    """Note of the files of one range, those beyond the number `after`, that this is the first listing to lack them."""
    first = update(media_files).where(*_missing(listing, after), media_files.c.missing_since.is_(None))
    tx.execute(first.values(missing_since=listing.started_at))


def list_to_end(tx: Transaction, listing: Listing, missing_by: datetime, after: int, limit: int) -> list[MediaFile]:
    """Files of one range that are missing since `missing_by` or before."""
    query = select(*COLUMNS).where(*_missing(listing, after), media_files.c.missing_since <= missing_by)
    return [MediaFile._make(row) for row in tx.execute(query.order_by(media_files.c.id).limit(limit))]


def find_unanswered(tx: Transaction, files: Iterable[MediaFile]) -> set[int]:
    """Those of these files that a call was sent for whose outcome is unknown."""
    asked = [file.id for file in files if file.last_outcome is not None]
    of_these = (attempts.c.media_file_id.in_(asked), attempts.c.outcome == Outcome.UNKNOWN)
    return set(tx.execute(select(attempts.c.media_file_id).where(*of_these).distinct()).scalars()) if asked else set()


def _present(listing: Listing) -> list[ColumnElement[bool]]:
    file = media_files.c
    return [file.app_id == listing.app_id, file.vendor == listing.vendor, file.state.not_in(sorted(END_STATES))]


def _missing(listing: Listing, after: int | None = None) -> list[ColumnElement[bool]]:
    """Known before the listing began, and not shown by it; what has an open call waits for its answer."""
    file = media_files.c
    is_in_range = [] if after is None else [file.id > after, file.id <= after + RANGE]
    return [
        *is_in_range,
        *_present(listing),
        file.received_at < listing.started_at,
        or_(file.listed_in.is_(None), file.listed_in < listing.id),
        file.state != FileState.DELETING,
    ]
