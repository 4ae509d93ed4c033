"""How values look in JSON, for the API and `--json` alike (docs/http.md), and how a resource is listed.

Answers are plain values: those of the domain, or dataclasses of this room where an answer is put together. `form_of`
derives from the class of such a value what it looks like; `show_as` says where that differs from its fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from service.database import Database, Transaction
from service.model import NoSuchThing

T = TypeVar("T")
FilterT = TypeVar("FilterT")
RowT = TypeVar("RowT")
DetailT = TypeVar("DetailT")

MAX_NUMBER: Final = 2**63 - 1
"""The highest number that the databases count to."""

_MAX_DIGITS: Final = 19
_BATCH: Final = 500
Known = Annotated[str | None, BeforeValidator(lambda text: text or None)]
"""A text that is stored as empty where it is not known."""

_NAMES: Final = frozenset({"id", "number", "file", "run", "call"})
_CHANGES: dict[type, dict[str, Any]] = {}


def read_number(text: str) -> int:
    """The number of something, as a parameter gives it; 0 if it is none."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return min(int(text), MAX_NUMBER) if is_number else 0


class Form(BaseModel):
    """Exactly these keys; what is not known is None, moments are aware UTC."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def show_as(kind: type, **changes: Any) -> None:  # noqa: ANN401  (names, types)
    """Show values of a class with other keys than its fields: `key=None` leaves one out.

    `key="attribute"` shows an attribute under this key (a field: under no other), `field=TYPE` as another type.
    """
    _CHANGES[kind] = changes


@cache
def form_of(kind: type) -> type[Form]:
    """What values of a dataclass or named tuple look like."""
    changes = {key: change for each in reversed(kind.__mro__) for key, change in _CHANGES.get(each, {}).items()}
    keys = {attribute: key for key, attribute in changes.items() if isinstance(attribute, str)}
    hints = get_type_hints(kind, include_extras=True)
    shown = {keys.get(field, field): field for field in list_fields(kind) if changes.get(field, field) is not None}
    shown |= {key: attribute for attribute, key in keys.items()}
    fields: dict[str, Any] = {}
    for key, attribute in shown.items():
        hint = changes[key] if isinstance(changes.get(key), (type, type(Known))) else hints.get(attribute)
        if hint is None:
            hint = get_type_hints(getattr(kind, attribute).fget)["return"]
        fields[key] = (_translate(hint), Field(validation_alias=attribute))
    about = (kind.__doc__ or "").partition("\n\n")[0]
    return create_model(kind.__name__, __base__=Form, __doc__=about, **fields)


def to_form(value: object) -> Form:
    """A value as it looks in JSON."""
    return form_of(type(value)).model_validate(value)  # type: ignore[arg-type]


def to_json(value: object) -> dict[str, Any]:
    """A value as JSON: moments in ISO 8601 UTC with `Z`."""
    return to_form(value).model_dump(mode="json")


def is_id(field: str) -> bool:
    """Whether a number under this name names something, so that nobody counts with it."""
    return field in _NAMES or field.endswith(("_id", "_ids"))


def take(kind: type[T], source: object, **more: Any) -> T:  # noqa: ANN401  (fields)
    """A value of a dataclass with what `source` has of its fields, and more."""
    return kind(**{field: getattr(source, field) for field in list_fields(kind) if hasattr(source, field)} | more)


def list_fields(kind: type) -> tuple[str, ...]:
    """The names of the fields of a dataclass or named tuple."""
    return tuple(getattr(kind, "_fields", ()) or (field.name for field in dataclasses.fields(kind)))


def _translate(hint: Any) -> Any:  # noqa: ANN401  (a type)
    """A type with forms in place of the classes that have one."""
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
        return form_of(hint)
    inner = get_args(hint)
    translated = tuple(map(_translate, inner))
    if translated == inner or get_origin(hint) is Annotated:
        return hint
    return Union[translated] if get_origin(hint) in (Union, UnionType) else get_origin(hint)[translated]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; `next_cursor` is the number to resume at, None: this was the last."""

    items: list[T]
    next_cursor: int | None


def columns_of(table: str) -> dict[str, str]:
    """The headers of a table that is written as `id, started: started_at`, each with the attribute under it."""
    pairs = (column.partition(": ") for column in table.split(", "))
    return {header: attribute or header for header, _, attribute in pairs}


def find_cell(row: object, attribute: str, now: datetime) -> object:
    """What stands in a column; an attribute that depends on the moment is a method."""
    found = attrgetter(attribute)(row)
    return found(now) if callable(found) else found


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
