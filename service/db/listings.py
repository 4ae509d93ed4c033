"""Records of listings, and the inventory as a listing looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, func, or_, select, update

from service.core.model import END_STATES, QUARANTINE_VERDICTS, FileState, Lane, Suspicion, Verdict
from service.core.reconciling import KnownFile
from service.db import inbox
from service.db.models import IS_CLAIMED, IS_LOST, CallbackRow, ListingRow, ListingState, MediaFileRow, RunRow, RunState
from service.db.schema import insert_into

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

_KNOWN = tuple(name for name in KnownFile.__dataclass_fields__ if name != "is_announced")
_ADOPTED = (
    *("app_id", "vendor", "file_id", "stream_id", "event", "ended_at", "received_at", "duration_s", "size_bytes"),
    *("replay_url", "name", "vendor_created_at", "vendor_expires_at", "listed_at", "listed_in", "adopted_at"),
    *("quiet_until", "lost_on", "state", "state_reason", "rule", "due_at", "revision", "decided_at", "cooling_until"),
    *("approval", "observed_due_at", "attempts"),
)
"""What is stored of a file that is adopted: its facts and the decision; everything else is empty yet."""

COUNTS = ("listed", "adopted", "lost", "confirmed", "filled", "reopened", "missing", "contradicted", "gone")
"""What a listing counts: columns of its record."""


def add_listing(session: Session, lane: Lane, since: datetime | None, worker: str, now: datetime) -> ListingRow:
    """Write down that a listing begins."""
    row = ListingRow(
        app_id=lane[0],
        vendor=lane[1],
        state=ListingState.RUNNING,
        since=since,
        started_at=now,
        heartbeat_at=now,
        worker=worker,
        calls=0,
        **dict.fromkeys(COUNTS, 0),
    )
    session.add(row)
    session.flush()
    return row


def find_before(session: Session, listing: ListingRow) -> ListingRow | None:
    """The whole listing of the same lane before this one."""
    query = select(ListingRow).where(ListingRow.app_id == listing.app_id, ListingRow.vendor == listing.vendor)
    query = query.where(ListingRow.id < listing.id, ListingRow.since.is_(None))
    return session.scalar(query.order_by(ListingRow.id.desc()).limit(1))


def find_listing(session: Session, listing_id: int) -> ListingRow | None:
    """One listing."""
    return session.get(ListingRow, listing_id)


def newest_listing(session: Session, lane: Lane, since: datetime | None = None) -> ListingRow | None:
    """The newest listing of a lane that was meant to show everything; with `since`, of what was made since then."""
    query = select(ListingRow).where(*_of_lane(lane)).order_by(ListingRow.id.desc()).limit(1)
    return session.scalar(query.where(ListingRow.since.is_(None) if since is None else ListingRow.since == since))


def last_complete(session: Session, lane: Lane) -> int | None:
    """The number of the newest listing of a lane that was complete."""
    query = select(func.max(ListingRow.id)).where(*_of_lane(lane), ListingRow.state == ListingState.COMPLETE)
    return session.scalar(query)


def list_listings(session: Session, limit: int | None = None, *, before: int | None = None) -> list[ListingRow]:
    """Listings, the newest first, those below `before`."""
    query = select(ListingRow).order_by(ListingRow.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(ListingRow.id < before)))


def count_listings(session: Session) -> int:
    """How many listings are on record."""
    return session.scalar(select(func.count()).select_from(ListingRow)) or 0


def count_up(session: Session, listing_id: int, now: datetime, counts: Mapping[str, int]) -> None:
    """Add to a listing's counts, and give a sign of life."""
    values: dict[str, Any] = {
        name: getattr(ListingRow, name) + many for name, many in counts.items() if name in ("calls", *COUNTS)
    }
    session.execute(update(ListingRow).where(ListingRow.id == listing_id).values(heartbeat_at=now, **values))


def find_known(session: Session, lane: Lane, file_ids: Sequence[str]) -> dict[str, KnownFile]:
    """Those of these files that the inventory knows, by file id; not locked, and without the weight of whole rows."""
    row = MediaFileRow
    columns = [row.id if name == "number" else getattr(row, name) for name in _KNOWN]
    query = select(*columns).where(row.app_id == lane[0], row.vendor == lane[1], row.file_id.in_(file_ids))
    return {known.file_id: known for known in (KnownFile(*values) for values in session.execute(query))}


def describe_known(session: Session, row: MediaFileRow) -> KnownFile:
    """The same of a whole row, and whether what is known of it was believed when it was announced."""
    values: dict[str, Any] = {name: row.id if name == "number" else getattr(row, name) for name in _KNOWN}
    is_announced = row.suspicion is not None and inbox.is_first_believed(session, row.id)
    return KnownFile(**values, is_announced=is_announced)


