"""How processes of the service end: on signals that ask them to, and when the process that started them is gone."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_STARTED_BY: Final = "_ZEGO_RETENTION_STARTED_BY"
_LOOK_EVERY_S: Final = 0.5


class StopSignals:
    """SIGTERM and SIGINT as they arrive."""

    def __init__(self) -> None:
        # The one queue whose put() may be called by a signal handler while the same thread is inside its get().
        self.arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the next signal; its number, or None when the time is over."""
        try:
            return self.arrived.get(timeout=timeout_s)
        except queue.Empty:
            return None


@contextmanager
def stop_signals(*, second_ends: bool) -> Iterator[StopSignals]:
    """Collect stop signals while the block runs; with `second_ends`, the second one ends the process at once."""
    signals = StopSignals()
    seen: list[int] = []

    def handle(signum: int, _frame: FrameType | None) -> None:
        if second_ends and seen:
            os._exit(128 + signum)
        seen.append(signum)
        signals.arrived.put(signum)

    before = {signum: signal.signal(signum, handle) for signum in _SIGNALS}
    try:
        yield signals
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def with_lifeline(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child that is to end when this process does: nobody is left holding the port."""
    return {**environ, _STARTED_BY: str(os.getpid())}


def has_lifeline(environ: Mapping[str, str]) -> bool:
    """Whether this process was started by another one of ours, which has said already what there is to say."""
    return _STARTED_BY in environ


def find_starter(environ: Mapping[str, str]) -> int | None:
    """The process of ours that has started this one; None: another one, or none any more."""
    started_by = environ.get(_STARTED_BY, "")
    return os.getppid() if started_by == str(os.getppid()) else None


def follow_lifeline(environ: Mapping[str, str]) -> None:
    """If this process was started by one that gave it a lifeline, end as on SIGTERM once that one is gone."""
    started_by = environ.get(_STARTED_BY, "")
    # A grandchild inherits the variable, too; its parent is another.
    if started_by.isdecimal() and (os.getppid() == int(started_by) or not _is_alive(int(started_by))):
        threading.Thread(target=_follow, args=(int(started_by),), name="lifeline", daemon=True).start()


def _follow(started_by: int) -> None:
    while os.getppid() == started_by:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
