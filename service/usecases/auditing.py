"""The audit: reading it, chaining it, and proving that nothing in it was altered (docs/audit.md)."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from service.core.chain import START, Entry, Head, Link, canonical_time, check_chain
from service.core.model import Actor
from service.db import audit, locks
from service.usecases.batches import read_in_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from service.db.engine import Database, Session

_BATCH = 500


class AuditAction(StrEnum):
    """What is written into the audit: every kind of change; documented in docs/audit.md."""

    APPLY_RULES = "apply_rules"
    PLACE_HOLD = "place_hold"
    RELEASE_HOLD = "release_hold"
    REQUEST_ERASURE = "request_erasure"
    APPROVE_PLAN = "approve_plan"
    RETRY_FILES = "retry_files"
    CONFIRM_FILES = "confirm_files"
    REQUEST_SWEEP = "request_sweep"
    REPLAY_CALLBACKS = "replay_callbacks"
    FINISH_REPLAY = "finish_replay"
    CREATE_TOKEN = "create_token"  # noqa: S105  (the name of an action)
    REVOKE_TOKEN = "revoke_token"  # noqa: S105  (the name of an action)
    START_SERVICE = "start_service"


_START_SERVICE = AuditAction.START_SERVICE.value


@dataclass(frozen=True, slots=True)
class Verified:
    """What walking the chain found: how far it is right, entries not chained yet, and the first thing wrong, if any."""

    head: Head
    unchained: int
    fault: str | None

    def as_json(self) -> dict[str, Any]:
        """The form of `audit verify --json`."""
        return {
            "entries": self.head.position,
            "head": str(self.head),
            "unchained": self.unchained,
            "fault": self.fault,
        }


def chain_entries(database: Database) -> int:
    """Link every entry that is not in the chain yet; returns how many. One writer at a time, in short transactions."""
    with database.read() as session:
        first = audit.find_unlinked(session)
    linked = 0
    while first is not None:
        batch = _chain_batch(database, first)
        linked += len(batch)
        first = batch[-1] + 1 if len(batch) == _BATCH else None
    return linked


def _chain_batch(database: Database, first: int) -> list[int]:
    def link(session: Session) -> list[int]:
        locks.lock_name(session, "audit chain")
        return audit.link_entries(session, first, _BATCH)

    return database.transact(link)


def verify_chain(database: Database, noted: Head | None = None) -> Verified:
    """Walk the whole chain; a `noted` head has to be in it still.

    Whoever can write the database can rewrite the whole chain, but not a head that was noted elsewhere.
    """
    head, fault = START, None
    while fault is None:
        links = _read_links(database, head.position)
        if not links:
            break
        head, fault = check_chain(head, links, noted)
    with database.read() as session:
        unchained = audit.count_unlinked(session)
    if fault is None and noted is not None and noted.position > head.position:
        fault = (
            f"the chain ends at position {head.position}, before the head noted: its last entries were removed,"
            " or the head given is not of this database"
        )
    return Verified(head, unchained, fault)


def _read_links(database: Database, after: int) -> list[Link]:
    """The next links; alone, without its entry, one whose entry cannot even be read (its time is none)."""
    for size in (_BATCH, 1):
        with database.read() as session, suppress(ValueError):
            return audit.list_links(session, after, size)
    with database.read() as session:
        return audit.list_bare_links(session, after, 1)


def list_entries(
    database: Database, *, after: int = 0, limit: int | None = None, action: str | None = None
) -> Iterator[dict[str, Any]]:
    """Entries, the newest first; `after` is the number of the last one seen (0: none), `action` one kind of change."""
    kind = None if action is None else str(action)  # a plain text for the driver

    def fetch(session: Session, last: int, size: int) -> list[dict[str, Any]]:
        return [entry_as_json(*each) for each in audit.list_entries(session, size, before=last or None, action=kind)]

    return read_in_batches(database, fetch, after, limit)


def export_entries(database: Database, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Every entry, or those from a moment on, by number."""

    def fetch(session: Session, last: int, size: int) -> list[dict[str, Any]]:
        return [entry_as_json(*each) for each in audit.list_forward(session, size, after=last, since=since)]

    return read_in_batches(database, fetch, 0, None)


def entry_as_json(entry: Entry, place: Head | None) -> dict[str, Any]:
    """An entry as the API and `--json` show it (docs/api.md, "An audit entry")."""
    return {
        "id": entry.id,
        "at": canonical_time(entry.at),
        "actor": entry.actor,
        "through": entry.through,
        "action": entry.action,
        "subject": entry.subject,
        "detail": _read_detail(entry.detail),
        "position": place and place.position,
        "hash": place and place.hash,
    }


def record_start(database: Database, process: str, seen: Mapping[str, Any], now: datetime) -> bool:
    """Write down what a process ("web", "worker") sees at its start, unless the last start of its kind saw the same.

    `seen` must hold no secret. Returns whether an entry was written.
    """
    told = audit.format_detail(seen)

    def record(session: Session) -> bool:
        locks.lock_name(session, f"start of {process}")
        if audit.last_detail(session, _START_SERVICE, process) == told:
            return False
        audit.add_entry(session, Actor("settings", process), "start_service", process, now, seen)
        return True

    with database.read() as session:
        is_known = audit.last_detail(session, _START_SERVICE, process) == told
    return not is_known and database.transact(record)


def _read_detail(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:  # tampered with: to be shown as it is, for `verify` to tell
        return text
