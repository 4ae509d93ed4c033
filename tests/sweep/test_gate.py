"""Nothing is deleted while clock, rules or schema are in doubt; why, is said."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from service.database.migrate import migrations_folder
from service.model import FileState
from service.sweep.gate import Gate, list_refusals
from service.sweep.records import RunState, Trigger
from service.sweep.store import list_app_states
from service.sweep.trust import Sighting, judge_jump, judge_zego
from tests.sweep.stage import DAY, START, open_stage
from tests.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sweep.stage import Stage


ONE_BEFORE = sorted(path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("zego*.py"))[-2]


def try_sweep(stage: Stage) -> int | None:
    """A pass that nobody asks for."""
    return stage.sweeper.run(Trigger.SCHEDULE, threading.Event())


def refusals(stage: Stage) -> dict[str, str]:
    with stage.database.read() as tx:
        return list_refusals(tx, stage.clock())


RECORDS: dict[str, Callable[[Stage], Any]] = {
    "audit entry": lambda stage: stage.hold("nothing", applied=True),
    "run": lambda stage: stage.sweep(),
}


@pytest.mark.parametrize("record", RECORDS)
def test_by_a_clock_behind_the_record_nothing_is_deleted(stage: Stage, record: str) -> None:
    stage.keep("1d")
    stage.clock.move(minutes=11)
    RECORDS[record](stage)
    stage.clock.move(minutes=-11)
    stage.add("file")
    assert try_sweep(stage) is None
    assert "11 minutes behind the newest time on record, 2026-03-01" in refusals(stage)["clock_behind_record"]
    stage.clock.move(minutes=2)
    assert try_sweep(stage) is not None
    assert stage.states() == {"file": "deleted"}
    assert refusals(stage) == {}


def test_the_time_of_a_callback_and_of_a_call_count_as_well(sqlite_url: str) -> None:
    with open_world(sqlite_url) as world:
        world.keep("1d")
        world.add(1)
        world.clock.move(minutes=11)
        world.send("young")
        world.clock.move(minutes=-11)
        assert world.service.sweeper.run(Trigger.SCHEDULE, threading.Event()) is None
        world.clock.move(minutes=11)
        world.sweep()
        with world.database.write() as tx:
            tx.execute(text("UPDATE calls SET answered_at = :at"), {"at": "2026-03-02 12:00:00.000000"})
        world.add(1, prefix="other")
        assert world.service.sweeper.run(Trigger.SCHEDULE, threading.Event()) is None
        assert world.state("other-00000") is FileState.SCHEDULED


def blind(stage: Stage) -> Gate:
    """A gate as of a process that has just started: ZEGO has not answered yet."""
    gate, known = stage.sweeper.gate, stage.sweeper
    return Gate(known.database, known.leader, gate.apps, gate.now, gate.steady)


@pytest.mark.parametrize("minutes", [-11, 11])
def test_by_a_clock_off_zegos_nothing_is_asked_to_be_deleted(stage: Stage, minutes: int) -> None:
    stage.keep("1d")
    stage.add("file")
    stage.sweeper.gate = blind(stage)
    stage.sandbox.now = lambda: stage.clock() + timedelta(minutes=minutes)
    run = stage.run(stage.sweep())
    word = "behind" if minutes > 0 else "ahead of"
    assert (run.state, stage.attempts("file")) == (RunState.STOPPED, [])
    assert f"the clock is 11 minutes {word} ZEGO's" in run.note
    assert list(refusals(stage)) == ["clock_off_zego"]
    assert try_sweep(stage) is None, "it is known before the next pass"
    stage.sandbox.now = stage.clock
    stage.clock.move(seconds=61)
    assert try_sweep(stage) is not None, "ZEGO is asked again after a minute"
    assert (stage.states(), refusals(stage)) == ({"file": "deleted"}, {})


def test_a_missing_time_of_zego_is_only_reported(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.keep("1d")
    stage.add("file")
    stage.sweeper.gate = blind(stage)
    client = stage.sweeper.apps["1234567890"]
    for name in ("search_media", "delete_media"):
        monkeypatch.setattr(client, name, without_date(getattr(client, name)))
    stage.sweep()
    assert stage.states() == {"file": "deleted"}
    assert stage.sweeper.gate.is_blind("1234567890")


def without_date(call: Callable[..., Any]) -> Callable[..., Any]:
    def answer(*arguments: Any, **options: Any) -> Any:
        found = call(*arguments, **options)
        object.__setattr__(found, "date", None)
        return found

    return answer


def test_a_clock_that_is_set_during_a_pass_ends_it(database_url: str) -> None:
    with open_stage(database_url, steady=START.timestamp) as stage:
        stage.keep("1d")
        stage.add(*(f"file-{number:04}" for number in range(2_000)))
        stage.sandbox.on_request = lambda _: setattr(stage.clock, "time", START + DAY)
        run = stage.run(stage.sweep())
        assert 0 < stage.count(FileState.DELETED) < 1_000
        assert stage.count(FileState.DELETING) == 0
        if run.blocked:  # ZEGO refused a call that was signed just before, and so the app stopped first
            with stage.database.read() as tx:
                assert [state.message for state in list_app_states(tx)] == ["signature expired"]
        else:
            assert run.state is RunState.STOPPED
            assert run.note.startswith(
                ("the clock was set forward by 24 hours during", "the clock is 24 hours ahead of ZEGO's")
            )
        assert set(refusals(stage)) <= {"clock_jumped", "clock_off_zego"}
        stage.sandbox.on_request = None
        stage.sweeper.gate = blind(stage)
        assert try_sweep(stage) is not None
        assert stage.count(FileState.DELETED) == 2_000


def test_by_rules_that_cannot_be_read_nothing_is_deleted(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")
    change = text("UPDATE rule_revisions SET rules = :rules")
    with stage.database.write() as tx:
        before = tx.execute(text("SELECT rules FROM rule_revisions")).scalar_one()
        tx.execute(change, {"rules": '[[rules]]\nname = "new"\nsince = "1d"\n'})
    assert try_sweep(stage) is None
    assert "cannot read the rules in force, revision 1: " in refusals(stage)["rules_unreadable"]
    with stage.database.write() as tx:
        tx.execute(change, {"rules": before})
    assert try_sweep(stage) is not None
    assert stage.states() == {"file": "deleted"}


@pytest.mark.parametrize(("version", "why"), [("zego9999", "newer release"), (ONE_BEFORE, "pending")])
def test_by_a_schema_of_another_release_nothing_is_deleted(stage: Stage, version: str, why: str) -> None:
    stage.keep("1d")
    stage.add("file")
    change = text("UPDATE zego_retention_version SET version_num = :version")
    with stage.database.write() as tx:
        before = tx.execute(text("SELECT version_num FROM zego_retention_version")).scalar_one()
        tx.execute(change, {"version": version})
    assert try_sweep(stage) is None
    assert why in stage.sweeper.gate.refusals["schema_not_at_head"]
    with stage.database.write() as tx:
        tx.execute(change, {"version": before})
    assert try_sweep(stage) is not None
    assert stage.states() == {"file": "deleted"}


def test_ten_minutes_are_not_too_much() -> None:
    seen = Sighting(START, 100.0)
    assert seen.find_ahead(START + timedelta(minutes=10), 100.0) == timedelta(minutes=-10)
    assert seen.find_ahead(START, 700.0) == timedelta(minutes=10)
    for judge in (judge_zego, judge_jump):
        assert judge(timedelta(minutes=10)) is None
        assert judge(timedelta(minutes=-10)) is None
        assert judge(timedelta(minutes=10, seconds=1)) is not None
        assert judge(timedelta(minutes=-10, seconds=-1)) is not None
