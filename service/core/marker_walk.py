"""The way through the listing of Ws and Huawei: from marker to marker."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Self

from service.core.listing import Query
from service.core.walk import Problems, check_kind, check_text, read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.core.listing import ListedFile
    from service.core.walk import JSON

_KIND: Final = "marker/1"
_MAX_EMPTY: Final = 100
_MAX_SIZE: Final = 1_000
_SHOWN: Final = 80


class MarkerWalk:
    """Follows the vendor's marker until it is empty; pages of `size` files (1 to 1,000).

    Markers that run in a circle, of any length, are noticed with one remembered page (Brent: it moves to the present
    page after 1, 2, 4, … pages, so a circle comes back to it), as are pages that repeat under ever new markers.
    """

    def __init__(self, size: int = 1_000) -> None:
        if not 1 <= size <= _MAX_SIZE:
            raise ValueError(f"a page of the listing holds 1 to {_MAX_SIZE:,} files, not {size}")
        self._size = size
        self._marker = ""
        self._over = False
        self._empty = 0
        self._steps, self._stride = 0, 1
        self._kept_marker, self._kept_page, self._last_page = "", "", ""
        self._problems = Problems()

    def next_query(self) -> Query | None:
        """The page after the marker reached; None: over."""
        return None if self._over else Query(size=self._size, marker=self._marker)

    def take(
        self,
        files: Sequence[ListedFile],
        *,
        total: int | None,  # noqa: ARG002 these vendors tell none
        next_marker: str | None,
        unnamed: int = 0,
    ) -> None:
        """Feed the answer to `next_query`.

        Raises:
            ValueError: the walk is over, so nothing was asked.
        """
        if self._over:
            raise ValueError("the listing is over: no answer is expected")
        if unnamed:
            self._problems.add(f"{_after(self._marker)} holds entries without a name: {unnamed:,}")
        if next_marker is None:
            self._stop(f"{_after(self._marker)} does not tell where to go on: it has no next marker")
        elif not next_marker:
            self._over = True
        else:
            self._advance(next_marker, files, unnamed)

    def dump(self) -> dict[str, JSON]:
        """A small cursor for `load`."""
        return {
            "walk": _KIND,
            "size": self._size,
            "marker": self._marker,
            "over": self._over,
            "empty": self._empty,
            "steps": self._steps,
            "stride": self._stride,
            "kept_marker": self._kept_marker,
            "kept_page": self._kept_page,
            "last_page": self._last_page,
            **self._problems.dump(),
        }

    @classmethod
    def load(cls, cursor: Mapping[str, JSON]) -> Self:
        """Go on where a cursor was dumped.

        Raises:
            ValueError: it is not a cursor of this walk.
        """
        check_kind(cursor, _KIND, frozenset({"size", "marker", "over"}))
        walk = cls(read_whole(cursor, "size"))
        walk._marker = check_text(cursor["marker"], "marker")
        walk._kept_marker = check_text(cursor.get("kept_marker"), "kept_marker")
        walk._kept_page = check_text(cursor.get("kept_page"), "kept_page")
        walk._last_page = check_text(cursor.get("last_page"), "last_page")
        walk._empty = read_whole(cursor, "empty")
        walk._steps, walk._stride = read_whole(cursor, "steps"), read_whole(cursor, "stride", least=1)
        over = cursor["over"]
        if not isinstance(over, bool):
            raise ValueError("the cursor of the listing is damaged: over")  # noqa: TRY004 a bad cursor is a bad value
        walk._over = over
        walk._problems = Problems.load(cursor)
        return walk

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the listing cannot be called complete, a line each."""
        return self._problems.lines

    @property
    def progress(self) -> float | None:
        """1 at the end; nobody says how many files there are."""
        return 1.0 if self._over else None

    def _advance(self, marker: str, files: Sequence[ListedFile], unnamed: int) -> None:
        page = _fingerprint(files)
        self._empty = 0 if files or unnamed else self._empty + 1
        if marker in {self._marker, self._kept_marker}:
            self._stop(f"{_after(self._marker)} leads back to a marker that was asked with before: the rest is unknown")
        elif page and page in {self._last_page, self._kept_page}:
            self._stop(f"{_after(self._marker)} shows the files of an earlier page again: the rest is unknown")
        elif self._empty >= _MAX_EMPTY:
            self._stop(f"{_after(self._marker)} is the {_MAX_EMPTY}th empty page in a row: the rest is unknown")
        else:
            self._remember(marker, page)

    def _remember(self, marker: str, page: str) -> None:
        self._marker, self._last_page = marker, page
        self._steps += 1
        if self._steps == self._stride:
            self._kept_marker, self._kept_page = marker, page
            self._steps, self._stride = 0, self._stride * 2

    def _stop(self, problem: str) -> None:
        self._problems.add(problem)
        self._over = True


def _after(marker: str) -> str:
    if not marker:
        return "the first page of the listing"
    return f"the page of the listing after {marker[:_SHOWN]!r}"


def _fingerprint(files: Sequence[ListedFile]) -> str:
    if not files:
        return ""
    digest = blake2b(digest_size=16)
    for file in files:
        digest.update(file.file_id.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()
