"""Holds: placing and releasing them, and letting the files that they cover be decided again (docs/files.md).

A hold is in force from the commit that stores it: whatever is decided or called afterwards looks at it. Applying its
order only lets the files be shown as held.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from service.audit.checks import BadOrder, check_app, check_pattern, check_reason
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files import actions_store
from service.files.store import find_file, find_highest_id
from service.holds import store
from service.leader.leader import Leader
from service.model import Actor, Hold, NoSuchThing, NotPossible, Vendor
from service.units import format_moment

MAX_NAMED: Final = 20
"""How many files with an open call the result of placing a hold names."""

_MAX_OPEN: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Target:
    app_id: str
    vendor: Vendor | None = None
    file_id: str | None = None


def place_hold(  # noqa: PLR0913  (what a hold is made of, each by its own name)
    database: Database,
    actor: Actor,
    *,
    reason: str,
    now: datetime,
    known_apps: Collection[str] = (),
    app_id: str | None = None,
    file: int | None = None,
    stream_pattern: str | None = None,
    until: datetime | None = None,
) -> tuple[int, int]:
    """Hold one file by its number, or every file of an app whose stream may fit a pattern; in force at once.

    The result of the order: `files` that it covers, `unknown_stream` of them because their stream is not known, and
    `open_calls` (`count`, and the numbers `files` of the first 20): a request that has left cannot be called back.

    Args:
        database: the database.
        actor: who places it, and through what.
        reason: why, in one line.
        now: the time.
        known_apps: the apps that are configured; a pattern belongs to one of them.
        app_id: the app of the pattern.
        file: the number of the file.
        stream_pattern: the pattern.
        until: when it ends by itself; None: when it is released.

    Returns:
        The number of the hold, and that of the order.

    Raises:
        BadOrder: it is not valid as it was written; nothing was done.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    check_reason(reason)
    if (file is None) == (stream_pattern is None):
        raise BadOrder("file", "a hold names either one file or a stream pattern")
    if until is not None:
        _check_end(until, now)
    if stream_pattern is not None:
        check_pattern(stream_pattern)
        check_app(app_id, known_apps)

    def place(tx: Transaction) -> tuple[int, int]:
        target = _Target(app_id or "") if file is None else _find_target(tx, file, app_id)
        hold = Hold(
            id=0,
            app_id=target.app_id,
            reason=reason.strip(),
            vendor=target.vendor,
            file_id=target.file_id,
            stream_pattern=stream_pattern,
            until=until,
            placed_at=now,
            placed_by=actor.name,
            through=actor.through,
        )
        number = store.add_hold(tx, hold)
        # Known only now: by the time that the order is applied, the answer may be there.
        payload = {"hold": number, "open": actions_store.find_open(tx, hold)[:_MAX_OPEN]}
        return number, _place(tx, actor, OrderKind.HOLD, hold, number, payload, now)

    return database.transact(place)


def release_hold(database: Database, actor: Actor, number: int, now: datetime) -> int:
    """End a hold; returns the number of the order. Other holds, suspicions, erasures and the rules count again.

    The result of the order: `files` that it covered, `unknown_stream` of them because their stream is not known.

    Raises:
        NotPossible: there is no such hold, or it was released before.
        DatabaseUnavailable: the database refused or could not be reached.
    """

    def release(tx: Transaction) -> int:
        hold = store.find_hold(tx, number)
        if hold is None:
            raise NoSuchThing(f"there is no hold {number}: see `zego-retention holds list`")
        if not store.release_hold(tx, number, actor.name, now):
            raise NotPossible(f"hold {number} was released already: see `zego-retention holds list`")
        return _place(tx, actor, OrderKind.RELEASE, hold, number, {"hold": number}, now)

    return database.transact(release)


def apply_hold(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind HOLD or RELEASE: flag the files that the hold covers.

    Payload: `hold`, its number; `open`, the files with an open call when it was placed.
    """
    hold = store.find_hold(tx, order.payload["hold"])
    if hold is None:
        raise NoSuchThing(f"hold {order.payload['hold']} is not on record")
    is_placed = order.kind is OrderKind.HOLD
    if after == 0:
        result = {"hold": hold.id, "files": 0, "unknown_stream": 0}
        if is_placed:
            still_open = {*order.payload["open"], *actions_store.find_open(tx, hold)}
            result["open_calls"] = {"count": len(still_open), "files": sorted(still_open)[:MAX_NAMED]}
    return _flag_range(tx, hold, after, result, held=not is_placed)


def flag_ended_holds(leader: Leader, now: datetime) -> int:
    """Let the files of holds that have ended by themselves be decided again; returns how many holds have.

    Can be killed and started again at any point.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    with leader.database.read() as tx:
        ended = store.list_ended_holds(tx, now)
        revived = store.list_revived_holds(tx, now)  # their end would else go unnoticed
    for hold in (*ended, *revived):
        after: int | None = 0
        while after is not None:
            after = leader.transact(lambda tx: _flag_ended(tx, hold, after or 0, now, has_ended=hold in ended))  # noqa: B023
    return len(ended)


def _flag_ended(tx: Transaction, hold: Hold, after: int, now: datetime, *, has_ended: bool) -> int | None:
    step = _flag_range(tx, hold, after, {"files": 0, "unknown_stream": 0}, held=has_ended)
    if step.resume_after is None:
        store.note_end(tx, hold.id, now if has_ended else None)
    return step.resume_after


def _flag_range(tx: Transaction, hold: Hold, after: int, result: dict[str, Any], *, held: bool) -> Step:
    """Flag what a hold covers in the next range of the inventory, or everything where that is not much."""
    between: tuple[int, int] | None = None
    is_last = True
    if after or actions_store.is_large(tx, hold, held=held):
        between = (after, after + actions_store.RANGE)
        is_last = between[1] >= find_highest_id(tx)
    files, unknown = actions_store.count_covered(tx, hold, between)
    actions_store.flag_covered(tx, hold, between, held=held)
    counted = {"files": result["files"] + files, "unknown_stream": result["unknown_stream"] + unknown}
    return Step(result | counted, None if between is None or is_last else between[1])


def _check_end(until: datetime, now: datetime) -> None:
    if until.tzinfo is None:
        raise BadOrder("until", "the end of the hold has no time zone: write for example 2026-12-31T18:00:00Z")
    if until <= now:
        raise BadOrder("until", f"the hold would be over already: {format_moment(until)} is not in the future")


def _find_target(tx: Transaction, number: int, app_id: str | None) -> _Target:
    file = find_file(tx, number)
    if file is None:
        raise BadOrder("file", f"there is no file {number}: see `zego-retention files list`")
    if app_id is not None and app_id != file.app_id:
        raise BadOrder("app_id", f"file {number} belongs to app {file.app_id}, not to {app_id}")
    return _Target(file.app_id, file.vendor, file.file_id)


def _place(
    tx: Transaction,
    actor: Actor,
    kind: OrderKind,
    hold: Hold,
    number: int,
    payload: dict[str, Any],
    now: datetime,
) -> int:
    facts = {
        "app_id": hold.app_id,
        "vendor": hold.vendor,
        "file_id": hold.file_id,
        "stream_pattern": hold.stream_pattern,
        "reason": hold.reason,
        "until": None if hold.until is None else format_moment(hold.until),
    }
    return place_order(
        tx,
        actor,
        kind,
        f"hold {number}",
        payload,
        now,
        action="hold.place" if kind is OrderKind.HOLD else "hold.release",
        app_id=hold.app_id,
        detail={name: value for name, value in facts.items() if value is not None},
    )
