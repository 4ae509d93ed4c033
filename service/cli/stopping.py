"""Long commands end after what they have in hand when a signal comes, and at once at the second."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.cli.invocation import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """The event that SIGINT and SIGTERM set while the block runs; a second signal ends the process at once."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(ExitCode.FAILED)  # what is in flight is repaired by whoever comes next
        stop.set()
        # Not through the console: the signal may have come in the middle of a line.
        os.write(sys.stderr.fileno(), b"stopping after the calls in flight; once more to stop at once\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
