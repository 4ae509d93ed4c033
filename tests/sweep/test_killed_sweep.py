"""kill -9 between any two commits of a pass, and at every stage of its calls: the next leader makes it good."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import pytest
from sqlalchemy import delete, insert, select

from service.database.columns import metadata
from service.model import FileState, Outcome, Vendor
from service.sweep import store
from service.sweep.records import RunState, Trigger
from tests.children import Ambush, Blow, Step, Steps, be_silent, kill, start_child
from tests.sweep.stage import APP, DAY, START, Stage, open_actor, open_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from service.sandbox.storage import StoredFile

RULES = """
[[rules]]
name = "lessons"
match = { stream = "lesson-*" }
keep = "forever"

[[rules]]
name = "everything else"
keep = "1d"
keep_latest = 1
"""
LONG = "long/" + "x" * 950  # seven of these fill a call
KEPT = {"newest": "kept", "lesson": "kept", "young": "scheduled", "stale": "unconfirmed", "held": "held"}
FAILED = {"refused", "poison"}


@dataclass
class Scene:
    """A stage whose rows and stored files can be put back as they were."""

    stage: Stage
    url: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stored: dict[Vendor, list[StoredFile]] = field(default_factory=dict)

    def remember(self) -> None:
        with self.stage.database.read() as tx:
            for table in metadata.sorted_tables:
                self.rows[table.name] = [dict(row) for row in tx.execute(select(table)).mappings()]
        self.stored = {vendor: list(self.stage.sandbox.files(APP, vendor).values()) for vendor in Vendor}

    def put_back(self) -> None:
        with self.stage.database.write() as tx:
            for table in reversed(metadata.sorted_tables):
                tx.execute(delete(table))
            for table in metadata.sorted_tables:
                if rows := self.rows[table.name]:
                    tx.execute(insert(table), rows)
        for vendor, files in self.stored.items():
            self.stage.sandbox.add_files(APP, vendor, files)
        self.stage.sandbox.fail_file("later", "InternalError", times=1)
        self.stage.clock.time = START
        self.stage.leader.token = None

    def repair(self) -> None:
        """Lead, and sweep until nothing is due any more."""
        stage = self.stage
        assert stage.leader.try_to_lead(), "a dead leader is not waited for"
        stage.sweep()
        for _ in range(12):
            stage.clock.move(minutes=10)
            if not stage.sweeper.find_due_retries():
                return
            stage.sweep(Trigger.RETRY)
        raise AssertionError("retries never came to an end")


def sweep_once(report: Connection, url: str, sandbox_url: str, blow: Blow | None) -> None:
    """One whole pass in a process of its own; reports how many steps it took."""
    be_silent()
    steps = Steps(blow)
    with open_actor(url, sandbox_url) as stage:
        assert stage.leader.try_to_lead()
        steps.watch()
        stage.sweep()
    report.send(steps.counts)


@contextmanager
def open_scene(url: str) -> Iterator[Scene]:
    with open_stage(url) as stage:
        stage.rules(RULES)
        stage.add(*[f"{LONG}{n}" for n in range(9)], vendor=Vendor.HUAWEI)
        stage.add(*[f"file-{n}" for n in range(4)], "poison", vendor=Vendor.TENCENT, age=3 * DAY)
        stage.add("refused", "later", "plain", "other", vendor=Vendor.WANGSU)
        stage.add("lesson", stream="lesson-1")
        stage.add("held", stream="held")
        stage.add("young", stream="young", age=timedelta(hours=2))
        stage.add("newest", age=timedelta(days=1, hours=1))
        stage.add("stale")
        stage.hold("held")
        stage.change("held", decide_again=True)
        stage.change("stale", suspicion="stale", decide_again=True)
        stage.decide()
        stage.sandbox.poison("poison", 2)
        stage.sandbox.fail_file("refused", "AccessDenied")
        stage.leader.release()
        scene = Scene(stage, url)
        scene.remember()
        yield scene


def assert_repaired(stage: Stage) -> None:
    files = stage.files()
    expected = dict.fromkeys(files, "deleted") | dict.fromkeys(FAILED, "failed") | KEPT
    assert stage.states() == expected
    assert {name for name, file in files.items() if file.last_outcome is None} == set(KEPT)
    assert stage.stored() == {name for name, state in expected.items() if state != "deleted"}
    stage.check_totals()
    with stage.database.read() as tx:
        for run in store.list_runs(tx):
            assert run.state in (RunState.DONE, RunState.LOST), run
            assert run.finished_at is not None
            calls = {call.id: call for call in store.list_calls(tx, run.id)}
            for attempt in store.list_attempts(tx, run_id=run.id):
                assert attempt.outcome is not None
                is_unanswered = calls[attempt.call_id].answered_at is None
                assert not is_unanswered or (attempt.outcome, attempt.charged) == (Outcome.UNKNOWN, False)
        for file in files.values():
            attempts = store.list_attempts(tx, file=file.id)
            assert file.attempts == sum(bool(attempt.charged) for attempt in attempts), file
            assert (file.state is FileState.DELETED) == (Outcome.DELETED in {a.outcome for a in attempts}), file
            assert file.last_attempt_id == (attempts[-1].id if attempts else None)


def strike_at_commits(scene: Scene, step: Step, every: int) -> int:
    for number in count(1, every):
        scene.put_back()
        child = start_child(sweep_once, scene.url, scene.stage.sandbox.url, Blow(step, number))
        code = child.wait()
        assert code in (0, -signal.SIGKILL)
        try:
            scene.repair()
            assert_repaired(scene.stage)
        except BaseException as error:
            error.add_note(f"killed {step} {number}")
            raise
        if code == 0:
            return number
    raise AssertionError


def strike_at_calls(scene: Scene, stage_of_call: Literal["arrived", "done"], every: int) -> int:
    for number in count(1, every):
        scene.put_back()
        child = start_child(sweep_once, scene.url, scene.stage.sandbox.url, None)
        scene.stage.sandbox.on_request = Ambush(stage_of_call, number, kill(child))
        code = child.wait()
        scene.stage.sandbox.on_request = None
        assert code in (0, -signal.SIGKILL)
        try:
            scene.repair()
            assert_repaired(scene.stage)
        except BaseException as error:
            error.add_note(f"killed when call {number} had {stage_of_call}")
            raise
        if code == 0:
            return number
    raise AssertionError


@pytest.mark.parametrize("step", [Step.COMMIT, Step.COMMITTED])
def test_a_pass_killed_at_a_commit_is_made_good(sqlite_url: str, step: Step) -> None:
    with open_scene(sqlite_url) as scene:
        assert strike_at_commits(scene, step, 5) > 15


@pytest.mark.parametrize("stage_of_call", ["arrived", "done"])
def test_a_pass_killed_during_a_call_is_made_good(sqlite_url: str, stage_of_call: Literal["arrived", "done"]) -> None:
    with open_scene(sqlite_url) as scene:
        assert strike_at_calls(scene, stage_of_call, 3) > 6


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", [Step.COMMIT, Step.COMMITTED])
def test_a_pass_killed_at_any_commit_is_made_good(database_url: str, step: Step) -> None:
    with open_scene(database_url) as scene:
        kills = strike_at_commits(scene, step, 1)
        print(f"{step}: {kills - 1} kills")
        assert kills > 15


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage_of_call", ["arrived", "done"])
def test_a_pass_killed_during_any_call_is_made_good(
    database_url: str, stage_of_call: Literal["arrived", "done"]
) -> None:
    with open_scene(database_url) as scene:
        kills = strike_at_calls(scene, stage_of_call, 1)
        print(f"{stage_of_call}: {kills - 1} kills")
        assert kills > 8
