"""Asking SearchMedia at a pace of its own, and again after trouble that passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import structlog

from service.leader.leader import Leader
from service.model import Vendor
from service.zego.messages import Query, SearchAnswer, Transport

MAX_TRIES: Final = 6
"""Calls for one page, before the listing is interrupted."""

_DONE: Final = 0
_UNUSED_CODES: Final = frozenset({3, 4, 5})
_FINAL_CODES: Final = frozenset({2, 7, 8, *_UNUSED_CODES, *range(100_000_000, 100_000_100)})
_SHARE: Final = 0.075
"""The part of the calls that ZEGO allows an app which deletions leave free."""
_MAX_WAIT_S: Final = 30.0
_SLICE_S: Final = 0.5

_ENABLE: Final = "ask ZEGO's support to enable SearchMedia for this AppID, or set ZEGO_RETENTION_RECONCILE_EVERY=off"
_COMPARE: Final = (
    "compare AppID and ServerSecret with ZEGO's console (Project → Basic information), and this machine's clock"
)
_REMEDIES: Final[Mapping[int, str]] = {
    2: "report this as a defect",
    3: _ENABLE,
    4: "ask ZEGO's support which CDN stores the project's recordings, and whether that was changed",
    5: _ENABLE,
    8: _ENABLE,
    100_000_007: _ENABLE,
}

log = structlog.get_logger(__name__)


class SearchClient(Protocol):
    """An app's way to SearchMedia."""

    def search_media(self, vendor: Vendor, query: Query) -> SearchAnswer:
        """Ask once for a page."""


@dataclass(frozen=True, slots=True)
class ListingApp:
    """An app as listings see it: how to reach it, and how many calls a second ZEGO allows it."""

    client: SearchClient
    calls_per_second: int = 20


class ListingRefused(Exception):  # noqa: N818  (an answer, not a defect)
    """ZEGO does not let this app list this vendor; asking again would not help. The text says what would."""

    def __init__(self, answer: SearchAnswer) -> None:
        said = f"ZEGO refuses to list: {answer.code} {answer.message}".rstrip()
        super().__init__(f"{said}; {_REMEDIES.get(answer.code or 0, _COMPARE)}")
        self.is_unused = answer.code in _UNUSED_CODES
        """The app does not use this vendor, as far as can be known."""


class ListingUnanswered(Exception):  # noqa: N818  (a state of the world)
    """No whole answer came, however often it was asked."""

    def __init__(self, answer: SearchAnswer) -> None:
        said = f"{answer.code} {answer.message}" if answer.code is not None else answer.message
        status = f"HTTP {answer.http_status}" if answer.transport is Transport.ANSWERED and answer.code is None else ""
        super().__init__(f"the listing was not answered: {status or said or 'no answer'}".rstrip())


class Stopped(Exception):  # noqa: N818  (a state of the world)
    """The listing is to end here."""


@dataclass(slots=True)
class Asker:
    """Asks for the pages of one listing. `calls` counts the calls that were sent and are not written down yet."""

    app: ListingApp
    vendor: Vendor
    leader: Leader
    stop: threading.Event
    sleep: Callable[[float], None]
    now: Callable[[], datetime]
    calls: int = 0
    _next_at: float = field(default_factory=time.monotonic)

    def ask(self, query: Query) -> tuple[datetime, SearchAnswer]:
        """Ask until a whole answer comes; returns when it was asked for, and the answer.

        Raises:
            ListingRefused: ZEGO will not answer.
            ListingUnanswered: the trouble does not pass.
            Stopped: the process is to end.
            LeadLost: another process leads.
        """
        tries = 0
        while True:
            asked_at, answer = self._ask_once(query)
            if answer.code == _DONE and not answer.unreadable:
                return asked_at, answer
            if answer.code in _FINAL_CODES:
                raise ListingRefused(answer)
            tries += 1
            if tries == MAX_TRIES:
                raise ListingUnanswered(answer)
            wait_s = min(max(2.0 ** (tries - 1), answer.retry_after_s or 0), _MAX_WAIT_S)
            log.info("listing_waits", vendor=self.vendor.value, code=answer.code, seconds=wait_s)
            self._pause(wait_s)

    def _ask_once(self, query: Query) -> tuple[datetime, SearchAnswer]:
        self._pause(self._next_at - time.monotonic())
        self._next_at = time.monotonic() + 1 / (self.app.calls_per_second * _SHARE)
        self.calls += 1
        return self.now(), self.app.client.search_media(self.vendor, query)

    def _pause(self, seconds: float) -> None:
        """Wait, and give signs of life meanwhile."""
        while True:
            if self.stop.is_set():
                raise Stopped
            self.leader.renew()
            if seconds <= 0:
                return
            self.sleep(min(seconds, _SLICE_S))
            seconds -= _SLICE_S
