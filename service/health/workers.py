"""Whether a worker is running, and its sweeps are in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from service.health import store
from service.leader.process import is_dead
from service.leader.store import LeaderRow, find_leader
from service.sweep.records import RunState
from service.units import describe_moment

if TYPE_CHECKING:
    from datetime import datetime

    from service.database import Database
    from service.schedule import Slots

_INSTANT: Final = timedelta(microseconds=1)
_START_ONE: Final = "start one with `zego-retention worker` (or `serve`)"


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """Whether some worker is running and its sweeps are in time; `text` says it in a sentence."""

    is_well: bool
    text: str


def judge_worker(database: Database, slots: Slots | None, lease: timedelta, now: datetime) -> WorkerHealth:
    """Look for a process that leads, and whether its sweeps are in time: at most two slots and `lease` late.

    `slots` is None where no sweep starts by itself.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        leader = find_leader(tx)
        last = store.find_last_sweep(tx)
    if leader is None or not is_leading(leader, lease, now):
        return WorkerHealth(False, _describe_silence(leader))
    alive = f"worker {leader.holder} is running"
    if slots is None:
        return WorkerHealth(True, f"{alive}; sweeps are off (ZEGO_RETENTION_SWEEP_EVERY)")
    if last is None:
        return WorkerHealth(False, f"{alive}, but no sweep has started yet; its log says why")
    if last.state is RunState.RUNNING:
        return WorkerHealth(True, f"{alive}; run {last.id} is in progress")
    sweep = f"the last sweep began at {describe_moment(last.started_at)}"
    if last.started_at < find_late_slot(slots, lease, now):
        return WorkerHealth(False, f"{alive}, but {sweep}, too long ago; its log says why")
    return WorkerHealth(True, f"{alive}; {sweep}")


def is_leading(leader: LeaderRow, lease: timedelta, now: datetime) -> bool:
    """Whether the process of the leader's row has given a sign of life within its lease."""
    recent = leader.renewed_at is not None and now - leader.renewed_at <= lease
    return bool(leader.holder) and recent and not is_dead(leader.process)


def find_late_slot(slots: Slots, lease: timedelta, now: datetime) -> datetime:
    """The slot before the last one: a sweep that began earlier is late.

    One slot may pass while a long sweep is still under way; two without one mean that nobody sweeps.
    """
    return slots.last_slot(slots.last_slot(now - lease) - _INSTANT)


def _describe_silence(leader: LeaderRow | None) -> str:
    if leader is None or leader.renewed_at is None:
        return f"no worker is running; {_START_ONE}"
    return f"no worker is running: the last sign of life was at {describe_moment(leader.renewed_at)}; {_START_ONE}"
