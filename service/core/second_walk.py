"""More files in one second than can be counted: told apart by the first characters of their names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from service.core.window import list_window

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from service.core.listing import ListedFile, Query
    from service.core.window import Limits, Listing, Page

MAX_PREFIX_BYTES: Final = 20
MAX_CALLS: Final = 5_000
"""Questions spent on one second; then it counts as not resolved."""
_MAX_COUNTED: Final = 50_000
_PRINTABLE: Final = tuple(chr(code) for code in range(0x20, 0x7F))


class SecondSplit:
    """Lists one saturated second (`base` names it) by longer and longer name prefixes.

    After each saturated prefix come the characters seen there and all of printable ASCII. `resolved` once every
    question was counted completely, every file seen in the second was found by one of them, and as many in all as the
    vendor's count said at least. A name that ends where its prefix saturates, or that no prefix can reach, is not told
    apart. What `streams` find is listed, but never resolves a second: nobody can know that these are all its streams.
    """

    def __init__(self, base: Query, limits: Limits, streams: Sequence[str] = ()) -> None:
        self._base = base
        self._limits = limits
        self._streams = streams
        self._apart = True
        self._unfound: set[str] = set()
        self._listed: set[str] = set()
        self._calls = 0

    @property
    def resolved(self) -> bool:
        """Everything made in that second was listed."""
        return self._apart and not self._unfound and self._listed_enough

    @property
    def listed(self) -> int:
        """Distinct files listed, counted up to 50,000."""
        return len(self._listed)

    @property
    def _listed_enough(self) -> bool:
        return len(self._listed) >= min(self._limits.ceiling, _MAX_COUNTED)

    def split(self, first: Page) -> Generator[Query, Page, None]:
        """Ask what there is to ask; `first` is the first page of the second."""
        yield from self._descend("", first)
        for stream in () if self.resolved else self._streams:
            query = replace(self._base, stream_ids=(stream,))
            listing = yield from self._list(query)
            if listing.saturated:
                yield from self._read_on(query, listing.first)

    def _descend(self, prefix: str, first: Page) -> Generator[Query, Page, None]:
        """Ask for each character that can come after a saturated prefix."""
        files = yield from self._read_on(replace(self._base, prefix=prefix), first)
        if not prefix:
            self._unfound = {file.file_id for file in files}
        asked: set[str] = set()
        for tail in self._find_tails(prefix, files):
            if self._calls >= MAX_CALLS:
                self._apart = False
                return
            longer = prefix + tail
            listing = yield from self._list(replace(self._base, prefix=longer))
            if not listing.saturated:
                self._unfound -= listing.ids
                self._apart &= not listing.problem
            elif _is_honoured(longer, listing.first):
                yield from self._descend(longer, listing.first)
            elif not (longer.casefold() in asked and _is_honoured(longer.casefold(), listing.first, fold=True)):
                self._apart = False  # prefixes are ignored, or mean something else
            asked.add(longer.casefold())

    def _find_tails(self, prefix: str, files: Iterable[ListedFile]) -> list[str]:
        """The characters to ask for: those seen first."""
        tails: dict[str, None] = {}
        for file in files:
            tail = (file.name or "")[len(prefix) : len(prefix) + 1]
            if tail:
                tails[tail] = None
            else:
                self._apart = False
        tails.update(dict.fromkeys(_PRINTABLE))
        fitting = [tail for tail in tails if _fits(prefix + tail)]
        self._apart &= len(fitting) == len(tails)
        return fitting

    def _list(self, query: Query) -> Generator[Query, Page, Listing]:
        """List one window, counting the calls and the files."""
        asking = list_window(query, self._limits)
        page: Page | None = None
        while True:
            try:
                question = next(asking) if page is None else asking.send(page)
            except StopIteration as end:
                listing: Listing = end.value
                return listing
            page = yield question
            self._count(page)

    def _read_on(self, query: Query, first: Page) -> Generator[Query, Page, list[ListedFile]]:
        """All files that paging reaches in a saturated window."""
        files = list(first.files)
        self._count(first)
        for number in range(1, self._limits.last_page + 1):
            page = yield replace(query, page=number)
            self._count(page)
            files += page.files
            self._apart &= not page.unnamed
            if not page.is_full(self._limits.size):
                break
        self._apart &= not first.unnamed
        return files

    def _count(self, page: Page) -> None:
        self._calls += 1
        if len(self._listed) < _MAX_COUNTED:
            self._listed.update(file.file_id for file in page.files)


def _fits(prefix: str) -> bool:
    try:
        return len(prefix.encode()) <= MAX_PREFIX_BYTES
    except UnicodeEncodeError:
        return False


def _is_honoured(prefix: str, page: Page, *, fold: bool = False) -> bool:
    """The names listed begin with the prefix asked for, so it did something."""
    names = [file.name.casefold() if fold else file.name for file in page.files if file.name is not None]
    return bool(names) and all(name.startswith(prefix) for name in names)
