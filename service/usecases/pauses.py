"""What keeps an app's files from being asked for, in a sentence for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.core.model import Transport
from service.db import gates

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from service.db.engine import Database
    from service.db.gates import Gate


def list_pauses(database: Database, app_ids: Collection[str], now: datetime) -> list[Gate]:
    """The pauses of these apps that are not over."""
    with database.read() as session:
        found = gates.list_gates(session)
    return [gate for gate in found if gate.app_id in app_ids and not gate.blocked and gate.is_closed(now)]


def describe_gate(gate: Gate) -> str:
    """Who is not called, how long, and after what answer."""
    whom = f"app {gate.app_id}" if gate.vendor == gates.WHOLE_APP else f"app {gate.app_id}, vendor {gate.vendor}"
    how_long = f"pauses until {gate.until:%H:%M:%S} UTC" if not gate.blocked and gate.until else "is blocked"
    # The word for a call that was never sent says nothing that its message does not.
    parts = [gate.message] if gate.message and gate.code in set(Transport) else [gate.code, gate.message]
    why = " ".join(part for part in parts if part)
    return f"{whom} {how_long}" + (f": {why}" if why else "")
