"""An answer that is asked for at most once per period, however many ask."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Remembered(Generic[T]):
    """Calls `ask` when its last answer is older than `seconds_of(answer, seconds it took)`, one caller at a time.

    Those who come meanwhile wait for the one answer: whatever is asked is not flooded.
    """

    def __init__(
        self,
        ask: Callable[[], T],
        seconds_of: Callable[[T, float], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds_of = seconds_of
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: tuple[float, T] | None = None

    def get(self) -> T:
        """The answer, from memory or fresh; an error of `ask` is raised and not remembered."""
        with self._lock:
            if self._known is None or self._monotonic() >= self._known[0]:
                self._known = None
                started = self._monotonic()
                answer = self._ask()
                over = self._monotonic()
                self._known = (over + self._seconds_of(answer, over - started), answer)
            return self._known[1]
