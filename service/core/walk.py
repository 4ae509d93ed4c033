"""What the ways through the vendor's listing have in common: which page to ask for next, and what cannot be proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.core.listing import ListedFile, Query

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

MAX_PROBLEMS: Final = 50
"""Problems kept word for word; further ones are counted."""


class Walk(Protocol):
    """A way through the listing of one app and vendor, page by page; it asks nothing itself.

    The files of every answer are the caller's to keep: a walk only decides what to ask next. A file may come twice.
    """

    def next_query(self) -> Query | None:
        """The question to ask now; None: over. The same one until `take` was given its answer."""

    def take(
        self, files: Sequence[ListedFile], *, total: int | None, next_marker: str | None, unnamed: int = 0
    ) -> None:
        """Feed the answer to the question asked; only one that succeeded.

        A question that the vendor refuses for good is answered with no files and no total: the walk goes on, and says
        so in `problems` unless it can do without.

        Raises:
            ValueError: the walk is over, so nothing was asked.
        """

    def dump(self) -> dict[str, JSON]:
        """A small cursor: a walk loaded from it may ask pages again, but skips none."""

    @classmethod
    def load(cls, cursor: Mapping[str, JSON]) -> Self:
        """Go on where a cursor was dumped.

        Raises:
            ValueError: it is not a cursor of this walk.
        """

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the listing cannot be called complete, a line each. Once the walk is over, none means complete."""

    @property
    def progress(self) -> float | None:
        """The part done, 0 to 1; None: it cannot be told."""


class Problems:
    """A bounded list of problems."""

    def __init__(self, lines: Sequence[str] = (), more: int = 0) -> None:
        self._lines = list(lines)
        self._more = more

    def add(self, line: str) -> None:
        """Keep a problem, or count it when there are many."""
        if line in self._lines:
            return
        if len(self._lines) < MAX_PROBLEMS:
            self._lines.append(line)
        else:
            self._more += 1

    @property
    def lines(self) -> tuple[str, ...]:
        """Those kept, and one line that counts the others."""
        return (*self._lines, f"and {self._more:,} more like these") if self._more else tuple(self._lines)

    def dump(self) -> dict[str, JSON]:
        """The part of a cursor that `load` reads."""
        return {"problems": list(self._lines), "more_problems": self._more}

    @classmethod
    def load(cls, cursor: Mapping[str, JSON]) -> Self:
        """Read them from a cursor.

        Raises:
            ValueError: the cursor does not hold them.
        """
        lines = cursor.get("problems")
        if not isinstance(lines, list) or len(lines) > MAX_PROBLEMS:
            raise ValueError("the cursor of the listing is damaged: problems")
        return cls([check_text(line, "problems") for line in lines], read_whole(cursor, "more_problems"))


def check_kind(cursor: Mapping[str, JSON], kind: str, keys: frozenset[str]) -> None:
    """Refuse a cursor of another walk or version.

    Raises:
        ValueError: it is one.
    """
    if not isinstance(cursor, dict) or cursor.get("walk") != kind or not keys <= cursor.keys():
        raise ValueError(f"this is not a cursor of a listing that this version can go on with: {kind} was expected")


def read_whole(cursor: Mapping[str, JSON], key: str, least: int = 0) -> int:
    """A whole number of a cursor.

    Raises:
        ValueError: it is missing, no whole number or too small.
    """
    value = cursor.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"the cursor of the listing is damaged: {key}")
    return value


def check_text(value: JSON, key: str) -> str:
    """A text of a cursor.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"the cursor of the listing is damaged: {key}")  # noqa: TRY004 a bad cursor is a bad value
    return value
