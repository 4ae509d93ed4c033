"""The sweep: one pass over everything that is due (docs/sweep.md).

One pass at a time, by lease: two would only share the same pace. A pass that dies leaves claims and open attempts
behind; the next one gives the files back and asks again, which is harmless.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.core.outcomes import SPLITTING_CODES
from service.core.plan import MAX_FILES_PER_CALL, plan_batches
from service.db import claims, gates, leases, runs
from service.db.models import RunState, Trigger
from service.usecases.calling import App, Caller
from service.usecases.claiming import SWEEP_LEASE, Claimed, Pass, claim_chunk, release_stale
from service.usecases.deciding import decide_older, decide_streams
from service.zego.request_url import url_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from service.core.model import Lane
    from service.db.claims import Cursor
    from service.db.engine import Database, Session
    from service.usecases.recording import Recorder

_CALLS_IN_FLIGHT = 4
_AT_ONCE = _CALLS_IN_FLIGHT * MAX_FILES_PER_CALL
_APPS_AT_ONCE = 8
_SHORT_PAUSE_S = 30.0
_LEASE_POLL_S = 0.2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweeper:
    """What a pass needs: the database, a way to ZEGO for every app, the follow-up, a clock, and its own name."""

    database: Database
    apps: Mapping[str, App]
    recorder: Recorder
    lease: timedelta
    now: Callable[[], datetime]
    name: str


def run_pass(
    sweeper: Sweeper,
    trigger: Trigger,
    *,
    slot_at: datetime | None = None,
    stop: threading.Event | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> int | None:
    """Carry out one pass and return its run's number; None when its slot was taken or it was stopped while waiting.

    A pass in progress is waited for (`on_wait` hears who holds it). `stop` ends the pass after the calls in flight.

    Raises:
        DatabaseUnavailable: the database failed; what is open is repaired by the next pass.
    """
    stop = stop or threading.Event()
    fence = _wait_for_lease(sweeper, stop, on_wait)
    if fence is None:
        return None
    try:
        with _signs_of_life(sweeper, fence, stop) as life:
            sweeper.database.transact(lambda session: release_stale(session, sweeper.lease, sweeper.now()))
            decide_older(sweeper.database, sweeper.now)
            run_id = sweeper.database.transact(lambda session: _start(session, sweeper, fence, trigger, slot_at))
            if run_id is None:
                return None
            life.run_id = run_id
            _sweep_apps(sweeper, Pass(run_id, fence, only_retries=trigger is Trigger.RETRY), stop)
            decide_streams(sweeper.database, run_id, sweeper.now)
        _finish(sweeper, run_id, stopped=stop.is_set(), lost=life.lost)
        return run_id
    finally:
        sweeper.database.transact(lambda session: leases.release_lease(session, SWEEP_LEASE, fence, sweeper.now()))


def _wait_for_lease(sweeper: Sweeper, stop: threading.Event, on_wait: Callable[[str], None] | None) -> int | None:
    told = False
    while not stop.is_set():
        fence = sweeper.database.transact(
            lambda session: leases.take_lease(session, SWEEP_LEASE, sweeper.name, sweeper.now(), sweeper.lease)
        )
        if fence is not None:
            return fence
        if on_wait and not told:
            with sweeper.database.read() as session:
                lease = leases.find_lease(session, SWEEP_LEASE)
            on_wait(lease.holder if lease else "another process")
            told = True
        stop.wait(_LEASE_POLL_S)
    return None


def _start(session: Session, sweeper: Sweeper, fence: int, trigger: Trigger, slot_at: datetime | None) -> int | None:
    # One moment for both: whoever takes over an expired lease must not find the run behind it alive.
    now = sweeper.now()
    leases.renew_lease(session, SWEEP_LEASE, fence, now, sweeper.lease)
    row = runs.start_run(session, trigger, slot_at, sweeper.name, now)
    if row is not None:
        log.info("sweep_started", run=row.id, trigger=trigger.value)
    return row.id if row else None


def _finish(sweeper: Sweeper, run_id: int, *, stopped: bool, lost: bool) -> None:
    state = RunState.INTERRUPTED if stopped or lost else RunState.DONE
    note = "its lease went to another process" if lost else "stopped by a signal" if stopped else None

    def finish(session: Session) -> None:
        now = sweeper.now()
        claims.release_claims(session, run_id, "due; the pass ended before its turn", now)
        runs.finish_run(session, run_id, state, now, note)

    sweeper.database.transact(finish)
    with sweeper.database.read() as session:
        totals = runs.count_totals(session, run_id)
    counts = {outcome.value: count for outcome, count in totals.outcomes.items() if outcome}
    log.info("sweep_finished", run=run_id, state=state.value, calls=totals.calls, **counts)


@dataclass(slots=True)
class _Life:
    """What a pass gives signs of life for: its lease and, once it has one, its run. `lost` says the lease is gone."""

    run_id: int | None = None
    lost: bool = False


@contextmanager
def _signs_of_life(sweeper: Sweeper, fence: int, stop: threading.Event) -> Iterator[_Life]:
    """Renew the lease and the run's heartbeat while the block runs; a lost lease stops the pass."""
    over, life = threading.Event(), _Life()

    def beat(session: Session) -> bool:
        now = sweeper.now()
        if life.run_id is not None:
            runs.beat(session, life.run_id, now)
        return leases.renew_lease(session, SWEEP_LEASE, fence, now, sweeper.lease)

    def keep_beating() -> None:
        while not over.wait(sweeper.lease.total_seconds() / 4):
            try:
                if not sweeper.database.transact(beat):
                    life.lost = True
                    stop.set()
                    return
            except Exception:  # the next beat may succeed; the lease decides
                log.exception("heartbeat_failed", run=life.run_id)

    thread = threading.Thread(target=keep_beating, name="signs-of-life", daemon=True)
    thread.start()
    try:
        yield life
    finally:
        over.set()
        thread.join()


