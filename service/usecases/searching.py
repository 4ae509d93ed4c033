"""Asking SearchMedia: at the app's pace, behind its deletions, again after trouble that passes (docs/reconcile.md)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from service.core.model import Transport
from service.core.outcomes import CODE_DONE
from service.db import listings, paces
from service.usecases.calling import MAX_LATENESS_S

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from service.core.listing import Query, SearchAnswer
    from service.core.model import Lane
    from service.db.engine import Database
    from service.usecases.calling import Lister

UNUSED_CODES: Final = frozenset({3, 4, 5})
"""What ZEGO answers for a vendor that the app does not use, or that it may not list."""

PART_REFUSED: Final = frozenset({2})
"""What ZEGO may answer to a question that its listing does not take; another way of asking may do."""

_FINAL_CODES: Final = frozenset({2, 7, 8, *UNUSED_CODES})
_GATEWAY_CODES: Final = range(100_000_000, 100_000_100)
_LONGEST_WAIT_S: Final = 30.0
_LOOK_AT_DELETIONS_S: Final = 0.5
_SIGN_OF_LIFE_S: Final = 1.0

log = structlog.get_logger(__name__)


class ListingRefused(Exception):  # noqa: N818  (an answer, not a defect)
    """ZEGO does not let this app list this vendor, or did not understand the question; asking again would not help."""

    def __init__(self, answer: SearchAnswer) -> None:
        super().__init__(f"ZEGO refuses to list: {answer.code} {answer.message}".rstrip())
        self.code = answer.code

    @property
    def is_unused(self) -> bool:
        """The app does not use this vendor, as far as can be told."""
        return self.code in UNUSED_CODES


class ListingUnanswered(Exception):  # noqa: N818  (a state of the world)
    """No whole answer came, however often it was asked."""

    def __init__(self, answer: SearchAnswer) -> None:
        said = f"{answer.code} {answer.message}" if answer.code is not None else answer.message
        status = f"HTTP {answer.http_status}" if answer.transport is Transport.ANSWERED and answer.code is None else ""
        super().__init__(f"the listing was not answered: {status or said or 'no answer'}".rstrip())


class Stopped(Exception):  # noqa: N818  (a state of the world)
    """The process is to end."""


@dataclass(frozen=True, slots=True)
class Searcher:
    """What asking for one app's files needs. `patience` is how long a pass may be silent and still count as alive.

    `on_call` hears of each call before it is sent, and `on_wait`, again and again, that there is none yet. Trouble that
    passes is waited out until `most_tries` calls have met it.
    """

    database: Database
    app_id: str
    lister: Lister
    interval: timedelta
    patience: timedelta
    now: Callable[[], datetime]
    stop: threading.Event
    on_call: Callable[[], None] = lambda: None
    on_wait: Callable[[], None] = lambda: None
    most_tries: int = 6

    def ask(self, lane: Lane, query: Query) -> SearchAnswer:
        """Ask until a whole answer comes.

        Raises:
            ListingRefused: it is final.
            ListingUnanswered: the trouble does not pass.
            Stopped: the process is to end.
        """
        tries = 1
        while True:
            self._wait_for_turn()
            self.on_call()
            answer = self.lister.search_media(lane[1], query)
            if answer.code == CODE_DONE and not answer.unreadable:
                return answer
            if answer.code is not None and _is_final(answer.code):
                raise ListingRefused(answer)
            if tries == self.most_tries:
                raise ListingUnanswered(answer)
            wait_s = min(max(2.0 ** (tries - 1), answer.retry_after_s or 0), _LONGEST_WAIT_S)
            log.info("listing_waits", app=self.app_id, vendor=lane[1].value, code=answer.code, seconds=wait_s)
            self._pause(wait_s)
            tries += 1

    def _wait_for_turn(self) -> None:
        """Let deletions go first, then wait for a slot of the app's pace; one that is missed is reserved anew."""
        while self._deletions_in_hand():
            self._pause(_LOOK_AT_DELETIONS_S)
            self.on_wait()
        while True:
            wait = self.database.transact(lambda session: paces.reserve_slot(session, self.app_id, self.interval))
            slot = time.monotonic() + wait
            self._pause(wait)
            if time.monotonic() - slot <= MAX_LATENESS_S:
                return

    def _deletions_in_hand(self) -> bool:
        with self.database.read() as session:
            return listings.deletions_in_hand(session, self.app_id, self.now() - self.patience)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if self.stop.wait(max(min(left, _SIGN_OF_LIFE_S), 0)):
                raise Stopped
            if left <= _SIGN_OF_LIFE_S:
                return
            self.on_wait()


def _is_final(code: int) -> bool:
    return code in _FINAL_CODES or code in _GATEWAY_CODES
