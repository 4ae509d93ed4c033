"""What orders do to the inventory: flagging what a hold covers, taking files for an erasure; set-based, in ranges."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, String, and_, case, column, func, literal, null, or_, select, table, true, update

from service.database import Transaction
from service.database.schema import BigId, UtcDateTime, count_changed
from service.files.store import COLUMNS, fits_pattern, media_files, read_file
from service.model import END_STATES, Erasure, FileState, Hold, MediaFile, Vendor, Verdict
from service.rules.patterns import is_pattern
from service.units import format_moment

RANGE: Final = 5_000
"""How many numbers of the inventory one transaction looks at, or how many rows it finds through an index."""

_MAY_BE_DUE: Final = (FileState.SCHEDULED, FileState.HELD, FileState.KEPT)
_IS_THERE: Final = media_files.c.state.not_in(END_STATES)

# Of the inbox, a room above this one, only what a confirmation has to compare.
_callbacks: Final = table(
    "callbacks", column("media_file_id", BigId), column("verdict", String), column("understood_at", UtcDateTime)
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The stale and conflicting callbacks of a file, and when the last was understood, by the leader's clock."""

    stale: int
    conflicting: int
    last_at: datetime | None

    def __str__(self) -> str:
        last = "never" if self.last_at is None else format_moment(self.last_at)
        return f"{self.stale} stale, {self.conflicting} conflicting, the last understood at {last}"


@dataclass(frozen=True, slots=True)
class Group:
    """How many files there are of one state and vendor, unconfirmed or not, of a known stream or not."""

    state: FileState
    vendor: Vendor
    is_unconfirmed: bool
    is_stream_known: bool
    count: int


def find_open(tx: Transaction, hold: Hold) -> list[int]:
    """The files with an open call that a hold covers, by number."""
    query = select(media_files.c.id).where(media_files.c.state == FileState.DELETING, *_covered(tx, hold))
    return list(tx.execute(query.order_by(media_files.c.id)).scalars())


def is_large(tx: Transaction, hold: Hold, *, held: bool) -> bool:
    """Whether a hold covers so many files that they are flagged range by range; see `flag_covered` for `held`."""
    if hold.file_id is not None:
        return False
    if is_pattern(_pattern_of(hold)):
        return True
    few = select(media_files.c.id).where(*_covered(tx, hold), _to_flag(held=held)).limit(RANGE + 1).subquery()
    return (tx.execute(select(func.count()).select_from(few)).scalar() or 0) > RANGE


def count_covered(tx: Transaction, hold: Hold, between: tuple[int, int] | None) -> tuple[int, int]:
    """How many files a hold covers that have not ended, and how many of them because their stream is not known.

    `between`: only those with numbers beyond the first, up to the second.
    """
    query = select(func.count(), func.count(case((media_files.c.stream_id == "", 1))))
    files, unknown = tx.execute(query.where(*_covered(tx, hold, between), _IS_THERE)).one()
    return files, unknown if hold.file_id is None else 0


def flag_covered(tx: Transaction, hold: Hold, between: tuple[int, int] | None, *, held: bool) -> int:
    """Let files that a hold covers be decided again.

    Those that are held (it was released, or has ended), or else all others that have not ended.
    """
    flagged = update(media_files).where(*_covered(tx, hold, between), _to_flag(held=held))
    return count_changed(tx.execute(flagged.values(decide_again=True)))


def find_evidence(tx: Transaction, numbers: Collection[int]) -> dict[int, Evidence]:
    """What was understood that speaks against these files; those with nothing against them are left out."""
    is_of = [_callbacks.c.verdict == verdict for verdict in (Verdict.STALE.value, Verdict.CONFLICT.value)]
    counts = (func.count(case((each, 1))) for each in is_of)
    query = select(_callbacks.c.media_file_id, *counts, func.max(_callbacks.c.understood_at))
    query = query.where(_callbacks.c.media_file_id.in_(sorted(numbers)), or_(*is_of))
    rows = tx.execute(query.group_by(_callbacks.c.media_file_id))
    return {number: Evidence(stale, conflicting, last) for number, stale, conflicting, last in rows}


def group_numbers(tx: Transaction, numbers: Sequence[int]) -> tuple[list[Group], set[str]]:
    """These files in groups, and the apps that they belong to."""
    is_named = media_files.c.id.in_(numbers)
    apps = set(tx.execute(select(media_files.c.app_id).where(is_named).distinct()).scalars())
    return _group(tx, is_named), apps


