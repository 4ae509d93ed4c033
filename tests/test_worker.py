from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from service.core.model import FileState, MediaFile, Outcome, Vendor, Verdict
from service.core.rules_file import catch_all
from service.core.slots import Every
from service.db import files, inbox, leases, runs
from service.db.engine import Database
from service.db.inbox import NewCallback
from service.db.migrate import upgrade_database
from service.db.models import CallbackRow, RunState, Trigger
from service.settings import load_settings
from service.usecases.claiming import SWEEP_LEASE
from service.usecases.policy import Candidate
from service.wiring import build_service, utc_now
from service.worker import SlotTrigger, check_worker
from service.zego.sandbox import Sandbox
from service.zego.sandbox_callbacks import callback_body
from service.zego.sandbox_faults import answer_late
from tests.gatekeeper import Gatekeeper
from tests.processes import PATIENCE_S, Running, running, wait_until
from tests.world import APP, CALLBACK_SECRET, SERVER_SECRET, apply_as_previewed, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.zego.sandbox import Call


class Scene:
    """A database with files that are due, the ZEGO that stores them, and the settings of a worker that knows both."""

    def __init__(self, database_url: str, folder: Path, sandbox: Sandbox) -> None:
        self.database = Database(database_url)
        upgrade_database(self.database)
        self.folder = folder
        self.sandbox = sandbox
        plain = {"SWEEP_EVERY": "100d", "CLAIM_LEASE": "2s", "RETRY_FIRST": "1s", "LOG_FORMAT": "json", "KEEP": "1d"}
        self.settings = environment(database_url, sandbox.url, **plain)

    def add(self, count: int) -> None:
        now = utc_now()
        ended = now - timedelta(days=2)
        with self.database.write() as session:
            for number in range(count):
                file_id = f"file-{number}"
                self.sandbox.add_file(APP, Vendor.TENCENT, file_id)
                files.add_file(
                    session, MediaFile(APP, Vendor.TENCENT, file_id, "room", "record", None, ended, now), now
                )
        apply_as_previewed(self.database, Candidate(catch_all("1d"), "a test"), utc_now)

    def states(self) -> dict[FileState, int]:
        with self.database.read() as session:
            return files.count_by_state(session)

    def runs(self) -> list[tuple[Trigger, RunState]]:
        with self.database.read() as session:
            return [(row.trigger, row.state) for row in reversed(runs.list_runs(session))]

    def agrees(self) -> bool:
        """Inventory and sandbox say the same of every file."""
        with self.database.read() as session:
            live = {
                row.file_id
                for row in files.list_files(session, files.FileFilter())
                if row.state not in (FileState.DELETED, FileState.GONE)
            }
        return live == set(self.sandbox.files(APP, Vendor.TENCENT))

    def check(self) -> tuple[bool, str]:
        service = build_service(load_settings(self.settings))
        try:
            return check_worker(service)
        finally:
            service.close()

    def worker(self, **settings: str) -> Any:
        return running("worker", self.settings | {f"ZEGO_RETENTION_{k}": v for k, v in settings.items()}, self.folder)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({APP: SERVER_SECRET}, utc_now) as sandbox:
        yield sandbox


@pytest.fixture
def scene(database_url: str, tmp_path: Path, sandbox: Sandbox) -> Iterator[Scene]:
    scene = Scene(database_url, tmp_path, sandbox)
    yield scene
    scene.database.dispose()


def test_the_overdue_slot_is_swept_at_the_start_and_once(scene: Scene) -> None:
    scene.add(3)
    worker: Running
    with scene.worker() as worker:
        wait_until(lambda: scene.runs() == [(Trigger.SCHEDULE, RunState.DONE)])
        assert scene.states() == {FileState.DELETED: 3}
        assert scene.check()[0]
        assert worker.end() == 0
        assert "Traceback" not in worker.log()
    assert scene.check() == (False, scene.check()[1])
    assert "no worker is running" in scene.check()[1]

    with scene.worker() as worker:
        worker.wait_for("worker_started")
        wait_until(lambda: scene.check()[0])
        assert worker.end(signal.SIGINT) == 0
    assert scene.runs() == [(Trigger.SCHEDULE, RunState.DONE)]


