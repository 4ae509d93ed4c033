"""What orders do to the inventory: flagging what a hold covers, taking files for an erasure; set-based, in ranges."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, String, and_, case, column, func, literal, or_, select, table, true, update

from service.database import Transaction
from service.database.columns import BigId, UtcDateTime
from service.files.store import find_highest_id, fits_pattern, media_files
from service.model import END_STATES, Erasure, FileState, Hold, Vendor, Verdict, WaitReason
from service.rules.match import is_pattern

RANGE: Final = 5_000
"""How many numbers of the inventory one transaction looks at, or how many rows it finds through an index."""

_BATCH: Final = 1_000

_FILE: Final = media_files.c
_IS_THERE: Final = _FILE.state.not_in(END_STATES)
_IS_FAILED: Final = _FILE.state == FileState.FAILED
_IS_RETRIED: Final = _FILE.wait_reason == WaitReason.RETRY
_UNKNOWN_STREAM: Final = _FILE.stream_id == ""
# What lets a file be decided again, one that has failed as if it had never been asked for.
_START_OVER: Final = {
    "decide_again": True,
    "state": case((_IS_FAILED, literal(FileState.KEPT, _FILE.state.type)), else_=_FILE.state),
    "attempts": case((_IS_FAILED, 0), else_=_FILE.attempts),
    "first_attempt_at": case((_IS_FAILED, None), else_=_FILE.first_attempt_at),
}

# Of the inbox, a room above this one, only what a confirmation has to compare.
_callbacks: Final = table(
    "callbacks", column("media_file_id", BigId), column("verdict", String), column("understood_at", UtcDateTime)
)


class Group(NamedTuple):
    """How many files there are of one app, state and vendor, unconfirmed or not, of a known stream or not.

    `is_erased`: an erasure has them already, and asks for them.
    """

    app_id: str
    state: FileState
    vendor: Vendor
    is_unconfirmed: bool
    is_stream_known: bool
    is_erased: bool
    files: int


def find_open(tx: Transaction, hold: Hold) -> list[int]:
    """The files with an open call that a hold covers, by number."""
    query = select(_FILE.id).where(_FILE.state == FileState.DELETING, *_covered(tx, hold))
    return list(tx.execute(query.order_by(_FILE.id)).scalars())


def flag_covered(tx: Transaction, hold: Hold, after: int, *, held: bool) -> tuple[int, int, int | None]:
    """Let files that a hold covers be decided again: those that are held, or else all others that have not ended.

    Where it may cover many, those in the range of the inventory beyond `after`. Returns how many it covers there, how
    many of them because their stream is not known, and where the next range begins (None: nowhere).
    """
    covered, resume_after = _covered(tx, hold), None
    to_flag = _FILE.state == FileState.HELD if held else _FILE.state.not_in({*END_STATES, FileState.HELD})
    has_many = after > 0 or is_pattern(hold.stream_pattern or "")
    if hold.stream_pattern is not None and not has_many:
        few = select(_FILE.id).where(*covered, to_flag).limit(RANGE + 1).subquery()
        has_many = tx.execute(select(func.count()).select_from(few)).scalar_one() > RANGE
    if hold.stream_pattern is not None and has_many:
        in_range, resume_after = _next_range(after, hold.app_id, find_highest_id(tx))
        covered = [*in_range, _may_fit(tx, hold.stream_pattern)]
    query = select(func.count(), func.count().filter(_UNKNOWN_STREAM)).where(*covered, _IS_THERE)
    files, unknown = tx.execute(query).one()
    tx.execute(update(media_files).where(*covered, to_flag).values(decide_again=True))
    return files, unknown if hold.file_id is None else 0, resume_after


def find_evidence(tx: Transaction, numbers: Collection[int]) -> dict[int, tuple[str, datetime | None]]:
    """Of files with stale or conflicting callbacks: a text that changes with each of them, and the last moment."""
    is_of = [_callbacks.c.verdict == verdict.value for verdict in (Verdict.STALE, Verdict.CONFLICT)]
    counts = (func.count().filter(each) for each in is_of)
    query = select(_callbacks.c.media_file_id, *counts, func.max(_callbacks.c.understood_at))
    query = query.where(_callbacks.c.media_file_id.in_(sorted(numbers)), or_(*is_of))
    rows = tx.execute(query.group_by(_callbacks.c.media_file_id))
    return {
        number: (f"{stale} stale, {conflicting} conflicting callbacks, the last at {last_at}", last_at)
        for number, stale, conflicting, last_at in rows
    }


def start_over(tx: Transaction, numbers: Sequence[int]) -> set[int]:
    """Let these files start over, as far as they have failed, or end their wait for a retry; returns those it did."""
    waits = and_(_IS_RETRIED, _FILE.wait_until.is_not(None), _IS_THERE, _FILE.state != FileState.DELETING)
    retried = update(media_files).where(_FILE.id.in_(numbers), or_(_IS_FAILED, waits)).returning(_FILE.id)
    no_wait: dict[str, Any] = {
        name: case((_IS_RETRIED, None), else_=_FILE[name]) for name in ("wait_until", "wait_reason")
    }
    return set(tx.execute(retried.values(_START_OVER | no_wait)).scalars())


def group_files(tx: Transaction, numbers: Sequence[int]) -> list[Group]:
    """These files in groups."""
    return _group(tx, _FILE.id.in_(numbers))


def group_streams(tx: Transaction, app_id: str, pattern: str, up_to: int) -> list[Group]:
    """The files of an app whose stream fits a pattern, or is not known, in groups; ended ones are left out."""
    return _group(tx, _FILE.app_id == app_id, _may_fit(tx, pattern), _FILE.id <= up_to, _IS_THERE)


def take_files(tx: Transaction, erasure: Erasure, after: int) -> tuple[list[Group], int | None]:
    """Let an erasure take its files beyond the number `after`; what an earlier erasure has taken stays with that one.

    Returns the groups of one range, those of unknown stream as well, and where the next one begins (None: nowhere).
    """
    if erasure.stream_pattern is None:
        numbers = [number for number in erasure.file_ids if number > after][:RANGE]
        meant: list[ColumnElement[bool]] = [_FILE.id.in_(numbers), _IS_THERE]
        resume_after = numbers[-1] if len(numbers) == RANGE else None
        taken = meant
    else:
        in_range, resume_after = _next_range(after, erasure.app_id, erasure.highest_id)
        meant = [*in_range, _may_fit(tx, erasure.stream_pattern), _IS_THERE]
        taken = [*meant, ~_UNKNOWN_STREAM]
    groups, first = _group(tx, *meant, own=erasure.id), func.coalesce(_FILE.erasure_id, erasure.id)
    tx.execute(update(media_files).where(*taken).values(_START_OVER | {"erasure_id": first}))
    return groups, resume_after


def let_unconfirmed_wait(tx: Transaction, now: datetime, until: datetime, after: int) -> int | None:
    """Let files wait that only CONFIRM=all kept at `now`, the next beyond `after`; where to resume (None: nowhere).

    They are unconfirmed, or will be when they are taken for a call; nothing is suspicious about them.
    """
    may_be_due = _FILE.state.in_((FileState.SCHEDULED, FileState.HELD, FileState.KEPT))
    is_due = and_(_FILE.confirmed_at.is_(None), _FILE.due_at <= now, may_be_due)
    is_kept = or_(_FILE.state == FileState.UNCONFIRMED, is_due)
    query = select(_FILE.id).where(is_kept, _FILE.suspicion.is_(None), _FILE.id > after)
    numbers = list(tx.execute(query.order_by(_FILE.id).limit(_BATCH)).scalars())
    values: dict[str, Any] = {
        name: case((_FILE.wait_until >= until, _FILE[name]), else_=literal(value, _FILE[name].type))
        for name, value in (("wait_until", until), ("wait_reason", WaitReason.COOLING_OFF))
    }
    tx.execute(update(media_files).where(_FILE.id.in_(numbers)).values(values | {"decide_again": True}))
    return numbers[-1] if len(numbers) == _BATCH else None


def _group(tx: Transaction, *conditions: ColumnElement[bool], own: int = 0) -> list[Group]:
    """The files in groups; what the erasure of the number `own` has taken counts as not taken by another one."""
    is_erased = and_(_FILE.erasure_id.is_not(None), _FILE.erasure_id != own, ~_IS_FAILED)
    by = (_FILE.app_id, _FILE.state, _FILE.vendor, _FILE.suspicion.is_not(None), ~_UNKNOWN_STREAM, is_erased)
    return [Group(*row) for row in tx.execute(select(*by, func.count()).where(*conditions).group_by(*by))]


def _covered(tx: Transaction, hold: Hold) -> list[ColumnElement[bool]]:
    if hold.stream_pattern is None:
        return [_FILE.app_id == hold.app_id, _FILE.vendor == hold.vendor, _FILE.file_id == hold.file_id]
    return [_FILE.app_id == hold.app_id, _may_fit(tx, hold.stream_pattern)]


def _may_fit(tx: Transaction, pattern: str) -> ColumnElement[bool]:
    """The stream fits a pattern, or is not known."""
    if pattern == "*":
        return true()
    return or_(_UNKNOWN_STREAM, fits_pattern(tx, _FILE.stream_id, pattern))


def _next_range(after: int, app_id: str | None, up_to: int) -> tuple[list[ColumnElement[bool]], int | None]:
    """What is true of an app's files in the range of the inventory beyond `after`, and where the next one begins."""
    end = min(after + RANGE, up_to)
    # An expression of the app: SQLite would go through all files of the app by an index, range after range.
    in_range = [_FILE.id > after, _FILE.id <= end, _FILE.app_id.concat("") == app_id]
    return in_range, end if end < up_to else None
