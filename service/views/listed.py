"""How a resource is listed: page by page, whole, counted, as the columns of a table; and one of it shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.database import Database, Transaction
from service.model import NoSuchThing
from service.views.form import take

T = TypeVar("T")
FilterT = TypeVar("FilterT")
RowT = TypeVar("RowT")
DetailT = TypeVar("DetailT")

MAX_NUMBER: Final = 2**63 - 1
"""The highest number that the databases count to."""

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; `next_cursor` is the number to resume at, None: this was the last."""

    items: list[T]
    next_cursor: int | None


def columns_of(table: str) -> dict[str, str]:
    """The headers of a table that is written as `id, started: started_at`, each with the attribute under it."""
    pairs = (column.partition(": ") for column in table.split(", "))
    return {header: attribute or header for header, _, attribute in pairs}


@dataclass(frozen=True)
class Listed(Generic[FilterT, RowT, DetailT]):
    """One resource, called `name`, which `command` lists.

    `fetch(tx, wanted, cursor, size)` gives what entries beyond `cursor` (0: from the start) are taken from, `key` is
    their number; or, where it may stop early, up to `size - 1` entries and the cursor to resume at (None: that was
    all). `count_all(tx, wanted)` is how many there are, `find(tx, number)` one of them in full. `table` describes the
    columns of a table (`id, started: started_at`); those in `drop_first` go first where space is short.
    """

    name: str
    command: str
    row: type[RowT]
    fetch: Callable[[Transaction, FilterT, int, int], Iterable[object] | tuple[list[RowT], int | None]]
    count_all: Callable[[Transaction, FilterT], int]
    table: str
    drop_first: str
    find: Callable[[Transaction, int], DetailT | None] = lambda _tx, _number: None
    key: str = "id"

    @property
    def columns(self) -> dict[str, str]:
        """The headers of its table, each with the attribute that is shown under it."""
        return columns_of(self.table)

    def read(self, tx: Transaction, wanted: FilterT, cursor: int, limit: int) -> tuple[list[RowT], int | None]:
        """Entries beyond `cursor`, and the cursor to resume at; None: that was all."""
        found = self.fetch(tx, wanted, cursor, limit + 1)
        if isinstance(found, tuple):
            return found
        rows = [each if isinstance(each, self.row) else take(self.row, each) for each in found]
        return rows[:limit], getattr(rows[limit - 1], self.key) if len(rows) > limit else None

    def page(self, database: Database, wanted: FilterT, limit: int, cursor: int = 0) -> Page[RowT]:
        """One page; it may hold fewer than `limit` although there are more."""
        with database.read() as tx:
            items, resume = self.read(tx, wanted, cursor, limit)
        return Page(items, resume)

    def iterate(self, database: Database, wanted: FilterT, limit: int | None = None, after: int = 0) -> Iterator[RowT]:
        """All entries, or the first `limit`; read batch after batch, so that the reader may take any time."""
        resume: int | None = after
        left = limit
        while resume is not None and left != 0:
            with database.read() as tx:
                items, resume = self.read(tx, wanted, resume, _BATCH if left is None else min(_BATCH, left))
            yield from items
            left = None if left is None else left - len(items)

    def count(self, database: Database, wanted: FilterT) -> int:
        """How many entries there are."""
        with database.read() as tx:
            return self.count_all(tx, wanted)

    def show(self, database: Database, number: int) -> DetailT:
        """One of them in full; NoSuchThing if there is none of that number."""
        with database.read() as tx:
            return self.require(tx, number)

    def require(self, tx: Transaction, number: int) -> DetailT:
        """The same, within a transaction."""
        found = self.find(tx, number)
        if found is None:
            raise NoSuchThing(f"there is no {self.name} {number}: see `zego-retention {self.command}`")
        return found
