"""Processes that do one thing and may be struck at any of their commits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog
from sqlalchemy import event
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

MAX_WAIT_S = 30

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["pytest", "tests.children"])


class Step(StrEnum):
    """A kind of step at which a process can be struck."""

    COMMIT = "before a commit that writes"
    COMMITTED = "after a commit that wrote"
    LOOKED = "after a transaction that only read"


@dataclass(frozen=True, slots=True)
class Blow:
    """What hits a process, and where: at the n-th step of a kind, counted from 1."""

    step: Step
    number: int
    signal: int = signal.SIGKILL


class Steps:
    """Counts the steps of this process, and lets the blow fall at its own."""

    def __init__(self, blow: Blow | None) -> None:
        self._blow = blow
        self._lock = threading.Lock()
        self._transaction = threading.local()
        self.counts: Counter[Step] = Counter()

    def __call__(self, step: Step) -> None:
        with self._lock:
            self.counts[step] += 1
            if self._blow and (step, self.counts[step]) == (self._blow.step, self._blow.number):
                # To this thread, or it might get on before another one has taken the signal.
                signal.pthread_kill(threading.get_ident(), self._blow.signal)

    def watch(self) -> None:
        """Watch every transaction of this process from now on."""
        event.listen(Engine, "begin", self._begin)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "commit", self._commit)
        # After the pool has the connection back, the commit is done.
        event.listen(Engine, "checkin", self._end)

    def _begin(self, _: object) -> None:
        self._transaction.wrote = self._transaction.committed = False

    def _execute(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            self._transaction.wrote = True

    def _commit(self, _: object) -> None:
        self._transaction.committed = True
        if self._transaction.wrote:
            self(Step.COMMIT)

    def _end(self, *_: object) -> None:
        if getattr(self._transaction, "committed", False):
            self._transaction.committed = False
            self(Step.COMMITTED if self._transaction.wrote else Step.LOOKED)


@dataclass
class Child:
    """A process that does one thing and may not survive it."""

    process: ForkServerProcess
    report: Connection

    @property
    def pid(self) -> int:
        pid = self.process.pid
        assert pid is not None
        return pid

    def wait(self) -> int:
        """Its exit code, negative for the signal that ended it."""
        self.process.join(MAX_WAIT_S)
        code = self.process.exitcode
        assert code is not None, "the child did not end"
        return code

    def wait_until_stopped(self) -> bool:
        """Wait until a signal has stopped each of its threads; False when it ended instead."""
        deadline = time.monotonic() + MAX_WAIT_S
        while self.process.exitcode is None:
            if set(self._states_of_threads()) == {"T"}:
                return True
            assert time.monotonic() < deadline, "the child neither stopped nor ended"
            time.sleep(0.002)
        return False

    def _states_of_threads(self) -> list[str]:
        try:
            statuses = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        except OSError:
            return []
        return [status.rpartition(")")[2].split()[0] for status in statuses]

    def receive(self, timeout_s: float = 0) -> Any:
        """What it reported; None if it did not live to."""
        try:
            return self.report.recv() if self.report.poll(timeout_s) else None
        except EOFError:
            return None

    def end(self) -> None:
        """Kill it, wherever it is."""
        self.process.kill()
        self.process.join()


def start_child(work: Callable[..., None], *arguments: object) -> Child:
    """Start `work(report, *arguments)` in a process of its own; `work` is a function of a module under tests."""
    receiver, sender = CHILDREN.Pipe(duplex=False)
    child = Child(CHILDREN.Process(target=work, args=(sender, *arguments), daemon=True), receiver)
    child.process.start()
    sender.close()
    return child


@dataclass
class Ambush:
    """Waits at the sandbox for the n-th call of a stage and does something to whoever made it."""

    stage: Literal["arrived", "done"]
    number: int
    act: Callable[[Any], None]
    seen: int = 0
    sprung: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Any) -> None:
        if call.stage != self.stage:
            return
        with self._lock:
            self.seen += 1
            hit = self.seen == self.number
        if hit:
            self.sprung.set()
            self.act(call)


def kill(child: Child) -> Callable[[Any], None]:
    """Kill a child; a request that has just arrived goes with it."""

    def act(call: Any) -> None:
        os.kill(child.pid, signal.SIGKILL)
        if call.stage == "arrived":
            raise ConnectionAbortedError

    return act


def be_silent() -> None:
    """Drop what would be logged, before anybody renders it."""
    structlog.configure(processors=[_drop])


def _drop(*_: object) -> Any:
    raise structlog.DropEvent
