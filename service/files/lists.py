"""All files that fit a filter, read page after page, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from service.database import Database
from service.files.list_store import list_page
from service.filters import FileFilter
from service.model import MediaFile

_BATCH: Final = 500


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
        with database.read() as tx:
            files, resume = list_page(tx, wanted, _BATCH if left is None else min(_BATCH, left), after=resume)
        yield from files
        left = None if left is None else left - len(files)
