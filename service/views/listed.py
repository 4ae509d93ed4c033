"""How a resource is listed: page by page, whole, counted, as the columns of a table; and one of it shown."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from service.database import Database, Transaction
from service.model import NoSuchThing
from service.views.form import Form, eg

T = TypeVar("T")
FilterT = TypeVar("FilterT")
FormT = TypeVar("FormT", bound=Form)
DetailT = TypeVar("DetailT", bound=Form)

MAX_NUMBER: Final = 2**63 - 1
"""The highest number that the databases count to."""

_BATCH: Final = 500


class Page(Form, Generic[FormT]):
    """A page of a list; `next_cursor` leads to the next one, null says that this was the last."""

    items: list[FormT]
    next_cursor: str | None = eg("MTc")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """`FilePage` for a page of `File`."""
        return f"{params[0].__name__}Page"


class Kind(StrEnum):
    """What the values of a column are: numbers, words and ids (never broken), prose, moments, bytes."""

    NUMBER = "number"
    WORD = "word"
    PROSE = "prose"
    MOMENT = "moment"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Column(Generic[FormT]):
    """A column of a table. Priority 0 is always shown; of the others, the highest go first where space is short."""

    header: str
    value: Callable[[FormT], object]
    kind: Kind = Kind.WORD
    priority: int = 0


@dataclass(frozen=True)
class Listed(Generic[FilterT, FormT, DetailT]):
    """One resource, called `name`, which `command` lists.

    `read(tx, wanted, cursor, limit)` gives entries beyond `cursor` (0: from the start), and the cursor to resume at
    (None: that was all). `count_all(tx, wanted)` is how many there are, `find(tx, number)` one of them in full.
    """

    name: str
    command: str
    page_form: type[Page[FormT]]
    read: Callable[[Transaction, FilterT, int, int], tuple[list[FormT], int | None]]
    count_all: Callable[[Transaction, FilterT], int]
    find: Callable[[Transaction, int], DetailT | None]
    columns: tuple[Column[FormT], ...]

    def page(self, database: Database, wanted: FilterT, limit: int, cursor: int = 0) -> Page[FormT]:
        """One page; it may hold fewer than `limit` although there are more."""
        with database.read() as tx:
            items, resume = self.read(tx, wanted, cursor, limit)
        return self.page_form.model_construct(items=items, next_cursor=encode_cursor(resume))

    def iterate(self, database: Database, wanted: FilterT, limit: int | None = None) -> Iterator[FormT]:
        """All entries, or the first `limit`; read batch after batch, so that the reader may take any time."""
        resume: int | None = 0
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
        """One of them in full.

        Raises:
            NoSuchThing: there is none of that number.
        """
        with database.read() as tx:
            return require(self.find(tx, number), self.name, number, self.command)


def require(found: T | None, name: str, number: int, command: str) -> T:
    """What was found.

    Raises:
        NoSuchThing: nothing was; the text names the command that lists what there is.
    """
    if found is None:
        raise NoSuchThing(f"there is no {name} {number}: see `zego-retention {command}`")
    return found


def read_rows(
    fetch: Callable[[Transaction, FilterT, int, int], Iterable[T]],
    describe: Callable[[Transaction, T], FormT],
    number: Callable[[T], int] = attrgetter("id"),
) -> Callable[[Transaction, FilterT, int, int], tuple[list[FormT], int | None]]:
    """The `read` of a list: `fetch(tx, wanted, cursor, size)` gives rows, `describe(tx, row)` their forms."""

    def read(tx: Transaction, wanted: FilterT, cursor: int, limit: int) -> tuple[list[FormT], int | None]:
        rows, resume = cut(list(fetch(tx, wanted, cursor, limit + 1)), limit, number)
        return [describe(tx, row) for row in rows], resume

    return read


def find_row(
    fetch: Callable[[Transaction, int], T | None], describe: Callable[[Transaction, T], DetailT]
) -> Callable[[Transaction, int], DetailT | None]:
    """The `find` of a list whose row `fetch(tx, number)` gives and `describe(tx, row)` turns into a form."""

    def find(tx: Transaction, number: int) -> DetailT | None:
        row = fetch(tx, number)
        return None if row is None else describe(tx, row)

    return find


def take_from(form: type[FormT]) -> Callable[[Transaction, object], FormT]:
    """Describe rows that have just what the form needs."""
    return lambda _tx, row: form.model_validate(row)


def cut(rows: Sequence[T], limit: int, number: Callable[[T], int]) -> tuple[list[T], int | None]:
    """The first `limit` of up to `limit + 1` rows, and the number to resume at: None if there were no more."""
    page = list(rows[:limit])
    return page, number(page[-1]) if len(rows) > limit else None


def encode_cursor(number: int | None) -> str | None:
    """The opaque text for "resume at this number"; None at the end."""
    return None if number is None else base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def decode_cursor(text: object) -> int:
    """Read back what `encode_cursor` wrote; ValueError if it did not write this."""
    try:
        raw = base64.urlsafe_b64decode(f"{text}{'=' * (-len(str(text)) % 4)}".encode("ascii"))
        number = int(raw) if len(raw) <= len(str(MAX_NUMBER)) else -1
    except (binascii.Error, ValueError):
        number = -1
    if not 0 <= number <= MAX_NUMBER or encode_cursor(number) != text:
        raise ValueError("is no cursor of this API: take it from next_cursor")
    return number
