"""Asking ZEGO: one claimed batch, from the call written down to its outcomes, bisected where it fails whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from service.core.model import DeleteAnswer, Lane, Vendor
from service.core.outcomes import Reading, read_answer, spare_files
from service.core.plan import Bisection
from service.db import gates, paces, runs
from service.db.engine import DatabaseUnavailable
from service.usecases.claiming import Claimed, OpenCall, Pass, give_back, is_still_good, open_call
from service.usecases.recording import Recorder, record_call

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from service.core.listing import Query, SearchAnswer
    from service.db.engine import Database

_MAX_CLAIM_AGE_S = 5.0
MAX_LATENESS_S = 0.025
"""A slot of the pace that is missed by more is reserved anew."""

# Of the calls per second that ZEGO allows: at 19 of 20, a standstill of 50 ms put one too many into a second.
_NOMINAL_SHARE = 0.925
_RECORD_TRIES = 6

log = structlog.get_logger(__name__)


class Deleter(Protocol):
    """One app's way to ZEGO."""

    def delete_media(self, vendor: Vendor, file_ids: Sequence[str]) -> DeleteAnswer:
        """Ask for these files to be deleted. Trouble is an answer, never an exception."""

    def url_overhead(self, vendor: Vendor) -> int:
        """Bytes of a call's URL without any file id."""


class Lister(Protocol):
    """One app's way to the vendor's listing."""

    def search_media(self, vendor: Vendor, query: Query) -> SearchAnswer:
        """Ask once. Trouble is an answer, never an exception."""


@dataclass(frozen=True, slots=True)
class App:
    """An app as the sweep sees it: how to reach it, and how many calls a second ZEGO allows it."""

    deleter: Deleter
    lister: Lister
    calls_per_second: int = 20

    @property
    def interval(self) -> timedelta:
        """The time between two calls."""
        return timedelta(seconds=1 / (self.calls_per_second * _NOMINAL_SHARE))


class Readiness(StrEnum):
    """Whether a call that was written down may be sent."""

    SEND = "send"
    LOOK_AGAIN = "look_again"
    LEAVE = "leave"


Answered: TypeAlias = tuple[OpenCall, DeleteAnswer, Reading]


class Caller:
    """Sends the calls of one app in one pass; several threads may share it."""

    def __init__(
        self,
        database: Database,
        app_id: str,
        app: App,
        recorder: Recorder,
        sweep: Pass,
        now: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        """Collect what a call needs; `stop` ends the work after the call in flight."""
        self._database = database
        self._app_id = app_id
        self._app = app
        self._recorder = recorder
        self._sweep = sweep
        self._now = now
        self._stop = stop
        self._check_took_s = 0.0

    def delete_batch(self, vendor: Vendor, batch: Sequence[Claimed], *, probe: bool = False) -> None:
        """Delete one claimed batch and record every file's outcome; whatever was not asked for is given back.

        A probe may pass a closed gate.
        """
        lane = (self._app_id, vendor)
        answered = self._ask(lane, batch, probe=probe)
        if answered is not None:
            call, answer, reading = answered
            self._record(lane, call, answer, reading)
            if reading.split:
                self._bisect(lane, call, reading.any_code)
        self.give_back(batch)

    def _bisect(self, lane: Lane, failed: OpenCall, code: str) -> None:
        """Ask for parts of a failed call. Single ids are judged only once it is clear that the call as such works."""
        files = {file.file_id: file for file in failed.files}
        search = Bisection(list(files), code)
        undecided: list[Answered] = []
        while part := search.next_part():
            answered = self._ask(lane, [files[file_id] for file_id in part])
            if answered is None:
                search.stopped = True
                break
            call, answer, reading = answered
            if reading.took_call:
                search.passed(part)
            elif reading.done or reading.split:
                search.failed(part, reading.any_code)
            else:
                search.stopped = True
            if reading.done and not reading.took_call:
                undecided.append(answered)
            else:
                self._record(lane, call, answer, reading)
        for call, answer, reading in undecided:
            self._record(lane, call, answer, spare_files(reading) if search.is_no_files_fault else reading)

    def _ask(self, lane: Lane, batch: Sequence[Claimed], *, probe: bool = False) -> Answered | None:
        """Write the call down, wait for its turn, check once more, send. None: nothing was sent."""
        readiness = Readiness.LOOK_AGAIN
        while readiness is Readiness.LOOK_AGAIN:
            call = self._database.transact(lambda session: open_call(session, self._sweep, lane, batch, self._now()))
            if call is None:
                return None
            readiness = self._wait_for_turn(lane, call, probe=probe)
            if readiness is Readiness.SEND:
                asked = [file.file_id for file in call.files]
                answer = self._app.deleter.delete_media(lane[1], asked)
                return call, answer, read_answer(asked, answer)
            call_id = call.call_id
            self._database.transact(lambda session: runs.drop_call(session, call_id))  # noqa: B023  (called at once)
        return None

    def _wait_for_turn(self, lane: Lane, call: OpenCall, *, probe: bool) -> Readiness:
        """Wait for a slot of the app's pace, and look once more whether the call may be sent."""
        opened = time.monotonic()
        while not self._stop.is_set():
            wait = self._database.transact(
                lambda session: paces.reserve_slot(session, self._app_id, self._app.interval)
            )
            slot = time.monotonic() + wait
            # The check starts early by the time it took last, so that it is as fresh as can be and the slot is kept.
            self._stop.wait(max(slot - self._check_took_s - time.monotonic(), 0))
            started = time.monotonic()
            readiness = self._check(lane, call, probe=probe)
            self._check_took_s = time.monotonic() - started
            if time.monotonic() - opened > _MAX_CLAIM_AGE_S:
                return Readiness.LOOK_AGAIN
            if readiness is not Readiness.SEND:
                return readiness
            time.sleep(max(slot - time.monotonic(), 0))
            if time.monotonic() - slot <= MAX_LATENESS_S:
                return Readiness.SEND
        return Readiness.LEAVE

    def _check(self, lane: Lane, call: OpenCall, *, probe: bool) -> Readiness:
        with self._database.read() as session:
            gate = gates.find_gate(session, *lane)
            if gate is not None and gate.is_closed(self._now()) and not probe:
                return Readiness.LEAVE
            return Readiness.SEND if is_still_good(session, self._sweep, lane, call) else Readiness.LOOK_AGAIN

    def _record(self, lane: Lane, call: OpenCall, answer: DeleteAnswer, reading: Reading) -> None:
        for attempt in range(_RECORD_TRIES):
            try:
                self._database.transact(
                    lambda session: record_call(
                        session, self._recorder, self._sweep, lane, call, answer, reading, self._now()
                    )
                )
            except DatabaseUnavailable:
                # An answer is worth waiting for: without it the outcome is unknown and the files are asked for again.
                if attempt == _RECORD_TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)
            else:
                return

    def give_back(self, batch: Sequence[Claimed]) -> None:
        """Give back those of these files that are still claimed; they are due as before."""
        self._database.transact(
            lambda session: give_back(session, self._sweep, batch, "due; not asked for in this pass", self._now())
        )
