"""What a person asks of the inbox: show one callback, and judge stored ones again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.db import inbox
from service.usecases.ingest import Ingest, replay_callback
from service.usecases.listing import callback_as_json
from service.zego.envelope import Unreadable, read_envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.core.model import Verdict
    from service.db.engine import Database

_BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """One stored callback: its verdict, what was read of it (None: nothing could be), and its bytes as they came."""

    facts: dict[str, Any]
    fields: dict[str, Any] | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    """What judging a stored callback again changed."""

    callback_id: int
    before: Verdict
    after: Verdict
    reason: str


def show_callback(database: Database, callback_id: int) -> StoredCallback | None:
    """One stored callback; None if there is none of that number."""
    with database.read() as session:
        row = inbox.find_callback(session, callback_id)
        return (
            None if row is None else StoredCallback(callback_as_json(row), _fields(row.raw, row.content_type), row.raw)
        )


def list_to_replay(database: Database, verdict: Verdict | None) -> Iterator[int]:
    """The numbers of the callbacks of one verdict (None: of all), oldest first."""
    after = 0
    while True:
        with database.read() as session:
            batch = inbox.list_ids(session, verdict, after, _BATCH)
        if not batch:
            return
        yield from batch
        after = batch[-1]


def replay_callbacks(ingest: Ingest, callback_ids: Iterable[int]) -> Iterator[Replayed]:
    """Verify and understand stored callbacks again, with today's secrets and code; numbers of none are passed over."""
    for callback_id in callback_ids:
        with ingest.database.read() as session:
            row = inbox.find_callback(session, callback_id)
        if row is None:
            continue
        after = replay_callback(ingest, callback_id)
        with ingest.database.read() as session:
            now = inbox.find_callback(session, callback_id)
        if after is not None and now is not None:
            yield Replayed(callback_id, row.verdict, after, now.reason)


def find_missing(database: Database, callback_ids: Iterable[int]) -> list[int]:
    """Those of these numbers that no stored callback has."""
    with database.read() as session:
        return [callback_id for callback_id in callback_ids if inbox.find_callback(session, callback_id) is None]


def _fields(raw: bytes, content_type: str) -> dict[str, Any] | None:
    try:
        return dict(read_envelope(raw, content_type).fields)
    except Unreadable:
        return None
