"""What is on record after trouble: once and only once, and never over what was observed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from service.database import DatabaseUnavailable
from service.model import FileState, Outcome, Vendor, WaitReason
from service.sweep import claim_store, store
from service.sweep.backoff import RetryPolicy
from service.sweep.record import close_open_attempts
from service.sweep.records import RunState, Trigger
from service.sweep.store import attempts, calls, prune_history, runs
from tests import faults
from tests.sweep.stage import APP, DAY

if TYPE_CHECKING:
    from tests.sweep.stage import Stage

POLICY = RetryPolicy(timedelta(minutes=1), timedelta(hours=6), timedelta(days=7))


def close_open(stage: Stage) -> int:
    return stage.leader.transact(lambda tx: close_open_attempts(tx, stage.clock(), POLICY, lambda: 0.0))


def leave_a_call_open(stage: Stage, *file_ids: str) -> None:
    """As a process does that dies while its request is under way."""

    class Died(BaseException):
        pass

    class Dying:
        def __init__(self, client: Any) -> None:
            self.client = client
            self.calls_per_second = 2_000

        def url_overhead(self, vendor: Any) -> int:
            return int(self.client.url_overhead(vendor))

        def delete_media(self, *_: Any, **__: Any) -> Any:
            raise Died

    kept = stage.sweeper.apps
    dying: dict[str, Any] = {app_id: Dying(client) for app_id, client in kept.items()}
    stage.sweeper.apps = dying
    with pytest.raises(Died):
        stage.sweep()
    stage.sweeper.apps = kept
    assert {stage.states()[name] for name in file_ids} == {"deleting"}


def test_numbers_of_runs_have_no_gaps(stage: Stage) -> None:
    def fail(tx: Any) -> None:
        store.start_run(tx, Trigger.SCHEDULE, "a test", stage.clock())
        tx.exec_driver_sql("SELECT nothing FROM nowhere")

    numbers = [stage.sweep()]
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            stage.leader.transact(fail)
        numbers.append(stage.sweep())
    assert numbers == [1, 2, 3]


def test_a_pass_that_fails_gives_back_what_it_had_claimed(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")

    class Broken:
        calls_per_second = 2_000

        def url_overhead(self, _: Any) -> int:
            return 100

        def delete_media(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("a defect")

    client: Any = Broken()
    stage.sweeper.apps = {"1234567890": client}
    with pytest.raises(RuntimeError, match="a defect"):
        stage.sweep()
    assert (stage.states(), stage.attempts("file")) == ({"file": "scheduled"}, [("unknown", False)])
    assert stage.run(1).state is RunState.LOST


def test_an_answer_is_recorded_once_although_the_commit_was_not_seen(stage: Stage) -> None:
    """The connection breaks after the commit: the same answer is recorded again, and charges nobody twice."""
    stage.keep("1d")
    stage.add("fails", "goes")
    stage.sandbox.fail_file("fails", "Busy")
    transact = stage.leader.transact
    recorded: list[Any] = []

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(stage.leader, name)

        def transact(self, work: Any) -> Any:
            result = transact(work)
            if "record" in work.__qualname__ and len(recorded) < 3:
                recorded.append(work)
                raise DatabaseUnavailable("the connection was lost")
            return result

    stage.sweeper.leader = Forgetful()  # type: ignore[assignment]
    stage.sweep()
    assert len(recorded) == 3
    assert stage.attempts("fails") == [("retryable", True)]
    assert (stage.file("fails").attempts, stage.file("goes").attempts) == (1, 1)
    assert stage.states() == {"fails": "scheduled", "goes": "deleted"}


def test_what_a_dead_process_left_open_is_unknown_and_asked_for_again(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("a", "b")
    leave_a_call_open(stage, "a", "b")
    assert close_open(stage) == 2
    assert stage.attempts("a") == [("unknown", False)]
    file = stage.file("a")
    assert (file.state, file.last_outcome, file.attempts) == (FileState.SCHEDULED, Outcome.UNKNOWN, 0)
    assert file.call_after == stage.clock() + timedelta(minutes=1)
    assert "was not recorded" in file.state_reason
    assert stage.run(1).state is RunState.LOST
    assert not stage.sweeper.find_due_retries(), "not at once: ZEGO may still be working on it"
    stage.clock.move(minutes=2)
    stage.sandbox.remove_file("1234567890", "Tencent", "a")  # that call had worked
    stage.sweep(Trigger.RETRY)
    assert stage.attempts("a") == [("unknown", False), ("deleted", True)]
    assert stage.states() == {"a": "deleted", "b": "deleted"}


@pytest.mark.parametrize(("confirmed", "ahead"), [(DAY, timedelta(0)), (timedelta(minutes=-1), -DAY)])
def test_a_clock_that_was_wrong_does_not_deny_that_an_earlier_call_deleted_it(
    stage: Stage, confirmed: timedelta, ahead: timedelta
) -> None:
    """It was ahead when the file was confirmed, or behind when the call's outcome was recorded."""
    stage.keep("1d")
    stage.add("file", confirmed_at=stage.clock() + confirmed)
    leave_a_call_open(stage, "file")
    stage.clock.time += ahead
    close_open(stage)
    stage.clock.time -= ahead
    stage.clock.move(minutes=2)
    stage.sandbox.remove_file(APP, "Tencent", "file")
    stage.sweep(Trigger.RETRY)
    assert stage.attempts("file") == [("unknown", False), ("deleted", True)]


