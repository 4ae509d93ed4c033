"""What a person asks of the inbox: show one callback, and judge stored ones again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.db import audit, inbox
from service.usecases.ingest import Ingest, replay_callback
from service.usecases.listing import callback_as_json
from service.zego.envelope import Unreadable, read_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.core.model import Actor, Verdict
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


@dataclass(frozen=True, slots=True)
class EveryCallback(Iterable[int]):
    """The numbers of all callbacks of one verdict (None: of all), oldest first, read when they are asked for."""

    database: Database
    verdict: Verdict | None

    def __iter__(self) -> Iterator[int]:
        """Read them in batches: whoever goes through them takes the time they like."""
        after = 0
        while True:
            with self.database.read() as session:
                batch = inbox.list_ids(session, self.verdict, after, _BATCH)
            if not batch:
                return
            yield from batch
            after = batch[-1]


def list_to_replay(database: Database, verdict: Verdict | None) -> EveryCallback:
    """The numbers of the callbacks of one verdict (None: of all), oldest first."""
    return EveryCallback(database, verdict)


def page_to_replay(database: Database, verdict: Verdict, limit: int, *, after: int = 0) -> list[int]:
    """The numbers of the next callbacks of one verdict, oldest first, beyond `after`."""
    with database.read() as session:
        return inbox.list_ids(session, verdict, after, limit)


def replay_callbacks(ingest: Ingest, callback_ids: Iterable[int], actor: Actor) -> Iterator[Replayed]:
    """Verify and understand stored callbacks again, with today's secrets and code; numbers of none are passed over.

    The audit tells of it before the first one is judged, and of what came of it after the last one.
    """
    chosen = callback_ids if isinstance(callback_ids, EveryCallback) else tuple(callback_ids)
    subject, detail = _describe_choice(chosen)
    _write_down(ingest, actor, "replay_callbacks", subject, detail)
    changes: Counter[str] = Counter()
    try:
        for callback_id in chosen:
            replayed = _replay_one(ingest, callback_id)
            if replayed is not None:
                changes[f"{replayed.before} to {replayed.after}"] += 1
                yield replayed
    finally:
        counts = {"judged": changes.total(), "verdicts": dict(changes)}
        _write_down(ingest, actor, "finish_replay", subject, counts)


def retry_set_aside(ingest: Ingest, apps: Iterable[str] | None = None) -> int:
    """Judge again what waits for a listing to show its file; returns how many callbacks have found theirs.

    For these apps (None: all that are configured), in batches. Nothing is doubled, whenever and however often it is
    called; what spoke against a callback still does.
    """
    return sum(_retry_app(ingest, app_id) for app_id in (ingest.secrets if apps is None else apps))


def _retry_app(ingest: Ingest, app_id: str) -> int:
    found = after = 0
    while True:
        with ingest.database.read() as session:
            batch = inbox.list_set_aside(session, app_id, after, _BATCH)
        if not batch:
            return found
        found += sum(_finds_file(ingest, callback_id) for callback_id in batch)
        after = batch[-1]


def _finds_file(ingest: Ingest, callback_id: int) -> bool:
    replay_callback(ingest, callback_id)
    with ingest.database.read() as session:
        row = inbox.find_callback(session, callback_id)
        return row is not None and row.media_file_id is not None


def _replay_one(ingest: Ingest, callback_id: int) -> Replayed | None:
    with ingest.database.read() as session:
        row = inbox.find_callback(session, callback_id)
    if row is None:
        return None
    after = replay_callback(ingest, callback_id)
    with ingest.database.read() as session:
        now = inbox.find_callback(session, callback_id)
    return None if after is None or now is None else Replayed(callback_id, row.verdict, after, now.reason)


def _describe_choice(chosen: EveryCallback | tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    """The subject and the detail of the audit's entry."""
    match chosen:
        case EveryCallback(verdict=None):
            return "all callbacks", {}
        case EveryCallback(verdict=verdict):
            return f"{verdict} callbacks", {"verdict": str(verdict)}
        case (only,):
            return f"callback {only}", {"callbacks": [only]}
        case _:
            return f"{len(chosen)} callbacks", {"callbacks": list(chosen)}


def _write_down(ingest: Ingest, actor: Actor, action: str, subject: str, detail: dict[str, Any]) -> None:
    now = ingest.now()
    ingest.database.transact(lambda session: audit.add_entry(session, actor, action, subject, now, detail))


def find_missing(database: Database, callback_ids: Iterable[int]) -> list[int]:
    """Those of these numbers that no stored callback has."""
    with database.read() as session:
        return [callback_id for callback_id in callback_ids if inbox.find_callback(session, callback_id) is None]


def find_pruned(database: Database, callback_ids: Iterable[int]) -> list[int]:
    """Those of these callbacks whose body was dropped."""
    with database.read() as session:
        rows = [inbox.find_callback(session, callback_id) for callback_id in callback_ids]
    return [row.id for row in rows if row is not None and row.pruned_at is not None]


def _fields(raw: bytes, content_type: str) -> dict[str, Any] | None:
    try:
        return dict(read_envelope(raw, content_type).fields)
    except Unreadable:
        return None