def test_sweeps_go_on_at_their_slots(scene: Scene) -> None:
    with scene.worker(SWEEP_EVERY="2s") as worker:
        wait_until(lambda: len(scene.runs()) >= 3)
        assert worker.end() == 0
    with scene.database.read() as session:
        slots = sorted(row.slot_at for row in runs.list_runs(session) if row.slot_at is not None)
    assert all(later - earlier >= timedelta(seconds=2) for earlier, later in pairwise(slots))
    assert all(slot.timestamp() % 2 == 0 for slot in slots)


def test_a_stop_in_the_middle_records_what_is_in_flight_and_gives_the_rest_back(scene: Scene) -> None:
    scene.add(900)
    scene.sandbox.always(answer_late(1.5))
    with scene.worker() as worker:
        wait_until(lambda: len(scene.sandbox.calls) > 0)
        assert worker.end() == 0
    assert 1 <= len(scene.sandbox.calls) <= 4
    assert scene.runs() == [(Trigger.SCHEDULE, RunState.INTERRUPTED)]
    states = scene.states()
    assert set(states) == {FileState.DELETED, FileState.SCHEDULED}
    assert states[FileState.DELETED] == 100 * len(scene.sandbox.calls)
    assert scene.agrees()
    with scene.database.read() as session:
        lease = leases.find_lease(session, SWEEP_LEASE)
        outcomes = {attempt.outcome for attempt in runs.list_attempts(session)}
    assert lease is not None
    assert not lease.holder
    assert outcomes == {Outcome.DELETED}

    scene.sandbox.end_faults()
    with scene.worker() as worker:
        wait_until(lambda: scene.states() == {FileState.DELETED: 900})
        assert worker.end() == 0


def test_a_killed_worker_is_made_good_by_the_next_one(scene: Scene) -> None:
    scene.add(900)
    killed: list[Running] = []

    def strike(call: Call) -> None:
        if call.number == 3 and call.stage != "done" and killed:
            killed[0].process.kill()

    scene.sandbox.on_request = strike
    with scene.worker() as worker:
        killed.append(worker)
        assert worker.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert FileState.DELETING in scene.states()

    with scene.worker() as worker:
        wait_until(lambda: scene.states() == {FileState.DELETED: 900})
        assert worker.end() == 0
    assert scene.agrees()


def test_a_second_signal_ends_it_at_once(scene: Scene) -> None:
    scene.add(1)
    scene.sandbox.always(answer_late(25))
    with scene.worker() as worker:
        wait_until(lambda: len(scene.sandbox.calls) > 0)
        worker.process.terminate()
        worker.wait_for("worker_stopping")
        started = time.monotonic()
        assert worker.end() == 128 + signal.SIGTERM
        assert time.monotonic() - started < 5


def test_a_retry_wakes_at_its_own_time(scene: Scene) -> None:
    scene.add(2)
    scene.sandbox.fail_file("file-0", "InternalError", times=1)
    with scene.worker() as worker:
        wait_until(lambda: scene.states() == {FileState.DELETED: 2} and scene.runs()[-1][1] is RunState.DONE)
        assert worker.end() == 0
    assert scene.runs() == [(Trigger.SCHEDULE, RunState.DONE), (Trigger.RETRY, RunState.DONE)]
    assert len(scene.sandbox.calls) == 2


def test_an_unfinished_callback_is_finished(scene: Scene) -> None:
    now = utc_now()
    raw, content_type = callback_body(
        "Huawei",
        app_id=APP,
        secret=CALLBACK_SECRET,
        file_id="record/one.mp4",
        stream="room",
        began=now - timedelta(hours=1),
        ended=now,
        now=now,
        nonce="123456",
    )
    with scene.database.write() as session:
        new = NewCallback(APP, "0" * 40, "0" * 64, now, raw, content_type, "record")
        inbox.store_callback(session, new, Verdict.PENDING, "stored, not understood yet")
    with scene.worker() as worker:
        wait_until(lambda: sum(scene.states().values()) == 1)
        assert worker.end() == 0


