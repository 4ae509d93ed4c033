"""Lists for people and scripts: files, callbacks, runs, as JSON objects.

Read in batches, each in a transaction of its own: whoever reads the output takes the time they like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from service.db import files, inbox, runs
from service.usecases.inventory import file_as_json, iso
from service.usecases.reports import run_as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.db.engine import Database, Session
    from service.db.files import FileFilter
    from service.db.inbox import CallbackFilter
    from service.db.models import CallbackRow

JsonObject: TypeAlias = dict[str, Any]

_BATCH = 500


def list_files(database: Database, wanted: FileFilter, limit: int | None = None) -> Iterator[JsonObject]:
    """Files by number."""

    def fetch(session: Session, last: int | None, size: int) -> list[JsonObject]:
        return [file_as_json(row) for row in files.list_files(session, wanted, size, after=last or 0)]

    return _in_batches(database, fetch, limit)


def list_callbacks(database: Database, wanted: CallbackFilter, limit: int | None = None) -> Iterator[JsonObject]:
    """Stored callbacks, the newest first."""

    def fetch(session: Session, last: int | None, size: int) -> list[JsonObject]:
        return [callback_as_json(row) for row in inbox.list_callbacks(session, wanted, size, before=last)]

    return _in_batches(database, fetch, limit)


def list_runs(database: Database, limit: int | None = None) -> Iterator[JsonObject]:
    """Passes with their totals, the newest first."""

    def fetch(session: Session, last: int | None, size: int) -> list[JsonObject]:
        return [run_as_json(session, row) for row in runs.list_runs(session, size, before=last)]

    return _in_batches(database, fetch, limit)


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
    }


def _in_batches(
    database: Database, fetch: Callable[[Session, int | None, int], list[JsonObject]], limit: int | None
) -> Iterator[JsonObject]:
    last: int | None = None
    while limit is None or limit > 0:
        size = _BATCH if limit is None else min(_BATCH, limit)
        with database.read() as session:
            batch = fetch(session, last, size)
        yield from batch
        if len(batch) < size:
            return
        last = batch[-1]["id"]
        limit = None if limit is None else limit - len(batch)
