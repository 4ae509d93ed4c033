"""Holds: placing, listing and releasing them (docs/holds.md).

A hold counts from the moment it is on record: every claim, and every call before it is sent, looks at the holds in
force. Settling only writes into the files what they are decided as, and may come later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from service.core.model import FileState
from service.core.patterns import matches
from service.core.rules import find_hold
from service.db import audit, coverage, files, holds, locks
from service.db.order_models import HoldRow
from service.usecases.batches import read_in_batches
from service.usecases.deciding import BATCH
from service.usecases.inventory import NoSuchThing, NotPossible, iso
from service.usecases.orders import BadOrder, check_app, check_pattern, check_reason, decide_named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime

    from service.core.model import Actor, Vendor
    from service.db.coverage import Named
    from service.db.engine import Database, Session

PATIENCE_S: Final = 5.0
"""How long placing or releasing a hold decides its files at once; what is left, the next sweep decides."""

_BREATH_S: Final = 0.02
# A transaction that read the holds before a hold was placed or released may commit this much later, at the most.
_LONGEST_TRANSACTION: Final = timedelta(minutes=2)

_MAY_BE_HELD: Final = (FileState.KEPT, FileState.SCHEDULED, FileState.UNCONFIRMED, FileState.DELETING)
_MAY_BE_FREED: Final = (FileState.HELD,)


@dataclass(frozen=True, slots=True)
class HoldOrder:
    """What to hold: one file by its number, or every file of the streams of one app that fit a pattern; and why."""

    app_id: str | None
    file: int | None
    stream_pattern: str | None
    reason: str
    until: datetime | None = None


def hold_as_json(row: HoldRow, file: int | None = None) -> dict[str, Any]:
    """A hold as the API and `--json` show it (docs/api.md, "A hold"); `file` is the number of the one it names."""
    return {
        "id": row.id,
        "app_id": row.app_id,
        "file": file,
        "vendor": row.vendor.value if row.vendor else None,
        "file_id": row.file_id,
        "stream_pattern": row.stream_pattern,
        "reason": row.reason,
        "until": iso(row.until),
        "placed_at": iso(row.placed_at),
        "placed_by": row.placed_by,
        "through": row.through,
        "released_at": iso(row.released_at),
        "released_by": row.released_by,
        "settled_at": iso(row.settled_at),
    }


def place_hold(
    database: Database,
    order: HoldOrder,
    actor: Actor,
    now: datetime,
    *,
    known_apps: Collection[str] | None = None,
    patience_s: float = PATIENCE_S,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Put a hold in force at once, and decide the files that it covers.

    Answers with the hold, `files` (how many it covers that are held now) and `in_flight`: the numbers of files that a
    call may have been sent for before the hold was there. Within `patience_s` the files are decided here.

    Raises:
        BadOrder: the order cannot be meant as it was written; nothing was done.
    """
    _check(order, now)
    number, in_flight = database.transact(lambda session: _place(session, order, actor, now, known_apps))
    _settle(database, number, lambda: now, time.monotonic() + patience_s, progress)
    return {**_shown(database, number), "in_flight": in_flight}