def test_what_was_seen_after_a_call_without_an_answer_was_not_deleted_by_it(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")
    leave_a_call_open(stage, "file")
    close_open(stage)
    stage.clock.move(minutes=2)
    stage.change("file", confirmed_at=stage.clock())  # a listing shows it
    stage.sandbox.remove_file("1234567890", "Tencent", "file")
    stage.sweep(Trigger.RETRY)
    assert stage.states() == {"file": "gone"}
    assert stage.attempts("file") == [("unknown", False), ("gone", True)]


def test_closing_what_is_open_does_not_touch_what_has_ended(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("ended", "open", "before")
    stage.sandbox.remove_file("1234567890", "Tencent", "before")
    leave_a_call_open(stage, "ended", "open", "before")
    # A listing, or a person, has seen its end meanwhile.
    stage.change("ended", state=FileState.DELETED, last_outcome=Outcome.DELETED, state_reason="deleted: it was due")
    stage.change("before", state=FileState.GONE, last_outcome=Outcome.GONE, state_reason="not listed")
    close_open(stage)
    assert stage.states() == {"ended": "deleted", "open": "scheduled", "before": "gone"}
    assert (stage.file("ended").last_outcome, stage.file("before").last_outcome) == (Outcome.DELETED, Outcome.GONE)
    assert stage.file("ended").state_reason == "deleted: it was due"
    assert stage.attempts("ended") == [("unknown", False)]


@pytest.mark.parametrize("code", ["", "Busy", "ResourceNotFound"])
def test_an_end_that_was_observed_meanwhile_stands(stage: Stage, code: str) -> None:
    stage.keep("1d")
    stage.add("file", duration_s=60.0, size_bytes=1_000)
    if code:
        stage.sandbox.fail_file("file", code)

    def end(call: Any) -> None:
        if call.stage == "arrived":
            stage.change("file", state=FileState.GONE, last_outcome=Outcome.GONE, state_reason="not listed any more")

    stage.sandbox.on_request = end
    stage.sweep()
    file = stage.file("file")
    assert (file.state, file.state_reason, file.attempts) == (FileState.GONE, "not listed any more", 0)
    assert len(stage.attempts("file")) == 1
    stage.check_totals()


def test_a_file_that_a_listing_shows_again_within_the_run_counts_once(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")
    run = stage.sweep()
    stage.change("file", state=FileState.SCHEDULED, last_outcome=None, attempts=0)  # (as `listing.adopt` reopens it)
    file, now = stage.file("file"), stage.clock()
    stage.leader.transact(lambda tx: claim_store.open_call(tx, run, APP, Vendor.TENCENT, [file], 1, now))
    stage.check_totals()


def test_the_next_pass_of_the_same_leader_repairs_what_an_error_left_behind(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")
    leave_a_call_open(stage, "file")
    stage.clock.move(minutes=1)
    stage.sweep()
    stage.clock.move(minutes=2)
    stage.sweep()
    assert stage.states() == {"file": "deleted"}
    assert [stage.run(number).state for number in (1, 2, 3)] == [RunState.LOST, RunState.DONE, RunState.DONE]


def test_history_that_proves_nothing_is_dropped_and_the_rest_stays(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("retried", "unknown", "plain")
    stage.sandbox.fail_file("retried", "Busy", times=2)
    stage.sandbox.omit_file("unknown", times=1)
    for _ in range(3):
        stage.sweep()
        stage.clock.move(days=1)
    for _ in range(4):
        stage.sweep(Trigger.RETRY)  # they find nothing
    assert stage.attempts("retried") == [("retryable", True), ("retryable", True), ("deleted", True)]
    stage.clock.move(days=30)
    stage.sweep(Trigger.RETRY)
    stage.check_totals()
    stage.has_whole_history = False
    before = stage.run(1)
    assert prune_history(stage.leader, stage.clock() - 60 * DAY) == 0
    assert prune_history(stage.leader, stage.clock() - 1 * DAY) > 0
    assert stage.run(1) == before, "what a run did is known for ever"
    assert stage.attempts("retried") == [("deleted", True)]
    assert stage.attempts("unknown") == [("unknown", True), ("deleted", True)]
    assert stage.attempts("plain") == [("deleted", True)]
    with stage.database.read() as tx:
        left = set(tx.execute(select(calls.c.id)).scalars())
        assert left == set(tx.execute(select(attempts.c.call_id)).scalars())
        kept = list(tx.execute(select(runs.c.id)).scalars())
    assert kept == [1, 2, 3, 8], "runs that asked for something, and the newest of each kind"


def test_the_first_of_a_run_is_told_from_what_it_did(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("a", "b", "c")
    stage.sandbox.fail_file("a", "AccessDenied")
    stage.sandbox.poison("b", 2)
    run_id = stage.sweep()
    with stage.database.read() as tx:
        run = store.find_run(tx, run_id)
        of_run = store.list_attempts(tx, run_id=run_id)
        page = store.list_attempts(tx, 2, run_id=run_id, after=of_run[1].id)
        count = store.count_attempts(tx, run_id)
        sent = store.list_calls(tx, run_id)
    assert run is not None
    assert run.outcomes == {Outcome.REJECTED: 2, Outcome.DELETED: 1}
    assert run.calls == len(sent) == len(stage.sandbox.calls)
    assert (len(of_run), page) == (count, of_run[2:4])
    assert all(attempt.reason.startswith('rule "everything" deletes files older than 1d') for attempt in of_run)
    assert {(attempt.rule, attempt.revision) for attempt in of_run} == {("everything", 1)}


def test_a_pause_that_began_under_a_clock_that_was_set_back_is_over(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")
    stage.clock.move(days=3)
    stage.sandbox.next(faults.drop_before())
    stage.sweep()
    stage.clock.move(minutes=-9)  # (more, and nothing is deleted)
    stage.add("other", age=5 * DAY)
    stage.sweep()
    assert stage.states()["other"] == "deleted"


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_wait_that_began_while_a_file_was_asked_for_is_not_shortened(stage: Stage, *, is_answered: bool) -> None:
    """A listing may confirm it meanwhile, and with that treat it as adopted."""
    stage.keep("1d")
    stage.add("file")
    wait = {"wait_until": stage.clock() + DAY, "wait_reason": WaitReason.ADOPTION, "decide_again": True}
    if is_answered:
        stage.sandbox.fail_file("file", "Busy")
        stage.sandbox.on_request = lambda call: stage.change("file", **wait) if call.stage == "arrived" else None
        stage.sweep()
    else:
        leave_a_call_open(stage, "file")
        stage.change("file", **wait)
        close_open(stage)
    stage.decide()
    file = stage.file("file")
    assert (file.state, file.wait_reason, file.call_after) == (
        FileState.SCHEDULED,
        WaitReason.ADOPTION,
        stage.clock() + DAY,
    )
