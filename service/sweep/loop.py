"""The loop of a pass: one thread claims and records for all apps side by side; other threads only call ZEGO."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

import structlog

from service.database import DatabaseUnavailable, Transaction
from service.files.policy import PolicyReader
from service.leader.leader import Leader
from service.sweep.answers import Effect, read_answer, spare_files
from service.sweep.app_pass import MAX_CALLS_IN_FLIGHT, AppPass, Bisecting, Next
from service.sweep.calling import OpenCall, Sent, send_call
from service.sweep.claim import Claim, Want, claim_call, drop_call
from service.sweep.record import Answered, Recorder, record_answers
from service.sweep.records import AppState
from service.sweep.store import list_app_states

_MAX_WAIT_S: Final = 0.5
_MAX_AT_ONCE: Final = 4
"""Calls claimed, or recorded, in one transaction."""
_RECORD_TRIES: Final = 6

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Loop:
    """Carries out one pass over the apps given. `number` is that of the newest order that has been applied."""

    leader: Leader
    reader: PolicyReader
    recorder: Recorder
    catch_up: Callable[[], None]
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    run_id: int
    confirm_all: bool
    apps: deque[AppPass]
    number: int
    _answers: queue.SimpleQueue[Sent | BaseException] = field(default_factory=queue.SimpleQueue)
    _in_flight: dict[int, tuple[AppPass, Bisecting | None]] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Call ZEGO until nothing is left, or `stop` is set; then wait for the calls in flight.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database refused or could not be reached.
        """
        with ThreadPoolExecutor(MAX_CALLS_IN_FLIGHT * max(len(self.apps), 1), thread_name_prefix="call") as pool:
            try:
                while not self._is_over(stop):
                    if not self._take_step(pool, stop):
                        self._wait()
            except DatabaseUnavailable:
                pool.shutdown(wait=True)
                while self._record_sent(self._take_sent(0.0)):  # without its answer the outcome of a call is unknown
                    pass
                raise
        self._end_bisections(all_of_them=True)

    def _is_over(self, stop: threading.Event) -> bool:
        return (
            not self._in_flight and self._answers.empty() and (stop.is_set() or all(app.is_done for app in self.apps))
        )

    def _take_step(self, pool: ThreadPoolExecutor, stop: threading.Event) -> bool:
        """Record what was answered, and claim a call for each app whose time has come; whether anything was done."""
        has_recorded = self._record_sent(self._take_sent(0.0))
        self._end_bisections()
        self.leader.renew()
        if stop.is_set():
            return has_recorded
        return self._claim_ready(pool) or has_recorded

    def _wait(self) -> None:
        """Wait for an answer, or until an app may be called again."""
        waits = [app.wait_s for app in self.apps]
        timeout_s = min([_MAX_WAIT_S, *(wait for wait in waits if wait is not None)])
        started = time.monotonic()
        if self._in_flight:
            sent = self._take_sent(timeout_s)
            passed_s = time.monotonic() - started
            self._record_sent(sent)
        else:
            self.sleep(timeout_s)
            passed_s = timeout_s
        for app in self.apps:
            app.pause_left_s = max(app.pause_left_s - passed_s, 0.0)

    # Claiming

    def _claim_ready(self, pool: ThreadPoolExecutor) -> bool:
        """Claim a call for each app whose time has come, all in one transaction; whether there was any."""
        ready = list(islice(self._find_ready(), _MAX_AT_ONCE))
        if not ready:
            return False
        claims = self._claim(ready, self.number)
        if behind := [each for each, claim in zip(ready, claims, strict=True) if claim.is_behind]:
            self._catch_up()
            # Newer orders are no reason to wait any more: rules and holds are read in the claim itself.
            again = iter(self._claim(behind, None))
            claims = [next(again) if claim.is_behind else claim for claim in claims]
        for (app, chosen), claim in zip(ready, claims, strict=True):
            self._note_claim(app, chosen, claim, pool)
        return True

    def _find_ready(self) -> Iterator[tuple[AppPass, Next]]:
        self.apps.rotate(-1)
        for app in self.apps:
            chosen = app.find_next()
            if chosen is not None:
                yield app, chosen

    def _note_claim(self, app: AppPass, chosen: Next, claim: Claim, pool: ThreadPoolExecutor) -> None:
        if claim.call is not None:
            app.pace.take_slot()
            app.note_claimed(claim.call, chosen)
            self._in_flight[claim.call.id] = (app, chosen.bisecting)
            pool.submit(self._send, app, claim.call)
        elif claim.is_blocked:
            log.warning("app_waits_for_failed_order", app=app.app_id)
            app.is_stopped = True
        elif chosen.bisecting is not None and not claim.is_behind:
            chosen.bisecting.search.note_skipped(chosen.bisecting.part or ())
            chosen.bisecting.move_on()
        elif claim.is_exhausted and chosen.vendor in app.vendors:
            app.vendors.remove(chosen.vendor)

    def _claim(self, ready: Sequence[tuple[AppPass, Next]], number: int | None) -> list[Claim]:
        wants = [self._describe(app, chosen, number) for app, chosen in ready]
        token = self.leader.token or 0
        return self.leader.transact(lambda tx: [claim_call(tx, self.reader, token, want, self.now()) for want in wants])

    def _describe(self, app: AppPass, chosen: Next, number: int | None) -> Want:
        bisecting = chosen.bisecting
        return Want(
            run_id=self.run_id,
            due=app.due,
            vendor=chosen.vendor,
            overhead=app.app.client.url_overhead(chosen.vendor),
            room=app.room,
            limit=chosen.limit,
            numbers=() if bisecting is None else tuple(bisecting.numbers[each] for each in bisecting.part or ()),
            approved_run=app.approved_run,
            confirm_all=self.confirm_all,
            number=number,
        )

    def _catch_up(self) -> None:
        self.number = self.leader.look().number
        self.catch_up()

    def _send(self, app: AppPass, call: OpenCall) -> None:
        try:
            self._answers.put(send_call(self.leader, app.app, app.pace, call))
        except BaseException as error:  # noqa: BLE001  (the loop raises it)
            self._answers.put(error)

    # Recording

    def _take_sent(self, timeout_s: float) -> list[Sent]:
        """What was answered by now; waits for the first one."""
        taken: list[Sent] = []
        while len(taken) < _MAX_AT_ONCE:
            try:
                sent = self._answers.get(timeout=timeout_s) if timeout_s and not taken else self._answers.get_nowait()
            except queue.Empty:
                break
            if isinstance(sent, BaseException):
                raise sent
            taken.append(sent)
        return taken

    def _record_sent(self, sent: Sequence[Sent]) -> bool:
        answered = []
        for each in sent:
            app, bisecting = self._in_flight.pop(each.call.id)
            app.in_flight -= 1
            if each.answer is None:
                self._drop(app, bisecting, each.call)
                continue
            reading = read_answer([file.file_id for file in each.call.files], each.answer)
            shows_recovery = each.call.id > app.last_call_before_trouble
            this = Answered(each.call, each.answer, reading, shows_recovery)
            if reading.effect is Effect.THROTTLE:
                app.pace.slow_down()
            elif reading.took_call:
                app.note_success()
            if bisecting is None or not self._bisect_on(bisecting, this):
                answered.append((app, this))
            if bisecting is None and reading.split:
                app.bisections.append(Bisecting.start(each.call, reading.any_result.code))
        self._record(answered)
        return bool(sent)

    def _drop(self, app: AppPass, bisecting: Bisecting | None, call: OpenCall) -> None:
        """Forget a call that was held back; its files are claimed again, if they may still go."""
        self._transact_surely(lambda tx: drop_call(tx, call, self.now()))
        app.room += call.counted
        if bisecting is not None:
            bisecting.is_in_flight = False
        elif call.vendor not in app.vendors:
            app.vendors.append(call.vendor)

    def _bisect_on(self, bisecting: Bisecting, answered: Answered) -> bool:
        """Note the answer about a part; True if its record has to wait for what else is found."""
        reading, asked = answered.reading, [file.file_id for file in answered.call.files]
        search = bisecting.search
        search.note_skipped(sorted(set(bisecting.part or ()) - set(asked)))
        if reading.took_call:
            search.note_passed(asked)
        elif reading.split or reading.is_about_files:
            search.note_failed(asked, reading.any_result.code)
        else:
            search.stopped = True
        bisecting.move_on()
        if reading.is_about_files and not reading.took_call:
            bisecting.undecided.append(answered)
            return True
        return False

    def _end_bisections(self, *, all_of_them: bool = False) -> None:
        """Record what was undecided of the bisections that are over, or that cannot go on."""
        for app in self.apps:
            for bisecting in tuple(app.bisections):
                cannot_go_on = all_of_them or app.is_stopped or bisecting.vendor in app.states
                if bisecting.is_in_flight or not (cannot_go_on or bisecting.part is None):
                    continue
                bisecting.search.stopped = bisecting.search.stopped or bisecting.part is not None
                app.bisections.remove(bisecting)
                is_spared = bisecting.search.is_no_files_fault
                self._record(
                    [
                        (
                            app,
                            Answered(each.call, each.answer, spare_files(each.reading) if is_spared else each.reading),
                        )
                        for each in bisecting.undecided
                    ]
                )

    def _record(self, answered: Sequence[tuple[AppPass, Answered]]) -> None:
        if not answered:
            return
        apps = {app.app_id: app for app, _ in answered}

        def work(tx: Transaction) -> dict[str, list[AppState]]:
            record_answers(tx, self.recorder, [each for _, each in answered], self.now())
            return {app_id: list_app_states(tx, app_id) for app_id in apps}

        for app_id, states in self._transact_surely(work).items():
            apps[app_id].apply_states(states, self.now())

    def _transact_surely(self, work: Callable[[Transaction], T]) -> T:
        """Try again, for seconds, where the database fails: the answer of ZEGO would be lost."""
        for number in range(_RECORD_TRIES):
            try:
                return self.leader.transact(work)
            except DatabaseUnavailable:
                if number == _RECORD_TRIES - 1:
                    raise
                self.sleep(0.2 * 2**number)
        raise AssertionError  # the loop returns or raises
