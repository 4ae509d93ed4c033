"""Erasure on request: files that go because a person asked for it, whatever the rules say (docs/holds.md).

The files are counted, shown and frozen with the request; files that arrive later are not part of it. The sweep carries
it out like any other deletion, and a hold on a file stops it there.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from service.core.file_sets import FileSet
from service.core.model import END_STATES, FileState
from service.core.rules import find_hold
from service.db import audit, coverage, erasures, files, holds, locks
from service.db.order_models import ErasureRow
from service.usecases.batches import read_in_batches
from service.usecases.deciding import BATCH
from service.usecases.inventory import NotPossible, file_as_json, iso
from service.usecases.naming import Selection
from service.usecases.orders import BadOrder, check_pattern, check_reason, decide_named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from service.core.model import Actor, Hold, Vendor
    from service.db.coverage import Named
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow

PATIENCE_S: Final = 5.0
"""How long a request tells its files at once; what is left, the next sweep tells them."""
MOST_FILES: Final = 10_000
"""How many files a request may name one by one."""

_SAMPLES: Final = 10
_BREATH_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What is to go: files by their numbers, or every file of the streams of one app that fit a pattern; and why."""

    files: tuple[int, ...]
    app_id: str | None
    stream_pattern: str | None
    reason: str


class NotAsExpected(NotPossible):
    """The request would not delete as many files as whoever made it expects; `preview` has the numbers of now."""

    def __init__(self, expected: int, preview: dict[str, Any]) -> None:
        super().__init__(
            f"files that would be deleted now: {preview['files']:,}, not {expected:,}; look at the preview again, "
            f"then expect {preview['files']}; nothing was done"
        )
        self.preview = preview


@dataclass(slots=True)
class _Found:
    """What a request comes to: the files it takes, and what becomes of each."""

    taken: list[int] = field(default_factory=list)
    going: int = 0
    held: int = 0
    unconfirmed: int = 0
    failed: int = 0
    ended: int = 0
    by_state: Counter[FileState] = field(default_factory=Counter)
    by_vendor: Counter[Vendor] = field(default_factory=Counter)
    samples: list[int] = field(default_factory=list)


def erasure_as_json(row: ErasureRow) -> dict[str, Any]:
    """An erasure as the API and `--json` show it (docs/api.md, "An erasure")."""
    return {
        "id": row.id,
        "requested_at": iso(row.requested_at),
        "requested_by": row.requested_by,
        "through": row.through,
        "reason": row.reason,
        "app_id": row.app_id,
        "stream_pattern": row.stream_pattern,
        "files": row.files_count,
        "settled_at": iso(row.settled_at),
    }


def preview_erasure(
    database: Database, request: ErasureRequest, now: datetime, *, known_apps: Collection[str] | None = None
) -> dict[str, Any]:
    """What a request would do: `files` is the number of those that would be deleted; changes nothing.

    Raises:
        BadOrder: the request cannot be meant as it was written.
    """
    _check(request)
    with database.read() as session:
        return _describe(session, request, _look(session, _select(request, known_apps), now))


