"""The files of one app at one vendor in the sandbox, found quickly however many there are.

Indexes are built when they are first needed and kept in order from then on, so that files that come and go between two
pages are seen, and a page of a million files costs no more than its own length.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from service.zego.sandbox_search import Search

Order: TypeAlias = Literal["newest", "oldest", "shuffled"]
"""How Tencent lists, which nobody says. `shuffled` has nothing to do with time, and is the same for the same ids."""

Key: TypeAlias = "Callable[[StoredFile], Any]"

_MANY = 1000
"""So many new files at once are cheaper sorted anew than put in one by one."""
_KEPT_FINDINGS = 8


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file at a vendor. `name` None is the stream's id; `expires_at` None is never; `media_url` None is made up."""

    file_id: str
    created_at: datetime
    size_bytes: int = 1000
    stream_id: str = ""
    name: str | None = None
    duration_s: float = 60
    expires_at: datetime | None = None
    media_url: str | None = None

    @property
    def listed_name(self) -> str:
        """The name that a listing shows."""
        return self.stream_id if self.name is None else self.name

    @property
    def shuffled(self) -> tuple[int, str]:
        """A place among all files that its id alone decides."""
        return crc32(self.file_id.encode()), self.file_id


_BY_TIME: Key = attrgetter("created_at", "file_id")
_BY_ID: Key = attrgetter("file_id")
_BY_NAME: Key = attrgetter("listed_name", "file_id")
_BY_STREAM: Key = attrgetter("stream_id", "file_id")
_BY_CHANCE: Key = attrgetter("shuffled")


class Shelf:
    """Files by id. Not safe to share between threads by itself."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}
        self._sorted: dict[Key, list[StoredFile]] = {}
        self._found: dict[tuple[Search, Order], list[StoredFile]] = {}

    def add(self, files: Iterable[StoredFile]) -> None:
        """Store files; one with an id that is there already takes its place."""
        new = {file.file_id: file for file in files}
        self._found.clear()
        if len(new) > _MANY:
            self._sorted.clear()
        elif self._sorted:
            for file in new.values():
                self.remove(file.file_id)
                for key, files_in_order in self._sorted.items():
                    insort(files_in_order, file, key=key)
        if self.files:
            self.files |= new
        else:
            self.files = new

    def remove(self, file_id: str) -> StoredFile | None:
        """Take a file away and return it, or None where there is none."""
        file = self.files.pop(file_id, None)
        if file is not None:
            self._found.clear()
            for key, files_in_order in self._sorted.items():
                del files_in_order[bisect_left(files_in_order, key(file), key=key)]
        return file

    def count(self, search: Search, order: Order) -> int:
        """How many files a search finds."""
        if search.only_window:
            first, last = self._window(search)
            return last - first
        return len(self._find(search, order))

    def page(self, search: Search, order: Order) -> Sequence[StoredFile]:
        """The files of one page of Tencent's listing."""
        first, last = search.first, search.first + search.size
        if not search.only_window:
            return self._find(search, order)[first:last]
        start, end = self._window(search)
        in_time = self._in_order(_BY_TIME)
        if order == "oldest":
            return in_time[start + first : min(end, start + last)]
        if order == "newest":
            return in_time[max(start, end - last) : max(start, end - first)][::-1]
        return self._shuffled(search, start, end)[first:last]

    def keys_after(self, marker: str, prefix: str, count: int) -> Sequence[StoredFile]:
        """Up to `count` files in order of their ids, beyond the marker, with the prefix."""
        in_order = self._in_order(_BY_ID)
        beyond = bisect_right(in_order, marker, key=_BY_ID) if marker else 0
        start = max(beyond, bisect_left(in_order, prefix, key=_BY_ID))
        return [file for file in in_order[start : start + count] if file.file_id.startswith(prefix)]

    def _in_order(self, key: Key) -> list[StoredFile]:
        if key not in self._sorted:
            self._sorted[key] = sorted(self.files.values(), key=key)
        return self._sorted[key]

    def _window(self, search: Search) -> tuple[int, int]:
        """Where the time window begins and ends among the files from the oldest."""
        in_time = self._in_order(_BY_TIME)
        start = bisect_left(in_time, (search.start, ""), key=_BY_TIME) if search.start else 0
        end = bisect_left(in_time, (search.before, ""), key=_BY_TIME) if search.before else len(in_time)
        return start, max(start, end)

    def _find(self, search: Search, order: Order) -> list[StoredFile]:
        """All files of a search with more than a window, in order; kept until something changes."""
        asked = (search.without_page, order)
        if asked not in self._found:
            while len(self._found) >= _KEPT_FINDINGS:
                del self._found[next(iter(self._found))]
            found = [file for file in self._candidates(search) if search.fits(file)]
            self._found[asked] = sorted(found, key=_ORDER_KEYS[order], reverse=order == "newest")
        return self._found[asked]

    def _candidates(self, search: Search) -> Iterable[StoredFile]:
        if search.file_ids:
            return [self.files[file_id] for file_id in search.file_ids if file_id in self.files]
        if search.stream_ids:
            return [file for stream in search.stream_ids for file in self._of_stream(stream)]
        by_name, (start, end) = self._in_order(_BY_NAME), self._window(search)
        first = bisect_left(by_name, (search.prefix,), key=_BY_NAME)
        last = bisect_left(by_name, True, lo=first, key=lambda file: not file.listed_name.startswith(search.prefix))
        return by_name[first:last] if last - first < end - start else self._in_order(_BY_TIME)[start:end]

    def _of_stream(self, stream_id: str) -> Iterable[StoredFile]:
        in_order = self._in_order(_BY_STREAM)
        first = bisect_left(in_order, (stream_id,), key=_BY_STREAM)
        return in_order[first : bisect_left(in_order, (stream_id + "\0",), key=_BY_STREAM)]

    def _shuffled(self, search: Search, start: int, end: int) -> list[StoredFile]:
        """The window's files by chance, from the first to the last of the page: the cheaper of two ways."""
        inside, needed = end - start, search.first + search.size
        if inside * inside <= needed * len(self.files):
            return sorted(self._in_order(_BY_TIME)[start:end], key=_BY_CHANCE)
        found: list[StoredFile] = []
        for file in self._in_order(_BY_CHANCE):
            if len(found) == needed:
                break
            if search.fits(file):
                found.append(file)
        return found


_ORDER_KEYS: dict[Order, Key] = {"newest": _BY_TIME, "oldest": _BY_TIME, "shuffled": _BY_CHANCE}
