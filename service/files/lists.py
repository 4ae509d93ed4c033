"""Lists of files: a page at a time, or all of them; and totals. Each page is read in a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.files import list_store
from service.files.list_store import FileFilter, Total
from service.files.store import find_file
from service.model import MediaFile, NoSuchThing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database

__all__ = ["FileFilter", "Total", "count_files", "list_files", "page_files", "read_one", "sum_up_files"]

_BATCH: Final = 500


def page_files(
    database: Database, wanted: FileFilter, limit: int, *, after: int = 0
) -> tuple[list[MediaFile], int | None]:
    """One page of files by number, beyond `after`, and the number to resume after: None at the end.

    It may hold fewer than `limit`, or none, although there are more.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        return list_store.list_page(tx, wanted, limit, after=after)


def list_files(
    database: Database, wanted: FileFilter, limit: int | None = None, *, after: int = 0
) -> Iterator[MediaFile]:
    """Files by number, beyond `after`, at most `limit`.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    left = limit
    resume: int | None = after
    while resume is not None and left != 0:
        files, resume = page_files(database, wanted, _BATCH if left is None else min(_BATCH, left), after=resume)
        yield from files
        left = None if left is None else left - len(files)


def read_one(database: Database, number: int) -> MediaFile:
    """One file.

    Raises:
        NoSuchThing: there is none of that number.
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        file = find_file(tx, number)
    if file is None:
        raise NoSuchThing(f"there is no file {number}: see `zego-retention files list`")
    return file


def count_files(database: Database, wanted: FileFilter) -> int:
    """How many files there are to list; looks at all of them, unless nothing but their state is asked for.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        return list_store.count_files(tx, wanted)


def sum_up_files(database: Database, wanted: FileFilter) -> list[Total]:
    """Totals by app, vendor and state; looks at all files.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        return list_store.sum_up(tx, wanted)
