"""Which hold keeps a file: all standing holds, arranged so that a file is looked up quickly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from service.model import Hold, MediaFile, Vendor
from service.rules.patterns import is_pattern, matches


class HoldBook:
    """The standing holds of all apps."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._by_file: dict[tuple[str, Vendor, str], list[Hold]] = defaultdict(list)
        self._by_stream: dict[tuple[str, str], list[Hold]] = defaultdict(list)
        self._by_pattern: dict[str, list[Hold]] = defaultdict(list)
        self._of_streams: dict[str, list[Hold]] = defaultdict(list)
        for hold in holds:
            self._add(hold)

    def find(self, file: MediaFile, now: datetime) -> Hold | None:
        """The first hold in force on a file; an error while looking for it is one, too."""
        if not self._by_file and not self._of_streams:
            return None
        try:
            return next(self.iterate(file, now), None)
        except Exception as error:  # noqa: BLE001  (whatever it is: the file is held)
            return Hold(0, file.app_id, f"the holds could not be checked ({type(error).__name__}): report this")

    def iterate(self, file: MediaFile, now: datetime) -> Iterator[Hold]:
        """All holds in force on a file. A file of unknown stream may belong to any stream, so any pattern holds it."""
        for hold in self._by_file.get((file.app_id, file.vendor, file.file_id), ()):
            if is_in_force(hold, now):
                yield hold
        if not file.stream_id:
            yield from (hold for hold in self._of_streams.get(file.app_id, ()) if is_in_force(hold, now))
            return
        for hold in self._by_stream.get((file.app_id, file.stream_id), ()):
            if is_in_force(hold, now):
                yield hold
        for hold in self._by_pattern.get(file.app_id, ()):
            if is_in_force(hold, now) and matches(hold.stream_pattern or "*", file.stream_id):
                yield hold

    def _add(self, hold: Hold) -> None:
        if hold.vendor is not None and hold.file_id is not None:
            self._by_file[hold.app_id, hold.vendor, hold.file_id].append(hold)
            return
        self._of_streams[hold.app_id].append(hold)
        pattern = hold.stream_pattern
        if pattern is None or is_pattern(pattern):
            self._by_pattern[hold.app_id].append(hold)
        else:
            self._by_stream[hold.app_id, pattern].append(hold)


def is_in_force(hold: Hold, now: datetime) -> bool:
    """Neither released nor over."""
    return hold.released_at is None and (hold.until is None or now < hold.until)
