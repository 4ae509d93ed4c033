"""Signals that ask a process to stop: the first one politely, the second one at once."""

from __future__ import annotations

import os
import queue
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and SIGINT as they come in."""

    def __init__(self) -> None:
        # The one queue whose put() may be called by a signal handler while the same thread is inside its get().
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the next signal; its number, or None when the time is over."""
        try:
            return self._came.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def note(self, signum: int) -> None:
        """A signal has come."""
        self._came.put(signum)


@contextmanager
def stop_signals(*, second_ends: bool) -> Iterator[StopSignals]:
    """Collect stop signals while the block runs; with `second_ends`, the second one ends the process on the spot."""
    signals = StopSignals()
    count = 0

    def handle(signum: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if second_ends and count > 1:
            os._exit(128 + signum)
        signals.note(signum)

    before = {signum: signal.signal(signum, handle) for signum in _SIGNALS}
    try:
        yield signals
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
