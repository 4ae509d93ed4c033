"""What listings read and write of the inventory, and what they ask of the inbox and of the attempts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, case, func, or_, select, update

from service.callbacks.store import callbacks
from service.database import Transaction
from service.files.store import COLUMNS, find_erasures, media_files, read_file
from service.listing.adopt import Known
from service.listing.record import Listing
from service.model import END_STATES, QUARANTINE_VERDICTS, FileState, MediaFile, Outcome, Vendor, Verdict
from service.sweep.store import attempts

RANGE: Final = 5_000
"""How many numbers of the inventory one transaction looks at for files that are missing."""


_SAYING: Final = (Verdict.ACCEPTED, Verdict.STALE, Verdict.CONFLICT)


@dataclass(frozen=True, slots=True)
class MissingCounts:
    """How many files of an app and vendor are there as far as is known, are missing, and would end for that."""

    present: int
    missing: int
    to_end: int


def describe_known(tx: Transaction, files: Sequence[MediaFile]) -> list[Known]:
    """Files with what the inbox says about those that are suspected, and the erasures that name them.

    A trusted callback counts only if it came before a conflict: later ones fill in, and replace nothing.
    """
    suspected = [file.id for file in files if file.suspicion is not None]
    seen = _find_verdicts(tx, suspected) if suspected else {}
    erasures = find_erasures(tx, {file.erasure_id for file in files if file.erasure_id is not None})
    found = []
    for file in files:
        accepted, stale, conflict = (seen.get((file.id, verdict)) for verdict in _SAYING)
        is_announced = accepted is not None and (conflict is None or accepted < conflict)
        suspected_at = max((each.last_at for each in (stale, conflict) if each is not None), default=None)
        found.append(Known(file, is_announced, suspected_at, erasures.get(file.erasure_id or 0)))
    return found


def find_first_callback_at(tx: Transaction, app_id: str) -> datetime | None:
    """When the app's first authentic callback was received."""
    firsts = []
    for verdict in set(Verdict) - QUARANTINE_VERDICTS:
        query = select(callbacks.c.received_at).where(callbacks.c.verdict == verdict, callbacks.c.app_id == app_id)
        firsts.append(tx.execute(query.order_by(callbacks.c.id).limit(1)).scalar())
    return min((first for first in firsts if first is not None), default=None)


def mark_seen(tx: Transaction, listing: int, files: Iterable[MediaFile], at: datetime) -> None:
    """Note that a listing shows these files, which confirms those that nothing makes suspicious."""
    numbers = [file.id for file in files]
    if numbers:
        confirmed_at = case((media_files.c.suspicion.is_(None), at), else_=media_files.c.confirmed_at)
        seen = update(media_files).where(media_files.c.id.in_(numbers))
        tx.execute(seen.values(listed_in=listing, missing_since=None, confirmed_at=confirmed_at))


def count_missing(tx: Transaction, listing: Listing, missing_by: datetime) -> MissingCounts:
    """Count what a complete listing did not show; to end are those missing since `missing_by` or before."""
    missing = _missing(listing)
    query = select(
        func.count(),
        func.count().filter(*missing),
        func.count().filter(*missing, media_files.c.missing_since <= missing_by),
    )
    return MissingCounts(*tx.execute(query.where(*_present(listing.app_id, listing.vendor))).one())


def mark_missing(tx: Transaction, listing: Listing, after: int) -> None:
    """Note of the files of one range, those beyond the number `after`, that this is the first listing to lack them."""
    first = update(media_files).where(*_missing_in_range(listing, after), media_files.c.missing_since.is_(None))
    tx.execute(first.values(missing_since=listing.started_at))


def list_to_end(tx: Transaction, listing: Listing, missing_by: datetime, after: int, limit: int) -> list[MediaFile]:
    """Files of one range that are missing since `missing_by` or before."""
    is_long_missing = media_files.c.missing_since <= missing_by
    query = select(*COLUMNS).where(*_missing_in_range(listing, after), is_long_missing)
    return [read_file(row) for row in tx.execute(query.order_by(media_files.c.id).limit(limit))]


def find_unanswered(tx: Transaction, files: Iterable[MediaFile]) -> set[int]:
    """Those of these files that a call was sent for whose outcome is unknown."""
    asked = [file.id for file in files if file.last_outcome is not None]
    if not asked:
        return set()
    query = select(attempts.c.media_file_id).where(
        attempts.c.media_file_id.in_(asked), attempts.c.outcome == Outcome.UNKNOWN
    )
    return set(tx.execute(query.distinct()).scalars())


class _Seen(NamedTuple):
    """The first callback of a file that was judged in one way, and when the last of them was understood."""

    first_id: int
    last_at: datetime


def _find_verdicts(tx: Transaction, numbers: Sequence[int]) -> dict[tuple[int, Verdict], _Seen]:
    key = (callbacks.c.media_file_id, callbacks.c.verdict)
    query = select(*key, func.min(callbacks.c.id), func.max(callbacks.c.understood_at)).group_by(*key)
    query = query.where(key[0].in_(numbers), key[1].in_(_SAYING), callbacks.c.understood_at.is_not(None))
    return {(number, verdict): _Seen(first, last) for number, verdict, first, last in tx.execute(query)}


def _present(app_id: str, vendor: Vendor) -> tuple[ColumnElement[bool], ...]:
    file = media_files.c
    return file.app_id == app_id, file.vendor == vendor, file.state.not_in(sorted(END_STATES))


def _missing(listing: Listing) -> tuple[ColumnElement[bool], ...]:
    """Known before the listing began, and not shown by it; what has an open call waits for its answer."""
    file = media_files.c
    return (
        file.received_at < listing.started_at,
        or_(file.listed_in.is_(None), file.listed_in < listing.id),
        file.state != FileState.DELETING,
    )


def _missing_in_range(listing: Listing, after: int) -> tuple[ColumnElement[bool], ...]:
    in_range = (media_files.c.id > after, media_files.c.id <= after + RANGE)
    return (*in_range, *_present(listing.app_id, listing.vendor), *_missing(listing))
