"""Looking at a database without changing it: is it there, and would it take a write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import false, update

from service.db.models import LeaseRow

if TYPE_CHECKING:
    from service.db.engine import Database


def find_missing_file(database: Database) -> Path | None:
    """The file of an SQLite database that does not exist yet; None where there is one, or no file at all.

    To be asked before anything connects: connecting creates the file.
    """
    if not database.is_sqlite or not database.url.database:
        return None
    path = Path(database.url.database)
    return None if path.exists() else path


def can_create(path: Path) -> bool:
    """Whether a file of this path could be created, its folders included."""
    nearest = next((folder for folder in path.absolute().parents if folder.exists()), None)
    return nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def prove_writable(database: Database) -> None:
    """Begin a write that changes no row.

    Raises:
        DatabaseUnavailable: the database would not take it (read-only, full, locked, no privilege).
    """
    database.transact(lambda session: session.execute(update(LeaseRow).where(false()).values(holder="")))
