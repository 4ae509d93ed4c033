"""One app in a pass of the sweep: claim, send, record, while there is something to claim."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from service.database import DatabaseUnavailable, Transaction
from service.model import Vendor
from service.sweep import store
from service.sweep.answers import SPLITTING_CODES, Effect, Reading, read_answer, spare_files
from service.sweep.bisect import MAX_FILES_PER_CALL, bisect
from service.sweep.claim import ROOM, NoCall, OpenCall, Want, claim_call, drop_call
from service.sweep.pace import Pace, send_call
from service.sweep.record import Recorder
from service.sweep.records import AppState
from service.sweep.trust import Refusal
from service.zego.messages import DeleteAnswer

if TYPE_CHECKING:
    from service.sweep.run import Sweeper

_MAX_CALLS_IN_FLIGHT: Final = 8
_MAX_RECORDED_AT_ONCE: Final = 4
_MAX_WAIT_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
"""A longer pause of an app is not waited for: its files are for the next pass."""
_RECORD_TRIES: Final = 6

Answered = tuple[OpenCall, Reading]
T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class AppPass:
    """One app in a pass: while there is something to claim, claim, send, record.

    `may_probe` holds what was blocked when the pass began (None: the whole app): one call each looks whether it still
    is. After trouble `limit` files are asked for, one call at a time, twice as many after each call that works.
    """

    sweeper: Sweeper
    pace: Pace
    want: Want
    vendors: list[Vendor]
    may_probe: set[Vendor | None]
    is_ending: Callable[[], bool]
    limit: int = MAX_FILES_PER_CALL
    is_stopped: bool = False
    refusal: Refusal | None = None
    states: dict[Vendor | None, AppState] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(init=False)
    _in_flight: dict[Future[DeleteAnswer | None], OpenCall] = field(default_factory=dict)
    _failed_whole: list[Answered] = field(default_factory=list)
    _pause_left_s: float = 0.0
    _last_call: int = 0
    _last_before_trouble: int = 0

    def run(self) -> None:
        """Call ZEGO until nothing is left or the pass is ending; then wait for the calls in flight.

        Raises `LeadLost` if another process leads, and `DatabaseUnavailable`.
        """
        with self.sweeper.leader.bound(), ThreadPoolExecutor(_MAX_CALLS_IN_FLIGHT) as self._pool:
            try:
                self._see_clock()
                while self._in_flight or not self._is_over():
                    self._take_step()
            except DatabaseUnavailable:
                wait(self._in_flight)
                self._record(self._take_answers())  # without its answer the outcome of a call is unknown
                raise

    def _see_clock(self) -> None:
        """Ask for ZEGO's time, if nothing has shown it yet: before anything is deleted."""
        gate, app_id = self.sweeper.gate, self.want.due.app_id
        if gate.is_blind(app_id):
            looking = self._pool.submit(gate.look_at_clock, app_id)
            while wait([looking], _MAX_WAIT_S).not_done:
                self.sweeper.leader.renew()

    def note_states(self, states: Iterable[AppState], now: datetime) -> None:
        """Note what stands in the way of the app by now."""
        before, self.states = self.states.get(None), {state.vendor: state for state in states}
        state = self.states.get(None)
        if state is None or state == before:
            return
        self._last_before_trouble = self._last_call
        # Smaller with every failure: one file that fails every call with it cannot hold up the others. Where bisection
        # looks for that file, there is no need to.
        shrunk = 0 if state.blocked or state.code in SPLITTING_CODES else state.failures - 1
        self.limit = max(MAX_FILES_PER_CALL >> shrunk, 1)
        if state.until is not None and state.pauses_at(now):
            self._pause_left_s = (state.until - now).total_seconds()
            self.is_stopped = self.is_stopped or self._pause_left_s > _MAX_PAUSE_S

    def _take_step(self) -> None:
        self.sweeper.leader.renew()
        answered = self._take_answers()
        self._record(answered)
        self._failed_whole += [each for each in answered if each[1].effect is Effect.SPLIT]
        is_careful = self._failed_whole or None in self.states or self.limit < MAX_FILES_PER_CALL
        is_full = len(self._in_flight) >= (1 if is_careful else _MAX_CALLS_IN_FLIGHT)
        if self._in_flight and (is_full or self._is_over()):
            self._wait(_MAX_WAIT_S)
        elif self._is_over() or self._wait_for_slot():
            return
        elif self._failed_whole:
            self._bisect(*self._failed_whole.pop())
        else:
            vendor = self._list_open_vendors()[0]
            self.vendors.remove(vendor)
            if self._claim(vendor) is not NoCall.EXHAUSTED:
                self.vendors.append(vendor)  # they take turns

    def _is_over(self) -> bool:
        """Nothing may be claimed any more, unless an answer changes that."""
        return self.is_ending() or self.is_stopped or not (self._failed_whole or self._list_open_vendors())

    def _list_open_vendors(self) -> list[Vendor]:
        return [vendor for vendor in self.vendors if not self._is_shut(vendor)]

    def _is_shut(self, vendor: Vendor) -> bool:
        """Its calls are blocked, or all of the app, and that was probed already."""
        states = [self.states[key] for key in (None, vendor) if key in self.states]
        return any(state.blocked and state.vendor not in self.may_probe for state in states)

    def _wait_for_slot(self) -> bool:
        """Wait a while for the next call's time; False if it has come."""
        wait_s = max(self._pause_left_s, self.pace.find_wait())
        if wait_s > 0:
            self._wait(wait_s)
        return wait_s > 0

    def _wait(self, seconds: float) -> None:
        """Wait for an answer, or so many seconds, or a while."""
        started, seconds = time.monotonic(), min(seconds, _MAX_WAIT_S)
        if self._in_flight:
            wait(self._in_flight, seconds, FIRST_COMPLETED)
            seconds = time.monotonic() - started
        else:
            self.sweeper.sleep(seconds)
        self._pause_left_s = max(self._pause_left_s - seconds, 0.0)

    def _claim(self, vendor: Vendor, numbers: tuple[int, ...] = ()) -> NoCall | None:
        """Claim the next call, or one for these files, and send it; else why there is none."""
        app, client = self.states.get(None), self.sweeper.apps[self.want.due.app_id]
        self.refusal = self.refusal or self.sweeper.gate.find_fault(self.want.due.app_id)
        if self.refusal:
            self.is_stopped = True
            return NoCall.REFUSED_CLOCK
        is_probe = vendor in self.states or (app is not None and app.blocked)
        limit = 1 if is_probe else MAX_FILES_PER_CALL if numbers else self.limit
        overhead = client.url_overhead(vendor)
        want = replace(self.want, vendor=vendor, overhead=overhead, limit=limit, numbers=numbers)
        claim = self._transact_claim(want)
        if claim is NoCall.BEHIND:
            self.want = replace(self.want, number=self.sweeper.leader.look().number)
            self.sweeper.catch_up()
            # Newer orders are no reason to wait any more: rules and holds are read in the claim itself.
            claim = self._transact_claim(replace(want, number=None))
        if claim is NoCall.BLOCKED:
            log.warning("app_waits_for_failed_order", app=self.want.due.app_id)
            self.is_stopped = True
        if isinstance(claim, NoCall):
            return claim
        self._use(claim, 1)
        self._last_call = claim.id
        self.may_probe -= {None, vendor}
        self.pace.take_slot()
        self._in_flight[self._pool.submit(send_call, self.sweeper.leader, client, self.pace, claim)] = claim
        return None

    def _transact_claim(self, want: Want) -> OpenCall | NoCall:
        sweeper, token = self.sweeper, self.sweeper.leader.token or 0
        return sweeper.leader.transact(lambda tx: claim_call(tx, sweeper.reader, token, want, sweeper.now()))

    def _use(self, call: OpenCall, sign: int) -> None:
        room, shares = self.want.room - sign * call.used[ROOM], self.want.shares
        if shares is not None:
            shares = {number: left - sign * call.used[number] for number, left in shares.items()}
        self.want = replace(self.want, room=room, shares=shares)

    def _take_answers(self) -> list[Answered]:
        """What was answered by now; calls that were held back are forgotten, and their files due as before."""
        answered = []
        for sent in [sent for sent in self._in_flight if sent.done()]:
            call, answer = self._in_flight.pop(sent), sent.result()
            if answer is None:
                self._transact_surely(lambda tx: drop_call(tx, call, self.sweeper.now()))  # noqa: B023  (called at once)
                self._use(call, -1)
                self.vendors += [call.vendor] if call.vendor not in self.vendors else []
                continue
            self.sweeper.gate.note_time(call.app_id, answer)
            reading = read_answer(list(call.files.values()), answer)
            if reading.effect is Effect.THROTTLE:
                self.pace.slow_down()
            elif reading.effect is Effect.TOOK_CALL:
                self.pace.speed_up()
                self.limit = min(self.limit * 2, MAX_FILES_PER_CALL)
            answered.append((call, reading))
        return answered

    def _bisect(self, failed: OpenCall, reading: Reading) -> None:
        """Ask for the parts of a call that failed whole, one at a time."""
        numbers = {file_id: number for number, file_id in failed.files.items()}
        undecided: list[Answered] = []  # about single files: they count once it is clear whether the trouble is theirs

        def ask(part: Sequence[str]) -> tuple[Sequence[str], str] | None:
            while not (self.is_ending() or self.is_stopped or self._is_shut(failed.vendor)):
                self.sweeper.leader.renew()
                if self._wait_for_slot():
                    continue
                claim = self._claim(failed.vendor, tuple(numbers[file_id] for file_id in part))
                if claim in (NoCall.EXHAUSTED, NoCall.REFUSED):
                    return (), ""
                answered: list[Answered] = []
                while self._in_flight and not answered:
                    self._wait(_MAX_WAIT_S)
                    self.sweeper.leader.renew()
                    answered = self._take_answers()
                if not answered:  # it was held back
                    continue
                [(call, reading)] = answered
                if reading.effect is Effect.FILE:
                    undecided.append((call, reading))
                else:
                    self._record(answered)
                is_about_part = reading.is_about_files or reading.effect is Effect.SPLIT
                return (list(call.files.values()), reading.code) if is_about_part else None
            return None

        is_no_files_fault = bisect(list(numbers), reading.code, ask)
        self._record([(call, spare_files(each) if is_no_files_fault else each) for call, each in undecided])

    def _record(self, answered: Sequence[Answered]) -> None:
        for start in range(0, len(answered), _MAX_RECORDED_AT_ONCE):
            batch = answered[start : start + _MAX_RECORDED_AT_ONCE]

            def record(tx: Transaction) -> list[AppState]:
                recorder = Recorder(self.sweeper.retry_policy, self.sweeper.jitter, self.sweeper.now())
                recorder.record_answers(tx, batch, self._last_before_trouble)  # noqa: B023  (called at once)
                return store.list_app_states(tx, self.want.due.app_id)

            self.note_states(self._transact_surely(record), self.sweeper.now())

    def _transact_surely(self, work: Callable[[Transaction], T]) -> T:
        """Try again, for seconds, where the database fails: the answer of ZEGO would be lost."""
        for number in range(_RECORD_TRIES - 1):
            try:
                return self.sweeper.leader.transact(work)
            except DatabaseUnavailable:
                self.sweeper.sleep(0.2 * 2**number)
        return self.sweeper.leader.transact(work)
