"""What the child processes of these tests do.

They are forked from a server that has imported this module, so that each is up at once (`scene.start_child`).
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, configure_mappers

from service.db.models import Trigger
from service.settings import load_settings
from service.usecases.calling import App
from service.usecases.ingest import receive_callback
from service.usecases.sweep import Sweeper, run_pass
from service.wiring import Service, build_service, open_service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from multiprocessing.connection import Connection

CALLS_PER_SECOND = 2_000

configure_mappers()


class Step(StrEnum):
    """A kind of step at which a process can be struck."""

    STATEMENT = "before a statement"
    STATEMENT_DONE = "after a statement"
    COMMIT = "before a commit"
    COMMITTED = "after a commit"
    ANSWERED = "after the answer"


@dataclass(frozen=True, slots=True)
class Blow:
    """What hits a process, and where: at the n-th step of a kind, counted from 1."""

    step: Step
    number: int
    signal: int = signal.SIGKILL


class Steps:
    """Counts the steps of this process, and lets the blow fall at its own. Transactions that only read are no steps."""

    def __init__(self, blow: Blow | None) -> None:
        self._blow = blow
        self._lock = threading.Lock()
        self._transaction = threading.local()
        self.counts: Counter[Step] = Counter()

    def __call__(self, step: Step) -> None:
        with self._lock:
            self.counts[step] += 1
            if self._blow and (step, self.counts[step]) == (self._blow.step, self._blow.number):
                os.kill(os.getpid(), self._blow.signal)

    def watch(self) -> None:
        """Watch every statement and transaction of this process from now on."""
        event.listen(Engine, "begin", self._begin)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "after_cursor_execute", lambda *_: self(Step.STATEMENT_DONE))
        event.listen(Engine, "commit", lambda _: self._end(Step.COMMIT))
        event.listen(Session, "after_commit", lambda _: self._end(Step.COMMITTED))

    def _begin(self, _: object) -> None:
        self._transaction.wrote = False

    def _execute(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self._transaction.wrote |= statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))
        self(Step.STATEMENT)

    def _end(self, step: Step) -> None:
        if self._transaction.wrote:
            self(step)


class Clock:
    """A clock that gets on a millisecond with every look at it, and not otherwise: the parent has the time."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._looks = count(1)

    def __call__(self) -> datetime:
        return self._start + timedelta(milliseconds=next(self._looks))


def hurry(service: Service) -> Sweeper:
    """The service's sweeper at a pace that keeps no test waiting."""
    return replace(service.sweeper, apps={app_id: App(c, CALLS_PER_SECOND) for app_id, c in service.clients.items()})


def sweep_once(environment: Mapping[str, str], now: datetime, blow: Blow | None, report: Connection) -> None:
    """One whole pass, as `zego-retention sweep` does it; reports how many steps it took."""
    _be_silent()
    steps = Steps(blow)
    steps.watch()
    service = open_service(load_settings(environment), now=Clock(now))
    run_id = run_pass(hurry(service), Trigger.COMMAND)
    service.close()
    report.send((run_id, steps.counts))


def take_in(
    environment: Mapping[str, str], now: datetime, blow: Blow | None, report: Connection, body: tuple[bytes, str]
) -> None:
    """Take in one callback; reports the answer as soon as there is one."""
    _be_silent()
    service = build_service(load_settings(environment), now=Clock(now))
    steps = Steps(blow)
    steps.watch()
    receipt = receive_callback(service.ingest, *body)
    report.send((receipt.answer, dict(steps.counts)))
    steps(Step.ANSWERED)
    service.close()


def _be_silent() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
