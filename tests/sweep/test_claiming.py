"""What a pass takes, and what it never takes: retries, holds, ranks, confirmation, orders, bounds."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.audit.store import fail_order, find_head, find_order, finish_order
from service.files.store import flag_files, list_flagged, save_files
from service.model import FileState, Outcome, Suspicion, Vendor, WaitReason
from service.rules.latest import counts_as_recording
from service.sweep import claim_store
from service.sweep.orders import place_sweep
from service.sweep.records import RunState, Trigger
from service.sweep.store import find_last_schedule
from tests import faults
from tests.sweep.stage import APP, DAY, OTHER, TESTER, open_stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.sweep.stage import Stage

KEEP_LATEST = '[[rules]]\nname = "all"\nkeep = "1d"\nkeep_latest = {}\n'


def asked(stage: Stage) -> list[str]:
    return [file_id for call in stage.sandbox.calls for file_id in call.file_ids]


def on_arrival(stage: Stage, act: Callable[[], None], *, stage_of_call: str = "arrived") -> None:
    """Do something once, while the first call is under way."""
    done = threading.Event()

    def once(call: Any) -> None:
        if call.stage == stage_of_call and not done.is_set():
            done.set()
            act()

    stage.sandbox.on_request = once


def test_a_retry_pass_is_due_exactly_if_it_finds_something(stage: Stage) -> None:
    """A failed file whose date moved later, retried by a person once it is due: no empty runs."""
    stage.keep("30d")
    stage.add("file", age=31 * DAY)
    stage.sandbox.fail_file("file", "AccessDenied", times=1)
    stage.sweep()
    assert stage.states() == {"file": "failed"}
    stage.keep("60d")
    # `files retry` clears the backoff and lets it be decided again.
    stage.change("file", state=FileState.KEPT, attempts=0, first_attempt_at=None, wait_until=None, decide_again=True)
    stage.decide()
    assert not stage.sweeper.find_due_retries()
    stage.clock.move(days=30)
    assert stage.sweeper.find_due_retries()
    stage.sweep(Trigger.RETRY)
    assert stage.states() == {"file": "deleted"}
    assert not stage.sweeper.find_due_retries()


REFUSALS: dict[str, Callable[[Stage], object]] = {
    "held": lambda stage: stage.hold("room"),
    "kept for its rank": lambda stage: stage.rules(KEEP_LATEST.format(1)),
    "its app is blocked": lambda stage: block(stage, None),
    "its vendor is blocked": lambda stage: block(stage, Vendor.TENCENT),
    "an order has failed": lambda stage: fail_an_order(stage, APP),
    "not configured": lambda stage: setattr(stage.sweeper, "apps", {}),
    "not confirmed": lambda stage: setattr(stage.sweeper, "confirm_all", True),
    "under suspicion": lambda stage: stage.change("file", suspicion=Suspicion.CONFLICT, decide_again=True),
    "kept for ever": lambda stage: stage.keep("forever"),
}


def block(stage: Stage, vendor: Vendor | None) -> None:
    from service.sweep.records import AppState  # noqa: PLC0415
    from service.sweep.store import save_app_state  # noqa: PLC0415

    state = AppState(APP, vendor, True, stage.clock(), None, 1, "7", "no")
    stage.leader.transact(lambda tx: save_app_state(tx, state))


def fail_an_order(stage: Stage, app_id: str | None) -> None:
    number = stage.database.transact(
        lambda tx: place_order(
            tx, TESTER, OrderKind.HOLD, "hold 1", {}, stage.clock(), action="hold.place", app_id=app_id
        )
    )
    stage.leader.transact(lambda tx: fail_order(tx, number, "it raised"))


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_may_not_go_makes_no_retry_pass_spin(stage: Stage, refusal: str) -> None:
    stage.keep("1d")
    stage.add("file")
    stage.sandbox.fail_file("file", "FailedOperation.Locked", times=1)
    stage.sweep()
    REFUSALS[refusal](stage)
    stage.clock.move(minutes=2)
    if stage.sweeper.find_due_retries():
        stage.sweep(Trigger.RETRY)
    assert not stage.sweeper.find_due_retries()
    assert asked(stage) == ["file"]


def test_only_the_app_of_a_failed_order_is_not_called(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("mine")
    stage.add("other", app_id=OTHER)
    fail_an_order(stage, APP)
    stage.sweep()
    assert asked(stage) == ["other"]
    fail_an_order(stage, None)
    stage.add("another", app_id=OTHER)
    stage.sweep()
    assert asked(stage) == ["other"]


def test_an_order_that_fails_during_a_pass_ends_it_for_its_app(stage: Stage) -> None:
    stage.keep("1d")
    stage.add(*[f"f{n:04}" for n in range(1_500)])
    on_arrival(stage, lambda: fail_an_order(stage, APP))
    stage.sweep()
    assert 0 < len(asked(stage)) <= 900


@pytest.mark.parametrize("code", [faults.answer_code(7, app_id=APP), faults.answer_html(503)])
def test_a_blocked_or_paused_app_does_not_delay_another(database_url: str, code: faults.Fault) -> None:
    """(n): 1,000 due files of one app ahead of another's."""
    with open_stage(database_url) as stage:
        stage.keep("1d")
        stage.add(*[f"mine-{n}" for n in range(1_000)], age=9 * DAY)
        stage.add(*[f"other-{n}" for n in range(150)], app_id=OTHER)
        if code.app_id is None:
            stage.sandbox.next(code)
            stage.sandbox.always(faults.Fault(acts=False, http_status=503, app_id=APP))
        else:
            stage.sandbox.always(code)
        stage.sweep()
        stage.clock.move(minutes=3)
        stage.sweep()
        assert not stage.stored(OTHER)
        assert len(stage.stored(APP)) == 1_000


