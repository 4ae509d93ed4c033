"""The lanes of one app in a pass: chunk after chunk of what is due, as long as the gate lets calls through."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.core.outcomes import SPLITTING_CODES
from service.core.plan import MAX_FILES_PER_CALL, plan_batches
from service.db import gates
from service.usecases.breaking import Breaker
from service.usecases.calling import Caller
from service.usecases.claiming import claim_chunk
from service.zego.request_url import url_cost

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from service.core.breaker import Limits
    from service.core.model import Lane
    from service.db.claims import Cursor
    from service.db.engine import Database
    from service.usecases.calling import App
    from service.usecases.claiming import Admission, Claimed, Pass
    from service.usecases.confirming import Confirmer
    from service.usecases.recording import Recorder

_CALLS_IN_FLIGHT = 4
_AT_ONCE = _CALLS_IN_FLIGHT * MAX_FILES_PER_CALL
_SHORT_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Sweeper:
    """What a pass needs: the database, a way to ZEGO for every app, the follow-up, a clock, and its own name.

    With `confirm_all` only files that a listing or a person has confirmed go.
    """

    database: Database
    apps: Mapping[str, App]
    recorder: Recorder
    lease: timedelta
    now: Callable[[], datetime]
    name: str
    limits: Limits
    confirmer: Confirmer
    confirm_all: bool

    @property
    def breaker(self) -> Breaker:
        """What stands between a pass and too many files that nobody approved."""
        return Breaker(self.database, self.limits, self.now)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a pass that concerns one app; `probed` names its gates that were tried."""

    sweeper: Sweeper
    sweep: Pass
    lanes: Sequence[Lane]
    admission: Admission
    stop: threading.Event
    probed: set[str]

    @property
    def app_id(self) -> str:
        """The app."""
        return self.lanes[0][0]


def sweep_app(part: Part) -> None:
    """Work through what is due of one app, one lane after the other."""
    sweeper, app_id = part.sweeper, part.app_id
    app = sweeper.apps[app_id]
    caller = Caller(sweeper.database, app_id, app, sweeper.recorder, part.sweep, sweeper.now, part.stop)
    with ThreadPoolExecutor(_CALLS_IN_FLIGHT, thread_name_prefix=f"calls-{app_id}") as pool:
        for lane in part.lanes:
            _sweep_lane(part, lane, caller, pool)


def _sweep_lane(part: Part, lane: Lane, caller: Caller, pool: ThreadPoolExecutor) -> None:
    """Work through what is due in one lane, as long as its gate lets calls through."""
    sweeper, sweep, admission = part.sweeper, part.sweep, part.admission
    cursor: Cursor | None = None
    only_retries, sampled = sweep.only_retries, False
    while not part.stop.is_set():
        entry = _enter(part, lane, sampled=sampled)
        if entry is None:
            return
        if entry.after_pause:
            # What the pause had stopped is taken up again, by a pass for retries as well.
            cursor, sampled = None, True
            if only_retries:
                only_retries = False
                admission.widen(sweeper.breaker.find_room(part.app_id))
        claim = partial(
            claim_chunk, sweep=sweep, lane=lane, admission=admission, limit=entry.limit, only_retries=only_retries
        )
        chunk = sweeper.database.transact(partial(claim, after=cursor, now=sweeper.now()))
        if chunk.cursor is None:
            return
        cursor = chunk.cursor
        if entry.probes and chunk.files:
            part.probed.add(entry.probes)
        # In a new order each time: bad ids that failed a whole call together must not meet again for ever.
        files = sorted(chunk.files, key=lambda _: sweeper.recorder.jitter())
        if entry.after_pause:
            cursor = None
            caller.give_back(files[entry.sample :])
            files = files[: entry.sample]
        admission.note(files)
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


def _enter(part: Part, lane: Lane, *, sampled: bool) -> _Entry | None:
    """Look at the lane's gate: after trouble one file, or a random sample after a mere pause, shows whether it is over.

    The sample shrinks with every failure, so that one file that fails every call with it cannot hold up the others;
    where bisection looks for that file, it does not. A sample that neither opened nor closed the gate proved nothing:
    enough.
    A gate that blocks is probed once in a pass, that of a whole app by one lane only.
    """
    sweeper = part.sweeper
    with sweeper.database.read() as session:
        gate = gates.find_gate(session, *lane)
    if gate is None:
        return _Entry(_AT_ONCE)
    if gate.blocked:
        if gate.vendor in part.probed or part.sweep.only_retries:
            return None
        return _Entry(1, probes=gate.vendor)
    if gate.is_closed(sweeper.now()):
        if not _wait_out(gate, sweeper.now(), part.stop):
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
