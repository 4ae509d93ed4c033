"""Asking the worker for a pass: whoever asks does not wait for it, and need not run on its machine (docs/worker.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from service.db import audit, leases
from service.db.models import Trigger
from service.usecases.inventory import iso

if TYPE_CHECKING:
    from datetime import datetime

    from service.core.model import Actor
    from service.db.engine import Database, Session

_PREFIX: Final = "request/"
_WHOLE: Final = "sweep"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PassRequest:
    """A pass that somebody asked for: over everything due, or over the approved plans of one run."""

    approved_run: int | None

    @property
    def trigger(self) -> Trigger:
        """What the pass goes on record as."""
        return Trigger.COMMAND if self.approved_run is None else Trigger.APPROVAL


def request_pass(database: Database, actor: Actor, now: datetime, approved_run: int | None = None) -> dict[str, Any]:
    """Ask for a pass; the worker starts it within seconds, or when it is back. Asked for twice, it runs once."""
    request = PassRequest(approved_run)
    name = _WHOLE if approved_run is None else str(approved_run)

    def ask(session: Session) -> None:
        leases.leave_mark(session, _PREFIX + name, actor.name, now)
        subject = "sweep" if approved_run is None else f"run {approved_run}"
        audit.add_entry(session, actor, "request_sweep", subject, now)

    database.transact(ask)
    return {
        "trigger": request.trigger.value,
        "approved_run": approved_run,
        "requested_at": iso(now),
        "requested_by": actor.name,
    }


def take_requests(database: Database) -> list[PassRequest]:
    """The passes asked for, each given to one worker only, those of approved plans first.

    A worker that is killed before its pass takes the request with it; what was due then is still due at the next slot.
    """
    with database.read() as session:
        if not leases.list_leases(session, _PREFIX):
            return []
    taken = database.transact(lambda session: leases.take_marks(session, _PREFIX))
    for name, holder in taken:
        log.info("sweep_requested", by=holder, request=name.removeprefix(_PREFIX))
    wanted = [name.removeprefix(_PREFIX) for name, _ in taken]
    return [PassRequest(None if name == _WHOLE else int(name)) for name in sorted(wanted, key=lambda n: n == _WHOLE)]
