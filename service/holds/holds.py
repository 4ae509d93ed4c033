"""Holds: which one keeps a file, placing and releasing them, letting their files be decided again (docs/files.md).

A hold is in force from the commit that stores it: whatever is decided or called afterwards looks at it. Applying its
order only lets the files be shown as held.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from service.audit.checks import BadOrder, check_app, check_numbers, check_pattern, check_reason
from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files.actions_store import find_open, flag_covered
from service.files.store import find_file, find_files
from service.holds import store
from service.leader.leader import Leader
from service.model import Actor, FileState, Hold, MediaFile, NoSuchThing, NotPossible
from service.rules.match import is_pattern, matches
from service.units import format_moment

MAX_NAMED: Final = 20
"""How many files with an open call the result of placing a hold names."""


class HoldBook:
    """The standing holds of all apps, arranged so that a file is looked up quickly."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        # By app and stream (the empty name: unknown streams), or by app, vendor and file id; patterns by app.
        self._by_name: dict[tuple[str | None, ...], list[Hold]] = defaultdict(list)
        self._by_pattern: dict[str, list[Hold]] = defaultdict(list)
        for hold in holds:
            if hold.stream_pattern is None:
                self._by_name[hold.app_id, hold.vendor, hold.file_id].append(hold)
                continue
            # A file of unknown stream may belong to any stream, so any pattern holds it.
            self._by_name[hold.app_id, ""].append(hold)
            if is_pattern(hold.stream_pattern):
                self._by_pattern[hold.app_id].append(hold)
            else:
                self._by_name[hold.app_id, hold.stream_pattern].append(hold)

    def find(self, file: MediaFile, now: datetime) -> Hold | None:
        """The first hold in force on a file; an error while looking for it is one, too."""
        if not self._by_name:
            return None
        try:
            return next(self.iterate(file, now), None)
        except Exception as error:  # noqa: BLE001  (whatever it is: the file is held)
            return Hold(
                0, file.app_id, f"the holds could not be checked ({type(error).__name__}): report this as a defect"
            )

    def iterate(self, file: MediaFile, now: datetime) -> Iterator[Hold]:
        """All holds in force on a file."""
        for name in (file.app_id, file.vendor, file.file_id), (file.app_id, file.stream_id):
            yield from (hold for hold in self._by_name.get(name, ()) if _is_in_force(hold, now))
        for hold in self._by_pattern.get(file.app_id, ()) if file.stream_id else ():
            if _is_in_force(hold, now) and matches(hold.stream_pattern or "*", file.stream_id):
                yield hold


