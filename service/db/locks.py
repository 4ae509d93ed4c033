"""Locks that last until the transaction ends. On SQLite a write transaction is the lock already."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

_POLICY = "policy"
_STREAM_STRIPES = 256


def lock_policy_shared(session: Session) -> None:
    """Keep the rules in force from changing until this transaction ends."""
    _lock(session, "SELECT pg_advisory_xact_lock_shared(:key)", _POLICY)


def lock_policy_exclusive(session: Session) -> None:
    """Wait for every transaction that decides under the rules in force, and keep new ones out."""
    _lock(session, "SELECT pg_advisory_xact_lock(:key)", _POLICY)


def lock_streams(session: Session, streams: Iterable[tuple[str, str]]) -> None:
    """Keep others from ranking these streams (app, stream); in one order always, so none waits in a ring.

    Streams share a fixed number of locks: PostgreSQL has room for a few thousand in all.
    """
    stripes = {zlib.crc32(f"{app_id}/{stream_id}".encode()) % _STREAM_STRIPES for app_id, stream_id in streams}
    for stripe in sorted(stripes):
        _lock(session, "SELECT pg_advisory_xact_lock(:key)", f"stream/{stripe}")


def lock_holds_shared(session: Session, app_id: str) -> None:
    """Keep new holds of an app from being placed until this transaction ends."""
    _lock(session, "SELECT pg_advisory_xact_lock_shared(:key)", f"holds/{app_id}")


def lock_holds_exclusive(session: Session, app_id: str) -> None:
    """Wait for every transaction that claims files of an app, and keep new ones out."""
    _lock(session, "SELECT pg_advisory_xact_lock(:key)", f"holds/{app_id}")


def lock_name(session: Session, name: str) -> None:
    """Let one transaction at a time do the thing called `name`."""
    lock_name_on(session.connection(), name)


def lock_name_on(connection: Connection, name: str) -> None:
    """Let one transaction at a time do the thing called `name`, where there is no session."""
    _lock_on(connection, "SELECT pg_advisory_xact_lock(:key)", f"name/{name}")


def _lock(session: Session, statement: str, name: str) -> None:
    _lock_on(session.connection(), statement, name)


def _lock_on(connection: Connection, statement: str, name: str) -> None:
    if connection.dialect.name == "sqlite":
        return
    # Advisory locks are numbers; two names sharing one only wait for each other now and then.
    key = int.from_bytes(hashlib.sha256(f"zego-retention/{name}".encode()).digest()[:8], signed=True)
    connection.execute(text(statement), {"key": key})