def test_what_is_old_is_forgotten(scene: Scene) -> None:
    with scene.database.write() as session:
        for number in range(3):
            new = NewCallback(APP, f"{number:040}", "", utc_now() - timedelta(days=90 * number), b"{}", "", "")
            inbox.store_callback(session, new, Verdict.IGNORED, "")
    with scene.worker(INBOX_KEEP="60d") as worker:
        worker.wait_for('"event": "pruned"')
        assert '"callbacks_pruned": 2' in worker.log()
        assert worker.end() == 0
    with scene.database.read() as session:
        left = session.scalars(select(CallbackRow.raw).order_by(CallbackRow.id)).all()
    assert left == [b"{}", b"", b""]


def test_pending_migrations_end_it_with_one_line(postgres_url: str, sandbox: Sandbox, tmp_path: Path) -> None:
    with running("worker", environment(postgres_url, sandbox.url), tmp_path) as worker:
        assert worker.process.wait(PATIENCE_S) == 1
        assert "zego-retention migrate" in worker.log().splitlines()[-1]
        assert "Traceback" not in worker.log()


def test_a_file_that_cannot_be_made_ends_it_with_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with running("worker", environment(f"sqlite:///{tmp_path}/file/x.db", sandbox.url), tmp_path) as worker:
        assert worker.process.wait(PATIENCE_S) == 1
        assert str(tmp_path / "file") in worker.log().splitlines()[-1]
        assert "Traceback" not in worker.log()


def test_it_outlives_an_outage_of_postgresql(postgres_url: str, sandbox: Sandbox, tmp_path: Path) -> None:
    scene = Scene(postgres_url, tmp_path, sandbox)
    scene.add(1)
    gate = Gatekeeper(postgres_url)
    with scene.worker(DATABASE_URL=gate.url, SWEEP_EVERY="2s") as worker:
        worker.wait_for("database_unavailable")
        gate.open()
        wait_until(lambda: scene.states() == {FileState.DELETED: 1})
        gate.close()
        seen = worker.log().count("database_unavailable")
        wait_until(lambda: worker.log().count("database_unavailable") > seen)
        before = len(scene.runs())
        gate.open()
        wait_until(lambda: len(scene.runs()) > before and scene.check()[0])
        assert worker.end() == 0
        assert "Traceback" not in worker.log()
    gate.close()
    scene.database.dispose()


def test_the_trigger_sleeps_through_no_slot_and_wakes_once_for_many() -> None:
    trigger = SlotTrigger(Every(timedelta(minutes=15)))
    noon = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert trigger.get_next_fire_time(None, noon) == noon + timedelta(minutes=15)
    late = noon + timedelta(hours=5, minutes=1)
    assert trigger.get_next_fire_time(noon, late) == noon + timedelta(hours=5, minutes=15)


def test_the_worker_reads_the_listings_at_its_start_and_adopts_what_nobody_announced(scene: Scene) -> None:
    scene.sandbox.add_file(APP, Vendor.HUAWEI, "record/old.mp4", created_at=utc_now() - timedelta(days=90))
    with scene.worker(RECONCILE_EVERY="24h"):
        wait_until(lambda: scene.states() == {FileState.SCHEDULED: 1})
        wait_until(lambda: len({call.vendor for call in scene.sandbox.calls if call.action == "SearchMedia"}) == 3)
    assert set(scene.sandbox.files(APP, Vendor.HUAWEI)) == {"record/old.mp4"}


def test_with_reconcile_off_the_worker_lists_nothing(scene: Scene) -> None:
    scene.add(1)
    with scene.worker(RECONCILE_EVERY="off"):
        wait_until(lambda: scene.states() == {FileState.DELETED: 1})
    assert {call.action for call in scene.sandbox.calls} == {"DeleteMedia"}