def group_pattern(tx: Transaction, app_id: str, pattern: str, up_to: int) -> list[Group]:
    """The files of an app whose stream fits a pattern, or is not known, in groups; ended ones are left out."""
    fits = or_(media_files.c.stream_id == "", fits_pattern(tx, media_files.c.stream_id, pattern))
    return _group(tx, media_files.c.app_id == app_id, fits, media_files.c.id <= up_to, _IS_THERE)


def take_files(tx: Transaction, erasure: Erasure, numbers: Sequence[int]) -> list[Group]:
    """Let an erasure take these files, and have them decided; returns those that it has taken."""
    return _take(tx, erasure, media_files.c.id.in_(numbers))


def take_range(tx: Transaction, erasure: Erasure, after: int, up_to: int) -> list[Group]:
    """The same for the files of its pattern, with numbers beyond `after`, up to `up_to`.

    Files of unknown stream are returned as well, but not taken.
    """
    is_in_range = _in_range(erasure.app_id, after, up_to)
    fits = fits_pattern(tx, media_files.c.stream_id, erasure.stream_pattern or "")
    taken = _take(tx, erasure, *is_in_range, media_files.c.stream_id != "", fits)
    return [*taken, *_group(tx, *is_in_range, media_files.c.stream_id == "", _IS_THERE)]


def list_unconfirmed_by_setting(tx: Transaction, now: datetime, after: int, limit: int) -> list[MediaFile]:
    """Files beyond `after`, by number, that only CONFIRM=all kept at `now`: nothing is suspicious.

    They are unconfirmed, or will be when they are taken for a call: a decision, as after a change of rules or a hold,
    leaves that to the next sweep.
    """
    columns = media_files.c
    is_due = and_(columns.confirmed_at.is_(None), columns.due_at <= now, columns.state.in_(_MAY_BE_DUE))
    query = select(*COLUMNS).where(
        or_(columns.state == FileState.UNCONFIRMED, is_due), columns.suspicion.is_(None), columns.id > after
    )
    return [read_file(row) for row in tx.execute(query.order_by(columns.id).limit(limit))]


def _take(tx: Transaction, erasure: Erasure, *conditions: ColumnElement[bool]) -> list[Group]:
    columns = media_files.c
    is_new = or_(columns.erasure_id.is_(None), columns.erasure_id < erasure.id)
    is_failed = columns.state == FileState.FAILED
    tx.execute(
        update(media_files)
        .where(*conditions, is_new, _IS_THERE)
        .values(
            erasure_id=erasure.id,
            decide_again=True,
            # One that has failed starts over.
            state=case((is_failed, literal(FileState.KEPT, columns.state.type)), else_=columns.state),
            attempts=case((is_failed, 0), else_=columns.attempts),
            first_attempt_at=case((is_failed, null()), else_=columns.first_attempt_at),
        )
    )
    return _group(tx, *conditions, columns.erasure_id == erasure.id, _IS_THERE)


def _group(tx: Transaction, *conditions: ColumnElement[bool]) -> list[Group]:
    columns = media_files.c
    by = (columns.state, columns.vendor, columns.suspicion.is_not(None), columns.stream_id != "")
    query = select(*by, func.count()).where(*conditions).group_by(*by)
    return [Group(state, vendor, bool(a), bool(b), count) for state, vendor, a, b, count in tx.execute(query)]


def _covered(tx: Transaction, hold: Hold, between: tuple[int, int] | None = None) -> list[ColumnElement[bool]]:
    """What is true of the files that a hold covers, in a range of the inventory or in all of it."""
    columns = media_files.c
    pattern = _pattern_of(hold)
    if hold.file_id is not None:
        return [columns.app_id == hold.app_id, columns.vendor == hold.vendor, columns.file_id == hold.file_id]
    if not is_pattern(pattern):
        is_meant: ColumnElement[bool] = columns.stream_id.in_(["", pattern])
    elif pattern == "*":
        is_meant = true()
    else:
        is_meant = or_(columns.stream_id == "", fits_pattern(tx, columns.stream_id, pattern))
    if between is None:
        return [columns.app_id == hold.app_id, is_meant]
    return [*_in_range(hold.app_id, *between), is_meant]


def _pattern_of(hold: Hold) -> str:
    return hold.stream_pattern or "*"


def _to_flag(*, held: bool) -> ColumnElement[bool]:
    columns = media_files.c
    return columns.state == FileState.HELD if held else columns.state.not_in({*END_STATES, FileState.HELD})


def _in_range(app_id: str | None, after: int, up_to: int) -> list[ColumnElement[bool]]:
    # An expression of the app: SQLite would go through all files of the app by an index, range after range.
    return [media_files.c.id > after, media_files.c.id <= up_to, media_files.c.app_id.concat("") == app_id]
