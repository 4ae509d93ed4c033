"""Lists for people and scripts: files, callbacks, runs, as JSON objects.

Read in batches, each in a transaction of its own: whoever reads the output takes the time they like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.db import files, inbox, runs
from service.usecases.batches import read_in_batches
from service.usecases.inventory import attempt_as_json, file_as_json, iso
from service.usecases.reports import run_as_json
from service.usecases.run_details import call_as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.db.engine import Database, Session
    from service.db.files import FileFilter
    from service.db.inbox import CallbackFilter
    from service.db.models import CallbackRow, MediaFileRow
    from service.usecases.batches import JsonObject


def list_files(database: Database, wanted: FileFilter, limit: int | None = None) -> Iterator[JsonObject]:
    """Files by number."""

    def fetch(session: Session, last: int, size: int) -> list[JsonObject]:
        return [file_as_json(row) for row in files.list_files(session, wanted, size, after=last)]

    return read_in_batches(database, fetch, 0, limit)


def page_files(
    database: Database, wanted: FileFilter, limit: int, *, after: int = 0
) -> tuple[list[JsonObject], int | None]:
    """One page of files by number, beyond `after`, and the number to go on after: None at the end.

    A page costs the same at any depth; so where few files fit, it may hold fewer than `limit`.
    """
    with database.read() as session:
        rows, further = files.page_files(session, wanted, limit, after=after)
        return [file_as_json(row) for row in rows], further


def show_file(database: Database, file_key: int) -> JsonObject | None:
    """One file; None if there is none of that number."""
    with database.read() as session:
        row = files.find_file(session, file_key)
        return None if row is None else file_as_json(row)


def list_callbacks(
    database: Database, wanted: CallbackFilter, limit: int | None = None, *, before: int | None = None
) -> Iterator[JsonObject]:
    """Stored callbacks, the newest first, those below `before`."""

    def fetch(session: Session, last: int, size: int) -> list[JsonObject]:
        return [callback_as_json(row) for row in inbox.list_callbacks(session, wanted, size, before=last or None)]

    return read_in_batches(database, fetch, before or 0, limit)


def list_runs(database: Database, limit: int | None = None, *, before: int | None = None) -> Iterator[JsonObject]:
    """Passes with their totals, the newest first, those below `before`."""

    def fetch(session: Session, last: int, size: int) -> list[JsonObject]:
        return [run_as_json(session, row) for row in runs.list_runs(session, size, before=last or None)]

    return read_in_batches(database, fetch, before or 0, limit)


def list_run_files(
    database: Database, run_id: int, limit: int | None = None, *, after: int = 0
) -> Iterator[JsonObject]:
    """What one pass did to each file, attempt by attempt, by the number of the attempt beyond `after`."""

    def fetch(session: Session, last: int, size: int) -> list[JsonObject]:
        found = runs.list_run_attempts(session, run_id, size, after=last)
        purges = runs.find_cache_codes(session, run_id=run_id)
        return [attempt_as_json(attempt, purges) | _names(file) for attempt, file in found]

    return read_in_batches(database, fetch, after, limit)


def list_run_calls(
    database: Database, run_id: int, limit: int | None = None, *, after: int = 0
) -> Iterator[JsonObject]:
    """The calls of one pass in their order, by the number of the call beyond `after`."""

    def fetch(session: Session, last: int, size: int) -> list[JsonObject]:
        return [call_as_json(row) for row in runs.list_calls(session, run_id, size, after=last)]

    return read_in_batches(database, fetch, after, limit)


def _names(row: MediaFileRow) -> JsonObject:
    return {"stream_id": row.stream_id, "vendor": row.vendor.value, "file_id": row.file_id}


def callback_as_json(row: CallbackRow) -> JsonObject:
    """A stored callback without its body, as `--json` shows it."""
    return {
        "id": row.id,
        "app_id": row.app_id,
        "event": row.event,
        "received_at": iso(row.received_at),
        "verdict": row.verdict.value,
        "reason": row.reason,
        "finished_at": iso(row.finished_at),
        "repeats": row.repeats,
        "file": row.media_file_id,
        "content_type": row.content_type,
        "pruned_at": iso(row.pruned_at),
    }
