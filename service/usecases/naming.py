"""Which files a request names, by their numbers or by the streams of one app that fit a pattern, and how they stand."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from service.core.file_sets import FileSet
from service.core.model import END_STATES, FileState
from service.core.patterns import matches
from service.core.rules import find_hold
from service.db import coverage, holds
from service.usecases.deciding import BATCH
from service.usecases.orders import BadOrder, check_app

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from service.core.model import Hold, Vendor
    from service.db.coverage import Named
    from service.db.engine import Session

_DIGEST_LENGTH: Final = 16  # 64 bits: nobody chooses files so that two sets are taken for one


@dataclass(frozen=True, slots=True)
class Selection:
    """Files as they were named; `known_apps` are those that are configured (None: not known here)."""

    files: tuple[int, ...]
    app_id: str | None
    stream_pattern: str | None
    known_apps: Collection[str] | None = None

    def list_named(self, session: Session) -> Iterator[Named]:
        """Every file that is named, ended ones included.

        Raises:
            BadOrder: one of them does not exist or belongs to another app, or nobody knows the app.
        """
        if self.stream_pattern is None:
            yield from self._list_by_number(session)
            return
        app_id = check_app(session, self.app_id, self.known_apps)
        streams = [stream for stream in coverage.list_streams(session, app_id) if matches(self.stream_pattern, stream)]
        for start in range(0, len(streams), BATCH):
            yield from coverage.find_in_streams(session, app_id, streams[start : start + BATCH])

    def list_apps(self, session: Session) -> Sequence[str]:
        """The apps of the files that are named, in order.

        Raises:
            BadOrder: as for `list_named`.
        """
        if self.stream_pattern is not None:
            return [check_app(session, self.app_id, self.known_apps)]
        return sorted({each.file.app_id for each in self._list_by_number(session)})

    def _list_by_number(self, session: Session) -> Iterator[Named]:
        for batch in FileSet(self.files).batches(BATCH):
            found = list(coverage.find_named(session, batch))
            if missing := sorted(set(batch) - {each.number for each in found}):
                raise BadOrder("files", f"there is no file {missing[0]}: see `zego-retention files list`")
            for each in found:
                if self.app_id is not None and each.file.app_id != self.app_id:
                    raise BadOrder("app_id", f"file {each.number} belongs to app {each.file.app_id}")
            yield from found


@dataclass(slots=True)
class Found:
    """What a request comes to: the files it takes, `going` at once or `waiting` to, and what becomes of each."""

    going: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    held: int = 0
    unconfirmed: int = 0
    failed: int = 0
    ended: int = 0
    by_state: Counter[FileState] = field(default_factory=Counter)
    by_vendor: Counter[Vendor] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """Stands for exactly these files, those that go at once and those that wait."""
        named = ";".join(",".join(map(str, sorted(numbers))) for numbers in (self.going, self.waiting))
        return hashlib.sha256(named.encode("ascii")).hexdigest()[:_DIGEST_LENGTH]


def look(session: Session, selection: Selection, now: datetime) -> Found:
    """Sort the files that are named by what becomes of them.

    A pattern does not take a file in doubt: whether it is of such a stream is as doubtful as the rest of it.

    Raises:
        BadOrder: as for `Selection.list_named`.
    """
    found = Found()
    in_force: dict[str, list[Hold]] = {}
    for named in selection.list_named(session):
        app_id = named.file.app_id
        if app_id not in in_force:
            in_force[app_id] = holds.list_in_force(session, [app_id], now)
        is_held = find_hold(named.file, in_force[app_id], now) is not None
        _count(found, named, is_held=is_held, by_pattern=selection.stream_pattern is not None)
    return found


def _count(found: Found, named: Named, *, is_held: bool, by_pattern: bool) -> None:
    if named.state in END_STATES:
        found.ended += 1
        return
    if by_pattern and named.file.suspicion is not None:
        found.unconfirmed += 1
        return
    found.by_state[named.state] += 1
    found.by_vendor[named.file.vendor] += 1
    if is_held or named.file.suspicion is not None:
        found.waiting.append(named.number)
        found.held += is_held
        found.unconfirmed += not is_held
    else:
        found.going.append(named.number)
        found.failed += named.state is FileState.FAILED
