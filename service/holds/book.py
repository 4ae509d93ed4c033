"""Which hold keeps a file: all standing holds, arranged so that a file is looked up quickly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain

from service.model import Hold, MediaFile
from service.rules.patterns import is_pattern, matches


class HoldBook:
    """The standing holds of all apps."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._by_file: dict[tuple[str, str | None, str | None], list[Hold]] = defaultdict(list)
        self._by_pattern: dict[str, list[Hold]] = defaultdict(list)
        # By the name of one stream; the empty name stands for unknown streams.
        self._by_stream: dict[tuple[str, str], list[Hold]] = defaultdict(list)
        for hold in holds:
            if hold.stream_pattern is None:
                self._by_file[hold.app_id, hold.vendor, hold.file_id].append(hold)
                continue
            # A file of unknown stream may belong to any stream, so any pattern holds it.
            self._by_stream[hold.app_id, ""].append(hold)
            if is_pattern(hold.stream_pattern):
                self._by_pattern[hold.app_id].append(hold)
            else:
                self._by_stream[hold.app_id, hold.stream_pattern].append(hold)

    def find(self, file: MediaFile, now: datetime) -> Hold | None:
        """The first hold in force on a file; an error while looking for it is one, too."""
        if not self._by_file and not self._by_stream:
            return None
        try:
            return next(self.iterate(file, now), None)
        except Exception as error:  # noqa: BLE001  (whatever it is: the file is held)
            return Hold(0, file.app_id, f"the holds could not be checked ({type(error).__name__}): report this")

    def iterate(self, file: MediaFile, now: datetime) -> Iterator[Hold]:
        """All holds in force on a file."""
        by_file = self._by_file.get((file.app_id, file.vendor, file.file_id), ())
        for hold in chain(by_file, self._by_stream.get((file.app_id, file.stream_id), ())):
            if _is_in_force(hold, now):
                yield hold
        for hold in self._by_pattern.get(file.app_id, ()) if file.stream_id else ():
            if _is_in_force(hold, now) and matches(hold.stream_pattern or "*", file.stream_id):
                yield hold


def _is_in_force(hold: Hold, now: datetime) -> bool:
    return hold.released_at is None and (hold.until is None or now < hold.until)