def request_erasure(
    database: Database,
    request: ErasureRequest,
    expect: int,
    actor: Actor,
    now: datetime,
    *,
    known_apps: Collection[str] | None = None,
    patience_s: float = PATIENCE_S,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Order files to go: due at once, for the next sweep. Those held or in doubt go once they are free of that.

    Answers with the erasure and its files `by_state`. Within `patience_s` the files are told here.

    Raises:
        BadOrder: the request cannot be meant as it was written.
        NotAsExpected: it would not delete `expect` files; nothing was done.
        NotPossible: none of its files is still there.
    """
    _check(request)
    number = database.transact(lambda session: _order(session, request, expect, actor, now, known_apps))
    _settle(database, number, lambda: now, time.monotonic() + patience_s, progress)
    shown = show_erasure(database, number)
    if shown is None:
        raise NotPossible(f"erasure {number} is not on record any more")
    return shown


def list_erasures(database: Database, *, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Erasures by number, beyond `after`."""

    def fetch(session: Session, last: int, size: int) -> list[dict[str, Any]]:
        return [erasure_as_json(row) for row in erasures.list_erasures(session, size, after=last)]

    return read_in_batches(database, fetch, after, limit)


def show_erasure(database: Database, number: int) -> dict[str, Any] | None:
    """One erasure with its files `by_state` as they are now; None if there is none of that number."""
    by_state: Counter[str] = Counter()
    with database.read() as session:
        row = erasures.find_erasure(session, number)
        if row is None:
            return None
        for batch in FileSet.decode(row.files).batches(BATCH):
            by_state.update(each.state.value for each in coverage.find_named(session, batch))
    return erasure_as_json(row) | {"by_state": dict(sorted(by_state.items()))}


def settle_erasures(database: Database, now: Callable[[], datetime]) -> int:
    """Tell the files of every erasure that was ordered but not finished; returns how many files were told."""
    with database.read() as session:
        waiting = erasures.list_unsettled(session)
    return sum(_settle(database, number, now) for number in waiting)


def _check(request: ErasureRequest) -> None:
    check_reason(request.reason)
    if bool(request.files) == (request.stream_pattern is not None):
        raise BadOrder("files", "an erasure names either files or a stream pattern")
    if len(request.files) > MOST_FILES:
        raise BadOrder("files", f"{len(request.files):,} files are named one by one: {MOST_FILES:,} are the most")
    if request.stream_pattern is not None:
        check_pattern(request.stream_pattern)


def _select(request: ErasureRequest, known_apps: Collection[str] | None) -> Selection:
    return Selection(request.files, request.app_id, request.stream_pattern, known_apps)


def _look(session: Session, selection: Selection, now: datetime) -> _Found:
    found = _Found()
    in_force: dict[str, list[Hold]] = {}
    for named in selection.list_named(session):
        app_id = named.file.app_id
        if app_id not in in_force:
            in_force[app_id] = holds.list_in_force(session, [app_id], now)
        _count(found, named, is_held=find_hold(named.file, in_force[app_id], now) is not None)
    return found


def _count(found: _Found, named: Named, *, is_held: bool) -> None:
    if named.state in END_STATES:
        found.ended += 1
        return
    found.taken.append(named.number)
    found.by_state[named.state] += 1
    found.by_vendor[named.file.vendor] += 1
    if is_held:
        found.held += 1
    elif named.file.suspicion is not None:
        found.unconfirmed += 1
    else:
        found.going += 1
        found.failed += named.state is FileState.FAILED
        if len(found.samples) < _SAMPLES:
            found.samples.append(named.number)


def _describe(session: Session, request: ErasureRequest, found: _Found) -> dict[str, Any]:
    shown = files.find_files(session, found.samples)
    return {
        "app_id": request.app_id,
        "stream_pattern": request.stream_pattern,
        "files": found.going,
        "held": found.held,
        "unconfirmed": found.unconfirmed,
        "failed": found.failed,
        "ended": found.ended,
        "by_state": _by_name(found.by_state),
        "by_vendor": _by_name(found.by_vendor),
        "samples": [file_as_json(row) for row in shown.values()],
    }


def _by_name(counted: Counter[FileState] | Counter[Vendor]) -> dict[str, int]:
    return {word.value: count for word, count in sorted(counted.items())}


def _order(
    session: Session,
    request: ErasureRequest,
    expect: int,
    actor: Actor,
    now: datetime,
    known_apps: Collection[str] | None,
) -> int:
    locks.lock_policy_shared(session)
    selection = _select(request, known_apps)
    for app_id in selection.list_apps(session):
        locks.lock_holds_shared(session, app_id)
    found = _look(session, selection, now)
    if found.going != expect:
        raise NotAsExpected(expect, _describe(session, request, found))
    if not found.taken:
        raise NotPossible("none of these files is there any more: there is nothing to delete")
    row = erasures.add_erasure(
        session,
        ErasureRow(
            requested_at=now,
            requested_by=actor.name,
            through=actor.through,
            reason=request.reason.strip(),
            app_id=request.app_id,
            stream_pattern=request.stream_pattern,
            files=FileSet(found.taken).encode(),
            files_count=len(found.taken),
        ),
    )
    detail = {key: value for key, value in erasure_as_json(row).items() if key not in ("id", "settled_at")}
    detail |= {"deleted_next": found.going, "held": found.held, "unconfirmed": found.unconfirmed}
    audit.add_entry(session, actor, "request_erasure", f"erasure {row.id}", now, detail)
    return row.id


def _settle(
    database: Database,
    number: int,
    now: Callable[[], datetime],
    deadline: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Tell the files of one erasure, and decide them; returns how many. Unfinished at the deadline."""
    with database.read() as session:
        row = erasures.find_erasure(session, number)
    if row is None:
        return 0
    done = 0
    for batch in FileSet.decode(row.files).batches(BATCH):
        if deadline is not None and time.monotonic() > deadline:
            return done
        done += database.transact(partial(_tell, number=number, batch=batch, now=now))
        if progress:
            progress(len(batch))
        time.sleep(_BREATH_S)
    database.transact(lambda session: erasures.mark_settled(session, number, now()))
    return done


def _tell(session: Session, number: int, batch: list[int], now: Callable[[], datetime]) -> int:
    return decide_named(session, batch, now(), partial(_take, number=number))


def _take(row: MediaFileRow, number: int) -> bool:
    """Write the erasure into a file, unless it was told before; one that was given up is taken up again."""
    if row.state in END_STATES or (row.erasure_id or 0) >= number:
        return False
    row.erasure_id = number
    if row.state is FileState.FAILED:
        row.attempts, row.first_attempt_at = 0, None
    return True
