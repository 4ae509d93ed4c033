"""Gates: why an app, or one vendor of it, is not called at the moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from service.db.models import GateRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from service.core.model import Vendor

WHOLE_APP = "*"


@dataclass(frozen=True, slots=True)
class Gate:
    """A closed gate: `blocked` until somebody acts and a probe succeeds, or a pause `until` a moment."""

    app_id: str
    vendor: str
    blocked: bool
    since: datetime
    until: datetime | None
    failures: int
    code: str
    message: str

    def is_closed(self, now: datetime) -> bool:
        """No call may pass now, except one probe per pass where the app is blocked."""
        # A pause that begins in the future was decided under a clock that has jumped back since.
        return self.blocked or (self.until is not None and self.since <= now < self.until)


def list_gates(session: Session) -> list[Gate]:
    """Every gate that stands, blocked ones and pauses."""
    return [_gate(row) for row in session.scalars(select(GateRow).order_by(GateRow.app_id, GateRow.vendor))]


def find_gate(session: Session, app_id: str, vendor: Vendor) -> Gate | None:
    """The gate that stands before this app and vendor: a block first, for a pause may be over; then the app's own."""
    query = select(GateRow).where(GateRow.app_id == app_id, GateRow.vendor.in_([WHOLE_APP, vendor.value]))
    rows = sorted(session.scalars(query), key=lambda row: (not row.blocked, row.vendor != WHOLE_APP))
    return _gate(rows[0]) if rows else None


def block(session: Session, app_id: str, vendor: Vendor | None, now: datetime, code: str, message: str) -> None:
    """Close an app (or one vendor of it) until a probe succeeds."""
    _close(session, app_id, vendor, now, code, message, blocked=True, until=None)


def pause(session: Session, app_id: str, now: datetime, until: datetime, code: str, message: str) -> None:
    """Close a whole app until a moment; a block that stands stays."""
    _close(session, app_id, None, now, code, message, blocked=False, until=until)


def open_gates(session: Session, app_id: str, vendor: Vendor) -> bool:
    """A call of this app and vendor succeeded: whatever stood before them is over. True if something stood there."""
    query = delete(GateRow).where(GateRow.app_id == app_id, GateRow.vendor.in_([WHOLE_APP, vendor.value]))
    return bool(session.execute(query).rowcount)  # type: ignore[attr-defined]


def _close(
    session: Session,
    app_id: str,
    vendor: Vendor | None,
    now: datetime,
    code: str,
    message: str,
    *,
    blocked: bool,
    until: datetime | None,
) -> None:
    key = (app_id, vendor.value if vendor else WHOLE_APP)
    row = session.get(GateRow, key, with_for_update=True)
    if row is None:
        row = GateRow(
            app_id=key[0], vendor=key[1], since=now, failures=0, blocked=False, until=None, code="", message=""
        )
        session.add(row)
    row.failures += 1
    row.code, row.message = code, message
    if blocked and not row.blocked:
        row.blocked, row.since, row.until = True, now, None
    elif not row.blocked:
        row.until = max(until, row.until) if until and row.until else until
    session.flush()


def _gate(row: GateRow) -> Gate:
    return Gate(row.app_id, row.vendor, row.blocked, row.since, row.until, row.failures, row.code, row.message)
