"""Which files a request names: by their numbers, or by the streams of one app that fit a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.core.file_sets import FileSet
from service.core.patterns import matches
from service.db import coverage
from service.usecases.deciding import BATCH
from service.usecases.orders import BadOrder, check_app

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from service.db.coverage import Named
    from service.db.engine import Session


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
