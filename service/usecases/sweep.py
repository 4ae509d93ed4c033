"""The sweep: one pass over everything that is due (docs/sweep.md).

One pass at a time, by lease: two would only share the same pace. A pass that dies leaves claims and open attempts
behind; the next one gives the files back and asks again, which is harmless.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.db import claims, leases, runs
from service.db.models import RunState, Trigger
from service.usecases.breaking import Stop
from service.usecases.claiming import SWEEP_LEASE, Admission, Pass, release_stale
from service.usecases.confirming import confirm_due, settle_confirmation
from service.usecases.deciding import decide_older, decide_streams
from service.usecases.erasing import settle_erasures
from service.usecases.holding import settle_holds
from service.usecases.lanes import Part, sweep_app
from service.usecases.turns import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from service.core.model import Lane
    from service.db.engine import Session
    from service.usecases.lanes import Sweeper

_APPS_AT_ONCE = 8

log = structlog.get_logger(__name__)


def run_pass(
    sweeper: Sweeper,
    trigger: Trigger,
    *,
    slot_at: datetime | None = None,
    approved_run: int | None = None,
    stop: threading.Event | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> int | None:
    """Carry out one pass and return its run's number; None when its slot was taken or it was stopped while waiting.

    A pass in progress is waited for (`on_wait` hears who holds it). `stop` ends the pass after the calls in flight.
    With `approved_run` only files that the plans of that run approve are asked for, as far as they are still due.

    Raises:
        DatabaseUnavailable: the database failed; what is open is repaired by the next pass.
    """
    stop = stop or threading.Event()
    fence = Turn(sweeper.database, SWEEP_LEASE, sweeper.name, sweeper.lease, sweeper.now).wait_for(stop, on_wait)
    if fence is None:
        return None
    try:
        with _signs_of_life(sweeper, fence, stop) as life:
            sweeper.database.transact(lambda session: release_stale(session, sweeper.lease, sweeper.now()))
            decide_older(sweeper.database, sweeper.now)
            cooling_off = sweeper.confirmer.cooling_off
            settle_confirmation(sweeper.database, cooling_off, confirm_all=sweeper.confirm_all, now=sweeper.now)
            settle_erasures(sweeper.database, sweeper.now)
            settle_holds(sweeper.database, sweeper.now)
            run_id = sweeper.database.transact(lambda session: _start(session, sweeper, fence, trigger, slot_at))
            if run_id is None:
                return None
            life.run_id = run_id
            sweep = Pass(run_id, fence, trigger is Trigger.RETRY, approved_run, sweeper.confirm_all)
            stops = _sweep_apps(sweeper, sweep, stop)
            decide_streams(sweeper.database, run_id, sweeper.now)
            if trigger not in (Trigger.RETRY, Trigger.APPROVAL):
                # After the deletions, which go first; what is confirmed now can go with the next pass.
                confirm_due(sweeper.confirmer, stop)
        _finish(sweeper, run_id, stops, interrupted=stop.is_set(), lost=life.lost)
        return run_id
    finally:
        sweeper.database.transact(lambda session: leases.release_lease(session, SWEEP_LEASE, fence, sweeper.now()))


def _start(session: Session, sweeper: Sweeper, fence: int, trigger: Trigger, slot_at: datetime | None) -> int | None:
    # One moment for both: whoever takes over an expired lease must not find the run behind it alive.
    now = sweeper.now()
    leases.renew_lease(session, SWEEP_LEASE, fence, now, sweeper.lease)
    row = runs.start_run(session, trigger, slot_at, sweeper.name, now)
    if row is not None:
        log.info("sweep_started", run=row.id, trigger=trigger.value)
    return row.id if row else None


def _finish(sweeper: Sweeper, run_id: int, stops: Sequence[Stop], *, interrupted: bool, lost: bool) -> None:
    state = RunState.INTERRUPTED if interrupted or lost else RunState.STOPPED if stops else RunState.DONE
    end = "its lease went to another process" if lost else "stopped by a signal" if interrupted else None
    note = "; ".join([*([end] if end else []), *(stop.sentence for stop in stops)]) or None

    def finish(session: Session) -> None:
        now = sweeper.now()
        claims.release_claims(session, run_id, "due; the pass ended before its turn", now)
        runs.finish_run(session, run_id, state, now, note)

    sweeper.database.transact(finish)
    with sweeper.database.read() as session:
        totals = runs.count_totals(session, run_id)
    counts = {outcome.value: count for outcome, count in totals.outcomes.items() if outcome}
    log.info("sweep_finished", run=run_id, state=state.value, calls=totals.calls, **counts)
    if totals.purges_failed:
        log.warning("purges_failed", run=run_id, files=totals.purges_failed)


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


def _sweep_apps(sweeper: Sweeper, sweep: Pass, stop: threading.Event) -> list[Stop]:
    """Sweep every app that has files due and that the breaker lets through; returns those that it stopped."""
    with sweeper.database.read() as session:
        lanes = claims.list_due_lanes(session, sweeper.now(), only_retries=sweep.only_retries)
    by_app: dict[str, list[Lane]] = {}
    for lane in lanes:
        if lane[0] in sweeper.apps:
            by_app.setdefault(lane[0], []).append(lane)
        else:
            log.error("app_not_configured", app=lane[0], vendor=lane[1].value)
    admissions, stops = _ask_breaker(sweeper, sweep, by_app, {app_id for app_id, _ in lanes} - by_app.keys())
    with ThreadPoolExecutor(_APPS_AT_ONCE, thread_name_prefix="app") as pool:
        parts = [
            Part(sweeper, sweep, by_app[app_id], admission, stop, set()) for app_id, admission in admissions.items()
        ]
        for future in [pool.submit(sweep_app, part) for part in parts]:
            future.result()
    return stops


def _ask_breaker(
    sweeper: Sweeper, sweep: Pass, app_ids: Collection[str], not_configured: Collection[str]
) -> tuple[dict[str, Admission], list[Stop]]:
    """Which apps may be swept, and which may not. A pass for retries or approved files takes up nothing new at first.

    Plans that nobody has to decide about any more lapse.
    """
    if sweep.only_retries or sweep.approved_run is not None:
        return {app_id: Admission(0) for app_id in app_ids}, []
    asked = {app_id: sweeper.breaker.ask(sweep.run_id, app_id) for app_id in app_ids}
    stops = [answer for answer in asked.values() if isinstance(answer, Stop)]
    sweeper.breaker.lapse(sweep.run_id, but={*not_configured, *(stop.app_id for stop in stops)})
    return {app_id: answer for app_id, answer in asked.items() if isinstance(answer, Admission)}, stops
