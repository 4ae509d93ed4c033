"""What the child processes of these tests do.

They are forked from a server that has imported this module, so that each is up at once (`scene.start_child`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NoReturn

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, configure_mappers

from service.core.plan import plan_batches
from service.db import claims, runs
from service.db.models import Trigger
from service.settings import load_settings
from service.usecases.calling import App, Caller
from service.usecases.claiming import Admission, Pass, claim_chunk
from service.usecases.ingest import receive_callback
from service.usecases.sweep import run_pass
from service.wiring import Service, build_service, open_service
from service.zego.request_url import url_cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

    from service.core.model import Lane
    from service.db.claims import Cursor
    from service.usecases.lanes import Sweeper

CALLS_PER_SECOND = 2_000

configure_mappers()


class Step(StrEnum):
    """A kind of step at which a process can be struck."""

    STATEMENT = "before a statement"
    STATEMENT_DONE = "after a statement"
    COMMIT = "before a commit"
    COMMITTED = "after a commit"
    LOOKED = "after a look"
    ANSWERED = "after the answer"


@dataclass(frozen=True, slots=True)
class Blow:
    """What hits a process, and where: at the n-th step of a kind, counted from 1."""

    step: Step
    number: int
    signal: int = signal.SIGKILL


class Steps:
    """Counts the steps of this process, and lets the blow fall at its own. A transaction that only reads is a look."""

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
        """Watch every statement and transaction of this process from now on."""
        event.listen(Engine, "begin", self._begin)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "after_cursor_execute", lambda *_: self(Step.STATEMENT_DONE))
        event.listen(Engine, "commit", lambda _: self._end(Step.COMMIT, None))
        event.listen(Session, "after_commit", lambda _: self._end(Step.COMMITTED, Step.LOOKED))

    def _begin(self, _: object) -> None:
        self._transaction.wrote = False

    def _execute(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self._transaction.wrote |= statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))
        self(Step.STATEMENT)

    def _end(self, of_write: Step, of_look: Step | None) -> None:
        step = of_write if self._transaction.wrote else of_look
        if step:
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
    return replace(service.sweeper, apps={app_id: App(c, c, CALLS_PER_SECOND) for app_id, c in service.clients.items()})


def sweep_once(environment: Mapping[str, str], now: datetime, blow: Blow | None, report: Connection) -> None:
    """One whole pass, as `zego-retention sweep` does it; reports how many steps it took."""
    be_silent()
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
    be_silent()
    service = build_service(load_settings(environment), now=Clock(now))
    steps = Steps(blow)
    steps.watch()
    receipt = receive_callback(service.ingest, *body)
    report.send((receipt.answer, dict(steps.counts)))
    steps(Step.ANSWERED)
    service.close()


class StartingGun:
    """Lets two processes begin each round at one instant."""

    def __init__(self, context: BaseContext) -> None:
        self._moment = context.RawValue("d")
        self._barrier = context.Barrier(2, self._load)

    def _load(self) -> None:
        self._moment.value = time.monotonic() + 0.001

    def wait(self) -> None:
        """Return when the other process is here too, in both at the same time."""
        self._barrier.wait(60)
        while time.monotonic() < self._moment.value:
            pass


def send_at_once(
    environment: Mapping[str, str],
    now: datetime,
    gun: StartingGun,
    report: Connection,
    bodies: Sequence[tuple[bytes, str]],
) -> None:
    """Take in callbacks, each at the same instant as the other process; reports the answers with begin and end."""
    be_silent()
    service = build_service(load_settings(environment), now=lambda: now)
    told = []
    for body in bodies:
        gun.wait()
        began = time.monotonic()
        receipt = receive_callback(service.ingest, *body)
        told.append((receipt.answer, receipt.callback_id, began, time.monotonic()))
    service.close()
    report.send(told)


def sweep_until_done(environment: Mapping[str, str], now: datetime, gun: StartingGun, report: Connection) -> None:
    """Pass after pass at ZEGO's pace, each as the lease is had, until nothing is due; reports how many."""
    be_silent()
    service = build_service(load_settings(environment), now=Clock(now))
    passes = 0
    gun.wait()
    while _due_lanes(service):
        run_pass(service.sweeper, Trigger.COMMAND)
        passes += 1
    service.close()
    report.send(passes)


def sweep_beside(
    environment: Mapping[str, str], now: datetime, gun: StartingGun, report: Connection, fence: int
) -> None:
    """A run that does not wait for the lease: it claims and calls beside another with the same fence; reports claims.

    It claims little at a time, so that claims meet all along, and keeps four calls in flight, as a pass does.
    """
    be_silent()
    service = build_service(load_settings(environment), now=Clock(now))
    database, sweeper = service.database, service.sweeper
    run_id = database.transact(lambda session: _start_run(session, now))
    sweep = Pass(run_id, fence)
    claimed: list[int] = []
    gun.wait()
    for lane in _due_lanes(service):
        app = sweeper.apps[lane[0]]
        caller = Caller(database, lane[0], app, sweeper.recorder, sweep, sweeper.now, threading.Event())
        claim = partial(
            claim_chunk, sweep=sweep, lane=lane, admission=Admission(10_000), limit=12, only_retries=False, now=now
        )
        cursor: Cursor | None = None
        with ThreadPoolExecutor(4) as pool:
            while (chunk := database.transact(partial(claim, after=cursor))).cursor is not None:
                cursor = chunk.cursor
                claimed += [file.key for file in chunk.files]
                by_id = {file.file_id: file for file in chunk.files}
                batches = plan_batches(by_id, overhead=app.deleter.url_overhead(lane[1]), cost=url_cost)
                calls = [pool.submit(caller.delete_batch, lane[1], [by_id[i] for i in batch]) for batch in batches]
                for call in calls:
                    call.result()
    service.close()
    report.send((run_id, claimed))


def _due_lanes(service: Service) -> list[Lane]:
    with service.database.read() as session:
        return claims.list_due_lanes(session, service.now())


def _start_run(session: Session, now: datetime) -> int:
    run = runs.start_run(session, Trigger.COMMAND, None, f"beside/{os.getpid()}", now)
    assert run is not None
    return run.id


def be_silent() -> None:
    """Drop what would be logged, before anybody renders it."""
    structlog.configure(processors=[_drop])


def _drop(*_: object) -> NoReturn:
    raise structlog.DropEvent
