"""How far one app has come in a pass: what may be claimed next, and what stands in the way. Lives in memory only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.model import Vendor
from service.sweep.answers import SPLITTING_CODES
from service.sweep.batches import MAX_FILES_PER_CALL, Bisection
from service.sweep.calling import OpenCall, Pace, SweepApp
from service.sweep.claim_store import Due
from service.sweep.record import Answered
from service.sweep.records import AppState

MAX_CALLS_IN_FLIGHT: Final = 8
MAX_PAUSE_S: Final = 30.0
"""A longer pause of an app is not waited for: its files are for the next pass."""


@dataclass(slots=True)
class Bisecting:
    """A call that failed whole and is asked for in parts, one at a time.

    `part` is the one to ask for next, or in flight. `undecided` are answers about single files that count only once it
    is clear whether the trouble is theirs.
    """

    vendor: Vendor
    search: Bisection
    numbers: dict[str, int]
    part: tuple[str, ...] | None = None
    is_in_flight: bool = False
    undecided: list[Answered] = field(default_factory=list)

    @classmethod
    def start(cls, failed: OpenCall, code: str) -> Bisecting:
        """Begin with a call that failed whole with `code`."""
        numbers = {file.file_id: file.number for file in failed.files}
        bisecting = cls(failed.vendor, Bisection(list(numbers), code), numbers)
        bisecting.move_on()
        return bisecting

    def move_on(self) -> None:
        """Turn to the next part; `part` is None when there is none."""
        self.is_in_flight = False
        self.part = self.search.next_part()


@dataclass(frozen=True, slots=True)
class Next:
    """What to claim next: up to `limit` files of a vendor, or the part of a call that is bisected."""

    vendor: Vendor
    limit: int
    bisecting: Bisecting | None = None


@dataclass(slots=True)
class AppPass:
    """One app in a pass.

    `room` is how many files that count the breaker still allows. `may_probe` holds what was blocked when the pass
    began (None: the whole app): one call each looks whether it still is. After trouble `limit` files are asked for, one
    call at a time, twice as many after each call that works.
    """

    app: SweepApp
    pace: Pace
    due: Due
    room: int
    vendors: deque[Vendor]
    approved_run: int | None = None
    states: dict[Vendor | None, AppState] = field(default_factory=dict)
    may_probe: set[Vendor | None] = field(default_factory=set)
    bisections: list[Bisecting] = field(default_factory=list)
    limit: int = MAX_FILES_PER_CALL
    in_flight: int = 0
    pause_left_s: float = 0.0
    last_call: int = 0
    last_call_before_trouble: int = 0
    is_stopped: bool = False

    @property
    def app_id(self) -> str:
        """The app."""
        return self.due.app_id

    @property
    def is_done(self) -> bool:
        """Nothing is in flight, and nothing will be claimed any more."""
        return not self.in_flight and (self.is_stopped or not (self.vendors or self.bisections))

    @property
    def wait_s(self) -> float | None:
        """Seconds until something may be claimed; None: only an answer can change that."""
        has_work = self.vendors or any(not each.is_in_flight for each in self.bisections)
        if self.is_stopped or self.in_flight >= MAX_CALLS_IN_FLIGHT or not has_work:
            return None
        if self.in_flight and (None in self.states or self.limit < MAX_FILES_PER_CALL):
            return None
        return max(self.pause_left_s, self.pace.find_wait())

    def apply_states(self, states: Iterable[AppState], now: datetime) -> None:
        """Note what stands in the way of the app by now."""
        before, self.states = self.states, {state.vendor: state for state in states}
        freed = before.keys() - self.states.keys() - {None, *self.vendors}
        self.vendors.extend(vendor for vendor in Vendor if vendor in freed)
        state = self.states.get(None)
        if state is None or state == before.get(None):
            return
        self.last_call_before_trouble = self.last_call
        # Smaller with every failure: one file that fails every call with it cannot hold up the others. Where bisection
        # looks for that file, there is no need to.
        shrunk = 0 if state.blocked or state.code in SPLITTING_CODES else state.failures - 1
        self.limit = max(MAX_FILES_PER_CALL >> shrunk, 1)
        if state.until is not None and state.since <= now < state.until:
            self.pause_left_s = (state.until - now).total_seconds()
            self.is_stopped = self.is_stopped or self.pause_left_s > MAX_PAUSE_S

    def note_success(self) -> None:
        """ZEGO took a call."""
        self.pace.speed_up()
        self.limit = min(self.limit * 2, MAX_FILES_PER_CALL)

    def find_next(self) -> Next | None:
        """What to claim now; None: nothing at the moment."""
        if self.wait_s is None or self.wait_s > 0:
            return None
        limit, state = self.limit, self.states.get(None)
        if state is not None and state.blocked:
            limit, self.is_stopped = 1, None not in self.may_probe
            if self.is_stopped:
                return None
        for bisecting in self.bisections:
            if not bisecting.is_in_flight and bisecting.vendor not in self.states:
                return Next(bisecting.vendor, limit, bisecting)
        for vendor in tuple(self.vendors):
            self.vendors.rotate(-1)
            if vendor not in self.states:
                return Next(vendor, limit)
            if vendor in self.may_probe:
                return Next(vendor, 1)
            self.vendors.remove(vendor)
        return None

    def note_claimed(self, call: OpenCall, chosen: Next) -> None:
        """A call was claimed and is sent."""
        self.in_flight += 1
        self.room -= call.counted
        self.last_call = max(self.last_call, call.id)
        self.may_probe -= {None, call.vendor}
        if chosen.bisecting is not None:
            chosen.bisecting.is_in_flight = True