def release_hold(
    database: Database,
    number: int,
    actor: Actor,
    now: datetime,
    *,
    patience_s: float = PATIENCE_S,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """End a hold, and decide its files: other holds, doubts, erasures and the rules count again.

    Raises:
        NotPossible: there is no such hold, or it was released before.
    """

    def release(session: Session) -> None:
        row = holds.find_hold(session, number, lock=True)
        if row is None:
            raise NoSuchThing(f"there is no hold {number}: see `zego-retention holds list`")
        if row.released_at is not None:
            raise NotPossible(f"hold {number} was released already, by {row.released_by} at {iso(row.released_at)}")
        row.released_at, row.released_by, row.settled_at = now, actor.name, None
        audit.add_entry(session, actor, "release_hold", f"hold {number}", now, _detail(row))

    database.transact(release)
    _settle(database, number, lambda: now, time.monotonic() + patience_s, progress)
    return _shown(database, number)


def list_holds(
    database: Database, *, app_id: str | None = None, released: bool = False, after: int = 0, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Holds by number, beyond `after`: those that stand, with `released` also those that were released."""

    def fetch(session: Session, last: int, size: int) -> list[dict[str, Any]]:
        found = holds.list_holds(session, app_id, size, after=last, released=released)
        return [_as_json(session, row) for row in found]

    return read_in_batches(database, fetch, after, limit)


def show_hold(database: Database, number: int) -> dict[str, Any] | None:
    """One hold; None if there is none of that number."""
    with database.read() as session:
        row = holds.find_hold(session, number)
        return None if row is None else _as_json(session, row)


def settle_holds(database: Database, now: Callable[[], datetime]) -> int:
    """Decide the files of every hold that was placed or released, or whose time is over, since they were last decided.

    Returns how many files were decided. Can be killed and started again at any point.
    """
    with database.read() as session:
        turns = holds.list_turns(session)
    moment = now()
    waiting = [number for number, settled_at, moments in turns if _is_waiting(settled_at, moments, moment)]
    return sum(_settle(database, number, now) for number in waiting)


def _is_waiting(settled_at: datetime | None, turns: Iterable[datetime], now: datetime) -> bool:
    if settled_at is None or settled_at > now:  # of a clock that ran ahead: what it decided says nothing of today
        return True
    return any(settled_at < turn + _LONGEST_TRANSACTION for turn in turns if turn <= now)


def _check(order: HoldOrder, now: datetime) -> None:
    check_reason(order.reason)
    if (order.file is None) == (order.stream_pattern is None):
        raise BadOrder("file", "a hold names either one file or a stream pattern")
    if order.stream_pattern is not None:
        check_pattern(order.stream_pattern)
    if order.until is not None and order.until.tzinfo is None:
        raise BadOrder("until", "the end of the hold has no time zone: write for example 2026-12-31T18:00:00Z")
    if order.until is not None and order.until <= now:
        raise BadOrder("until", f"the hold would be over already: {iso(order.until)} is not in the future")


def _place(
    session: Session, order: HoldOrder, actor: Actor, now: datetime, known_apps: Collection[str] | None
) -> tuple[int, list[int]]:
    locks.lock_policy_shared(session)
    app_id, vendor, file_id = _target(session, order, known_apps)
    locks.lock_holds_exclusive(session, app_id)
    row = holds.add_hold(
        session,
        HoldRow(
            app_id=app_id,
            vendor=vendor,
            file_id=file_id,
            stream_pattern=order.stream_pattern,
            reason=order.reason.strip(),
            until=order.until,
            placed_at=now,
            placed_by=actor.name,
            through=actor.through,
        ),
    )
    audit.add_entry(session, actor, "place_hold", f"hold {row.id}", now, _detail(row))
    in_flight = _covered(row, coverage.find_in_flight(session, app_id), now)
    in_hand = _covered(row, coverage.find_in_hand(session, app_id), now)
    named = [order.file] if order.file is not None else []
    decide_named(session, sorted({*in_hand, *named}), now)
    return row.id, in_flight


def _target(
    session: Session, order: HoldOrder, known_apps: Collection[str] | None
) -> tuple[str, Vendor | None, str | None]:
    if order.file is None:
        return check_app(session, order.app_id, known_apps), None, None
    found = files.find_file(session, order.file)
    if found is None:
        raise BadOrder("file", f"there is no file {order.file}: see `zego-retention files list`")
    if order.app_id is not None and order.app_id != found.app_id:
        raise BadOrder("app_id", f"file {order.file} belongs to app {found.app_id}, not to {order.app_id}")
    return found.app_id, found.vendor, found.file_id


def _covered(row: HoldRow, named: Iterable[Named], now: datetime) -> list[int]:
    hold = [holds.hold_of(row)]
    return [each.number for each in named if find_hold(each.file, hold, now)]


def _settle(
    database: Database,
    number: int,
    now: Callable[[], datetime],
    deadline: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Decide the files of one hold whose state does not fit it; returns how many. Unfinished at the deadline."""
    moment = now()
    with database.read() as session:
        row = holds.find_hold(session, number)
    if row is None:
        return 0
    done = 0
    for batch in _list_batches(database, row, _MAY_BE_HELD if _is_in_force(row, moment) else _MAY_BE_FREED):
        if deadline is not None and time.monotonic() > deadline:
            return done
        done += database.transact(partial(_decide, batch=batch, now=now))
        if progress:
            progress(len(batch))
        time.sleep(_BREATH_S)
    database.transact(lambda session: holds.mark_settled(session, row, moment))
    return done


def _decide(session: Session, batch: list[int], now: Callable[[], datetime]) -> int:
    return decide_named(session, batch, now())


def _is_in_force(row: HoldRow, now: datetime) -> bool:
    return row.released_at is None and (row.until is None or row.until > now)


def _list_batches(database: Database, row: HoldRow, states: Collection[FileState]) -> Iterator[list[int]]:
    """The numbers of the files that a hold covers, those in one of these states."""
    if row.vendor is not None and row.file_id is not None:
        with database.read() as session:
            number = coverage.find_number(session, row.app_id, row.vendor, row.file_id)
            named = coverage.find_named(session, [] if number is None else [number])
            found = [each.number for each in named if each.state in states]
        yield from [found] if found else []
        return
    with database.read() as session:
        streams = [stream for stream in coverage.list_streams(session, row.app_id) if _fits(row, stream)]
    for start in range(0, len(streams), BATCH):
        with database.read() as session:
            numbers = coverage.list_numbers(session, row.app_id, streams[start : start + BATCH], states)
        for first in range(0, len(numbers), BATCH):
            yield list(numbers[first : first + BATCH])


def _fits(row: HoldRow, stream: str) -> bool:
    # A file whose stream is not known may belong to any.
    return not stream or matches(row.stream_pattern or "*", stream)


def _shown(database: Database, number: int) -> dict[str, Any]:
    with database.read() as session:
        row = holds.find_hold(session, number)
        if row is None:
            raise NotPossible(f"hold {number} is not on record any more")
        shown = _as_json(session, row)
    held = sum(len(batch) for batch in _list_batches(database, row, _MAY_BE_FREED))
    return shown | {"files": held}


def _as_json(session: Session, row: HoldRow) -> dict[str, Any]:
    if row.vendor is None or row.file_id is None:
        return hold_as_json(row)
    return hold_as_json(row, coverage.find_number(session, row.app_id, row.vendor, row.file_id))


def _detail(row: HoldRow) -> dict[str, Any]:
    names = ("app_id", "vendor", "file_id", "stream_pattern", "reason", "until")
    shown = hold_as_json(row)
    return {name: shown[name] for name in names if shown[name] is not None}
