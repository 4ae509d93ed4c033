"""Erasure on request: files that go because a person asked for it, whatever the rules say (docs/holds.md).

The files are counted, shown and frozen with the request; files that arrive later are not part of it. The sweep carries
it out like any other deletion, and a hold on a file stops it there.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from service.core.file_sets import FileSet
from service.core.model import END_STATES, FileState
from service.db import audit, coverage, erasures, files, locks
from service.db.order_models import ErasureRow
from service.usecases.batches import read_in_batches
from service.usecases.deciding import BATCH
from service.usecases.inventory import NotPossible, file_as_json, iso
from service.usecases.naming import Found, Selection, look
from service.usecases.orders import BadOrder, check_pattern, check_reason, decide_named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from service.core.model import Actor, Vendor
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
    """The request would not take the files that whoever made it expects; `preview` has the numbers of now."""

    def __init__(self, expected: int, preview: dict[str, Any]) -> None:
        now = f"{preview['files']:,}, not {expected:,}" if preview["files"] != expected else "as many, but not the same"
        super().__init__(
            f"files that would be deleted now: {now}; look at the preview again, then expect {preview['files']} "
            f"with digest {preview['digest']}; nothing was done"
        )
        self.preview = preview


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
        return _describe(session, request, look(session, _select(request, known_apps), now))


def request_erasure(  # noqa: PLR0913 (what is asked for, and how long to stay with it, each by its own name)
    database: Database,
    request: ErasureRequest,
    expect: int,
    actor: Actor,
    now: datetime,
    *,
    known_apps: Collection[str] | None = None,
    patience_s: float = PATIENCE_S,
    digest: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Order files to go: due at once, for the next sweep. Those held or in doubt go once they are free of that.

    Answers with the erasure and its files `by_state`. Within `patience_s` the files are told here.

    Raises:
        BadOrder: the request cannot be meant as it was written.
        NotAsExpected: it would not delete `expect` files, or not those of the preview with `digest`; nothing was done.
        NotPossible: none of its files is still there.
    """
    _check(request)
    order = partial(_order, request=request, expect=expect, digest=digest, actor=actor, now=now, known_apps=known_apps)
    number = database.transact(order)
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
    """Tell the files of every erasure that was ordered but not finished; returns how many files were told.

    Told again are those that a clock told that ran ahead: they are due now.
    """
    moment = now()
    with database.read() as session:
        waiting = erasures.list_unsettled(session, moment)
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


def _describe(session: Session, request: ErasureRequest, found: Found) -> dict[str, Any]:
    shown = files.find_files(session, sorted(found.going)[:_SAMPLES])
    return {
        "app_id": request.app_id,
        "stream_pattern": request.stream_pattern,
        "files": len(found.going),
        "digest": found.digest,
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
    digest: str | None,
    actor: Actor,
    now: datetime,
    known_apps: Collection[str] | None,
) -> int:
    locks.lock_policy_shared(session)
    selection = _select(request, known_apps)
    for app_id in selection.list_apps(session):
        locks.lock_holds_shared(session, app_id)
    found = look(session, selection, now)
    if len(found.going) != expect or digest not in (None, found.digest):
        raise NotAsExpected(expect, _describe(session, request, found))
    taken = FileSet(found.going + found.waiting)
    if not taken:
        raise NotPossible(_describe_nothing(found))
    row = erasures.add_erasure(
        session,
        ErasureRow(
            requested_at=now,
            requested_by=actor.name,
            through=actor.through,
            reason=request.reason.strip(),
            app_id=request.app_id,
            stream_pattern=request.stream_pattern,
            files=taken.encode(),
            files_count=len(taken),
        ),
    )
    detail = {key: value for key, value in erasure_as_json(row).items() if key not in ("id", "settled_at")}
    detail |= {"deleted_next": len(found.going), "held": found.held, "unconfirmed": found.unconfirmed}
    audit.add_entry(session, actor, "request_erasure", f"erasure {row.id}", now, detail)
    return row.id


def _describe_nothing(found: Found) -> str:
    if found.unconfirmed:
        return "all of these files are unconfirmed, so no pattern takes them: there is nothing to delete"
    return "none of these files is there any more: there is nothing to delete"


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
    moment = now()
    return decide_named(session, batch, moment, partial(_take, number=number, now=moment))


def _take(row: MediaFileRow, number: int, now: datetime) -> bool:
    """Write the erasure into a file, unless it was told before; one that was given up is taken up again."""
    if row.state in END_STATES or (row.erasure_id or 0) > number:
        return False
    if row.erasure_id == number:  # its date is that of a clock that ran ahead
        return row.state is not FileState.FAILED and row.due_at is not None and row.due_at > now
    row.erasure_id = number
    if row.state is FileState.FAILED:
        row.attempts, row.first_attempt_at = 0, None
    return True
