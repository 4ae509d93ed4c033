"""Whether callbacks can be taken durably now, and whether a worker is at work (docs/operations.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.db import leases, runs
from service.usecases.inventory import iso

if TYPE_CHECKING:
    from service.core.slots import Slots
    from service.db.engine import Database, Session
    from service.db.leases import Lease

READINESS_MARK = "readyz"
WORKER_LEASES = "worker/"
"""Each worker process renews a lease of this name and its own: `worker/<host>/<pid>`."""

BEAT_LEASE = timedelta(seconds=60)
_FORGET_AFTER = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """Whether some worker is alive and its sweeps are in time; `detail` says it in a sentence."""

    is_well: bool
    detail: str


def prove_durable(database: Database, holder: str, now: datetime) -> None:
    """Write and commit, exactly as taking in a callback would.

    Raises:
        DatabaseUnavailable: it did not work.
    """
    database.transact(lambda session: leases.leave_mark(session, READINESS_MARK, holder, now))


def beat_worker(database: Database, name: str, fence: int | None, now: datetime) -> int | None:
    """Give a worker's sign of life; returns the fence to give back at the next beat."""

    def beat(session: Session) -> int | None:
        lease = WORKER_LEASES + name
        if fence is not None and leases.renew_lease(session, lease, fence, now, BEAT_LEASE):
            return fence
        leases.forget_leases(session, WORKER_LEASES, now - _FORGET_AFTER)
        return leases.take_lease(session, lease, name, now, BEAT_LEASE)

    return database.transact(beat)


def end_beats(database: Database, name: str, fence: int, now: datetime) -> None:
    """A worker ends as it should: it is known at once that it is gone."""
    database.transact(lambda session: leases.release_lease(session, WORKER_LEASES + name, fence, now))


def judge_worker(database: Database, slots: Slots, patience: timedelta, now: datetime) -> WorkerHealth:
    """Look for a worker that is alive, and whether the sweeps are in time: at most two slots and `patience` late.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as session:
        known = leases.list_leases(session, WORKER_LEASES)
        running = runs.running_run(session)
        taken = runs.latest_slot_taken(session)
    alive = [lease for lease in known if lease.holder and lease.expires_at > now]
    if not alive:
        return WorkerHealth(False, _describe_silence(known))
    holders = ", ".join(sorted(lease.holder for lease in alive))
    if running is not None and now - running.heartbeat_at <= patience:
        return WorkerHealth(True, f"worker {holders} is alive; run {running.id} is in progress")
    if taken is None:
        return WorkerHealth(False, f"worker {holders} is alive, but no sweep has started yet")
    late = f"the last sweep was that of {iso(taken)}"
    if taken < _slot_before_last(slots, now - patience):
        return WorkerHealth(False, f"worker {holders} is alive, but {late}; its log says why")
    return WorkerHealth(True, f"worker {holders} is alive; {late}")


def _slot_before_last(slots: Slots, now: datetime) -> datetime:
    return slots.latest_slot(slots.latest_slot(now) - _INSTANT)


def _describe_silence(known: list[Lease]) -> str:
    start = "start one with `zego-retention worker` (or `serve`)"
    if not known:
        return f"no worker is running; {start}"
    last = max(known, key=lambda lease: lease.renewed_at)
    name = last.name.removeprefix(WORKER_LEASES)
    return f"no worker is running: the last sign of life was that of {name} at {iso(last.renewed_at)}; {start}"