def test_all_apps_and_vendors_are_worked_on_side_by_side(stage: Stage) -> None:
    stage.keep("1d")
    for app_id in (APP, OTHER):
        for vendor in (Vendor.TENCENT, Vendor.HUAWEI):
            stage.add(*[f"{app_id}-{vendor}-{n}" for n in range(350)], app_id=app_id, vendor=vendor)
    stage.sweep()
    firsts = {(call.app_id, call.vendor) for call in stage.sandbox.calls[:8]}
    assert len(firsts) == 4
    assert not stage.stored(APP) | stage.stored(OTHER)


def test_a_hold_that_is_placed_during_a_pass_keeps_what_has_not_left_yet(stage: Stage) -> None:
    stage.keep("1d")
    stage.add(*[f"f{n:04}" for n in range(900)], stream="gone")
    stage.add(*[f"g{n:04}" for n in range(900)], stream="held", age=timedelta(days=1, hours=1))

    on_arrival(stage, lambda: stage.hold("held"))
    stage.sweep()
    assert stage.count(FileState.DELETED) >= 900
    held = [file for file in stage.files().values() if file.state is FileState.HELD]
    in_flight = 8 * 100
    assert len(held) >= 900 - in_flight
    assert all(file.last_outcome is None for file in held)


@pytest.mark.parametrize(
    ("code", "state"), [("FailedOperation.Locked", "held"), ("", "deleted"), ("ResourceNotFound", "gone")]
)
def test_a_hold_that_arrives_while_the_request_is_in_flight(stage: Stage, code: str, state: str) -> None:
    """(f): the answer decides whether there is anything left to hold."""
    stage.keep("1d")
    stage.add("file")
    if code:
        stage.sandbox.fail_file("file", code)

    def place() -> None:
        stage.hold("room")
        number = stage.file("file").id
        stage.leader.transact(lambda tx: flag_files(tx, [number]))
        stage.deciding.run()
        assert stage.states() == {"file": "deleting"}, "its answer is recorded first"

    on_arrival(stage, place)
    stage.sweep()
    stage.decide()
    assert stage.states() == {"file": state}
    assert not stage.file("file").decide_again


def test_the_newest_recordings_stay_whatever_is_due(stage: Stage) -> None:
    stage.rules(KEEP_LATEST.format(2))
    for age in range(2, 8):
        stage.add(f"a{age}", stream="a", age=age * DAY)
    stage.add("b2", "b2-other-format", stream="b", age=2 * DAY)
    stage.add("c9", stream="c", age=9 * DAY)
    stage.add("unknown", stream="", age=9 * DAY)
    stage.sweep()
    assert sorted(asked(stage)) == ["a4", "a5", "a6", "a7"]
    assert {stage.states()[name] for name in ("a2", "a3", "b2", "b2-other-format", "c9", "unknown")} == {"kept"}
    assert stage.file("a2").due_at is not None, "shown as kept, but its rule would delete it"
    assert "keeps the newest 2" in stage.file("a2").state_reason


