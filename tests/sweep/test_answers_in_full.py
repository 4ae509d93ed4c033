"""Each row of the table of answers, from ZEGO's answer to what stands in the inventory, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.model import Vendor
from service.sweep import store
from service.sweep.records import RunState, Trigger
from tests import faults
from tests.sweep.stage import APP, OTHER, open_stage

if TYPE_CHECKING:
    from tests.sweep.stage import Stage


def due(stage: Stage, count: int = 3, prefix: str = "f", **facts: Any) -> list[str]:
    stage.keep("1d")
    ids = [f"{prefix}{number:03}" for number in range(count)]
    stage.add(*ids, **facts)
    return ids


def retry_later(stage: Stage) -> None:
    stage.clock.move(minutes=2)
    assert stage.sweeper.find_due_retries()
    stage.sweep(Trigger.RETRY)


def outcomes(stage: Stage) -> set[tuple[str, int, str | None]]:
    return {(f.state.value, f.attempts, f.last_outcome and f.last_outcome.value) for f in stage.files().values()}


# What one file's part of an answer means: fault, then state, attempts and last outcome.
FILE_ROWS = [
    pytest.param("AccessDenied", "failed", "rejected", id="access denied"),
    pytest.param("InvalidFileId", "failed", "rejected", id="invalid id"),
    pytest.param("FailedOperation.Locked", "scheduled", "retryable", id="another error"),
    pytest.param("ResourceNotFound", "gone", "gone", id="not found"),
    pytest.param(None, "scheduled", "unknown", id="in neither list"),
]


@pytest.mark.parametrize(("code", "state", "outcome"), FILE_ROWS)
def test_what_an_answer_says_of_one_file_is_charged_to_it_alone(
    stage: Stage, code: str | None, state: str, outcome: str
) -> None:
    ids = due(stage)
    stage.sandbox.fail_file(ids[0], code, "why", times=1) if code else stage.sandbox.omit_file(ids[0], times=1)
    run = stage.run(stage.sweep())
    assert run.state is RunState.DONE
    file = stage.file(ids[0])
    assert (file.state.value, file.attempts, file.last_outcome) == (state, 1, outcome)
    assert [stage.states()[file_id] for file_id in ids[1:]] == ["deleted", "deleted"]
    calls = len(stage.sandbox.calls)
    stage.sweep()
    assert len(stage.sandbox.calls) == calls, "a file that waits for its retry is not asked for by the next sweep"
    if state == "scheduled":
        retry_later(stage)
        assert stage.states()[ids[0]] == "deleted"
    assert not stage.sweeper.find_due_retries()


def test_gone_after_an_answer_that_was_never_seen_is_deleted(stage: Stage) -> None:
    [file_id] = due(stage, 1)
    stage.sandbox.next(faults.drop_after())
    stage.sweep()
    assert outcomes(stage) == {("scheduled", 0, "unknown")}
    retry_later(stage)
    assert stage.states() == {file_id: "deleted"}
    assert stage.attempts(file_id) == [("unknown", False), ("deleted", True)]
    with stage.database.read() as tx:
        message = store.list_attempts(tx, file=stage.file(file_id).id)[-1].message
    assert "earlier attempt" in (message or "")


def test_an_attempt_of_unknown_outcome_explains_nothing_once_the_file_was_seen_again(stage: Stage) -> None:
    [file_id] = due(stage, 1)
    stage.sandbox.next(faults.drop_before())
    stage.sweep()
    stage.clock.move(seconds=1)
    stage.change(file_id, confirmed_at=stage.clock())  # a listing shows it
    stage.sandbox.remove_file(APP, Vendor.TENCENT, file_id)
    retry_later(stage)
    assert stage.states() == {file_id: "gone"}
    assert stage.attempts(file_id) == [("unknown", False), ("gone", True)]


def test_a_file_that_is_not_there_and_was_never_asked_for_is_gone(stage: Stage) -> None:
    [file_id] = due(stage, 1, stored=False)
    stage.sweep()
    assert stage.states() == {file_id: "gone"}
    assert "was not there" in stage.file(file_id).state_reason


def test_a_file_that_never_succeeds_fails_when_its_time_is_over(stage: Stage) -> None:
    [file_id] = due(stage, 1)
    stage.sandbox.fail_file(file_id, "FailedOperation.Locked", "locked")
    for _ in range(7 * 4 + 12):
        stage.sweep(Trigger.RETRY if stage.clock.time.hour else Trigger.COMMAND)
        stage.clock.move(hours=6)
    failed = stage.file(file_id)
    assert failed.state == "failed"
    assert "given up after" in failed.state_reason
    assert "FailedOperation.Locked" in failed.state_reason
    assert failed.attempts == len(stage.sandbox.calls)


@pytest.mark.parametrize(
    ("code", "row"),
    [(2, ("failed", 1, "rejected")), (1000, ("scheduled", 1, "retryable")), (41003, ("gone", 1, "gone"))],
)
@pytest.mark.parametrize("count", [1, 60])
def test_one_bad_id_never_stops_the_good_ones(stage: Stage, code: int, count: int, row: tuple[str, int, str]) -> None:
    ids = due(stage, count)
    stage.sandbox.poison(ids[count // 3], code)
    stage.sweep()
    good = {("deleted", 1, "deleted")} if count > 1 else set()
    assert outcomes(stage) == {row} | good
    assert stage.count(stage.file(ids[0]).state) == max(count - 1, 1)
    assert stage.attempts(ids[count // 3])[-1] == (row[2], True)


def test_a_url_that_is_too_long_for_a_front_end_is_halved(stage: Stage) -> None:
    due(stage, 40)
    stage.sandbox.always(faults.Fault(acts=False, http_status=414, more_files_than=10))
    stage.sweep()
    assert outcomes(stage) == {("deleted", 1, "deleted")}


def test_calls_are_cut_by_the_bytes_of_their_url(stage: Stage) -> None:
    due(stage, 30, prefix="record/app/" + "ü" * 90, vendor=Vendor.HUAWEI)  # 540 bytes and more each, once encoded
    stage.sweep()
    assert outcomes(stage) == {("deleted", 1, "deleted")}
    assert max(call.target_bytes for call in stage.sandbox.calls) <= 8_192
    assert len(stage.sandbox.calls) == 3


@pytest.mark.parametrize("code", [1000, 2])
def test_where_everything_fails_alike_no_file_is_charged_and_the_app_waits(stage: Stage, code: int) -> None:
    due(stage, 100)
    stage.sandbox.always(faults.answer_code(code))
    stage.sweep()
    assert outcomes(stage) == {("scheduled", 0, "retryable")}
    assert len(stage.sandbox.calls) <= 12
    stage.sandbox.end_faults()
    retry_later(stage)
    assert outcomes(stage) == {("deleted", 1, "deleted")}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        pytest.param(faults.answer_html(502), "unknown", id="502"),
        pytest.param(faults.answer_html(200), "unknown", id="an HTML page"),
        pytest.param(faults.cut_answer(), "unknown", id="cut JSON"),
        pytest.param(faults.drop_before(), "unknown", id="dropped, not done"),
        pytest.param(faults.drop_after(), "unknown", id="dropped, done"),
        pytest.param(faults.answer_code(777), "unknown", id="an unknown code"),
        pytest.param(faults.answer_html(429, retry_after="60"), "retryable", id="429 with a long Retry-After"),
    ],
)
def test_trouble_on_the_way_charges_no_file_and_the_app_backs_off(
    stage: Stage, fault: faults.Fault, outcome: str
) -> None:
    due(stage)
    stage.sandbox.next(fault)
    stage.sweep()
    assert outcomes(stage) == {("scheduled", 0, outcome)}
    stage.sweep()
    assert len(stage.sandbox.calls) == 1, "the app backs off as a whole"
    retry_later(stage)
    assert {state for state, _, _ in outcomes(stage)} == {"deleted"}
    with stage.database.read() as tx:
        assert store.list_app_states(tx) == []


def test_calls_that_were_in_flight_do_not_end_the_trouble_that_another_one_met(stage: Stage) -> None:
    due(stage, 200)
    stage.sandbox.next(faults.Fault(acts=False, http_status=503, delay_s=0.3), faults.answer_late(0.6))
    stage.sweep()
    assert outcomes(stage) == {("scheduled", 0, "unknown"), ("deleted", 1, "deleted")}
    with stage.database.read() as tx:
        [state] = store.list_app_states(tx)
    assert (state.failures, state.code) == (1, "http 503")


@pytest.mark.parametrize("fault", [faults.answer_code(6), faults.answer_html(429)], ids=["6", "429"])
def test_throttling_slows_down_and_continues_within_the_pass(stage: Stage, fault: faults.Fault) -> None:
    due(stage, 250)
    stage.sandbox.next(fault)
    stage.sweep()
    assert sum(stage.slept) >= 0.5, "it waits a second, less the jitter"
    assert outcomes(stage) == {("deleted", 1, "deleted"), ("scheduled", 0, "retryable")}
    retry_later(stage)
    assert outcomes(stage) == {("deleted", 1, "deleted")}


def test_a_refused_connection_is_retryable(stage: Stage) -> None:
    due(stage)
    for app in stage.sweeper.apps.values():
        app.api_url = "http://127.0.0.1:9/"
    stage.sweep()
    assert outcomes(stage) == {("scheduled", 0, "retryable")}


@pytest.mark.parametrize("code", [3, 5, 7, 8, 100_000_003])
def test_a_blocked_app_stops_and_is_probed_with_one_file_a_sweep(stage: Stage, code: int) -> None:
    due(stage, 5)
    stage.sandbox.always(faults.answer_code(code))
    stage.sweep()
    assert outcomes(stage) == {("scheduled", 0, "blocked")}
    stage.clock.move(hours=1)
    assert not stage.sweeper.find_due_retries(), "retries do not probe a blocked app"
    before = len(stage.sandbox.calls)
    stage.sweep(Trigger.RETRY)
    assert len(stage.sandbox.calls) == before
    stage.sweep()
    assert [len(call.file_ids) for call in stage.sandbox.calls[before:]] == [1]
    stage.sandbox.end_faults()
    stage.sweep()
    assert outcomes(stage) == {("deleted", 1, "deleted")}, "the probe worked, and the others followed at once"


@pytest.mark.parametrize("code", ["ResourceNotFound.ServiceNotExist", "ResourceNotFound.UserNotExist"])
def test_a_vendor_that_does_not_know_the_account_ends_no_file(stage: Stage, code: str) -> None:
    ids = due(stage, 250)
    stage.add("ws", vendor=Vendor.WANGSU)
    for file_id in ids:
        stage.sandbox.fail_file(file_id, code, "of the account")
    stage.sweep()
    calls = [call for call in stage.sandbox.calls if call.vendor == Vendor.TENCENT]
    assert stage.states() == {"ws": "deleted"} | dict.fromkeys(ids, "scheduled")
    assert {(f.attempts, f.last_outcome) for f in stage.files().values()} <= {(1, "deleted"), (0, "blocked"), (0, None)}
    with stage.database.read() as tx:
        [state] = store.list_app_states(tx)
    assert (state.vendor, state.blocked, state.code, state.message) == (Vendor.TENCENT, True, code, "of the account")
    assert "was not there" not in stage.file(ids[0]).state_reason
    stage.clock.move(hours=1)
    stage.sweep()
    probes = [call for call in stage.sandbox.calls if call.vendor == Vendor.TENCENT][len(calls) :]
    assert [len(call.file_ids) for call in probes] == [1], "one file a sweep finds out whether that has changed"
    stage.sandbox.troubles.clear()
    stage.sweep()
    assert set(stage.states().values()) == {"deleted"}


def test_an_app_that_is_blocked_halfway_is_asked_no_more(stage: Stage) -> None:
    due(stage, 3_000)
    stage.sandbox.next(*[faults.Fault(acts=True)] * 3)
    stage.sandbox.always(faults.answer_code(7))
    stage.sweep()
    assert len(stage.sandbox.calls) <= 3 + 8
    assert stage.count(stage.file("f000").state) == 300


def test_a_wrong_vendor_stops_that_vendor_only(stage: Stage) -> None:
    wrong = due(stage, 120)
    stage.add("ws", vendor=Vendor.WANGSU)
    stage.sandbox.always(faults.answer_code(4, vendor=Vendor.TENCENT))
    stage.sweep()
    assert (stage.states()["ws"], stage.states()[wrong[0]]) == ("deleted", "scheduled")
    before = len(stage.sandbox.calls)
    stage.sweep()
    assert [len(call.file_ids) for call in stage.sandbox.calls[before:]] == [1]
    stage.sandbox.end_faults()
    stage.sweep()
    assert set(stage.states().values()) == {"deleted"}


def test_a_file_that_fails_every_call_with_it_does_not_hold_up_the_others(sqlite_url: str) -> None:
    with open_stage(sqlite_url) as stage:
        ids = due(stage, 40)
        stage.sandbox.always(faults.Fault(acts=False, http_status=500, file_id=ids[20]))
        stage.sweep()
        for _ in range(60):
            stage.clock.move(hours=6)
            stage.sweep(Trigger.RETRY)
        assert [file_id for file_id, state in stage.states().items() if state != "deleted"] == [ids[20]]
        assert stage.file(ids[20]).attempts == 0


def test_what_the_cache_of_a_vendor_did_is_kept_with_the_call(database_url: str) -> None:
    with open_stage(database_url) as stage:
        stage.sweeper.apps[APP].clear_cache = True
        due(stage, 2, vendor=Vendor.WANGSU)
        stage.sandbox.purge_code = 7
        run_id = stage.sweep()
        with stage.database.read() as tx:
            [call] = store.list_calls(tx, run_id)
            run = store.find_run(tx, run_id)
    assert (call.cache_code, call.code, call.http_status, call.request_id) == ("7", "0", 200, "sandbox-1")
    assert '"Deleted"' in (call.raw or "")
    assert run is not None
    assert (run.calls, run.outcomes, run.purges_failed) == (1, {"deleted": 2}, 2)


def test_a_pass_asks_for_no_more_than_it_should(stage: Stage) -> None:
    ids = due(stage, 250)
    stage.add("young", age=timedelta(hours=1))
    stage.add("other", app_id=OTHER)
    stage.sweep()
    asked = [file_id for call in stage.sandbox.calls for file_id in call.file_ids]
    assert sorted(asked) == [*ids, "other"]
    assert stage.stored() == {"young"}