def _is_in_force(hold: Hold, now: datetime) -> bool:
    return hold.released_at is None and (hold.until is None or now < hold.until)


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

    Returns the number of the hold, and that of the order. Its result: `files` that it covers, `unknown_stream` of them
    because their stream is not known, and `open_calls` (`count`, and the first `files`), which cannot be called back.
    """
    _check(reason, until, now)
    if (file is None) == (stream_pattern is None):
        raise BadOrder("file", "a hold names either one file or a stream pattern")
    if stream_pattern is not None:
        check_pattern(stream_pattern)
        check_app(app_id, known_apps)

    def place(tx: Transaction) -> tuple[int, int]:
        target = {"app_id": app_id} if file is None else _find_target(tx, file, app_id)
        return _place(tx, actor, target | {"stream_pattern": stream_pattern, "reason": reason, "until": until}, now)

    return database.transact(place)


def names_one_stream(stream_id: str) -> bool:
    """Whether a hold can have the name of a stream as its pattern, and then concerns no other stream."""
    try:
        check_pattern(stream_id)
    except BadOrder:
        return False
    return bool(stream_id.strip()) and not is_pattern(stream_id)  # a form takes blanks for nothing


def hold_files(
    database: Database, actor: Actor, files: Sequence[int], *, reason: str, until: datetime | None, now: datetime
) -> int:
    """Hold files, each with a hold of its own: all, or none if one cannot be held. The number of the last order."""
    _check(reason, until, now)
    wanted = check_numbers(files)

    def place(tx: Transaction) -> int:
        targets = [_find_target(tx, number, None) | {"reason": reason, "until": until} for number in wanted]
        return [_place(tx, actor, target, now)[1] for target in targets][-1]

    return database.transact(place)


def _check(reason: str, until: datetime | None, now: datetime) -> None:
    check_reason(reason)
    if until is not None and until.tzinfo is None:
        raise BadOrder("until", "the end of the hold has no time zone: write for example 2026-12-31T18:00:00Z")
    if until is not None and until <= now:
        raise BadOrder("until", f"the hold would already be over: {format_moment(until)} is in the past")


def _place(tx: Transaction, actor: Actor, facts: dict[str, Any], now: datetime) -> tuple[int, int]:
    facts |= {"reason": facts["reason"].strip(), "placed_at": now, "placed_by": actor.name, "through": actor.through}
    hold = Hold(0, **facts)
    number = store.add_hold(tx, hold)
    # Known only now: by the time that the order is applied, the answer may be there.
    payload = {"hold": number, "open": find_open(tx, hold)}
    return number, _place_order(tx, actor, OrderKind.HOLD, hold, payload, now)


def release_hold(database: Database, actor: Actor, number: int, now: datetime) -> int:
    """End a hold; returns the number of the order, whose result is as that of placing it, without open calls."""
    return database.transact(lambda tx: _release(tx, actor, number, now))


def release_files(database: Database, actor: Actor, numbers: Sequence[int], now: datetime) -> int:
    """End every hold that names one of these files itself; those on streams stay. The number of the last order."""
    wanted = check_numbers(numbers)

    def release(tx: Transaction) -> int:
        files = {(file.app_id, file.vendor, file.file_id) for file in find_files(tx, wanted).values()}
        holds = store.list_holds(tx, only_standing=True)
        named = [hold.id for hold in holds if (hold.app_id, hold.vendor, hold.file_id) in files]
        if not named:
            raise NotPossible("no hold names one of these files itself; holds on streams are released one by one")
        return [_release(tx, actor, number, now) for number in named][-1]

    return database.transact(release)


def _release(tx: Transaction, actor: Actor, number: int, now: datetime) -> int:
    hold = store.find_hold(tx, number)
    if hold is None:
        raise NoSuchThing(f"there is no hold {number}: see `zego-retention holds list`")
    if not store.release_hold(tx, number, actor.name, now):
        raise NotPossible(f"hold {number} was released already: see `zego-retention holds list`")
    return _place_order(tx, actor, OrderKind.RELEASE, hold, {"hold": number}, now)


def apply_hold(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
    """Apply an order of kind HOLD or RELEASE: flag the files that the hold covers.

    Payload: `hold`, its number; `open`, the files with an open call when it was placed.
    """
    number, is_placed = order.payload["hold"], order.kind is OrderKind.HOLD
    hold = store.find_hold(tx, number)
    if hold is None:
        raise NoSuchThing(f"hold {number} is not on record")
    if after == 0:
        result = {"hold": number, "files": 0, "unknown_stream": 0}
        if is_placed:
            still_open = {*order.payload["open"], *find_open(tx, hold)}
            result["open_calls"] = {"count": len(still_open), "files": sorted(still_open)[:MAX_NAMED]}
    files, unknown, resume_after = flag_covered(tx, hold, after, held=not is_placed)
    counts = {"files": result["files"] + files, "unknown_stream": result["unknown_stream"] + unknown}
    return Step(result | counts, resume_after)


def flag_ended_holds(leader: Leader, now: datetime) -> None:
    """Let the files of holds that have ended by themselves be decided again. Can be killed at any point.

    Also those of holds that had ended by a clock that was set back since: their end would else go unnoticed.
    """
    with leader.database.read() as tx:
        turned = store.list_turned_holds(tx, now)
    for hold in turned:
        after: int | None = 0
        while after is not None:
            after = leader.transact(lambda tx: _flag_turned(tx, hold, after or 0, now))  # noqa: B023


def _flag_turned(tx: Transaction, hold: Hold, after: int, now: datetime) -> int | None:
    has_ended = hold.until is not None and hold.until <= now
    *_, resume_after = flag_covered(tx, hold, after, held=has_ended)
    if resume_after is None:
        store.note_end(tx, hold.id, now if has_ended else None)
    return resume_after


def _find_target(tx: Transaction, number: int, app_id: str | None) -> dict[str, Any]:
    file = find_file(tx, number)
    if file is None:
        raise BadOrder("file", f"there is no file {number}: see `zego-retention files list`")
    if app_id is not None and app_id != file.app_id:
        raise BadOrder("app_id", f"file {number} belongs to app {file.app_id}, not to {app_id}")
    if file.state is FileState.DELETED:
        raise BadOrder("file", f"file {number} is deleted: it cannot be held")
    return {"app_id": file.app_id, "vendor": file.vendor, "file_id": file.file_id}


def _place_order(
    tx: Transaction, actor: Actor, kind: OrderKind, hold: Hold, payload: dict[str, Any], now: datetime
) -> int:
    facts = {name: getattr(hold, name) for name in ("app_id", "vendor", "file_id", "stream_pattern", "reason")}
    facts["until"] = None if hold.until is None else format_moment(hold.until)
    detail = {name: value for name, value in facts.items() if value is not None}
    action = "hold.place" if kind is OrderKind.HOLD else "hold.release"
    about = (kind, f"hold {payload['hold']}", payload)
    return place_order(tx, actor, *about, now, action=action, app_id=hold.app_id, detail=detail)