def test_the_newest_that_ended_unknown_does_not_let_the_next_one_go(stage: Stage) -> None:
    """(h): the newest of a stream is erased, and nobody knows whether that worked."""
    stage.rules(KEEP_LATEST.format(1))
    stage.add("newest", age=2 * DAY)
    stage.add("next", age=3 * DAY)
    stage.add("third", age=4 * DAY)
    stage.sweep()
    assert stage.states() == {"newest": "kept", "next": "deleted", "third": "deleted"}
    stage.add("again", age=3 * DAY)
    stage.change("newest", state=FileState.SCHEDULED, last_outcome=Outcome.UNKNOWN, wait_until=None)
    calls = len(stage.sandbox.calls)
    stage.sweep()
    assert len(stage.sandbox.calls) == calls
    assert stage.states()["newest"] == stage.states()["again"] == "kept"


def test_what_counts_as_a_recording_is_the_same_in_the_database_and_in_the_core(stage: Stage) -> None:
    stage.rules(KEEP_LATEST.format(1))
    now = stage.clock()
    variants: dict[str, dict[str, Any]] = {
        **{f"state {state.value}": {"state": state} for state in FileState},
        **{f"outcome {outcome.value}": {"last_outcome": outcome} for outcome in Outcome},
        **{f"suspicion {suspicion.value}": {"suspicion": suspicion} for suspicion in Suspicion},
        **{
            f"{reason.value} {hours}": {"wait_reason": reason, "wait_until": now + timedelta(hours=hours)}
            for reason in WaitReason
            for hours in (-1, 0, 1)
        },
        "no end of its wait": {"wait_reason": WaitReason.ADOPTION},
        "erased": {"erasure_id": 7},
        **{f"plain {number}": {} for number in range(10)},
    }
    stage.add(*variants, age=2 * DAY)
    for name, facts in variants.items():
        stage.change(name, **facts)
    files = stage.files()
    with stage.database.read() as tx:
        spans = list(claim_store.iterate_spans(tx, APP, "room", "all", now))
    assert {span.id for span in spans} == {file.id for file in files.values() if counts_as_recording(file, now)}
    assert len(spans) > 20, "more than a page"


def test_ranks_are_not_judged_while_files_are_decided_under_older_rules(stage: Stage) -> None:
    """The newest by the new rule is not known as such yet: nothing of the stream may go."""
    stage.rules('[[rules]]\nname = "big"\nmatch = { min_size = "1MB" }\nkeep = "1d"\nkeep_latest = 1\n')
    stage.add("old", age=3 * DAY, size_bytes=5_000_000)
    stage.add("new", age=2 * DAY, size_bytes=2_000_000)
    behind = 0

    def change() -> None:
        nonlocal behind
        behind += 1
        if behind == 1:
            stage.apply_orders()  # and no deciding
        else:
            stage.decide()

    text = '[[rules]]\nname = "big"\nmatch = { min_size = "4MB" }\nkeep = "1d"\nkeep_latest = 1\n'
    from service.rules.file import parse_rules  # noqa: PLC0415
    from service.rules.store import put_in_force  # noqa: PLC0415

    stage.database.transact(
        lambda tx: put_in_force(tx, TESTER, parse_rules(text), "a test", stage.clock(), timedelta(0))
    )
    stage.sweeper.catch_up = change
    stage.sweep()
    assert behind >= 2
    assert asked(stage) == []
    assert stage.states() == {"old": "kept", "new": "kept"}


def test_with_confirm_all_only_what_was_confirmed_goes(stage: Stage) -> None:
    stage.sweeper.confirm_all = True
    stage.keep("1d")
    stage.add("confirmed", confirmed_at=stage.clock())
    stage.add(*[f"not-{n}" for n in range(250)])
    stage.sweep()
    assert asked(stage) == ["confirmed"]
    assert stage.count(FileState.UNCONFIRMED) == 250
    assert "CONFIRM=all" in stage.file("not-0").state_reason


@pytest.mark.parametrize("counts", [True, False])
def test_files_that_become_due_or_known_during_a_pass_wait_for_the_next(stage: Stage, counts: bool) -> None:
    """(d), also for files that do not count for the breaker, as those asked for before."""
    facts: dict[str, Any] = {} if counts else {"last_outcome": Outcome.RETRYABLE}
    stage.keep("1d")
    due = [f"f{n}" for n in range(1_250)]
    stage.add(*due)
    stage.add(*[f"soon{n}" for n in range(300)], age=timedelta(hours=23, minutes=57), **facts)

    def more() -> None:
        stage.clock.move(minutes=5)  # less than the signature of a call in flight is good for
        stage.add(*[f"new{n}" for n in range(300)], **facts)

    on_arrival(stage, more)
    stage.sweep()
    assert sorted(asked(stage)) == sorted(due)


