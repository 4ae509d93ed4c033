"""A world that can be put back as it was, and the children that die in it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete, insert, select

from service.core.model import FileState, Outcome, Vendor
from service.db import claims, leases, runs
from service.db.models import IS_CLAIMED, AttemptRow, CallRow, MediaFileRow, RunRow, RunState, Trigger
from service.db.schema import Model
from service.usecases.claiming import SWEEP_LEASE
from service.usecases.reports import run_as_json
from service.usecases.sweep import run_pass
from tests.faults.children import hurry
from tests.world import APP, START, World, environment, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

    from service.usecases.lanes import Sweeper
    from service.zego.sandbox import Call

PATIENCE_S = 30
GONE = {FileState.DELETED.value, FileState.GONE.value}

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["pytest", "tests.faults.children"])


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
        self.process.join(PATIENCE_S)
        code = self.process.exitcode
        assert code is not None, "the child did not end"
        return code

    def wait_until_stopped(self) -> bool:
        """Wait until a signal has stopped each of its threads; False when it ended instead."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.exitcode is None:
            if set(self._states_of_threads()) == {"T"}:
                return True
            assert time.monotonic() < deadline, "the child neither stopped nor ended"
            time.sleep(0.002)
        return False

    def _states_of_threads(self) -> list[str]:
        """As the kernel tells them; none of a process that has just ended."""
        try:
            statuses = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        except OSError:
            return []
        return [status.rpartition(")")[2].split()[0] for status in statuses]

    def told(self, patience_s: float = 0) -> Any:
        """What it reported; None if it did not live to."""
        try:
            return self.report.recv() if self.report.poll(patience_s) else None
        except EOFError:
            return None


@dataclass
class Ambush:
    """Waits at the sandbox for the n-th call of a stage and does something to whoever made it."""

    stage: Literal["arrived", "done"]
    number: int
    act: Callable[[Call], None]
    seen: int = 0
    sprung: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Call) -> None:
        if call.stage != self.stage:
            return
        with self._lock:
            self.seen += 1
            hit = self.seen == self.number
        if hit:
            self.sprung.set()
            self.act(call)


@dataclass
class Scene:
    """A world whose passes are fast, and whose rows and stored files can be put back."""

    world: World
    environment: dict[str, str]
    sweeper: Sweeper
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stored: list[tuple[str, Vendor, str, str]] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    start: datetime = START

    def remember(self) -> None:
        """Take what there is now as the beginning."""
        with self.world.database.read() as session:
            self.rows = {
                table.name: [dict(row) for row in session.execute(select(table)).mappings()]
                for table in Model.metadata.sorted_tables
            }
        self.start = self.world.clock()
        self.stored = [
            (APP, vendor, stored.file_id, stored.stream_id)
            for vendor in Vendor
            for stored in self.world.sandbox.files(APP, vendor).values()
        ]

    def put_back(self) -> None:
        """Make everything as it was, once nothing of before is under way any more."""
        self.settle()
        with self.world.database.write() as session:
            for table in reversed(Model.metadata.sorted_tables):
                session.execute(delete(table))
            for table in Model.metadata.sorted_tables:
                if rows := self.rows[table.name]:
                    session.execute(insert(table), rows)
        for app_id, vendor, file_id, stream in self.stored:
            self.world.sandbox.add_file(app_id, vendor, file_id, stream_id=stream)
        self.world.clock.time = self.start

    def settle(self) -> None:
        """Wait until the sandbox is done with every request, also those of the dead."""
        self.world.sandbox.on_request = None
        for client in self.world.service.clients.values():
            client.close()
        deadline = time.monotonic() + PATIENCE_S
        server = self.world.sandbox._server
        assert server is not None
        while server._open and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not server._open, "a request never ended"

    def sweep(self, trigger: Trigger = Trigger.COMMAND) -> int:
        run_id = run_pass(self.sweeper, trigger)
        assert run_id is not None
        return run_id

    def start_child(self, work: Callable[..., None], how: object = None, *more: object) -> Child:
        """Start `work(environment, now, how, report, *more)` in a process of its own."""
        receiver, sender = CHILDREN.Pipe(duplex=False)
        arguments = (self.environment, self.world.clock(), how, sender, *more)
        child = Child(CHILDREN.Process(target=work, args=arguments, daemon=True), receiver)
        self.children.append(child)
        child.process.start()
        sender.close()
        return child

    def repair(self) -> None:
        """Let a pass that waited for a dead one's lease find what it left; go on until nothing is due any more."""
        with self.world.database.read() as session:
            lease = leases.find_lease(session, SWEEP_LEASE)
        if lease is not None:
            self.world.clock.time = max(lease.expires_at, self.start + timedelta(seconds=1))
        self.sweep()
        for _ in range(10):
            with self.world.database.read() as session:
                if not claims.list_due_lanes(session, self.world.clock()):
                    return
            self.world.clock.move(minutes=10)
            self.sweep()
        raise AssertionError("passes never came to an end of what is due")

    def stored_now(self) -> set[str]:
        return {file_id for vendor in Vendor for file_id in self.world.sandbox.files(APP, vendor)}


