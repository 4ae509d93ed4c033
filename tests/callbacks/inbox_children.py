"""What the child processes of these tests do."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.callbacks.receive import Inbox
from service.callbacks.understanding import Understanding
from service.callbacks.writer import Writer
from service.database import Database
from service.files.policy import PolicyReader
from service.leader.leader import Leader
from tests.callbacks.callback_scene import APP, SECRET, START, receive
from tests.children import CHILDREN, Blow, Steps, be_silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection


class Signal:
    """Lets two processes begin each round at one instant."""

    def __init__(self) -> None:
        self._moment = CHILDREN.RawValue("d")
        self._barrier = CHILDREN.Barrier(2, self._set)

    def _set(self) -> None:
        self._moment.value = time.monotonic() + 0.001

    def wait(self) -> None:
        """Return when the other process is here too, in both at the same time."""
        self._barrier.wait(60)
        while time.monotonic() < self._moment.value:
            pass


def understand_all(report: Connection, url: str, limit: int, blow: Blow | None) -> None:
    """Lead and understand what is pending, in small batches; reports how many steps that took."""
    be_silent()
    steps = Steps(blow)
    database = Database(url)
    leader = Leader(database, "a child", timedelta(minutes=2), lambda: START)
    assert leader.try_to_lead()
    steps.watch()
    understanding = Understanding(leader, PolicyReader(), timedelta(minutes=15), lambda: START, max_batch=limit)
    understanding.run()
    report.send(dict(steps.counts))


def send_at_once(report: Connection, url: str, signal: Signal, rounds: Sequence[Sequence[tuple[bytes, str]]]) -> None:
    """Take the callbacks of each round at the same instant as the other process, in a thread each; the answers."""
    be_silent()
    database = Database(url)
    writer = Writer(database)
    inbox = Inbox(database, writer, {APP: [SECRET]}, lambda: START)
    together = threading.Barrier(len(rounds[0]), signal.wait)

    def send(body: tuple[bytes, str]) -> str:
        together.wait(60)
        return receive(inbox, *body).value

    answers: list[Any] = []
    with ThreadPoolExecutor(len(rounds[0])) as pool:
        for bodies in rounds:
            answers += list(pool.map(send, bodies))
    writer.stop()
    report.send(answers)
