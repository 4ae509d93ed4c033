"""Holds: what they cover, that they win, and that nothing is brought forward when they end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.audit.checks import BadOrder
from service.files.store import find_file, save_files
from service.holds.holds import place_hold, release_hold
from service.model import FileState, NoSuchThing, NotPossible, Suspicion, Vendor, WaitReason
from tests.orders.house import APP, APPS, KEEP, OTHER_APP, START, TESTER, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Transaction

HELD, SCHEDULED, KEPT = FileState.HELD, FileState.SCHEDULED, FileState.KEPT


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        house.keep("1d")
        yield house


def release(house: House, hold: int) -> dict[str, Any]:
    return house.result(release_hold(house.database, TESTER, hold, house.time))


@pytest.mark.parametrize(
    ("pattern", "held"),
    [
        ("lesson-1", {"a", "unknown"}),
        ("lesson-*", {"a", "b", "unknown"}),
        ("lesson-?", {"a", "b", "unknown"}),
        ("*-1", {"a", "c", "unknown"}),
        ("Lesson-1", {"unknown"}),
        ("lesson-[12]", {"unknown"}),
        ("%", {"unknown"}),
        ("*", {"a", "b", "c", "unknown"}),
    ],
)
def test_a_pattern_holds_the_streams_that_fit_and_all_files_of_unknown_stream_of_its_app(
    house: House, pattern: str, held: set[str]
) -> None:
    for file_id, stream in (("a", "lesson-1"), ("b", "lesson-2"), ("c", "room-1"), ("unknown", "")):
        house.add(file_id, stream_id=stream)
    house.add("other", stream_id="lesson-1", app_id=OTHER_APP)
    house.add("other-unknown", stream_id="", app_id=OTHER_APP)
    hold, number = house.hold(pattern)
    result = house.result(number)
    assert {file_id for file_id, state in house.states().items() if state is HELD} == held
    assert result == {
        "hold": hold,
        "files": len(held),
        "unknown_stream": 1,
        "open_calls": {"count": 0, "files": []},
    }
    assert release(house, hold) == {"hold": hold, "files": len(held), "unknown_stream": 1}
    assert set(house.states().values()) == {SCHEDULED}


def test_a_hold_on_one_file_holds_no_other(house: House) -> None:
    first, second = house.add("a", "b")
    hold, number = house.hold(file=first)
    assert house.result(number)["files"] == 1
    assert (house.file(first).state, house.file(second).state) == (HELD, SCHEDULED)
    assert house.file(first).state_reason == "held: a dispute"
    assert house.file(first).due_at == START - timedelta(days=1)
    release(house, hold)
    assert house.file(first).state is SCHEDULED


def test_a_file_stays_held_until_its_last_hold_is_released(house: House) -> None:
    (number,) = house.add("a")
    first, _ = house.hold("*")
    second, _ = house.hold("room", reason="another dispute")
    house.catch_up.run()
    release(house, first)
    assert (house.file(number).state, house.file(number).state_reason) == (HELD, "held: another dispute")
    release(house, second)
    assert house.file(number).state is SCHEDULED


@pytest.mark.parametrize(("state", "files"), [(FileState.DELETED, 0), (FileState.GONE, 0), (FileState.FAILED, 1)])
def test_a_hold_leaves_ended_and_failed_files_as_they_are(house: House, state: FileState, files: int) -> None:
    (number,) = house.add("a")
    house.change(number, state=state, state_reason="as it came")
    _, order = house.hold("*")
    assert house.result(order)["files"] == files
    assert (house.file(number).state, house.file(number).state_reason) == (state, "as it came")
    assert not house.file(number).decide_again


def test_a_hold_on_an_unconfirmed_file_leaves_it_unconfirmed_afterwards(house: House) -> None:
    (number,) = house.add("a", suspicion=Suspicion.STALE)
    hold, _ = house.hold("room")
    house.catch_up.run()
    assert house.file(number).state is HELD
    release(house, hold)
    assert house.file(number).state is FileState.UNCONFIRMED


def test_an_adopted_file_in_its_wait_still_waits_after_a_hold_on_everything(house: House) -> None:
    """Interleaving (a)."""
    until = START + timedelta(hours=24)
    (number,) = house.add("a", event="", stream_id="", wait_until=until, wait_reason=WaitReason.ADOPTION)
    before = house.file(number)
    hold, _ = house.hold("*")
    house.catch_up.run()
    assert house.file(number).state is HELD
    release(house, hold)
    after = house.file(number)
    assert (after.state, after.wait_until, after.wait_reason) == (SCHEDULED, until, WaitReason.ADOPTION)
    assert after.call_after == before.call_after == until


def test_a_date_that_was_brought_forward_behind_a_hold_waits_when_the_hold_is_released(house: House) -> None:
    """Truth 10: "a released hold that hid a change"."""
    house.keep("30d")
    (number,) = house.add("a")
    hold, _ = house.hold("*")
    house.catch_up.run()
    house.keep("1d", cooling_off=timedelta(hours=24))
    house.move(hours=1)
    release(house, hold)
    assert house.file(number).state is SCHEDULED
    assert house.file(number).call_after == START + timedelta(hours=24)


def test_keep_latest_dropped_while_its_newest_file_was_held_lets_it_wait(house: House) -> None:
    """Interleaving (c), behind a hold."""
    house.apply(KEEP.format(window="1d") + "keep_latest = 1\n")
    (number,) = house.add("a", age=timedelta(days=90))
    hold, _ = house.hold("room")
    house.catch_up.run()
    house.keep("1d", cooling_off=timedelta(hours=24))
    release(house, hold)
    assert house.file(number).call_after == START + timedelta(hours=24)


@pytest.mark.parametrize(("answer", "state"), [("retryable", HELD), ("deleted", FileState.DELETED)])
def test_a_hold_that_meets_an_open_call_names_it_and_counts_once_the_answer_is_there(
    house: House, answer: str, state: FileState
) -> None:
    """Interleaving (f)."""
    (number, other) = house.add("a", "b")
    house.change(number, state=FileState.DELETING)
    _, order = house.hold("room")
    assert house.result(order)["open_calls"] == {"count": 1, "files": [number]}
    assert (house.file(number).state, house.file(number).decide_again) == (FileState.DELETING, True)
    assert house.file(other).state is HELD
    recorded = SCHEDULED if answer == "retryable" else FileState.DELETED
    house.change(number, state=recorded, state_reason="recorded")
    house.catch_up.run()
    assert house.file(number).state is state


def test_a_call_that_was_answered_before_the_order_was_applied_is_named_all_the_same(house: House) -> None:
    numbers = house.add(*map(str, range(30)))
    for number in numbers:
        house.change(number, state=FileState.DELETING)
    _, order = house.hold("room")
    for number in numbers:
        house.change(number, state=FileState.DELETED)
    assert house.result(order)["open_calls"] == {"count": 30, "files": numbers[:20]}


def test_a_file_that_was_claimed_while_its_hold_was_written_is_named(house: House) -> None:
    (number,) = house.add("a")
    _, order = house.hold("room")
    house.change(number, state=FileState.DELETING)
    assert house.result(order)["open_calls"] == {"count": 1, "files": [number]}


def test_a_hold_ends_by_itself_and_not_before(house: House) -> None:
    (number,) = house.add("a")
    house.hold("*", until=START + timedelta(hours=1))
    house.catch_up.run()
    house.move(minutes=59)
    house.catch_up.run()
    assert (house.file(number).state, "until 2026-03-01 13:00 UTC" in house.file(number).state_reason) == (HELD, True)
    house.move(minutes=1)
    house.catch_up.run()
    assert house.file(number).state is SCHEDULED


def test_the_files_of_a_hold_that_has_ended_are_decided_again_once(house: House) -> None:
    (number,) = house.add("a")
    house.hold("*", until=START + timedelta(hours=1))
    house.hold("room", reason="another dispute")
    house.catch_up.run()
    house.move(hours=2)
    house.catch_up.run()
    assert house.file(number).state_reason == "held: another dispute"
    house.change(number, state_reason="not touched again")
    house.catch_up.run()
    assert house.file(number).state_reason == "not touched again"


def test_what_is_announced_after_a_hold_was_placed_is_held_before_its_order_is_applied(house: House) -> None:
    house.hold("lesson-*")
    (number,) = house.add("a", stream_id="lesson-1")
    assert house.file(number).state is HELD


def test_a_hold_on_one_stream_reaches_thousands_of_files_of_unknown_stream_in_ranges(house: House) -> None:
    house.add(*(f"unknown-{number}" for number in range(5_200)), stream_id="")
    house.add("room")
    house.add("elsewhere", stream_id="elsewhere")
    hold, order = house.hold("room")
    assert {**house.result(order), "hold": 0} == {
        "hold": 0,
        "files": 5_201,
        "unknown_stream": 5_200,
        "open_calls": {"count": 0, "files": []},
    }
    assert list(house.states().values()).count(HELD) == 5_201
    release(house, hold)
    assert set(house.states().values()) == {SCHEDULED}


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"reason": " "}, "reason", "the reason is empty"),
        ({"reason": "two\nlines"}, "reason", "line breaks"),
        ({"reason": "x" * 1_001}, "reason", "1,001 characters"),
        ({"stream_pattern": ""}, "stream_pattern", "is empty"),
        ({"stream_pattern": "x" * 256}, "stream_pattern", "256 characters: at most 255 are allowed"),
        ({"stream_pattern": "a\x00"}, "stream_pattern", "cannot be shown"),
        ({"stream_pattern": None}, "file", "either one file or a stream pattern"),
        ({"file": 1}, "file", "either one file or a stream pattern"),
        ({"app_id": None}, "app_id", "say which"),
        ({"app_id": "42"}, "app_id", f"app 42 is not configured: known are {APP}, {OTHER_APP}"),
        ({"until": START}, "until", "already be over"),
        ({"until": datetime(2027, 1, 1)}, "until", "no time zone"),  # noqa: DTZ001
        ({"stream_pattern": None, "file": 99}, "file", "there is no file 99"),
    ],
)
def test_a_hold_that_is_not_valid_is_refused_in_one_line_and_leaves_nothing(
    house: House, options: dict[str, Any], field: str, words: str
) -> None:
    before = house.leader.look().number
    with pytest.raises(BadOrder, match=words) as refused:
        house.hold("*", **options)
    assert refused.value.field == field
    assert "\n" not in str(refused.value)
    assert house.leader.look().number == before


def test_a_file_of_another_app_is_not_held_by_mistake(house: House) -> None:
    (number,) = house.add("a")
    with pytest.raises(BadOrder, match=f"belongs to app {APP}"):
        house.hold(file=number, app_id=OTHER_APP)


def test_a_deleted_file_is_not_held(house: House) -> None:
    (number,) = house.add("a")
    house.change(number, state=FileState.DELETED)
    with pytest.raises(BadOrder, match=f"file {number} is deleted: it cannot be held"):
        house.hold(file=number)


def test_a_hold_is_released_once(house: House) -> None:
    hold, _ = house.hold("*")
    release(house, hold)
    with pytest.raises(NotPossible, match="released already"):
        release_hold(house.database, TESTER, hold, house.time)
    with pytest.raises(NoSuchThing, match="there is no hold 77"):
        release_hold(house.database, TESTER, 77, house.time)


def test_a_hold_names_its_file_by_what_the_vendor_calls_it(house: House) -> None:
    """The file of one vendor is held; another vendor's file of the same id is not."""
    (held,) = house.add("same", vendor=Vendor.TENCENT)
    (other,) = house.add("same", vendor=Vendor.WANGSU)
    place_hold(house.database, TESTER, reason="a dispute", now=START, known_apps=APPS, file=held)
    house.catch_up.run()
    assert (house.file(held).state, house.file(other).state) == (HELD, SCHEDULED)


def test_a_retried_file_that_is_held_is_held(house: House) -> None:
    (number,) = house.add("a")
    house.hold("*")
    house.change(number, state=FileState.FAILED)
    house.catch_up.run()

    def start_over(tx: Transaction) -> None:
        file = find_file(tx, number)
        assert file is not None
        save_files(tx, [file._replace(state=KEPT, decide_again=True)])

    house.leader.transact(start_over)
    house.catch_up.run()
    assert house.file(number).state is HELD


def test_a_hold_that_only_a_wrong_clock_took_for_over_ends_when_it_is(house: House) -> None:
    (number,) = house.add("a")
    house.hold("*", until=START + timedelta(days=2))
    house.catch_up.run()
    house.move(days=3)
    house.catch_up.run()
    assert house.file(number).state is SCHEDULED
    house.move(days=-3)
    house.catch_up.run()
    assert house.file(number).state is HELD
    house.move(days=2)
    house.catch_up.run()
    assert house.file(number).state is SCHEDULED