@contextmanager
def open_scene(database_url: str, **settings: str) -> Iterator[Scene]:
    """Open a world with one fast app, of a ZEGO that offers DeleteMedia only."""
    with open_world(database_url, **settings) as world:
        world.sandbox.search = False
        world.sandbox.calls_per_second = 1_000_000
        env = environment(database_url, world.sandbox.url, **settings)
        scene = Scene(world, env, hurry(world.service))
        try:
            yield scene
        finally:
            for child in scene.children:
                child.process.kill()  # a test that fails may leave one at a standstill
                child.process.join()


def stop(child: Child) -> None:
    """Bring a child to a standstill."""
    os.kill(child.pid, signal.SIGSTOP)
    child.wait_until_stopped()


def kill(child: Child) -> Callable[[Call], None]:
    """Kill a child; a request that has just arrived goes with it."""

    def act(call: Call) -> None:
        os.kill(child.pid, signal.SIGKILL)
        if call.stage == "arrived":
            raise ConnectionAbortedError

    return act


def assert_books_are_right(scene: Scene, *, late_answers: bool = False) -> None:
    """Inventory and sandbox agree, nothing is left open, and every total follows from the rows.

    An answer that comes late to a file that has ended meanwhile is on record, but charged to nobody.
    """
    files = scene.world.files()
    assert scene.stored_now() == {file_id for file_id, file in files.items() if file["state"] not in GONE}
    with scene.world.database.read() as session:
        attempts = list(session.scalars(select(AttemptRow).order_by(AttemptRow.id)))
        assert not [attempt.id for attempt in attempts if attempt.outcome is None or attempt.ended_at is None]
        assert not list(session.scalars(select(MediaFileRow.id).where(IS_CLAIMED)))
        lease = leases.find_lease(session, SWEEP_LEASE)
        assert lease is not None
        assert not lease.holder
        for run in session.scalars(select(RunRow)):
            assert run.state in (RunState.DONE, RunState.LOST, RunState.INTERRUPTED), run.id
            assert run.finished_at is not None
            _assert_totals(run_as_json(session, run), [a for a in attempts if a.run_id == run.id])
            calls = {call.id for call in session.scalars(select(CallRow).where(CallRow.run_id == run.id))}
            assert {attempt.call_id for attempt in attempts if attempt.run_id == run.id} == calls
            assert runs.count_totals(session, run.id).calls == len(calls)
        _assert_files_follow_from_attempts(files, attempts, late_answers=late_answers)


def _assert_totals(shown: dict[str, Any], attempts: list[AttemptRow]) -> None:
    last = {attempt.media_file_id: attempt.outcome for attempt in attempts}
    counted = Counter(last.values())
    assert shown["outcomes"] == {outcome.value: counted[outcome] for outcome in Outcome}
    assert shown["unanswered"] == 0


def _assert_files_follow_from_attempts(
    files: dict[str, dict[str, Any]], attempts: list[AttemptRow], *, late_answers: bool
) -> None:
    by_file: dict[int, list[AttemptRow]] = {}
    for attempt in attempts:
        by_file.setdefault(attempt.media_file_id, []).append(attempt)
    for file in files.values():
        own = by_file.get(file["id"], [])
        outcomes = {attempt.outcome.value for attempt in own if attempt.outcome}
        assert (file["state"] == "deleted") == ("deleted" in outcomes), file
        charged = sum(bool(attempt.charged) for attempt in own)
        assert file["attempts"] == charged or (late_answers and file["attempts"] < charged), file