def insert_files(session: Session, rows: Sequence[MediaFileRow]) -> list[str]:
    """Add files that are decided already; returns the file ids of those that nobody else was faster to add."""
    if not rows:
        return []
    values = [{name: getattr(row, name) for name in _ADOPTED} for row in rows]
    statement = insert_into(session, MediaFileRow).on_conflict_do_nothing().returning(MediaFileRow.file_id)
    return list(session.scalars(statement, values))


def mark_seen(session: Session, listing_id: int | None, numbers: Sequence[int], at: datetime) -> int:
    """Note that a listing shows these files; returns how many it had not shown before."""
    if not numbers:
        return 0
    row = MediaFileRow
    is_among = row.id.in_(numbers)
    if listing_id is None:
        session.execute(update(row).where(is_among).values(listed_at=at))
        return 0
    is_first = or_(row.listed_in.is_(None), row.listed_in < listing_id)
    statement = update(row).where(is_among, is_first).values(listed_at=at, listed_in=listing_id)
    return int(session.execute(statement, execution_options={"synchronize_session": False}).rowcount)  # type: ignore[attr-defined]


def list_unseen(
    session: Session, listing: ListingRow, known_before: datetime, after: int, limit: int
) -> list[tuple[int, str]]:
    """The next files (number, file id) beyond `after` that should have been listed and were not.

    They are neither ended nor in the hands of a pass, and were in the inventory before `known_before`.
    """
    row = MediaFileRow
    query = (
        select(row.id, row.file_id)
        .where(*_unseen_in_order(listing), row.received_at < known_before, row.id > after)
        .order_by(row.id)
        .limit(limit)
    )
    return [(number, file_id) for number, file_id in session.execute(query)]


def count_unseen(session: Session, listing: ListingRow, known_before: datetime) -> int:
    """How many files should have been listed and were not."""
    query = select(func.count()).where(*_unseen(listing), MediaFileRow.received_at < known_before)
    return session.scalar(query) or 0


def lock_unseen(session: Session, listing: ListingRow, numbers: Sequence[int]) -> list[MediaFileRow]:
    """Those of these files that are still unseen by the listing, locked, in one order for every transaction."""
    query = select(MediaFileRow).where(MediaFileRow.id.in_(numbers), *_unseen(listing))
    return list(session.scalars(query.order_by(MediaFileRow.id).with_for_update()))


def has_alive(session: Session, lane: Lane) -> bool:
    """The inventory holds files of a lane that have not ended."""
    row = MediaFileRow
    query = select(row.id).where(row.app_id == lane[0], row.vendor == lane[1], row.state.not_in(list(END_STATES)))
    return session.scalar(query.limit(1)) is not None


def count_expected(session: Session, listing: ListingRow, known_before: datetime) -> int:
    """How many files should have been listed."""
    row = MediaFileRow
    is_alive = (row.app_id == listing.app_id, row.vendor == listing.vendor, row.state.not_in(list(END_STATES)))
    return session.scalar(select(func.count()).where(*is_alive, row.received_at < known_before)) or 0


def first_callback_at(session: Session, app_id: str) -> datetime | None:
    """When the app's first authentic callback arrived."""
    firsts = []
    for verdict in Verdict:
        if verdict not in QUARANTINE_VERDICTS:
            query = select(CallbackRow.received_at).where(CallbackRow.verdict == verdict, CallbackRow.app_id == app_id)
            firsts.append(session.scalar(query.order_by(CallbackRow.id).limit(1)))
    return min((first for first in firsts if first is not None), default=None)


def count_lost(session: Session, settled_before: datetime) -> list[tuple[str, str, int]]:
    """Lost callbacks by app and day, the newest day first.

    A file that was adopted after `settled_before` does not count yet: its callback may be on its way.
    """
    row = MediaFileRow
    query = select(row.app_id, row.lost_on, func.count()).where(IS_LOST, row.adopted_at <= settled_before)
    query = query.group_by(row.app_id, row.lost_on).order_by(row.lost_on.desc(), row.app_id)
    return [(app, day or "", many) for app, day, many in session.execute(query)]


def sum_lost(session: Session, settled_before: datetime) -> dict[str, int]:
    """Lost callbacks by app, of all days."""
    total: dict[str, int] = {}
    for app_id, _, many in count_lost(session, settled_before):
        total[app_id] = total.get(app_id, 0) + many
    return total


def list_completed(session: Session) -> list[tuple[str, str, datetime]]:
    """When the last complete listing of each app and vendor ended."""
    row = ListingRow
    is_whole = (row.state == ListingState.COMPLETE, row.since.is_(None))
    newest = select(func.max(row.id)).where(*is_whole).group_by(row.app_id, row.vendor)
    query = select(row.app_id, row.vendor, row.finished_at).where(row.id.in_(newest)).order_by(row.app_id, row.vendor)
    return [(app_id, vendor.value, at) for app_id, vendor, at in session.execute(query) if at is not None]


