"""Holds: in force at once and to the letter, whatever a sweep is doing; told apart from what was in flight."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from service.core.model import FileState, Vendor
from service.db import coverage, leases, runs
from service.db.models import MediaFileRow, Trigger
from service.db.order_models import AuditEntryRow, HoldRow
from service.usecases.claiming import SWEEP_LEASE, Admission, Pass, claim_chunk, is_still_good, open_call
from service.usecases.holding import HoldOrder, list_holds, place_hold, release_hold, settle_holds, show_hold
from service.usecases.inventory import NotPossible
from service.usecases.orders import BadOrder
from tests.world import APP, OTHER_APP, TESTER

if TYPE_CHECKING:
    from datetime import datetime

    from service.db.engine import Session
    from tests.world import World

DAY = timedelta(days=1)
LANE = (APP, Vendor.TENCENT)


def hold_stream(world: World, pattern: str, until: datetime | None = None, **options: Any) -> dict[str, Any]:
    return place_hold(
        world.database, HoldOrder(APP, None, pattern, "a court asks", until), TESTER, world.clock(), **options
    )


def hold_file(world: World, file_id: str, **options: Any) -> dict[str, Any]:
    number = world.files()[file_id]["id"]
    return place_hold(world.database, HoldOrder(None, number, None, "a court asks"), TESTER, world.clock(), **options)


def release(world: World, number: int) -> dict[str, Any]:
    return release_hold(world.database, number, TESTER, world.clock())


def actions(world: World) -> list[tuple[str, str, str]]:
    with world.database.read() as session:
        rows = session.scalars(select(AuditEntryRow).order_by(AuditEntryRow.id))
        return [(row.action, row.subject, row.actor) for row in rows if "hold" in row.action]


def test_a_held_file_stays_until_it_is_released(world: World) -> None:
    world.keep("1d")
    world.add(2, prefix="f")
    held = hold_file(world, "f-00001")
    assert (held["file"], held["file_id"], held["files"], held["in_flight"]) == (2, "f-00001", 1, [])
    world.sweep()
    assert world.states() == {"deleted": ["f-00000"], "held": ["f-00001"]}
    file = world.files()["f-00001"]
    assert (file["held"], file["due_at"], file["state_reason"]) == (True, "2026-02-28T12:00:00Z", "held: a court asks")
    released = release(world, held["id"])
    assert (released["released_by"], released["files"]) == ("a tester", 0)
    assert world.state("f-00001") == "scheduled"
    world.sweep()
    assert world.stored() == set()
    assert actions(world) == [("place_hold", "hold 1", "a tester"), ("release_hold", "hold 1", "a tester")]


def test_a_pattern_holds_its_streams_in_its_app_alone(world: World) -> None:
    world.keep("1d")
    world.add(1, prefix="vip", stream_id="vip-1")
    world.add(1, prefix="trial", stream_id="trial-1")
    world.add(1, prefix="nameless", stream_id="")
    world.add(1, prefix="elsewhere", stream_id="vip-1", app_id=OTHER_APP)
    assert hold_stream(world, "vip-?")["files"] == 2
    world.sweep()
    assert world.states() == {"deleted": ["trial-00000", "elsewhere-00000"], "held": ["vip-00000", "nameless-00000"]}
    assert "its stream is not known" in world.files()["nameless-00000"]["state_reason"]


def test_a_hold_covers_files_that_arrive_later(world: World) -> None:
    world.keep("1d")
    assert hold_stream(world, "vip-*")["files"] == 0
    world.send("late", stream="vip-9", age=2 * DAY)
    world.send("other", stream="trial", age=2 * DAY)
    world.sweep()
    assert world.states() == {"held": ["late"], "deleted": ["other"]}


def test_a_hold_ends_by_itself(world: World) -> None:
    world.keep("1d")
    world.add(1)
    hold_stream(world, "room", until=world.clock() + timedelta(hours=1))
    world.clock.move(minutes=59)
    assert settle_holds(world.database, world.clock) == 0
    world.sweep()
    assert world.state("file-00000") == "held"
    world.clock.move(minutes=1)
    assert settle_holds(world.database, world.clock) == 1
    assert world.state("file-00000") == "scheduled"
    world.clock.move(minutes=5)
    settle_holds(world.database, world.clock)
    assert show_hold(world.database, 1)["settled_at"] == "2026-03-01T13:05:00Z"  # type: ignore[index]
    world.sweep()
    assert world.stored() == set()


def test_a_hold_ends_by_itself_after_a_clock_that_ran_ahead(world: World) -> None:
    """What was settled in a future that the clock took back is settled again when the hold really ends."""
    world.keep("30d")
    world.send("f")
    hold_stream(world, "room", until=world.clock() + 2 * DAY)
    world.clock.move(days=365)
    assert settle_holds(world.database, world.clock) == 1
    assert world.state("f") == "scheduled"
    world.clock.move(days=-365)
    assert settle_holds(world.database, world.clock) == 1
    assert world.state("f") == "held"
    assert show_hold(world.database, 1)["settled_at"] == "2026-03-01T12:00:00Z"  # type: ignore[index]
    world.clock.move(days=3)
    world.sweep()
    assert world.state("f") == "scheduled"


def test_a_file_stays_held_while_one_of_its_holds_stands(world: World) -> None:
    world.keep("1d")
    world.add(1)
    hold_stream(world, "room")
    hold_stream(world, "*")
    assert release(world, 1)["files"] == 1
    assert world.state("file-00000") == "held"
    release(world, 2)
    assert world.state("file-00000") == "scheduled"


def test_a_hold_says_what_it_does_not_change(world: World) -> None:
    """Files that ended or were given up stay what they are; a retry of one that was given up finds the hold."""
    world.keep("1d")
    world.add(2)
    world.sandbox.fail_file("file-00001", "AccessDenied", "no")
    world.sweep()
    assert hold_stream(world, "*")["files"] == 0
    assert hold_file(world, "file-00000")["files"] == 0
    assert world.states() == {"deleted": ["file-00000"], "failed": ["file-00001"]}


def test_a_hold_counts_before_any_file_is_told(world: World) -> None:
    world.add(3)
    world.keep("1d")
    placed = hold_stream(world, "*", patience_s=-1)
    assert (placed["settled_at"], placed["files"]) == (None, 0)
    assert list(world.states()) == ["scheduled"]
    assert claim_all(world, start(world)) == ()
    assert list(world.states()) == ["held"]


def test_a_kill_in_the_middle_of_settling_is_made_up_for(world: World) -> None:
    world.add(3)
    world.keep("1d")
    hold_stream(world, "*", patience_s=-1)
    assert world.states() == {"scheduled": ["file-00000", "file-00001", "file-00002"]}
    assert settle_holds(world.database, world.clock) == 3
    assert list(world.states()) == ["held"]
    release_hold(world.database, 1, TESTER, world.clock(), patience_s=-1)
    assert list(world.states()) == ["held"]
    assert settle_holds(world.database, world.clock) == 3
    assert list(world.states()) == ["scheduled"]


def test_what_was_decided_under_a_hold_just_released_is_decided_again(world: World) -> None:
    """A transaction that read the hold may commit after the release was settled."""
    world.keep("1d")
    world.add(1)
    hold_stream(world, "*")
    release(world, 1)
    world.database.transact(lambda session: session.execute(update(MediaFileRow).values(state=FileState.HELD)))
    world.clock.move(minutes=1)
    assert settle_holds(world.database, world.clock) == 1
    assert world.state("file-00000") == "scheduled"
    world.clock.move(minutes=2)
    settle_holds(world.database, world.clock)
    with world.database.read() as session:
        assert session.scalar(select(HoldRow.settled_at)) == world.clock()


# While a sweep is under way


def start(world: World) -> Pass:
    """Begin a pass by hand, as far as its lease and its run."""

    def begin(session: Session) -> Pass:
        fence = leases.take_lease(session, SWEEP_LEASE, "by hand", world.clock(), world.service.sweeper.lease)
        run = runs.start_run(session, Trigger.COMMAND, None, "by hand", world.clock())
        assert fence is not None
        assert run is not None
        return Pass(run.id, fence)

    return world.database.transact(begin)


def claim_all(world: World, sweep: Pass) -> Any:
    return world.database.transact(
        lambda session: claim_chunk(session, sweep, LANE, Admission(400), None, 400, world.clock(), only_retries=False)
    ).files


def test_a_claimed_file_is_given_back_and_held(world: World) -> None:
    world.add(2)
    world.keep("1d")
    sweep = start(world)
    claimed = claim_all(world, sweep)
    placed = hold_file(world, "file-00001", patience_s=-1)
    assert (placed["files"], placed["in_flight"]) == (1, [])
    assert world.states() == {"deleting": ["file-00000"], "held": ["file-00001"]}
    call = world.database.transact(lambda session: open_call(session, sweep, LANE, claimed, world.clock()))
    assert call is not None
    assert [file.file_id for file in call.files] == ["file-00000"]


def test_a_call_that_is_written_down_is_not_sent_and_its_files_are_named(world: World) -> None:
    world.add(2)
    world.keep("1d")
    sweep = start(world)
    claimed = claim_all(world, sweep)
    call = world.database.transact(lambda session: open_call(session, sweep, LANE, claimed, world.clock()))
    assert call is not None
    placed = hold_stream(world, "*")
    assert (placed["files"], placed["in_flight"]) == (2, [1, 2])
    with world.database.read() as session:
        assert not is_still_good(session, sweep, LANE, call)
    assert world.database.transact(lambda session: open_call(session, sweep, LANE, claimed, world.clock())) is None


@pytest.mark.parametrize("refused", [True, False])
def test_a_file_in_flight_is_named_and_ends_as_was_observed(world: World, *, refused: bool) -> None:
    world.keep("1d")
    world.add(1)
    placed = []
    if refused:
        world.sandbox.fail_file("file-00000", "InternalError", "not now", times=1)
    world.sandbox.on_request = lambda call: placed.append(hold_stream(world, "*")) if call.stage == "arrived" else None
    world.sweep()
    assert [hold["in_flight"] for hold in placed] == [[1]]
    file = world.files()["file-00000"]
    if refused:
        assert (file["state"], file["last_outcome"]["outcome"]) == ("held", "retryable")
        world.clock.move(days=1)
        world.sandbox.on_request = None
        world.sweep()
        assert world.stored() == {"file-00000"}
    else:
        assert (file["state"], file["state_reason"]) == ("deleted", 'deleted: rule "everything" keeps it for 1d')


def deleted(world: World) -> set[int]:
    return {file["id"] for file in world.files().values() if file["state"] == "deleted"}


def test_a_hold_between_two_batches_of_a_sweep_stops_all_that_follow(world: World) -> None:
    world.keep("1d")
    world.add(500)
    placed: list[dict[str, Any]] = []
    first = threading.Lock()

    def hold_once(call: Any) -> None:
        if call.stage == "done" and first.acquire(blocking=False):
            placed.append(hold_stream(world, "*"))
            # (Calls beside this one may have been answered, and that recorded, before the hold stood.)
            ended.update(deleted(world))

    ended: set[int] = set()
    world.sandbox.on_request = hold_once
    world.sweep()
    [hold] = placed
    gone = deleted(world)
    assert len(gone) >= 100
    assert gone <= set(hold["in_flight"]) | ended
    assert len(hold["in_flight"]) <= 400
    assert set(world.states()) == {"deleted", "held"}
    assert world.stored() == set(world.states()["held"])
    calls = len(world.sandbox.calls)
    world.sweep()
    assert len(world.sandbox.calls) == calls


def test_holds_placed_while_a_sweep_claims_never_let_a_held_file_go(world: World) -> None:
    world.keep("1d")
    for room in range(30):
        world.add(20, prefix=f"room{room:02}", stream_id=f"room-{room:02}")
    promised: dict[str, dict[str, Any]] = {}

    def hold_some(rooms: range) -> None:
        for room in rooms:
            promised[f"room-{room:02}"] = hold_stream(world, f"room-{room:02}")

    threads = [threading.Thread(target=hold_some, args=[range(first, 30, 3)]) for first in range(3)]
    sweeping = threading.Thread(target=world.sweep)
    for thread in [sweeping, *threads]:
        thread.start()
    for thread in [sweeping, *threads]:
        thread.join(60)
        assert not thread.is_alive()
    for file in world.files().values():
        hold = promised[file["stream_id"]]
        # Whatever was not gone, nor named as in flight, when the hold was there stays.
        if hold["files"] == 20 and file["id"] not in hold["in_flight"]:
            assert file["state"] == "held"
    assert world.stored() == set(world.states().get("held", []))
    assert set(world.states()) <= {"held", "deleted"}


# Errors keep


def damage(world: World, change: str) -> None:
    world.database.transact(lambda session: session.execute(text(f"UPDATE holds SET {change}")))  # noqa: S608


@pytest.mark.parametrize(
    "change", ["stream_pattern = NULL", "stream_pattern = ''", "vendor = 'Tencent', stream_pattern = NULL"]
)
def test_a_damaged_hold_holds_the_whole_app(world: World, change: str) -> None:
    world.keep("1d")
    world.add(1)
    hold_stream(world, "vip")
    damage(world, change)
    world.sweep()
    assert world.state("file-00000") == "held"


def test_a_hold_that_cannot_be_read_stops_the_pass_before_any_call(world: World) -> None:
    world.add(1)
    world.keep("1d")
    hold_stream(world, "vip")
    damage(world, "vendor = 'nobody'")
    with pytest.raises(LookupError):
        world.sweep()
    with pytest.raises(LookupError):
        claim_all(world, start(world))
    assert world.sandbox.calls == ()
    assert world.stored() == {"file-00000"}


# Orders


@pytest.mark.parametrize(
    ("field", "order"),
    [
        ("reason", HoldOrder(APP, None, "*", "   ")),
        ("reason", HoldOrder(APP, None, "*", "x" * 1_001)),
        ("reason", HoldOrder(APP, None, "*", "two\nlines")),
        ("stream_pattern", HoldOrder(APP, None, "", "why")),
        ("stream_pattern", HoldOrder(APP, None, "x" * 256, "why")),
        ("stream_pattern", HoldOrder(APP, None, "a\x00b", "why")),
        ("stream_pattern", HoldOrder(APP, None, "a\ud800", "why")),
        ("app_id", HoldOrder(None, None, "*", "why")),
        ("app_id", HoldOrder("1" * 21, None, "*", "why")),
        ("app_id", HoldOrder("404", None, "*", "why")),
        ("app_id", HoldOrder(OTHER_APP, 1, None, "why")),
        ("file", HoldOrder(None, 404, None, "why")),
        ("file", HoldOrder(None, None, None, "why")),
        ("file", HoldOrder(APP, 1, "*", "why")),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused_whole(world: World, field: str, order: HoldOrder) -> None:
    world.add(1)
    with pytest.raises(BadOrder) as refused:
        place_hold(world.database, order, TESTER, world.clock(), known_apps=[APP])
    assert refused.value.field == field
    assert list(list_holds(world.database, released=True)) == []
    assert actions(world) == []


def test_a_hold_that_would_be_over_already_is_refused(world: World) -> None:
    with pytest.raises(BadOrder, match="not in the future") as refused:
        hold_stream(world, "*", until=world.clock())
    assert refused.value.field == "until"


def test_a_hold_is_released_once(world: World) -> None:
    hold_stream(world, "*")
    release(world, 1)
    with pytest.raises(NotPossible, match="released already, by a tester"):
        release(world, 1)
    with pytest.raises(NotPossible, match="there is no hold 2"):
        release(world, 2)


def test_holds_are_listed_by_app_and_with_those_released(world: World) -> None:
    for pattern in "abc":
        hold_stream(world, pattern)
    place_hold(world.database, HoldOrder(OTHER_APP, None, "d", "why"), TESTER, world.clock())
    release(world, 2)
    assert [hold["stream_pattern"] for hold in list_holds(world.database)] == ["a", "c", "d"]
    assert [hold["id"] for hold in list_holds(world.database, released=True, app_id=APP)] == [1, 2, 3]
    assert [hold["id"] for hold in list_holds(world.database, after=1, limit=1)] == [3]


def test_coverage_reads_the_facts_that_orders_look_at(world: World) -> None:
    world.send("stale", now=world.clock() - timedelta(hours=1))
    with world.database.read() as session:
        [named] = coverage.find_in_streams(session, APP, ["room"])
    assert (named.state, named.file.file_id) == (FileState.UNCONFIRMED, "stale")
    assert named.file.suspicion is not None
