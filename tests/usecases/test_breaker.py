"""The breaker around a pass, and the approval of what it stopped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from service.core.breaker import Limits
from service.core.model import Actor, Vendor
from service.db import claims, leases, plans, runs
from service.db.claims import Wanted
from service.db.models import MediaFileRow, RunState, Trigger
from service.db.order_models import AuditEntryRow
from service.settings import SettingsError, load_settings
from service.usecases import breaking
from service.usecases.breaking import approve_plans, show_plans
from service.usecases.claiming import SWEEP_LEASE, Admission, Pass, claim_chunk, open_call
from service.usecases.figures import count_figures
from service.usecases.holding import HoldOrder, place_hold
from service.usecases.inventory import NotPossible
from service.usecases.reports import find_attention, show_run
from service.usecases.schedule import broke_off
from service.usecases.sweep import run_pass
from service.zego.sandbox_faults import answer_code, answer_html
from tests.world import APP, OTHER_APP, World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

DAY = timedelta(days=1)
ANNA = Actor("anna", "command line")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """A world whose breaker lets five files of an app go in one pass."""
    with open_world(database_url, BREAKER_FILES="5") as world:
        world.keep("1d")
        yield world


def told(world: World, run_id: int) -> dict[str, Any]:
    run = show_run(world.database, run_id)
    assert run is not None
    return run


def states(world: World, run_id: int) -> list[str]:
    return [plan["state"] for plan in show_plans(world.database, run_id, None)]


def keys(world: World, *prefixes: str) -> list[int]:
    return sorted(file["id"] for name, file in world.files().items() if name.startswith(prefixes))


def approve(world: World, run_id: int) -> int:
    approve_plans(world.database, run_id, ANNA, world.clock())
    approved = run_pass(world.service.sweeper, Trigger.APPROVAL, approved_run=run_id)
    assert approved is not None
    return approved


def approvals(world: World) -> int:
    """How many approvals are in the audit."""
    with world.database.read() as session:
        return session.query(AuditEntryRow).filter_by(action="approve_plan").count()


def hold(world: World, file_id: str, until: datetime | None = None) -> None:
    order = HoldOrder(None, world.files()[file_id]["id"], None, "a trial", until)
    place_hold(world.database, order, ANNA, world.clock())


def change(world: World, file_id: str, **values: object) -> None:
    key = world.files()[file_id]["id"]

    def set_values(session: Any) -> None:
        row = session.get(MediaFileRow, key)
        for name, value in values.items():
            setattr(row, name, value)

    world.database.transact(set_values)


def test_exactly_the_limit_goes(world: World) -> None:
    world.add(5)
    run = told(world, world.sweep())
    assert (run["state"], run["outcomes"]["deleted"]) == ("done", 5)


def test_one_more_than_the_limit_stops_the_app_and_no_other(world: World) -> None:
    world.add(6)
    world.add(2, prefix="other", app_id=OTHER_APP)
    run_id = world.sweep()
    run = told(world, run_id)
    assert run["state"] == "stopped"
    assert {call.app_id for call in world.sandbox.calls} == {OTHER_APP}
    assert run["outcomes"]["deleted"] == 2
    assert f"app {APP}" in run["note"]
    assert "6 files are due that nobody approved, more than BREAKER_FILES=5" in run["note"]
    assert f"`zego-retention sweep --approve {run_id}`" in run["note"]
    [plan] = show_plans(world.database, run_id, None)
    assert (plan["app_id"], plan["state"], plan["files_count"], plan["present_count"]) == (APP, "open", 6, 6)
    assert plan["files"] == keys(world, "file")
    assert [len(plan["files"]) for plan in show_plans(world.database, run_id, 4)] == [4]


def test_the_share_stops_an_app_only_where_over_a_thousand_are_due(database_url: str) -> None:
    with open_world(database_url, BREAKER_SHARE="0.5") as world:
        world.keep("1d")
        world.add(1_001, prefix="old")
        world.add(1_001, prefix="young", age=timedelta(hours=1))
        world.sandbox.always(answer_code(7, "auth failed"))
        assert told(world, world.sweep())["state"] == "done"
        calls = len(world.sandbox.calls)
        assert calls > 0
        world.add(1, prefix="another")
        run = told(world, world.sweep())
        assert run["state"] == "stopped"
        assert (
            "1,002 files are due that nobody approved, more than BREAKER_SHARE=0.5 of its 2,003 present files"
            in run["note"]
        )
        assert len(world.sandbox.calls) == calls


def test_what_arrives_later_does_not_let_a_stopped_app_slip_under_the_share(database_url: str) -> None:
    with open_world(database_url, BREAKER_SHARE="0.5") as world:
        world.keep("1d")
        world.add(1_001, prefix="old")
        run_id = world.sweep()
        world.add(2_000, prefix="young", age=timedelta(hours=1))
        again = told(world, world.sweep())
        assert again["state"] == "stopped"
        assert f"the plan of run {run_id} with 1,001 files is open, and some of them are still due" in again["note"]
        assert world.sandbox.calls == ()


def test_a_stopped_app_has_one_open_plan_that_stays_as_it_is(world: World) -> None:
    world.add(6)
    first = world.sweep()
    world.add(3, prefix="later")
    second = world.sweep()
    assert told(world, second)["state"] == "stopped"
    assert f"sweep --approve {first}`" in told(world, second)["note"]
    assert show_plans(world.database, second, None) == []
    assert [plan["files"] for plan in show_plans(world.database, first, None)] == [keys(world, "file")]
    assert world.sandbox.calls == ()


def test_an_approved_plan_is_carried_out_and_no_more(world: World) -> None:
    world.add(9)
    run_id = world.sweep()
    world.add(3, prefix="new")
    world.send("file-00000", age=timedelta(0))  # announced again: it ended later
    world.send("file-00001", age=timedelta(0), stored=False)
    hold(world, "file-00002")
    approved = approve(world, run_id)
    assert told(world, approved)["trigger"] == "approval"
    assert told(world, approved)["state"] == "done"
    assert sorted(world.states()["deleted"]) == [f"file-{number:05}" for number in range(3, 9)]
    assert sorted(world.states()["scheduled"]) == ["file-00000", "file-00001", *(f"new-{n:05}" for n in range(3))]
    assert world.states()["held"] == ["file-00002"]
    assert world.files()["file-00002"]["approval"] is None  # released later, it counts as any other
    assert states(world, run_id) == ["approved"]


def test_an_approved_file_that_the_rules_keep_by_now_stays(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    world.keep("30d")
    approve(world, run_id)
    assert world.sandbox.calls == ()
    assert "deleted" not in world.states()


def test_a_file_whose_approval_a_change_took_back_is_not_part_of_the_plan(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    approve_plans(world.database, run_id, ANNA, world.clock())
    change(world, "file-00003", approval=None)
    run_pass(world.service.sweeper, Trigger.APPROVAL, approved_run=run_id)
    assert world.states()["scheduled"] == ["file-00003"]


def test_an_approval_taken_back_between_claim_and_call_counts(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    approve_plans(world.database, run_id, ANNA, world.clock())
    sweeper, lane = world.service.sweeper, (APP, Vendor.TENCENT)
    fence = world.database.transact(
        lambda session: leases.take_lease(session, SWEEP_LEASE, "by hand", world.clock(), sweeper.lease)
    )
    assert fence is not None
    sweep = Pass(world.database.transact(partial(_start_run, world=world)), fence, approved_run=run_id)
    chunk = world.database.transact(
        lambda session: claim_chunk(session, sweep, lane, Admission(0), None, 400, world.clock(), only_retries=False)
    )
    assert len(chunk.files) == 6
    change(world, "file-00003", approval=None)
    call = world.database.transact(lambda session: open_call(session, sweep, lane, chunk.files, world.clock()))
    assert call is not None
    assert [file.file_id for file in call.files] == [f"file-{number:05}" for number in (0, 1, 2, 4, 5)]
    assert world.states()["scheduled"] == ["file-00003"]


def test_what_was_approved_or_is_being_retried_does_not_count_again(world: World) -> None:
    world.add(11)
    world.sweep(Trigger.RETRY)  # decides the files, asks for none
    for number in range(4):
        change(world, f"file-{number:05}", approval="preview 1")
    hour_ago = world.clock() - timedelta(hours=1)
    change(world, "file-00004", last_attempt_at=hour_ago, retry_at=hour_ago)
    change(world, "file-00005", last_attempt_at=hour_ago, retry_at=hour_ago)
    assert told(world, world.sweep())["state"] == "done"
    assert len(world.states()["deleted"]) == 11


def test_a_pass_and_its_claims_agree_on_what_is_new(world: World) -> None:
    world.add(8)
    world.sweep(Trigger.RETRY)
    due, now = world.clock() - DAY, world.clock()
    before = due - timedelta(seconds=1)
    columns = ("approval", "retry_at", "last_attempt_at")
    given = [
        (None, None, None),
        ("run 9", None, None),
        (None, now, due),  # being retried
        (None, now, before),  # its date was moved later since
        (None, None, due),  # waits for its app to be let in, or was asked for by a run that died
        (None, now, None),
        ("run 9", now, before),
        ("run 9", None, due),
    ]
    for number, values in enumerate(given):
        change(world, f"file-{number:05}", **dict(zip(columns, values, strict=True)))
    with world.database.read() as session:
        found = session.query(MediaFileRow).order_by(MediaFileRow.id).all()
        is_new = [row.approval is None and not claims.is_retried(row, row.due_at) for row in found]
        assert is_new == [True, False, False, True, True, True, False, False]
        assert sorted(claims.list_new(session, APP, now)) == [
            row.id for row, new in zip(found, is_new, strict=True) if new
        ]
        assert claims.count_new(session, APP, now) == 4
        passed = claims.next_due(session, (APP, Vendor.TENCENT), now, None, 9, Wanted(only_passed=True), lock=False)
        assert [row.id for row in passed] == [row.id for row, new in zip(found, is_new, strict=True) if not new]
        assert [claims.has_new(session, [row.id], now) for row in found] == is_new
        assert [row.id for row in Admission(0).choose(found)] == [row.id for row in passed]


def try_in_vain(world: World, files: int) -> None:
    """Let a pass ask for files that ZEGO does not delete this time."""
    for file_id in world.add(files, prefix="tried"):
        world.sandbox.fail_file(file_id, "Locked", times=1)
    world.sweep()
    assert {file["last_outcome"]["outcome"] for file in world.files().values()} == {"retryable"}


def test_a_file_that_was_rescued_after_an_attempt_is_new_once_it_is_due_again(world: World) -> None:
    try_in_vain(world, 5)
    world.keep("365d")
    world.clock.move(days=400)
    world.add(1, age=400 * DAY)
    assert told(world, world.sweep())["state"] == "stopped"
    assert len(world.stored()) == 6


def test_a_file_that_was_held_after_an_attempt_is_new_once_it_is_due_again(world: World) -> None:
    try_in_vain(world, 5)
    for file_id in sorted(world.stored()):
        hold(world, file_id, until=world.clock() + DAY)
    world.clock.move(days=2)
    world.add(1)
    assert told(world, world.sweep())["state"] == "stopped"
    assert len(world.stored()) == 6


def test_files_that_are_being_retried_leave_room_for_as_many_new_ones(world: World) -> None:
    try_in_vain(world, 5)
    world.clock.move(days=1)
    world.add(5)
    assert told(world, world.sweep())["state"] == "done"
    assert len(world.states()["deleted"]) == 10


def test_files_that_wait_for_their_app_to_be_let_in_do_not_stop_it(world: World) -> None:
    world.sandbox.always(answer_code(7, "auth failed"))
    world.add(5)
    world.sweep()
    assert {file["last_outcome"]["outcome"] for file in world.files().values()} == {"blocked"}
    world.sandbox.end_faults()
    world.clock.move(days=1)
    assert told(world, world.sweep())["state"] == "done"
    assert len(world.states()["deleted"]) == 5


def test_an_app_stays_stopped_while_a_file_of_its_plan_is_due(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    hold(world, "file-00000")  # by somebody who looks through the plan; nobody approved the others
    again = told(world, world.sweep())
    assert again["state"] == "stopped"
    assert f"`zego-retention sweep --approve {run_id}`" in again["note"]
    world.send("file-00001", age=timedelta(0))
    for number in range(2, 5):
        hold(world, f"file-{number:05}")
    assert told(world, world.sweep())["state"] == "stopped"
    assert (states(world, run_id), len(world.stored())) == (["open"], 6)
    approve(world, run_id)
    assert world.states()["deleted"] == ["file-00005"]


def test_a_plan_lapses_when_none_of_its_files_is_due_any_more(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    for number in range(6):
        hold(world, f"file-{number:05}")
    world.add(5, prefix="new")
    assert told(world, world.sweep())["state"] == "done"
    assert states(world, run_id) == ["lapsed"]
    assert len(world.states()["deleted"]) == 5
    reason = f"the plan of run {run_id} lapsed: run {run_id + 1} found none of its files due any more"
    with pytest.raises(NotPossible, match=reason):
        approve_plans(world.database, run_id, ANNA, world.clock())


def test_a_plan_whose_files_are_not_due_any_more_gives_way_to_a_new_one(world: World) -> None:
    world.add(6)
    first = world.sweep()
    for number in range(6):
        hold(world, f"file-{number:05}")
    world.add(7, prefix="new")
    second = world.sweep()
    assert f"`zego-retention sweep --approve {second}`" in told(world, second)["note"]
    assert (states(world, first), states(world, second)) == (["lapsed"], ["open"])
    assert [plan["files"] for plan in show_plans(world.database, second, None)] == [keys(world, "new")]
    assert world.sandbox.calls == ()


def test_a_plan_lapses_when_nothing_is_due_any_more(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    world.keep("forever")
    world.sweep()
    assert states(world, run_id) == ["lapsed"]


def test_retries_and_approved_files_of_another_run_let_a_plan_stand(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    world.sweep(Trigger.RETRY)
    run_pass(world.service.sweeper, Trigger.APPROVAL, approved_run=999)
    assert states(world, run_id) == ["open"]
    assert world.sandbox.calls == ()


def test_approving_again_finishes_what_a_kill_cut_short(world: World) -> None:
    world.add(7)
    run_id = world.sweep()
    # Killed between the two steps: what was approved is on record, and no file is marked.
    world.database.transact(lambda session: breaking._approve(session, run_id, ANNA, world.clock()))
    assert states(world, run_id) == ["approved"]
    assert {file["approval"] for file in world.files().values()} == {None}
    approve(world, run_id)
    assert len(world.states()["deleted"]) == 7
    assert approvals(world) == 2  # whoever lets files go is on record
    assert approve_plans(world.database, run_id, ANNA, world.clock()) == [APP]
    assert approvals(world) == 2  # there was nothing left to let go


def test_approving_lets_nothing_go_that_is_not_due_at_that_moment(world: World) -> None:
    world.add(7, age=timedelta(hours=1))
    world.clock.move(days=60)
    run_id = world.sweep()
    world.clock.move(days=-60)  # the clock was wrong
    change(world, "file-00000", due_at=world.clock())
    change(world, "file-00001", due_at=world.clock(), cooling_until=world.clock() + DAY)
    change(world, "file-00002", due_at=world.clock(), cooling_until=world.clock())
    approve_plans(world.database, run_id, ANNA, world.clock())
    approved = [name for name, file in world.files().items() if file["approval"] is not None]
    assert sorted(approved) == ["file-00000", "file-00002"]


def test_an_approval_gives_nothing_any_more_once_the_rules_are_others(world: World) -> None:
    world.add(7)
    run_id = world.sweep()
    approve_plans(world.database, run_id, ANNA, world.clock())
    world.keep("forever")
    world.clock.move(days=2)
    world.keep("2d")
    before = world.files()
    reason = rf"plan of run {run_id} was approved under rules revision 1, and 3 is in force now.*zego-retention sweep"
    with pytest.raises(NotPossible, match=reason):
        approve_plans(world.database, run_id, Actor("bob", "command line"), world.clock())
    assert world.files() == before
    assert approvals(world) == 1


def test_a_change_of_rules_in_the_middle_of_an_approval_ends_it(world: World) -> None:
    world.add(2_001)
    run_id = world.sweep()

    def take_back(_files: int) -> None:
        world.keep("forever")

    with pytest.raises(NotPossible, match="approved under rules revision 1, and 2 is in force now"):
        approve_plans(world.database, run_id, ANNA, world.clock(), take_back)
    assert world.files()["file-02000"]["approval"] is None
    assert run_pass(world.service.sweeper, Trigger.APPROVAL, approved_run=run_id)
    assert world.sandbox.calls == ()


def test_what_cannot_be_approved_is_said_in_a_line(world: World) -> None:
    with pytest.raises(NotPossible, match="there is no run 77"):
        approve_plans(world.database, 77, ANNA, world.clock())
    nothing = world.sweep()
    with pytest.raises(NotPossible, match=f"stopped nothing in run {nothing}; no plan is open"):
        approve_plans(world.database, nothing, ANNA, world.clock())
    world.add(6)
    stopped = world.sweep()
    with pytest.raises(NotPossible, match=f"open is that of run {stopped} for app {APP}"):
        approve_plans(world.database, nothing, ANNA, world.clock())


def test_two_processes_that_trip_at_once_make_one_plan(world: World) -> None:
    world.add(6)
    world.sweep(Trigger.RETRY)  # decides the files, asks for none
    world.database.transact(partial(_lapse_all, world=world))
    begun = [world.database.transact(partial(_start_run, world=world)) for _ in range(2)]
    barrier = threading.Barrier(2)

    def trip(run_id: int) -> breaking.Stop | object:
        barrier.wait()
        return world.service.sweeper.breaker.ask(run_id, APP)

    with ThreadPoolExecutor(2) as pool:
        stops = list(pool.map(trip, begun))
    assert all(isinstance(stop, breaking.Stop) for stop in stops)
    assert len({stop.plan for stop in stops if isinstance(stop, breaking.Stop)}) == 1
    assert sum(len(show_plans(world.database, run_id, None)) for run_id in begun) == 1


def _lapse_all(session: Any, world: World) -> None:
    plans.lapse(session, [APP], "a test", world.clock())


def _start_run(session: Any, world: World) -> int:
    run = runs.start_run(session, Trigger.COMMAND, None, "a test", world.clock())
    assert run is not None
    return run.id


def test_what_becomes_due_during_a_pass_does_not_creep_past_the_breaker(world: World) -> None:
    world.add(3)
    world.add(1, prefix="ws", vendor=Vendor.WANGSU)  # so that the pass visits that lane after the first
    arrived: list[str] = []

    def arrive(_call: object) -> None:
        while len(arrived) < 8:
            arrived.append(f"late-{len(arrived)}")
            world.send(arrived[-1], age=2 * DAY, vendor=Vendor.WANGSU)

    world.sandbox.on_request = arrive
    assert told(world, world.sweep())["state"] == "done"
    assert len(arrived) == 8
    assert len(world.states()["deleted"]) == 5
    assert told(world, world.sweep())["state"] == "stopped"
    assert len(world.states()["deleted"]) == 5


def test_a_pass_for_retries_takes_up_nothing_new_of_a_stopped_app(world: World) -> None:
    world.send("tried", age=2 * DAY)
    world.sandbox.next(answer_html(502))
    world.sweep()
    world.add(6)
    world.clock.move(hours=7)
    assert told(world, world.sweep(Trigger.RETRY))["outcomes"]["deleted"] == 1
    assert world.states()["deleted"] == ["tried"]


def test_a_pass_for_retries_takes_up_after_a_pause_what_the_breaker_allows(world: World) -> None:
    world.send("tried", age=2 * DAY)
    world.sandbox.next(answer_html(502))
    world.sweep()
    world.add(5)
    world.clock.move(hours=7)
    world.sweep(Trigger.RETRY)
    assert len(world.states()["deleted"]) == 6


def test_a_steady_load_never_trips_it_after_one_approval(world: World) -> None:
    world.add(30, prefix="backlog")
    approve(world, world.sweep())
    for day in range(10):
        world.clock.move(days=1)
        world.add(4, prefix=f"day{day}")
        assert told(world, world.sweep())["state"] == "done"
    assert len(world.states()["deleted"]) == 70


def test_a_stopped_pass_is_over_and_the_worker_does_not_repeat_it(world: World) -> None:
    world.add(6)
    run_id = world.sweep(Trigger.SCHEDULE)
    assert not broke_off(world.database, timedelta(minutes=2), world.clock())
    with world.database.read() as session:
        last = runs.last_full_pass(session)
    assert last is not None
    assert (last.id, last.state) == (run_id, RunState.STOPPED)
    approve(world, run_id)
    with world.database.read() as session:
        again = runs.last_full_pass(session)  # carrying out a plan is no look at everything
    assert again is not None
    assert again.id == run_id


def test_everybody_is_told(world: World) -> None:
    world.add(6)
    run_id = world.sweep()
    [sentence] = find_attention(world.database, world.service.app_ids, world.clock()).sentences
    assert sentence.startswith(f"the breaker stopped app {APP} at 2026-03-01T12:00:00Z: 6 files are due")
    assert f"`zego-retention sweep --approve {run_id}`" in sentence
    figures = count_figures(world.database, world.clock())
    assert (figures.stopped_apps, figures.runs["stopped"], figures.due) == ((APP,), 1, 6)
    approve(world, run_id)
    assert count_figures(world.database, world.clock()).stopped_apps == ()
    assert find_attention(world.database, world.service.app_ids, world.clock()).sentences == ()


@pytest.mark.parametrize(("name", "value"), [("FILES", "0"), ("FILES", "-5"), ("SHARE", "0"), ("SHARE", "-0.1")])
def test_settings_of_0_or_below_are_errors(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"BREAKER_{name}"):
        load_settings({f"ZEGO_RETENTION_BREAKER_{name}": value})


def test_the_settings_reach_the_pass(world: World) -> None:
    assert world.service.sweeper.limits == Limits(5, 0.2)