def list_incomplete(session: Session, since: datetime) -> list[tuple[str, str]]:
    """The apps and vendors whose newest listing ended without being complete, after a moment."""
    row = ListingRow
    is_whole = (row.state != ListingState.RUNNING, row.since.is_(None), row.heartbeat_at > since)
    newest = select(func.max(row.id)).where(*is_whole).group_by(row.app_id, row.vendor)
    is_lacking = row.state.in_([ListingState.INCOMPLETE, ListingState.INTERRUPTED])
    query = select(row.app_id, row.vendor).where(row.id.in_(newest), is_lacking).order_by(row.app_id, row.vendor)
    return [(app_id, vendor.value) for app_id, vendor in session.execute(query)]


def list_some_streams(session: Session, app_id: str, limit: int) -> list[str]:
    """The first streams of an app, by their ids."""
    row = MediaFileRow
    query = select(row.stream_id).where(row.app_id == app_id, row.stream_id > "").distinct()
    return list(session.scalars(query.order_by(row.stream_id).limit(limit)))


def deletions_in_hand(session: Session, app_id: str, alive_since: datetime) -> bool:
    """A pass that is alive has files of this app in its hands."""
    query = (
        select(MediaFileRow.id)
        .join(RunRow, RunRow.id == MediaFileRow.claim_run_id)
        .where(IS_CLAIMED, MediaFileRow.app_id == app_id)
        .where(RunRow.state == RunState.RUNNING, RunRow.heartbeat_at > alive_since)
    )
    return session.scalar(query.limit(1)) is not None


def list_to_confirm(
    session: Session, lane: Lane, due_by: datetime, asked: tuple[datetime, datetime], after: int, limit: int
) -> list[tuple[int, str]]:
    """The next unconfirmed files (number, file id) of a lane that are due by a moment, not asked about between two."""
    row = MediaFileRow
    query = (
        select(row.id, row.file_id)
        .where(row.state == FileState.UNCONFIRMED, row.due_at <= due_by, row.app_id == lane[0], row.vendor == lane[1])
        .where(or_(row.asked_at.is_(None), row.asked_at < asked[0], row.asked_at > asked[1]), row.id > after)
        .order_by(row.id)
        .limit(limit)
    )
    return [(number, file_id) for number, file_id in session.execute(query)]


def list_lanes_to_confirm(session: Session, due_by: datetime) -> list[Lane]:
    """The apps and vendors that have unconfirmed files that are due by a moment."""
    row = MediaFileRow
    query = select(row.app_id, row.vendor).where(row.state == FileState.UNCONFIRMED, row.due_at <= due_by).distinct()
    return sorted((app_id, vendor) for app_id, vendor in session.execute(query))


def note_asked(session: Session, numbers: Sequence[int], at: datetime) -> None:
    """Note that the vendor was asked about these files, and did not show them."""
    session.execute(update(MediaFileRow).where(MediaFileRow.id.in_(numbers)).values(asked_at=at))


def list_seen_in(session: Session, lane: Lane, listing_id: int, due_by: datetime, after: int, limit: int) -> list[int]:
    """The next unconfirmed files of a lane that are due by a moment and that a listing showed."""
    row = MediaFileRow
    query = (
        select(row.id)
        .where(row.state == FileState.UNCONFIRMED, row.due_at <= due_by, row.app_id == lane[0], row.vendor == lane[1])
        .where(row.listed_in == listing_id, row.id > after)
    )
    return list(session.scalars(query.order_by(row.id).limit(limit)))


def list_to_settle(session: Session, suspicion: Suspicion | None, after: int, limit: int) -> list[int]:
    """The next undecided files beyond `after` with this suspicion; without one, those that nobody has confirmed."""
    row = MediaFileRow
    alive = row.state.not_in([*END_STATES, FileState.DELETING, FileState.FAILED])
    query = select(row.id).where(alive, row.id > after).order_by(row.id).limit(limit)
    if suspicion is not None:
        return list(session.scalars(query.where(row.suspicion == suspicion)))
    unseen = (row.suspicion.is_(None), row.confirmed_at.is_(None), row.listed_at.is_(None))
    return list(session.scalars(query.where(*unseen)))


def _of_lane(lane: Lane) -> tuple[Any, ...]:
    return (ListingRow.app_id == lane[0], ListingRow.vendor == lane[1])


def _unseen(listing: ListingRow) -> tuple[Any, ...]:
    row = MediaFileRow
    return (
        row.app_id == listing.app_id,
        row.vendor == listing.vendor,
        row.state.not_in([*END_STATES, FileState.DELETING]),
        or_(row.listed_in.is_(None), row.listed_in < listing.id),
    )


def _unseen_in_order(listing: ListingRow) -> tuple[Any, ...]:
    """The same for whoever reads on by number: over an index, the lane would be sorted for every batch."""
    row = MediaFileRow
    in_lane = (row.app_id.concat("") == listing.app_id, func.lower(row.vendor, type_=Text()) == listing.vendor.lower())
    return (*in_lane, *_unseen(listing)[2:])
