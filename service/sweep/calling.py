"""Sending a call: the pace that ZEGO allows an app, and the last look before the first byte leaves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from service.database import DatabaseUnavailable
from service.leader.leader import Leader, Look
from service.model import Vendor
from service.zego.messages import DeleteAnswer

# Of the calls per second that ZEGO allows; listings have the rest.
_SHARE: Final = 0.925
_MAX_LATENESS_S: Final = 0.1
_MAX_INTERVAL_S: Final = 1.0
_RECOVERY: Final = 0.9
_LEARNING: Final = 0.05


class Deleter(Protocol):
    """One app's way to ZEGO."""

    def delete_media(
        self, vendor: Vendor, file_ids: Sequence[str], *, may_send: Callable[[], bool] | None = None
    ) -> DeleteAnswer:
        """Ask for these files to be deleted, if `may_send` allows it. Trouble is an answer, never an exception."""

    def url_overhead(self, vendor: Vendor) -> int:
        """Bytes of a call's URL without any file id."""


@dataclass(frozen=True, slots=True)
class SweepApp:
    """An app as the sweep sees it: how to reach it, and how many calls a second ZEGO allows it."""

    client: Deleter
    calls_per_second: int = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A file of a call: its number in the inventory, and the id to ask ZEGO for."""

    number: int
    file_id: str


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that is written down and may be sent on the strength of its look.

    `counted` of its files count for the breaker; the others may have used up budgets: `moved` by revision, and
    `approved` of the plan of the run `approved_run`.
    """

    id: int
    app_id: str
    vendor: Vendor
    files: tuple[Asked, ...]
    look: Look
    opened_at: datetime
    counted: int = 0
    moved: tuple[tuple[int, int], ...] = ()
    approved_run: int | None = None
    approved: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending a call. Without an answer it was not sent: somebody else leads, or an order came."""

    call: OpenCall
    answer: DeleteAnswer | None


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


def send_call(leader: Leader, app: SweepApp, pace: Pace, call: OpenCall) -> Sent:
    """Call ZEGO for the files of a call, unless its look is old and a new one shows that something has changed.

    The look comes once the connection stands, right before the first byte leaves. No transaction is open meanwhile.
    """
    departure, is_held_back = None, False

    def may_send() -> bool:
        nonlocal departure, is_held_back
        departure = pace.wait_for_window()
        is_held_back = not _is_still_good(leader, call.look)
        return not is_held_back

    answer = app.client.delete_media(call.vendor, [file.file_id for file in call.files], may_send=may_send)
    if departure is not None:
        pace.note_answer(departure)
    return Sent(call, None if is_held_back else answer)


def _is_still_good(leader: Leader, look: Look) -> bool:
    if look.is_recent:
        return True
    try:
        newer = leader.look()
    except DatabaseUnavailable:
        return False
    return (newer.token, newer.number) == (look.token, look.number) and newer.is_recent
