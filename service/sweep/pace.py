"""Sending a call: the pace that ZEGO allows an app, and the last look before the first byte leaves."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from service.database import DatabaseUnavailable
from service.leader.leader import Leader, Look
from service.sweep.claim import OpenCall
from service.zego.client import ZegoClient
from service.zego.messages import DeleteAnswer

# Of the calls per second that ZEGO allows; listings have the rest.
_SHARE: Final = 0.925
_MAX_LATENESS_S: Final = 0.1
_MAX_INTERVAL_S: Final = 1.0
_RECOVERY: Final = 0.9
_LEARNING: Final = 0.05


@dataclass(slots=True)
class Departure:
    """When a call left, or, if it took unusually long, when it may have reached ZEGO; in monotonic seconds."""

    at: float


@dataclass(slots=True)
class Pace:
    """When an app may be called next; one for each app of a process, shared by its threads.

    Slots are spaced evenly, and one that was missed by little does not move the next. Beside them `wait_for_window`
    holds back whatever would be one too many within a second.
    """

    calls_per_second: int
    _slot: float = 0.0
    _stretch: float = 1.0
    _usual_s: float = 0.0
    _departures: deque[Departure] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def interval_s(self) -> float:
        """The time between two calls; longer after ZEGO said that calls come too often."""
        nominal = 1 / (self.calls_per_second * _SHARE)
        return max(nominal, min(nominal * self._stretch, _MAX_INTERVAL_S))

    def find_wait(self) -> float:
        """Seconds until the next slot."""
        return max(self._slot - time.monotonic(), 0.0)

    def take_slot(self) -> None:
        """Use the slot that has come; the next one follows an interval later."""
        self._slot = max(self._slot, time.monotonic() - _MAX_LATENESS_S) + self.interval_s

    def slow_down(self) -> None:
        """ZEGO said that calls come too often."""
        self._stretch *= 2

    def speed_up(self) -> None:
        """A call worked: come back, step by step, to the nominal pace."""
        self._stretch = max(self._stretch * _RECOVERY, 1.0)

    def wait_for_window(self) -> Departure:
        """Wait until one more call is no more than the app's share within any second."""
        limit = max(int(self.calls_per_second * _SHARE), 1)
        with self._lock:
            while len(self._departures) >= limit:
                wait_s = sorted(each.at for each in self._departures)[-limit] + 1.0 - time.monotonic()
                if wait_s <= 0:
                    break
                time.sleep(wait_s)
            while len(self._departures) >= 2 * limit:
                self._departures.popleft()
            self._departures.append(Departure(time.monotonic()))
            return self._departures[-1]

    def note_answer(self, departure: Departure) -> None:
        """The answer to a call came. If that took longer than usual, the call may have arrived as much later."""
        took_s = time.monotonic() - departure.at
        self._usual_s = min(took_s, self._usual_s + _LEARNING * (took_s - self._usual_s)) if self._usual_s else took_s
        departure.at += took_s - self._usual_s


def send_call(leader: Leader, client: ZegoClient, pace: Pace, call: OpenCall) -> DeleteAnswer | None:
    """Call ZEGO for the files of a call; None: it was not sent, for its look is old and something has changed since.

    The look comes once the connection stands, right before the first byte leaves. No transaction is open meanwhile.
    """
    departure, is_held_back = None, False

    def may_send() -> bool:
        nonlocal departure, is_held_back
        departure = pace.wait_for_window()
        is_held_back = not (call.look.is_recent or _is_unchanged(leader, call.look))
        return not is_held_back

    answer = client.delete_media(call.vendor, list(call.files.values()), may_send=may_send)
    if departure is not None:
        pace.note_answer(departure)
    return None if is_held_back else answer


def _is_unchanged(leader: Leader, look: Look) -> bool:
    try:
        newer = leader.look()
    except DatabaseUnavailable:
        return False
    return (newer.token, newer.number) == (look.token, look.number) and newer.is_recent
