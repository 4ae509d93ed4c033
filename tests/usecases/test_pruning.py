"""What the service forgets when it is old, and above all what it keeps."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event, func, select, update

from service.core.model import Outcome, Vendor, Verdict
from service.db import inbox, runs
from service.db.models import (
    AttemptRow,
    CallbackRow,
    CallRow,
    ListingRow,
    ListingState,
    MediaFileRow,
    RunRow,
    RunState,
    SignatureRow,
    Trigger,
)
from service.usecases.explaining import explain_file, explanation_as_json
from service.usecases.ingest import replay_callback
from service.usecases.inventory import confirm_files, retry_files
from service.usecases.pruning import Keeping, Pruned, prune
from service.usecases.replaying import list_to_replay, replay_callbacks, show_callback
from service.usecases.schedule import find_open_slot
from service.zego.sandbox_faults import answer_code, drop_after
from tests.world import APP, TESTER, open_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import World

SECOND = timedelta(seconds=1)
INBOX = Keeping(inbox=timedelta(days=90), history=None)
HISTORY = Keeping(inbox=None, history=SECOND)


def forget(world: World, keeping: Keeping = INBOX, batch: int = 500) -> Pruned:
    return prune(world.database, keeping, world.clock, batch=batch)


def rows_of(world: World, model: type[Any]) -> list[Any]:
    with world.database.read() as session:
        return list(session.scalars(select(model).order_by(model.id)))


def pruned(world: World) -> list[bool]:
    """Whether the body of each callback was dropped; that it says so must fit."""
    rows = rows_of(world, CallbackRow)
    assert all((row.raw == b"") == (row.pruned_at is not None) for row in rows)
    return [row.pruned_at is not None for row in rows]


# The inbox


def test_bodies_go_when_they_are_old_and_everything_else_of_the_callback_stays(world: World) -> None:
    world.send("old")
    world.clock.move(days=1)
    world.send("younger")
    [before, other] = rows_of(world, CallbackRow)
    world.clock.move(days=89, seconds=1)
    assert forget(world) == Pruned(callbacks=1)
    [after, same] = rows_of(world, CallbackRow)
    gone = {"raw": b"", "pruned_at": world.clock()}
    columns = CallbackRow.__table__.columns.keys()
    assert {key: getattr(after, key) for key in columns} == {key: getattr(before, key) for key in columns} | gone
    assert {key: getattr(same, key) for key in columns} == {key: getattr(other, key) for key in columns}
    with world.database.read() as session:
        assert list(session.scalars(select(SignatureRow.signature))) == [other.signature]
    assert forget(world) == Pruned()


def test_what_may_be_judged_anew_keeps_its_body_for_ever(world: World) -> None:
    for number in range(len(Verdict)):
        world.send(f"file-{number}")
    with world.database.write() as session:
        for number, verdict in enumerate(Verdict, 1):
            session.execute(update(CallbackRow).where(CallbackRow.id == number).values(verdict=verdict))
    world.clock.move(days=1000)
    forget(world)
    dropped = {verdict for verdict, is_gone in zip(Verdict, pruned(world), strict=True) if is_gone}
    # (The files of the doubted ones are confirmed here.)
    assert dropped == {
        Verdict.ACCEPTED, Verdict.IGNORED, Verdict.MISDIRECTED, Verdict.STALE, Verdict.CONFLICT,
    }  # fmt: skip


def test_a_doubted_callback_keeps_its_body_until_its_file_is_confirmed_or_ended(world: World) -> None:
    world.keep("1d")
    late = world.clock() - timedelta(hours=1)
    world.send("stale", now=late)
    world.send("ended", now=late)
    world.send("one", nonce="55")
    world.send("other", nonce="55")
    world.clock.move(days=100)
    with world.database.write() as session:
        session.execute(update(CallbackRow).where(CallbackRow.id == 4).values(media_file_id=None))
    assert forget(world) == Pruned()
    ids = {file_id: file["id"] for file_id, file in world.files().items()}
    confirm_files(world.database, [ids["stale"], ids["one"], ids["other"]], TESTER, world.clock())
    with world.database.write() as session:
        session.execute(update(MediaFileRow).where(MediaFileRow.id == ids["ended"]).values(state="gone"))
    forget(world)
    assert pruned(world) == [True, True, True, False], "what announced no file may be understood by a later release"


def test_a_repeat_of_a_pruned_callback_is_a_repeat_and_a_conflict_with_it_a_conflict(world: World) -> None:
    world.keep("200d")
    began = world.clock() - timedelta(hours=2)
    facts: dict[str, Any] = {"nonce": "55", "now": world.clock(), "began": began}
    world.send("first", **facts)
    before = world.files()
    world.clock.move(days=100)
    forget(world)
    again = world.send("first", age=timedelta(days=100), **facts)
    assert again.detail == "a repeat of callback 1"
    [row] = rows_of(world, CallbackRow)
    assert (row.repeats, row.raw, world.files()) == (1, b"", before)
    world.send("second", age=timedelta(days=100), **facts)
    assert [row.verdict for row in rows_of(world, CallbackRow)] == [Verdict.CONFLICT] * 2
    assert world.states() == {"unconfirmed": ["first", "second"]}
    world.send("first", age=timedelta(days=100), **facts)
    assert forget(world) == Pruned(), "the one in doubt is needed, and the other has no body"


def test_a_pruned_callback_is_never_judged_again(world: World) -> None:
    world.send("a")
    world.send("b", nonce="55")
    world.clock.move(days=100)
    forget(world)
    before, files = rows_of(world, CallbackRow), world.files()
    assert replay_callback(world.service.ingest, 1) is None
    assert list(replay_callbacks(world.service.ingest, [1, 2], TESTER)) == []
    assert list(list_to_replay(world.database, None)) == []
    world.send("c")
    assert list(list_to_replay(world.database, Verdict.ACCEPTED)) == [3]
    assert [(row.verdict, row.reason, row.finished_at) for row in rows_of(world, CallbackRow)[:2]] == [
        (row.verdict, row.reason, row.finished_at) for row in before
    ]
    assert world.files() | files == world.files()
    shown = show_callback(world.database, 1)
    assert shown is not None
    assert (shown.facts["pruned_at"], shown.fields) == ("2026-06-09T12:00:00Z", None)


def test_pruning_may_be_killed_between_batches_and_goes_on(world: World) -> None:
    for number in range(7):
        world.send(f"file-{number}")
    world.clock.move(days=100)
    looks = iter([False, False])

    def killed() -> bool:
        if not next(looks, True):
            return False
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(world.database, INBOX, world.clock, killed, batch=3)
    assert pruned(world) == [True] * 6 + [False]
    assert forget(world, batch=3) == Pruned(callbacks=1)


def test_it_stops_when_the_worker_does(world: World) -> None:
    world.send("file")
    world.clock.move(days=100)
    assert prune(world.database, Keeping(SECOND, SECOND), world.clock, lambda: True) == Pruned()


def test_those_that_stay_hide_none_behind_them(world: World) -> None:
    for number in range(4):
        world.send(f"stale-{number}", now=world.clock() - timedelta(hours=1))
    for number in range(3):
        world.send(f"fresh-{number}")
    world.clock.move(days=100)
    assert forget(world, batch=2) == Pruned(callbacks=3)


def test_two_workers_may_prune_at_once(world: World) -> None:
    for number in range(40):
        world.send(f"file-{number}")
    world.clock.move(days=100)
    found = at_once(lambda: forget(world, batch=5), lambda: forget(world, batch=5))
    assert sum(each.callbacks for each in found) == 40
    assert all(pruned(world))


def test_a_signature_whose_row_is_pruned_meanwhile_is_locked_all_the_same(postgres_url: str) -> None:
    # On PostgreSQL alone others can write between the two steps of locking.
    with open_world(postgres_url) as world:
        with world.database.write() as session:
            inbox.lock_signature(session, "s" * 40, world.clock())
        prunings = iter([True])

        def prune_it(_c: object, _cursor: object, statement: str, *_: object) -> None:
            if "FOR UPDATE" in statement and next(prunings, False):
                with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as other:
                    other.execute("DELETE FROM signatures")

        event.listen(world.database.engine, "before_cursor_execute", prune_it)
        with world.database.write() as session:
            inbox.lock_signature(session, "s" * 40, world.clock())
            assert session.scalar(select(func.count()).select_from(SignatureRow)) == 1


def at_once(*works: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []
    errors: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  (told below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return results


# The history


def outcomes(world: World) -> list[tuple[str, Outcome | None]]:
    with world.database.read() as session:
        rows = session.execute(
            select(MediaFileRow.file_id, AttemptRow.outcome)
            .join(AttemptRow, AttemptRow.media_file_id == MediaFileRow.id)
            .order_by(AttemptRow.id)
        )
        return [(file_id, outcome) for file_id, outcome in rows]


def explained(world: World, file_id: str) -> dict[str, Any]:
    return explanation_as_json(explain_file(world.database, world.files()[file_id]["id"], world.clock()))


def live_through_a_lot(world: World) -> None:
    """Every way that a file can go: at once, after trouble, gone, credited, refused, still waiting."""
    world.keep("1d")
    age = timedelta(days=2)
    for name in ("plain", "away", "late", "credited", "refused", "waiting"):
        world.send(name, age=age, stored=name != "away", stream=name)
    world.sandbox.fail_file("late", "Busy", times=2)
    world.sandbox.fail_file("waiting", "Busy")
    world.sandbox.fail_file("refused", "AccessDenied")
    world.sandbox.omit_file("credited", acts=True, times=1)
    for _ in range(3):
        world.sweep()
        world.clock.move(hours=7)


def test_the_proof_of_a_deletion_is_the_same_before_and_after(world: World) -> None:
    live_through_a_lot(world)
    names = ("plain", "away", "late", "credited")
    before = {name: explained(world, name) for name in names}
    listed = world.files()
    raws = {row.id: row.raw for row in rows_of(world, CallRow)}
    world.clock.move(days=1)
    assert forget(world, HISTORY).attempts > 0
    for name in names:
        after = explained(world, name)
        kept = [attempt for attempt in before[name]["attempts"] if attempt in after["attempts"]]
        assert after == before[name] | {"attempts": kept}
        passing = [a["outcome"] for a in before[name]["attempts"] if a not in kept]
        assert passing == ["retryable"] * (2 if name == "late" else 0)
        ending = kept[-1]
        assert ending["outcome"] == listed[name]["state"]
        assert {row.id: row.raw for row in rows_of(world, CallRow)}[ending["call"]] == raws[ending["call"]]
    assert world.files() == listed


def test_only_attempts_that_ended_nothing_go_and_the_newest_of_each_file_stays(world: World) -> None:
    live_through_a_lot(world)
    world.clock.move(days=1)
    forget(world, HISTORY)
    assert outcomes(world) == [
        ("plain", Outcome.DELETED),
        ("away", Outcome.GONE),
        ("credited", Outcome.UNKNOWN),
        ("refused", Outcome.REJECTED),
        ("credited", Outcome.DELETED),
        ("late", Outcome.DELETED),
        ("waiting", Outcome.RETRYABLE),
    ]
    used = {row.call_id for row in rows_of(world, AttemptRow)}
    assert {row.id for row in rows_of(world, CallRow)} == used
    assert explained(world, "refused")["attempts"][0]["code"] == "AccessDenied"
    assert explained(world, "waiting")["attempts"][0]["outcome"] == "retryable"
    assert forget(world, HISTORY) == Pruned()


def test_calls_go_with_their_last_attempt_and_empty_runs_with_their_last_call(world: World) -> None:
    world.keep("1d")
    world.send("file", age=timedelta(days=2))
    world.sandbox.fail_file("file", "Busy", times=3)
    for _ in range(5):
        world.sweep()
        world.clock.move(hours=7)
    assert (len(rows_of(world, CallRow)), len(rows_of(world, RunRow))) == (4, 5)
    world.clock.move(days=1)
    assert forget(world, HISTORY) == Pruned(attempts=3, calls=3, runs=3)
    assert [row.id for row in rows_of(world, RunRow)] == [4, 5], "the one that deleted, and the newest whole pass"


def test_what_is_younger_stays(world: World) -> None:
    live_through_a_lot(world)
    before = outcomes(world)
    assert forget(world, Keeping(None, timedelta(days=2))) == Pruned()
    assert forget(world, Keeping(None, None)) == Pruned()
    assert outcomes(world) == before


def test_a_file_that_may_be_deleted_already_is_credited_after_pruning_too(world: World) -> None:
    world.keep("1d")
    world.send("file", age=timedelta(days=2))
    world.sandbox.next(drop_after())
    world.sweep()
    world.sandbox.add_file(APP, Vendor.TENCENT, "file")
    world.sandbox.fail_file("file", "Busy", times=2)
    for _ in range(2):
        world.clock.move(hours=7)
        world.sweep()
    world.clock.move(hours=7)
    assert forget(world, HISTORY).attempts == 1
    world.sandbox.remove_file(APP, Vendor.TENCENT, "file")
    world.sweep()
    assert world.state("file") == "deleted", "the first call may have deleted it"


def test_a_file_given_up_can_be_retried_after_pruning(world: World) -> None:
    world.keep("1d")
    world.send("file", age=timedelta(days=2))
    world.sandbox.fail_file("file", "AccessDenied", times=1)
    world.sweep()
    world.clock.move(days=1)
    forget(world, HISTORY)
    retry_files(world.database, [world.files()["file"]["id"]], TESTER, world.clock())
    world.sweep()
    assert world.state("file") == "deleted"


def test_a_pass_under_way_and_open_attempts_are_left_alone(world: World) -> None:
    world.keep("1d")
    world.send("file", age=timedelta(days=2))
    world.sandbox.fail_file("file", "Busy", times=2)
    for _ in range(3):
        world.sweep()
        world.clock.move(hours=7)
    with world.database.write() as session:
        session.execute(update(RunRow).where(RunRow.id == 1).values(state=RunState.RUNNING))
        session.execute(update(AttemptRow).where(AttemptRow.id == 2).values(outcome=None))
    before = outcomes(world)
    assert forget(world, HISTORY) == Pruned()
    assert outcomes(world) == before


def test_the_schedule_forgets_no_slot(world: World) -> None:
    slots = world.service.settings.sweep_slots
    for number in range(3):
        with world.database.write() as session:
            slot = slots.latest_slot(world.clock())
            run = runs.start_run(session, Trigger.SCHEDULE, slot, "w", world.clock())
            assert run is not None, number
            runs.finish_run(session, run.id, RunState.INTERRUPTED if number == 2 else RunState.DONE, world.clock())
        if number < 2:
            world.clock.move(minutes=15)
    world.clock.move(seconds=10)
    assert forget(world, HISTORY) == Pruned(runs=1)
    assert [row.id for row in rows_of(world, RunRow)] == [2, 3], "the newest whole one, and the newest slot"
    assert find_open_slot(world.database, slots, world.clock()) is None


def test_runs_with_a_plan_stay(world: World) -> None:
    world.keep("1d")
    world.add(1_500)
    world.sweep()
    world.sandbox.always(answer_code(7))
    world.clock.move(hours=1)
    assert world.sweep() == 2
    world.clock.move(days=1)
    forget(world, HISTORY)
    with world.database.read() as session:
        assert runs.find_run(session, 1) is not None


def test_of_each_lane_the_newest_ten_listings_stay_and_the_last_complete_one(world: World) -> None:
    states = [ListingState.COMPLETE, ListingState.COMPLETE, ListingState.INTERRUPTED, ListingState.RUNNING]
    states += [ListingState.INCOMPLETE] * 12

    def add(session: Any) -> None:
        for vendor in (Vendor.TENCENT, Vendor.HUAWEI):
            for state in states if vendor is Vendor.TENCENT else [ListingState.INCOMPLETE] * 3:
                now = world.clock()
                ended = None if state in (ListingState.INTERRUPTED, ListingState.RUNNING) else now
                facts = {"app_id": APP, "vendor": vendor, "state": state, "worker": "w"}
                session.add(ListingRow(**facts, started_at=now, heartbeat_at=now, finished_at=ended))
                session.flush()

    world.database.transact(add)
    world.clock.move(seconds=2)
    assert forget(world, HISTORY) == Pruned(listings=3)
    left = [row.id for row in rows_of(world, ListingRow)]
    assert left == [2, 3, 4, *range(7, 20)], "the last complete one, those that are not over, ten, and the other lane's"
    assert forget(world, HISTORY) == Pruned()
