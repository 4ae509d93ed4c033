"""When a pass is called for: a fire slot that nobody took, one whose pass broke off, or a retry whose time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.db import claims, gates, leases, runs
from service.db.models import RunState
from service.usecases.claiming import SWEEP_LEASE

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime, timedelta

    from service.core.slots import Slots
    from service.db.engine import Database


def find_open_slot(database: Database, slots: Slots, now: datetime) -> datetime | None:
    """The latest slot, if no pass has taken it. Slots ahead of `now` (a clock that jumped) do not count."""
    slot = slots.latest_slot(now)
    with database.read() as session:
        run = runs.last_slot_run(session, now)
    return slot if run is None or run.slot_at is None or run.slot_at < slot else None


def broke_off(database: Database, patience: timedelta, now: datetime) -> bool:
    """The last pass that was started on time did not get through (a kill, a stop, an outage), and none after it did.

    One that runs gives signs of life; it counts as broken off when it has given none for `patience`.
    """
    with database.read() as session:
        run = runs.last_scheduled_run(session)
        full = runs.last_full_pass(session)
    if run is None or run.state in (RunState.DONE, RunState.STOPPED) or (full is not None and full.id > run.id):
        return False
    return run.state is not RunState.RUNNING or now - run.heartbeat_at > patience


def has_open_retries(database: Database, app_ids: Collection[str], patience: timedelta, now: datetime) -> bool:
    """Some file's time for another attempt has come, its app may be called, and no pass is under way already.

    Files in the hands of a pass that is silent for longer than `patience` count as well: a pass gives them back.
    """
    with database.read() as session:
        lease = leases.find_lease(session, SWEEP_LEASE)
        if lease is not None and lease.is_held(now, patience):
            return False
        if claims.list_stale_runs(session, now, patience):
            return True
        for lane in claims.list_due_lanes(session, now, only_retries=True):
            gate = gates.find_gate(session, *lane)
            if lane[0] in app_ids and not (gate is not None and gate.is_closed(now)):
                return True
    return False