def _sweep_apps(sweeper: Sweeper, sweep: Pass, stop: threading.Event) -> None:
    with sweeper.database.read() as session:
        lanes = claims.list_due_lanes(session, sweeper.now(), only_retries=sweep.only_retries)
    by_app: dict[str, list[Lane]] = {}
    for lane in lanes:
        if lane[0] in sweeper.apps:
            by_app.setdefault(lane[0], []).append(lane)
        else:
            log.error("app_not_configured", app=lane[0], vendor=lane[1].value)
    with ThreadPoolExecutor(_APPS_AT_ONCE, thread_name_prefix="app") as pool:
        for future in [pool.submit(_sweep_app, sweeper, sweep, lanes, stop) for lanes in by_app.values()]:
            future.result()


def _sweep_app(sweeper: Sweeper, sweep: Pass, lanes: Sequence[Lane], stop: threading.Event) -> None:
    app_id = lanes[0][0]
    app = sweeper.apps[app_id]
    caller = Caller(sweeper.database, app_id, app, sweeper.recorder, sweep, sweeper.now, stop)
    probed: set[str] = set()
    with ThreadPoolExecutor(_CALLS_IN_FLIGHT, thread_name_prefix=f"calls-{app_id}") as pool:
        for lane in lanes:
            _sweep_lane(sweeper, sweep, lane, caller, pool, stop, probed)


def _sweep_lane(
    sweeper: Sweeper,
    sweep: Pass,
    lane: Lane,
    caller: Caller,
    pool: ThreadPoolExecutor,
    stop: threading.Event,
    probed: set[str],
) -> None:
    """Work through what is due in one lane, as long as its gate lets calls through; `probed` is the app's own."""
    cursor: Cursor | None = None
    only_retries, sampled = sweep.only_retries, False
    while not stop.is_set():
        entry = _enter(sweeper, sweep, lane, stop, probed, sampled=sampled)
        if entry is None:
            return
        if entry.after_pause:
            # What the pause had stopped is taken up again, by a pass for retries as well.
            cursor, only_retries, sampled = None, False, True
        claim = partial(claim_chunk, sweep=sweep, lane=lane, limit=entry.limit, only_retries=only_retries)
        chunk = sweeper.database.transact(partial(claim, after=cursor, now=sweeper.now()))
        if chunk.cursor is None:
            return
        cursor = chunk.cursor
        if entry.probes and chunk.files:
            probed.add(entry.probes)
        # In a new order each time: bad ids that failed a whole call together must not meet again for ever.
        files = sorted(chunk.files, key=lambda _: sweeper.recorder.jitter())
        if entry.after_pause:
            cursor = None
            caller.give_back(files[entry.sample :])
            files = files[: entry.sample]
        _delete_chunk(sweeper.apps[lane[0]], lane, files, caller, pool, probe=entry.probes is not None)


@dataclass(frozen=True, slots=True)
class _Entry:
    """How a lane may be entered: how many files at once, as a probe of which gate, or after a pause with a sample."""

    limit: int
    probes: str | None = None
    sample: int = 0

    @property
    def after_pause(self) -> bool:
        """A pause is over, and a sample of what is due shows whether its cause is."""
        return self.sample > 0


def _enter(
    sweeper: Sweeper, sweep: Pass, lane: Lane, stop: threading.Event, probed: set[str], *, sampled: bool
) -> _Entry | None:
    """Look at the lane's gate: after trouble one file, or a random sample after a mere pause, shows whether it is over.

    The sample shrinks with every failure, so that one file that fails every call with it cannot hold up the others;
    where bisection looks for that file, it does not. A sample that neither opened nor closed the gate proved nothing:
    enough.
    A gate that blocks is probed once in a pass (`probed` remembers which), that of a whole app by one lane only.
    """
    with sweeper.database.read() as session:
        gate = gates.find_gate(session, *lane)
    if gate is None:
        return _Entry(_AT_ONCE)
    if gate.blocked:
        if gate.vendor in probed or sweep.only_retries:
            return None
        return _Entry(1, probes=gate.vendor)
    if gate.is_closed(sweeper.now()):
        if not _wait_out(gate, sweeper.now(), stop):
            return None
    elif sampled:
        return None
    shrunk = 0 if gate.code in SPLITTING_CODES else gate.failures - 1
    return _Entry(_AT_ONCE, sample=max(MAX_FILES_PER_CALL >> shrunk, 1))


def _delete_chunk(
    app: App, lane: Lane, files: Sequence[Claimed], caller: Caller, pool: ThreadPoolExecutor, *, probe: bool
) -> None:
    by_id = {file.file_id: file for file in files}
    overhead = app.deleter.url_overhead(lane[1])
    batches = plan_batches(by_id, overhead=overhead, cost=url_cost)
    futures = [
        pool.submit(caller.delete_batch, lane[1], [by_id[file_id] for file_id in batch], probe=probe)
        for batch in batches
    ]
    # Every batch is waited for before an error of one is raised: none may go on behind the pass's back.
    for error in [future.exception() for future in futures]:
        if error is not None:
            raise error


def _wait_out(gate: gates.Gate, now: datetime, stop: threading.Event) -> bool:
    """Wait until a short pause is over; False where it is not worth waiting for, or the pass was stopped."""
    seconds = (gate.until - now).total_seconds() if gate.until else 0.0
    if seconds > _SHORT_PAUSE_S:
        return False
    return not stop.wait(seconds)
