"""The breaker, its plans, their approval, and what does not count for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from service.audit.store import find_order, list_entries
from service.filters import AuditFilter
from service.model import Erasure, FileState, NoSuchThing, NotPossible, Outcome, Vendor, WaitReason
from service.rules.store import Shown, find_revision
from service.sweep import store
from service.sweep.breaker import Limits
from service.sweep.dry_run import dry_run
from service.sweep.orders import find_attention, place_approval
from service.sweep.records import Plan, PlanState, RunState, Trigger
from tests import faults
from tests.sweep.stage import APP, DAY, OTHER, TESTER, Stage

if TYPE_CHECKING:
    from service.sweep.dry_run import DryRun

LIMIT = 100


@pytest.fixture
def strict(stage: Stage) -> Stage:
    """An app of which no more than 100 files may go in one pass."""
    stage.sweeper.limits = Limits(LIMIT, 1.0)
    stage.keep("1d")
    return stage


def names(count: int, prefix: str = "f") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def plans(stage: Stage) -> list[Plan]:
    with stage.database.read() as tx:
        return [plan for run in store.list_runs(tx) for plan in store.list_plans(tx, run_id=run.id)]


def approve(stage: Stage, run_id: int) -> int:
    number = place_approval(stage.database, TESTER, run_id, stage.clock())
    return stage.sweep(Trigger.APPROVAL, request=number)


def look(stage: Stage) -> DryRun:
    sweeper = stage.sweeper
    return dry_run(
        stage.database,
        sweeper.reader,
        sweeper.apps,
        sweeper.limits,
        stage.clock(),
        confirm_all=sweeper.confirm_all,
        limit=5,
    )


def test_an_app_with_too_many_due_files_is_stopped_and_no_other(strict: Stage) -> None:
    strict.add(*names(LIMIT + 1))
    strict.add(*names(LIMIT, "o"), app_id=OTHER)
    [would_stop] = look(strict).stops
    with capture_logs() as logs:
        run = strict.run(strict.sweep())
    [line] = [line for line in logs if line["event"] == "sweep_stopped"]
    assert (line["run"], line["plan_of_run"], line["reason"]) == (run.id, run.id, would_stop.reason)
    assert f"`zego-retention sweep --approve {run.id}`" in line["fix"]
    assert not {call.app_id for call in strict.sandbox.calls} - {OTHER}
    assert not strict.stored(OTHER)
    assert run.state is RunState.STOPPED
    [plan] = plans(strict)
    assert (plan.app_id, plan.files_count, plan.state) == (APP, LIMIT + 1, PlanState.OPEN)
    assert plan.reason == would_stop.reason
    assert f"sweep --approve {run.id}" in run.note
    attention = find_attention(strict.database, strict.sweeper.apps, strict.clock())
    assert len(attention) == 1


def test_an_app_stays_stopped_while_its_plan_is_open_and_something_is_due(strict: Stage) -> None:
    strict.add(*names(LIMIT + 50))
    strict.sweep()
    for name in names(LIMIT + 49):
        strict.change(name, state=FileState.HELD)
    strict.sweep()
    assert not strict.sandbox.calls
    assert [plan.state for plan in plans(strict)] == [PlanState.OPEN]
    strict.change("f0149", state=FileState.HELD)
    strict.sweep()
    assert [plan.state for plan in plans(strict)] == [PlanState.EXPIRED], "nothing is due any more"
    strict.change("f0149", state=FileState.SCHEDULED)
    strict.sweep()
    assert strict.states()["f0149"] == "deleted"


def test_a_plan_under_older_rules_does_not_stop_an_app(strict: Stage) -> None:
    strict.add(*names(LIMIT + 1), age=2 * DAY)
    first = strict.sweep()
    strict.keep("40h")
    with pytest.raises(NotPossible, match="revision 1, and 2 is in force"):
        place_approval(strict.database, TESTER, first, strict.clock())
    second = strict.sweep()
    assert [(plan.run_id, plan.state) for plan in plans(strict)] == [
        (second, PlanState.OPEN),
        (first, PlanState.EXPIRED),
    ]


def test_an_approved_plan_goes_and_nothing_else(strict: Stage) -> None:
    strict.add(*names(LIMIT + 20))
    first = strict.sweep()
    strict.clock.move(hours=1)
    strict.add(*names(30, "new"))
    run_id = approve(strict, first)
    assert strict.count(FileState.DELETED) == LIMIT + 20
    assert strict.run(run_id).state is RunState.DONE
    [plan] = plans(strict)
    assert (plan.state, plan.called, plan.budget, plan.ended_by) == (PlanState.APPROVED, LIMIT + 20, 0, TESTER.name)
    with strict.database.read() as tx:
        [entry] = list_entries(tx, AuditFilter(action="plan.approve"), 10)
        order = find_order(tx, entry.number)
    assert order is not None
    assert order.result == {"run_id": run_id}
    strict.sweep()
    assert strict.count(FileState.DELETED) == LIMIT + 50


def test_an_approval_covers_no_more_files_than_were_shown(strict: Stage) -> None:
    """(e): fifty more files are released from holds since."""
    strict.add(*names(50, "held"), age=9 * DAY)
    for name in names(50, "held"):
        strict.change(name, state=FileState.HELD)
    strict.sweeper.limits = Limits(90, 1.0)
    strict.add(*names(100))
    first = strict.sweep()
    for name in names(50, "held"):
        strict.change(name, state=FileState.SCHEDULED)
    approve(strict, first)
    assert strict.count(FileState.DELETED) == 100


def test_an_approval_that_was_cut_short_is_used_up_by_the_next_pass(strict: Stage) -> None:
    strict.sweeper.limits = Limits(50, 1.0)
    strict.add(*names(250))
    first = strict.sweep()
    strict.sandbox.always(faults.answer_code(7))
    approve(strict, first)
    strict.sandbox.end_faults()
    called = plans(strict)[0].called
    assert 100 <= called < 250 + 1
    strict.add(*names(50, "new"))
    strict.sweep()
    assert not strict.stored()
    assert plans(strict)[0].budget == 0


def test_an_approval_under_rules_that_changed_meanwhile_deletes_nothing(strict: Stage) -> None:
    strict.add(*names(LIMIT + 1))
    first = strict.sweep()
    number = place_approval(strict.database, TESTER, first, strict.clock())
    strict.keep("30h")
    strict.sweep(Trigger.APPROVAL, request=number)
    assert not strict.sandbox.calls
    assert {plan.state for plan in plans(strict)} == {PlanState.OPEN}


def test_what_is_left_of_an_approval_ends_with_the_rules_that_it_was_given_under(strict: Stage) -> None:
    # So long that few fit into a call: not all are in flight before the first answer blocks the app.
    files = [name + "x" * 900 for name in names(250)]
    strict.add(*files)
    first = strict.sweep()
    strict.sandbox.always(faults.answer_code(7))
    approve(strict, first)
    strict.sandbox.end_faults()
    left = plans(strict)[0].budget
    assert left > 0
    strict.keep("30h")
    for name in files:
        strict.change(name, last_outcome=None)
    calls = len(strict.sandbox.calls)
    strict.sweep()
    assert len(strict.sandbox.calls) == calls
    assert plans(strict)[0].files_count == 250


def test_files_that_are_kept_for_their_rank_do_not_count(strict: Stage) -> None:
    strict.rules('[[rules]]\nname = "newest"\nkeep = "1d"\nkeep_latest = 1\n')
    for number in range(LIMIT + 20):
        strict.add(f"f{number}", stream=f"room-{number}")
    strict.add("older", stream="room-0", age=3 * DAY)
    strict.sweep()
    assert strict.states()["older"] == "deleted"
    assert strict.count(FileState.KEPT) == LIMIT + 20


def test_what_cannot_be_approved_says_why(strict: Stage) -> None:
    strict.add("file")
    run_id = strict.sweep()
    with pytest.raises(NoSuchThing, match="there is no run 99"):
        place_approval(strict.database, TESTER, 99, strict.clock())
    with pytest.raises(NotPossible, match="stopped nothing in run 1; no plan is open"):
        place_approval(strict.database, TESTER, run_id, strict.clock())
    strict.add(*names(LIMIT + 1))
    second = strict.sweep()
    with pytest.raises(NotPossible, match=rf"stopped nothing in run 1; a plan is open of run {second} \(app {APP}\)"):
        place_approval(strict.database, TESTER, run_id, strict.clock())
    approve(strict, second)
    with pytest.raises(NotPossible, match=f"no plan of run {second} is open any more"):
        place_approval(strict.database, TESTER, second, strict.clock())


def test_files_asked_for_before_and_erased_files_do_not_count(strict: Stage) -> None:
    strict.add(*names(80, "retried"), last_outcome=Outcome.RETRYABLE)
    with strict.database.write() as tx:
        from service.files.store import add_erasure  # noqa: PLC0415

        erasure = Erasure(0, APP, None, (), 0, 0, "asked to", strict.clock(), "somebody", "a test")
        number = add_erasure(tx, erasure)
    strict.add(*names(80, "erased"), age=timedelta(hours=1), erasure_id=number)
    strict.add(*names(LIMIT))
    strict.sweep()
    assert strict.count(FileState.DELETED) == 260


def test_a_stopped_app_still_goes_on_with_its_retries(strict: Stage) -> None:
    strict.add("retried", last_outcome=Outcome.RETRYABLE)
    strict.add(*names(LIMIT + 1))
    strict.sweep()
    assert not strict.sandbox.calls
    assert strict.sweeper.find_due_retries()
    strict.sweep(Trigger.RETRY)
    assert [call.file_ids for call in strict.sandbox.calls] == [("retried",)]
    assert not strict.sweeper.find_due_retries()


def test_what_a_preview_showed_does_not_count_up_to_its_number(strict: Stage) -> None:
    strict.keep("9d")
    strict.add(*names(90))
    shown = Shown(preview_id=1, highest_id=90, sooner_count=60)
    revision = strict.keep("1d", preview=shown)
    strict.add(*names(60, "unmoved"))
    # 60 of the 90 are covered; the other 30 count like the 60 that nothing moved.
    strict.sweeper.limits = Limits(89, 1.0)
    strict.sweep()
    assert not strict.sandbox.calls
    [plan] = plans(strict)
    assert plan.files_count == 90
    strict.sweeper.limits = Limits(90, 1.0)
    strict.leader.transact(lambda tx: store.expire_plan(tx, plan.app_id, "a test", strict.clock()))
    strict.sandbox.next(faults.answer_html(503))
    strict.sweep()
    strict.clock.move(minutes=5)
    strict.sweep(Trigger.RETRY)
    strict.sweep()
    assert not strict.stored()
    with strict.database.read() as tx:
        used = find_revision(tx, revision)
    assert used is not None
    assert (used.moved_count, used.moved_called) == (60, 60)


def test_a_dry_run_says_what_a_pass_then_does_and_writes_nothing(strict: Stage) -> None:
    strict.rules(
        """
        [[rules]]
        name = "trial"
        match = { stream = "trial-*" }
        keep = "1d"
        [[rules]]
        name = "rest"
        keep = "3d"
        keep_latest = 1
        """
    )
    strict.add(*names(7, "trial"), stream="trial-1", confirmed_at=strict.clock())
    strict.add("trial-kept", stream="trial-2", confirmed_at=strict.clock())
    strict.add(*names(3, "unconfirmed"), stream="trial-1")
    strict.add("old", "older", age=9 * DAY, confirmed_at=strict.clock())
    strict.add("newest", age=4 * DAY, confirmed_at=strict.clock())
    strict.hold("trial-2")
    strict.sweeper.confirm_all = True
    before = strict.files()
    dry = look(strict)
    assert strict.files() == before
    assert (dry.total, dict(dry.by_rule)) == (9, {"trial": 7, "rest": 2})
    assert len(dry.files) == 5
    assert (dry.kept_back.held, dry.kept_back.unconfirmed, dry.kept_back.ranked) == (1, 3, 1)
    assert dry.orders >= 1
    strict.sweep()
    deleted = {name for name, state in strict.states().items() if state == "deleted"}
    assert deleted == {*names(7, "trial"), "old", "older"}
    after = look(strict)
    assert (after.total, after.kept_back) == (0, replace(dry.kept_back))


def test_the_newest_of_a_stream_is_not_counted_as_waiting(strict: Stage) -> None:
    strict.add("old", age=4 * DAY)
    strict.add("newest", age=2 * DAY)
    strict.rules('[[rules]]\nname = "rest"\nkeep = "1d"\nkeep_latest = 1\n')
    until = strict.clock() + DAY
    for name in ("old", "newest"):
        strict.change(name, wait_until=until, call_after=until, wait_reason=WaitReason.COOLING_OFF)
    kept = look(strict).kept_back
    assert (kept.ranked, sum(kept.waiting.values())) == (1, 1)


@pytest.mark.parametrize(
    ("code", "blocked", "words", "total"),
    [
        (7, {"tencent", "ws"}, f"app {APP} has been blocked since", 1),
        (4, {"ws"}, f"app {APP}, vendor Ws has been blocked since", 2),
        (6, {"tencent", "ws"}, f"app {APP} pauses until", 1),
    ],
)
def test_a_dry_run_leaves_out_what_is_not_called_now(
    strict: Stage, code: int, blocked: set[str], words: str, total: int
) -> None:
    strict.add("ws", vendor=Vendor.WANGSU)
    strict.sandbox.always(faults.answer_code(code, "not now"))
    strict.sweep()
    strict.add("tencent")
    strict.add("other", app_id=OTHER)
    dry = look(strict)
    assert dry.total == total
    assert sum(each.files_count for each in dry.not_called) == len(blocked & waiting(strict))
    assert words in " ".join(each.sentence for each in dry.not_called)
    strict.sweeper.apps = {OTHER: strict.sweeper.apps[OTHER]}
    [unknown] = [each for each in look(strict).not_called if each.app_id == APP]
    assert unknown.reason == f"app {APP} is not in the settings: add it"


def waiting(stage: Stage) -> set[str]:
    """Files whose date and retry have come."""
    return {
        name
        for name, file in stage.files().items()
        if file.state is FileState.SCHEDULED and file.call_after is not None and file.call_after <= stage.clock()
    }


def test_files_of_an_app_without_settings_are_reported(strict: Stage) -> None:
    strict.add("file")
    strict.sweeper.apps = {}
    strict.sweep()
    [sentence] = find_attention(strict.database, (), strict.clock())
    assert sentence == f"1 file is due, but app {APP} is not in the settings: add it"


def test_failed_blocked_and_overdue_files_are_reported(strict: Stage) -> None:
    strict.add("file")
    strict.sandbox.fail_file("file", "AccessDenied")
    strict.sweep()
    strict.add("doubtful", confirmed_at=None)
    strict.change("doubtful", state=FileState.UNCONFIRMED)
    strict.add("other", app_id=OTHER)
    strict.sandbox.always(faults.answer_code(7, "wrong secret"))
    run = strict.run(strict.sweep())
    attention = find_attention(strict.database, strict.sweeper.apps, strict.clock())
    assert run.state is RunState.DONE
    words = (
        "has been blocked since 2026-03-01 12:00 UTC: ZEGO answered 7 wrong secret",
        "1 file is given up",
        "1 file is overdue",
    )
    for word, sentence in zip(words, attention, strict=True):
        assert word in sentence