def test_files_that_turn_due_within_the_bounds_go_only_as_far_as_was_counted(stage: Stage) -> None:
    """Released from a hold in the middle of the pass: due before, known before, and not counted."""
    stage.keep("1d")
    held = [f"held{n}" for n in range(500)]
    stage.add(*held, age=9 * DAY)
    set_states(stage, held, FileState.HELD)
    stage.add(*[f"f{n}" for n in range(1_250)])
    on_arrival(stage, lambda: set_states(stage, held, FileState.SCHEDULED))
    stage.sweep()
    assert len(asked(stage)) == 1_250
    assert "held0" in asked(stage)


def set_states(stage: Stage, names: list[str], state: FileState) -> None:
    files = stage.files()
    stage.leader.transact(lambda tx: save_files(tx, [files[name]._replace(state=state) for name in names]))


def test_a_request_is_finished_by_the_run_that_it_asks_for(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file")
    number = place_sweep(stage.database, TESTER, stage.clock())
    run_id = stage.sweep(request=number)
    with stage.database.read() as tx:
        order = find_order(tx, number)
    assert order is not None
    assert order.result == {"run_id": run_id}
    assert stage.states() == {"file": "deleted"}


def test_orders_that_never_end_do_not_keep_calls_back(stage: Stage) -> None:
    """(k): the number of the audit has moved again before each claim."""
    stage.keep("1d")
    stage.add(*[f"f{n}" for n in range(500)])

    def order() -> None:
        stage.decide()
        number = stage.database.transact(
            lambda tx: place_order(tx, TESTER, OrderKind.HOLD, "hold", {}, stage.clock(), action="hold.place")
        )
        stage.leader.transact(lambda tx: finish_order(tx, number, stage.clock(), {}))

    stage.sweeper.catch_up = order
    stage.sweep()
    assert stage.count(FileState.DELETED) == 500
    with stage.database.read() as tx:
        assert find_head(tx).number >= 6


def test_a_stopped_pass_finishes_the_calls_in_flight_and_says_so(stage: Stage) -> None:
    stage.keep("1d")
    stage.add(*[f"f{n:04}" for n in range(1_000)])
    stop = threading.Event()
    on_arrival(stage, stop.set)
    run = stage.run(stage.sweep(stop=stop))
    assert (run.state, run.note) == (RunState.INTERRUPTED, "stopped by a signal")
    assert set(stage.states().values()) == {"deleted", "scheduled"}
    assert len(asked(stage)) == stage.count(FileState.DELETED) <= 800


def last_schedule(stage: Stage) -> datetime | None:
    with stage.database.read() as tx:
        return find_last_schedule(tx)


def test_a_pass_on_schedule_is_remembered_unless_it_was_cut_short(stage: Stage) -> None:
    stage.sweep()
    assert last_schedule(stage) is None, "a pass that somebody asked for is not on schedule"
    stopped = threading.Event()
    stopped.set()
    stage.sweep(Trigger.SCHEDULE, stop=stopped)
    assert last_schedule(stage) is None, "one that was cut short is made up for"
    stage.sweep(Trigger.SCHEDULE)
    assert last_schedule(stage) == stage.clock()


def test_a_clock_that_is_set_back_while_a_pass_runs_deletes_nothing_before_its_time(stage: Stage) -> None:
    stage.keep("1d")
    stage.add("file", age=DAY - timedelta(minutes=30))
    moments = [stage.clock() + timedelta(hours=1)]  # as the pass begins
    stage.sweeper.now = lambda: moments.pop() if moments else stage.clock()
    stage.sweep()
    assert asked(stage) == []
    assert stage.states() == {"file": "scheduled"}


def test_what_was_kept_for_its_rank_goes_once_one_counts_whose_wait_is_over(stage: Stage) -> None:
    """An adopted file, announced since, counts from the end of its wait on; nothing happens to it at that moment."""
    stage.rules(KEEP_LATEST.format(1))
    stage.add("older", age=3 * DAY)
    stage.sweep()
    until = stage.clock() + timedelta(hours=1)
    stage.add("newer", wait_until=until, wait_reason=WaitReason.ADOPTION)
    stage.sweep()
    assert stage.states() == {"older": "kept", "newer": "scheduled"}
    stage.clock.move(hours=2)
    stage.sweep()
    stage.decide()
    stage.sweep()
    assert stage.states() == {"older": "deleted", "newer": "kept"}
    stage.sweep()
    with stage.database.read() as tx:
        assert list_flagged(tx, 0, 10) == []
