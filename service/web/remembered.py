"""An answer that is expensive to make, kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """The last answer, for `fresh_s` seconds after it was made."""

    def __init__(self, fresh_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._clock = clock
        self._kept: tuple[float, T] | None = None

    def find(self) -> T | None:
        """The last answer, if it is fresh."""
        kept = self._kept
        return None if kept is None or self._clock() >= kept[0] else kept[1]

    def keep(self, answer: T) -> T:
        """Remember an answer; returns it."""
        self._kept = (self._clock() + self._fresh_s, answer)
        return answer
