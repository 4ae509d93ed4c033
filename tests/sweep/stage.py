"""A stage for the sweep alone: a database, a leader, a strict ZEGO on loopback, and a clock set by hand."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.audit.store import find_head
from service.database import Database
from service.files.policy import DecidingLoop, PolicyReader
from service.files.store import add_files, flag_files, list_in_range, save_files
from service.holds.store import add_hold
from service.leader.leader import Leader
from service.leader.store import set_progress
from service.model import Actor, FileState, Hold, MediaFile, Outcome, Vendor
from service.rules.file import parse_rules
from service.rules.store import Shown, put_in_force
from service.sandbox.storage import StoredFile
from service.sweep import store
from service.sweep.backoff import RetryPolicy
from service.sweep.breaker import Limits
from service.sweep.gate import Gate
from service.sweep.records import Trigger
from service.sweep.run import Sweeper
from service.zego.client import ZegoClient
from service.zego.messages import Answer, Transport
from tests import world
from tests.faults import FaultySandbox
from tests.world import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Transaction

APP, OTHER = "1234567890", "987654321"
SECRET = "9193cc662a4c0ec135ec71fb57194b38"
START = world.START
TESTER = Actor("a tester", "a test")
DAY = timedelta(days=1)
FAST = 2_000


@dataclass
class Stage:
    """What a test holds in its hands."""

    database: Database
    leader: Leader
    sandbox: FaultySandbox
    clock: Clock
    sweeper: Sweeper
    deciding: DecidingLoop
    slept: list[float] = field(default_factory=list)
    has_whole_history: bool = True

    def add(
        self,
        *file_ids: str,
        age: timedelta = 2 * DAY,
        stored: bool = True,
        stream: str = "room",
        app_id: str = APP,
        vendor: Vendor = Vendor.TENCENT,
        **facts: Any,
    ) -> None:
        """Put files into inventory and sandbox, and decide about them."""
        ended_at = facts.pop("ended_at", self.clock() - age)
        facts = {"began_at": ended_at - timedelta(minutes=30), "event": "record"} | facts
        blank = MediaFile(
            id=0,
            app_id=app_id,
            vendor=vendor,
            file_id="",
            stream_id=stream,
            ended_at=ended_at,
            received_at=ended_at,
            decide_again=True,
            **facts,
        )
        self.leader.transact(lambda tx: add_files(tx, [blank._replace(file_id=file_id) for file_id in file_ids]))
        if stored:
            self.sandbox.add_files(app_id, vendor, [StoredFile(file_id, ended_at) for file_id in file_ids])
        self.decide()

    def change(self, file_id: str, **facts: Any) -> None:
        """Change facts of a file as something else of the leader would."""
        file = self.file(file_id)
        self.leader.transact(lambda tx: save_files(tx, [file._replace(**facts)]))

    def decide(self) -> None:
        self.apply_orders()
        self.deciding.run()

    def apply_orders(self) -> None:
        """Every order counts as applied: what these tests order only needs deciding."""
        self.leader.transact(lambda tx: set_progress(tx, applied=find_head(tx).number))

    def rules(self, text: str, *, cooling_off: timedelta = timedelta(0), preview: Shown | None = None) -> int:
        parsed = parse_rules(text)
        revision, _ = self.database.transact(
            lambda tx: put_in_force(tx, TESTER, parsed, "a test", self.clock(), cooling_off, preview=preview)
        )
        self.decide()
        return revision

    def keep(self, window: str, **options: Any) -> int:
        return self.rules(f'[[rules]]\nname = "everything"\nkeep = "{window}"\n', **options)

    def hold(self, pattern: str, app_id: str = APP, *, applied: bool = False) -> None:
        """Put a hold in force; its order is not applied yet, unless asked for."""
        hold = Hold(0, app_id, "a test", stream_pattern=pattern, placed_at=self.clock())

        def place(tx: Transaction) -> None:
            add_hold(tx, hold)
            place_order(tx, TESTER, OrderKind.HOLD, "hold", {}, self.clock(), action="hold.place", app_id=app_id)

        self.database.transact(place)
        if applied:
            numbers = [file.id for file in self.files().values()]
            self.leader.transact(lambda tx: flag_files(tx, numbers))
            self.decide()

    def sweep(self, trigger: Trigger = Trigger.COMMAND, **options: Any) -> int:
        run = self.sweeper.run(trigger, options.pop("stop", threading.Event()), **options)
        assert run is not None, self.sweeper.gate.refusals
        return run

    def files(self) -> dict[str, MediaFile]:
        with self.database.read() as tx:
            return {file.file_id: file for file in list_in_range(tx, 0, 1_000_000)}

    def file(self, file_id: str) -> MediaFile:
        return self.files()[file_id]

    def states(self) -> dict[str, str]:
        return {file_id: file.state.value for file_id, file in self.files().items()}

    def count(self, state: FileState) -> int:
        return sum(file.state is state for file in self.files().values())

    def stored(self, app_id: str = APP) -> set[str]:
        return {file_id for vendor in Vendor for file_id in self.sandbox.files(app_id, vendor)}

    def attempts(self, file_id: str) -> list[tuple[str | None, bool | None]]:
        """Outcome and whether it was charged, of each attempt on a file."""
        with self.database.read() as tx:
            found = store.list_attempts(tx, file=self.file(file_id).id)
        return [(attempt.outcome and attempt.outcome.value, attempt.charged) for attempt in found]

    def run(self, run_id: int) -> Any:
        with self.database.read() as tx:
            return store.find_run(tx, run_id)

    def check_totals(self) -> None:
        """The totals on the rows of runs are what their calls and attempts add up to."""
        with self.database.read() as tx:
            files = {file.id: file for file in list_in_range(tx, 0, 1_000_000)}
            for run in store.list_runs(tx):
                calls = {call.id: call for call in store.list_calls(tx, run.id)}
                attempts = store.list_attempts(tx, run_id=run.id)
                last = {attempt.media_file_id: attempt.outcome for attempt in attempts}
                deleted = [attempt for attempt in attempts if attempt.outcome is Outcome.DELETED]
                outcomes = Counter(outcome for outcome in last.values() if outcome)
                assert (run.calls, run.outcomes) == (len(calls), dict(outcomes)), run
                assert run.unanswered == sum(outcome is None for outcome in last.values()), run
                assert run.purges_failed == sum(calls[each.call_id].cache_code not in (None, "1") for each in deleted)
                assert run.freed_s == sum(files[each.media_file_id].duration_s or 0 for each in deleted), run
                assert run.freed_bytes == sum(files[each.media_file_id].size_bytes or 0 for each in deleted), run


@contextmanager
def open_actor(
    database_url: str,
    sandbox_url: str,
    clock: Clock | None = None,
    sandbox: FaultySandbox | None = None,
    **options: Any,
) -> Iterator[Stage]:
    """Everything but a sandbox of its own; nobody leads yet. `options` are as of `open_stage`."""
    clock = clock or Clock()
    rate, lease = options.pop("calls_per_second", FAST), options.pop("lease", timedelta(minutes=2))
    apps = options.pop("app_ids", (APP, OTHER))
    with ExitStack() as stack:
        database = Database(database_url)
        stack.callback(database.dispose)
        clients = {
            app: stack.enter_context(ZegoClient(app, SECRET, sandbox_url, now=clock, calls_per_second=rate))
            for app in apps
        }
        leader, reader = Leader(database, f"stage/{os.getpid()}", lease, clock), PolicyReader()
        slept: list[float] = []
        gate = Gate(database, leader, clients, clock, options.pop("steady", clock.seconds))
        for app_id in clients:  # as if ZEGO had answered before
            gate.note_time(app_id, Answer(Transport.ANSWERED, code=0, date=clock()))
        sweeper = Sweeper(
            database=database,
            leader=leader,
            reader=reader,
            apps=clients,
            gate=gate,
            limits=Limits(10_000, 1.0),
            retry_policy=RetryPolicy(timedelta(minutes=1), timedelta(hours=6), 7 * DAY),
            confirm_all=False,
            catch_up=lambda: None,
            now=clock,
            sleep=slept.append,
            jitter=random.Random(7).random,
        )
        deciding = DecidingLoop(leader, reader, clock)
        # (A child has no sandbox in its hands.)
        stage = Stage(database, leader, sandbox, clock, replace(sweeper, **options), deciding, slept)  # type: ignore[arg-type]
        if "catch_up" not in options:
            stage.sweeper.catch_up = stage.decide
        yield stage


@contextmanager
def open_stage(database_url: str, **options: Any) -> Iterator[Stage]:
    """Open a stage; this process leads. `options` are fields of the sweeper, `calls_per_second`, `lease`, `app_ids`."""
    clock = Clock()
    apps = options.get("app_ids", (APP, OTHER))
    with (
        FaultySandbox(dict.fromkeys(apps, SECRET), clock, calls_per_second=1_000_000) as sandbox,
        open_actor(database_url, sandbox.url, clock, sandbox, **options) as stage,
    ):
        assert stage.leader.try_to_lead()
        yield stage
        if stage.has_whole_history:
            stage.check_totals()
