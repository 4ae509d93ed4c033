"""What is answered 401 is kept for the day when a secret turns out to have been wrong (docs/callbacks.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.core.model import QUARANTINE_VERDICTS, Verdict
from service.db import inbox, locks
from service.db.engine import DatabaseUnavailable

if TYPE_CHECKING:
    from service.db.engine import Database, Session
    from service.db.inbox import NewCallback

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """How much the quarantine holds of one known app, and of all unknown apps together."""

    count: int = 1_000
    size_bytes: int = 8_000_000


def quarantine_callback(
    database: Database, limits: QuarantineLimits, new: NewCallback, verdict: Verdict, reason: str
) -> None:
    """Keep a callback that is FORGED or of an UNKNOWN_APP, capped, if the database can be reached.

    The oldest stay, for a flood must not wash out what came before it. A full quarantine is only read: a flood must not
    keep authentic callbacks from writing, either.
    """
    bucket = new.app_id if verdict is Verdict.FORGED else None

    def quarantine(session: Session) -> None:
        locks.lock_name(session, f"quarantine/{bucket}")
        if _has_room(session, limits, new, bucket):
            row, created = inbox.store_callback(session, new, verdict, reason)
            if not created and row.verdict in QUARANTINE_VERDICTS:
                row.repeats += 1

    try:
        with database.read() as session:
            has_room = _has_room(session, limits, new, bucket)
        if has_room:
            database.transact(quarantine)
        else:
            log.warning("quarantine_full", app=new.app_id)
    except DatabaseUnavailable as error:
        log.warning("quarantine_failed", app=new.app_id, error=str(error))


def _has_room(session: Session, limits: QuarantineLimits, new: NewCallback, bucket: str | None) -> bool:
    if inbox.is_stored(session, new):
        return True
    count, size = inbox.quarantine_usage(session, bucket)
    return count < limits.count and size + len(new.raw) <= limits.size_bytes
