"""Reading the whole inventory once, light: a few raw columns per file and no objects, for a million files at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    type_coerce,
)

from service.core.forecast import Amount
from service.core.model import FileState, Outcome, Suspicion
from service.db import claims
from service.db.holds import hold_of
from service.db.models import AttemptRow, MediaFileRow
from service.db.order_models import IS_STANDING, HoldRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy.orm import InstrumentedAttribute, Session

    from service.core.model import Hold, Vendor

SCAN_BATCH: Final = 10_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_IDS = 300
_HALF = 1 << 32


class LightFile(NamedTuple):
    """A file as `scan_inventory` reads it; `aged_from`, `began_at` and `ended_at` are as `Moments` reads them.

    `oddity` is None for a file that the rules alone decide; else `read_oddity` tells what there is about it.
    """

    number: int
    app_id: str
    vendor: str
    event: str
    stream_id: str
    aged_from: Any
    duration_s: float | None
    size_bytes: int | None
    oddity: str | None
    began_at: Any
    ended_at: Any


class Oddity(NamedTuple):
    """What may keep the rules from deciding a file by themselves."""

    state: FileState
    suspicion: Suspicion | None
    erasure_id: int | None
    is_newer: bool
    """It was announced after the moment as of which the inventory is read."""
    came_before: int
    """Which of the changes that were asked about it was announced before: a bit for each."""
    retry_at: Any
    """Until when it waits for another attempt, as `Moments` reads it; empty if it does not."""
    quiet_until: Any
    """Until when it is left alone since a listing showed it, as `Moments` reads it; empty if it is not."""


class Moments:
    """How moments come out of a scan, cheap to read and to compare.

    SQLite stores them as texts that sort by time. PostgreSQL gives seconds as doubles, which tell any two microseconds
    of these centuries apart; its texts would depend on the server's settings.
    """

    def __init__(self, session: Session) -> None:
        self._as_text = session.get_bind().dialect.name == "sqlite"

    def select(self, column: InstrumentedAttribute[Any] | ColumnElement[Any]) -> ColumnElement[Any]:
        """A column of moments, raw."""
        return type_coerce(column, Text) if self._as_text else func.date_part("epoch", column)

    def select_later(self, column: InstrumentedAttribute[Any], other: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        """The later of two columns of moments, raw; the other one may hold none."""
        latest = func.max if self._as_text else func.greatest
        return self.select(latest(column, func.coalesce(other, column)))

    def store(self, moment: datetime) -> Any:  # noqa: ANN401  (a text or a number)
        """A moment as the scan would give it."""
        if self._as_text:
            return moment.replace(tzinfo=None).isoformat(" ", "microseconds")
        return (moment - _EPOCH) // _MICROSECOND / 1_000_000

    def read(self, raw: Any) -> datetime | None:  # noqa: ANN401
        """A moment of the scan, also one that became a text."""
        if raw is None or raw == "":
            return None
        if self._as_text:
            return datetime.fromisoformat(raw).replace(tzinfo=UTC)
        return _EPOCH + timedelta(microseconds=round(float(raw) * 1_000_000))


def scan_inventory(
    session: Session,
    revision: int,
    as_of: datetime,
    changes: Sequence[datetime] = (),
    streams: Collection[tuple[str, str]] | None = None,
    *,
    by_stream: bool,
) -> Iterator[Sequence[Any]]:
    """All files (or those of some streams) that are neither deleted nor gone, in batches of `LightFile` columns.

    A file that `revision` did not decide is odd, and so is one that was announced before `changes`.
    With `by_stream`, streams come one after the other, and within each the files that ended last come first.
    """
    row, moments = MediaFileRow, Moments(session)
    query = select(
        row.id,
        row.app_id,
        type_coerce(row.vendor, Text),
        row.event,
        row.stream_id,
        moments.select_later(row.ended_at, row.vendor_created_at),
        row.duration_s,
        row.size_bytes,
        _oddity(revision, as_of, changes, moments),
        moments.select(row.began_at) if by_stream else null(),
        moments.select(row.ended_at) if by_stream else null(),
    ).where(row.state.not_in([FileState.DELETED, FileState.GONE]))
    if by_stream:
        query = query.order_by(row.app_id.desc(), row.stream_id.desc(), row.ended_at.desc(), row.id.desc())
    options = {"stream_results": True, "max_row_buffer": SCAN_BATCH}
    for part in [query] if streams is None else _of_streams(query, streams):
        yield from session.connection().execute(part, execution_options=options).partitions(SCAN_BATCH)


def list_changed_streams(session: Session, since: datetime, limit: int) -> list[tuple[str, str]] | None:
    """The streams (app, stream) with a file that was decided after a moment; None where they are more than `limit`."""
    row = MediaFileRow
    query = select(row.app_id, row.stream_id).where(row.decided_at > since).distinct().limit(limit + 1)
    found = [(app_id, stream_id) for app_id, stream_id in session.execute(query)]
    return None if len(found) > limit else found


def read_oddity(text: str) -> Oddity:
    """What a scan told of an odd file."""
    state, suspicion, erasure, newer, came_before, retry_at, quiet_until = text.split("|")
    return Oddity(
        FileState(state),
        Suspicion(suspicion) if suspicion else None,
        int(erasure) if erasure else None,
        newer == "1",
        int(came_before),
        retry_at,
        quiet_until,
    )


def list_file_holds(session: Session, now: datetime) -> list[Hold]:
    """The holds in force that are on one file each."""
    in_time = or_(HoldRow.until.is_(None), HoldRow.until > now)
    return [
        hold_of(row)
        for row in session.scalars(select(HoldRow).where(IS_STANDING, HoldRow.file_id.is_not(None), in_time))
    ]


def list_maybe_deleted(session: Session) -> set[int]:
    """Files with an attempt of unknown outcome, or one under way."""
    unknown = or_(AttemptRow.outcome.is_(None), AttemptRow.outcome == Outcome.UNKNOWN)
    return set(session.scalars(select(AttemptRow.media_file_id).where(unknown).distinct()))


def find_numbers(session: Session, names: Sequence[tuple[str, Vendor, str]]) -> dict[tuple[str, Vendor, str], int]:
    """Numbers of files by app, vendor and file id, those that there are."""
    row = MediaFileRow
    found: dict[tuple[str, Vendor, str], int] = {}
    for start in range(0, len(names), _IDS):
        identity = tuple_(row.app_id, row.vendor, row.file_id)
        query = select(row.app_id, row.vendor, row.file_id, row.id).where(identity.in_(names[start : start + _IDS]))
        found |= {(app_id, vendor, file_id): number for app_id, vendor, file_id, number in session.execute(query)}
    return found


def count_present(session: Session) -> int:
    """How many files a scan reads."""
    query = select(func.count()).where(MediaFileRow.state.not_in([FileState.DELETED, FileState.GONE]))
    return session.scalar(query) or 0


def sum_up(session: Session) -> list[tuple[FileState, str | None, str, Vendor, Amount]]:
    """Files by state, rule, app and vendor: how many, how many seconds, how many bytes."""
    row = MediaFileRow
    keys = (row.state, row.rule, row.app_id, row.vendor)
    # In two halves: a sum of sizes near the largest that a column holds overflows on SQLite.
    halves = (func.sum(row.size_bytes // _HALF), func.sum(row.size_bytes % _HALF))
    sums = (func.count(), func.sum(row.duration_s), *halves)
    query = select(*keys, *sums).group_by(*keys)
    return [
        (state, rule, app_id, vendor, Amount(count, float(seconds or 0), int(high or 0) * _HALF + int(low or 0)))
        for state, rule, app_id, vendor, count, seconds, high, low in session.execute(query)
    ]


def _of_streams(query: Select[Any], streams: Collection[tuple[str, str]]) -> Iterator[Select[Any]]:
    by_app: dict[str, list[str]] = {}
    for app_id, stream_id in streams:
        by_app.setdefault(app_id, []).append(stream_id)
    for app_id, names in by_app.items():
        for start in range(0, len(names), _IDS):
            yield query.where(MediaFileRow.app_id == app_id, MediaFileRow.stream_id.in_(names[start : start + _IDS]))


def _oddity(revision: int, as_of: datetime, changes: Sequence[datetime], moments: Moments) -> ColumnElement[str | None]:
    row, may_be_asked = MediaFileRow, claims.may_be_asked(as_of)
    is_quiet = row.quiet_until > as_of
    plain = and_(
        row.state.not_in([FileState.FAILED, FileState.DELETING]),
        row.revision == revision,
        row.suspicion.is_(None),
        row.erasure_id.is_(None),
        row.received_at <= as_of,
        may_be_asked,
        or_(row.quiet_until.is_(None), ~is_quiet),
        *(row.received_at > applied_at for applied_at in changes),
    )
    came_before: ColumnElement[int] = literal(0)
    for place, applied_at in enumerate(changes):
        came_before = came_before + case((row.received_at <= applied_at, 1 << place), else_=0)
    parts = (
        type_coerce(row.state, Text),
        type_coerce(row.suspicion, Text),
        row.erasure_id,
        case((row.received_at > as_of, 1), else_=0),
        came_before,
        case((may_be_asked, null()), else_=moments.select(row.retry_at)),
        case((is_quiet, moments.select(row.quiet_until)), else_=null()),
    )
    texts = [func.coalesce(cast(part, Text), literal("")) for part in parts]
    joined: ColumnElement[str] = texts[0]
    for each in texts[1:]:
        joined = joined.concat("|").concat(each)
    return case((plain, null()), else_=joined)
