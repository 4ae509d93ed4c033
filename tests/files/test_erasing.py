"""Erasure on request: what it takes, what wins over it, and what it leaves alone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.audit.checks import BadOrder
from service.files.actions import ErasureRequest, NotAsExpected, erase_files, preview_erasure
from service.files.store import find_erasures
from service.holds.holds import release_hold
from service.model import Erasure, FileState, MediaFile, NoSuchThing, NotPossible, Suspicion, Vendor, WaitReason
from service.rules.decide import leaves_erasure
from tests.orders.house import APP, APPS, OTHER_APP, START, TESTER, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

HELD, SCHEDULED, KEPT, UNCONFIRMED = FileState.HELD, FileState.SCHEDULED, FileState.KEPT, FileState.UNCONFIRMED


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    """A house in which the rules keep everything."""
    with open_house(database_url) as house:
        house.lead()
        house.keep("forever")
        yield house


def request(*files: int, pattern: str | None = None, app_id: str | None = None, **options: Any) -> ErasureRequest:
    if pattern is not None and "any_app" not in options:
        app_id = app_id or APP
    reason = options.get("reason", "the learner asked for it")
    return ErasureRequest(reason, tuple(files), app_id, pattern)


def erase(house: House, *files: int, pattern: str | None = None, expect: int | None = None) -> dict[str, Any]:
    wanted = request(*files, pattern=pattern)
    _, order = erase_files(house.database, TESTER, wanted, house.time, known_apps=APPS, expect=expect)
    return house.result(order)


def test_files_by_number_are_due_at_once_and_others_are_not(house: House) -> None:
    (first, second, third) = house.add("a", "b", "c", stream_id="")
    assert erase(house, first, third) == {
        "erasure": 1,
        "files": 2,
        "held": 0,
        "unconfirmed": 0,
        "unknown_stream": 0,
        "already_erased": 0,
    }
    for number in (first, third):
        file = house.file(number)
        assert (file.state, file.rule, file.due_at, file.call_after) == (SCHEDULED, None, START, START)
        assert file.state_reason == "erasure 1 of 2026-03-01 12:00 UTC: the learner asked for it"
    assert house.file(second).state is KEPT


def test_a_pattern_takes_known_streams_that_fit_and_nothing_that_comes_later(house: House) -> None:
    for file_id, stream in (("a", "lesson-1"), ("b", "lesson-2"), ("c", "room"), ("unknown", "")):
        house.add(file_id, stream_id=stream)
    house.add("other", stream_id="lesson-1", app_id=OTHER_APP)
    _, order = erase_files(house.database, TESTER, request(pattern="lesson-*"), START, known_apps=APPS)
    house.add("later", stream_id="lesson-1")
    counts = {"erasure": 1, "files": 2, "held": 0, "unconfirmed": 0, "unknown_stream": 1, "already_erased": 0}
    assert house.result(order) == counts
    assert {file_id for file_id, state in house.states().items() if state is SCHEDULED} == {"a", "b"}


def test_not_even_a_pattern_that_fits_everything_takes_a_file_of_unknown_stream(house: House) -> None:
    (known,), (unknown,) = house.add("a"), house.add("b", stream_id="")
    result = erase(house, pattern="*")
    assert (result["files"], result["unknown_stream"]) == (1, 1)
    assert (house.file(known).state, house.file(unknown).state) == (SCHEDULED, KEPT)
    assert house.file(unknown).erasure_id is None


def test_a_hold_wins_until_it_is_released(house: House) -> None:
    (number, free) = house.add("a")[0], house.add("b", stream_id="free")[0]
    hold, _ = house.hold("room")
    house.catch_up.run()
    assert erase(house, number, free)["held"] == 1
    assert (house.file(number).state, house.file(free).state) == (HELD, SCHEDULED)
    house.result(release_hold(house.database, TESTER, hold, house.time))
    assert house.file(number).state is SCHEDULED


def test_a_suspicion_keeps_a_file_that_is_to_be_erased(house: House) -> None:
    (number,) = house.add("a", suspicion=Suspicion.CONFLICT)
    assert erase(house, pattern="room")["unconfirmed"] == 1
    assert (house.file(number).state, house.file(number).erasure_id) == (UNCONFIRMED, 1)


@pytest.mark.parametrize("state", [FileState.DELETED, FileState.GONE])
def test_ended_files_are_not_touched(house: House, state: FileState) -> None:
    (ended, there) = house.add("a", "b")
    house.change(ended, state=state)
    assert preview_erasure(house.database, request(ended, there)).ended == 1
    assert erase(house, ended, there)["files"] == 1
    with pytest.raises(NotPossible, match="1 file taken by an earlier erasure already"):
        erase(house, pattern="room")
    assert (house.file(ended).state, house.file(ended).erasure_id) == (state, None)


def test_a_failed_file_is_asked_for_again(house: House) -> None:
    (number,) = house.add("a")
    house.change(number, state=FileState.FAILED, attempts=9, first_attempt_at=START - timedelta(days=8))
    assert preview_erasure(house.database, request(number)).failed == 1
    erase(house, number)
    file = house.file(number)
    assert (file.state, file.attempts, file.first_attempt_at) == (SCHEDULED, 0, None)


def test_what_an_erasure_has_taken_stays_with_it_and_a_later_one_asks_for_it_again(house: House) -> None:
    (first, second) = house.add("a", "b")
    erase(house, first)
    house.change(first, state=FileState.FAILED, attempts=9)
    assert erase(house, pattern="room")["files"] == 2
    assert (house.file(first).erasure_id, house.file(second).erasure_id) == (1, 2)
    assert (house.file(first).state, house.file(first).attempts) == (SCHEDULED, 0)


def test_nothing_changes_for_a_file_that_another_erasure_has(house: House) -> None:
    (first, second, third) = house.add("a", "b", "c")
    erase(house, first)
    before = house.file(first)
    preview = preview_erasure(house.database, request(first, second))
    assert (preview.files, preview.already_erased, preview.by_state) == (1, 1, {KEPT: 1})
    result = erase(house, first, second)
    assert (result["files"], result["already_erased"], house.file(first)) == (1, 1, before)
    house.change(third, state=FileState.GONE)
    with pytest.raises(NotPossible, match="1 file already deleted or gone; 1 file taken by an earlier erasure already"):
        erase(house, first, third)


def test_an_erasure_ends_a_cooling_off_but_no_backoff(house: House) -> None:
    until = START + timedelta(hours=6)
    (cooling,) = house.add("a", wait_until=until, wait_reason=WaitReason.COOLING_OFF)
    (retrying,) = house.add("b", wait_until=until, wait_reason=WaitReason.RETRY)
    erase(house, cooling, retrying)
    assert (house.file(cooling).call_after, house.file(retrying).call_after) == (START, until)


def test_a_file_with_an_open_call_is_erased_once_its_answer_is_there(house: House) -> None:
    (number,) = house.add("a")
    house.change(number, state=FileState.DELETING)
    erase(house, number)
    assert (house.file(number).state, house.file(number).erasure_id) == (FileState.DELETING, 1)
    house.change(number, state=SCHEDULED, state_reason="retryable")
    house.catch_up.run()
    assert house.file(number).state_reason.startswith("erasure 1")


def test_an_order_is_refused_where_it_would_take_another_number_than_was_shown(house: House) -> None:
    house.add("a", "b")
    before = house.leader.look().number
    with pytest.raises(NotAsExpected, match="2 files would be deleted now, not 3") as refused:
        erase(house, pattern="room", expect=3)
    assert refused.value.preview.files == 2
    assert house.leader.look().number == before
    assert erase(house, pattern="room", expect=2)["files"] == 2


def test_a_preview_says_what_would_be_taken_and_changes_nothing(house: House) -> None:
    house.add("a")
    house.add("b", vendor=Vendor.HUAWEI, suspicion=Suspicion.STALE)
    house.add("unknown", stream_id="")
    preview = preview_erasure(house.database, request(pattern="*"), known_apps=APPS)
    assert (preview.files, preview.unconfirmed, preview.unknown_stream, preview.ended) == (2, 1, 1, 0)
    assert preview.by_state == {KEPT: 1, UNCONFIRMED: 1}
    assert preview.by_vendor == {Vendor.TENCENT: 1, Vendor.HUAWEI: 1}
    assert (preview.app_ids, preview.highest_id) == ((APP,), 3)
    assert set(house.states().values()) == {KEPT, UNCONFIRMED}


def test_what_was_ordered_is_on_record(house: House) -> None:
    (number,) = house.add("a")
    erase(house, number)
    with house.database.read() as tx:
        erasure = find_erasures(tx, [1])[1]
    assert (list(erasure.file_ids), erasure.files_count, erasure.requested_by) == ([number], 1, TESTER.name)
    assert (erasure.reason, erasure.requested_at) == ("the learner asked for it", START)


def test_a_pattern_over_thousands_is_taken_in_ranges(house: House) -> None:
    house.add(*(f"file-{number}" for number in range(10_500)))
    assert erase(house, pattern="ro?m")["files"] == 10_500
    assert set(house.states().values()) == {SCHEDULED}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (ErasureRequest("", (1,)), "the reason is empty"),
        (ErasureRequest("why"), "either files or a stream pattern"),
        (ErasureRequest("why", (1,), APP, "room"), "either files or a stream pattern"),
        (ErasureRequest("why", (), None, "room"), "say which"),
        (ErasureRequest("why", (), "42", "room"), "app 42 is not configured: known are"),
        (ErasureRequest("why", (), APP, ""), "is empty"),
        (ErasureRequest("why", (1,), OTHER_APP), f"not all of these files belong to app {OTHER_APP}"),
    ],
)
def test_a_request_that_is_not_valid_is_refused_in_one_line(house: House, wanted: ErasureRequest, words: str) -> None:
    house.add("a")
    with pytest.raises(BadOrder, match=words):
        erase_files(house.database, TESTER, wanted, START, known_apps=APPS)
    assert house.file(1).erasure_id is None


def test_nothing_is_ordered_for_files_that_are_not_there(house: House) -> None:
    (number,) = house.add("a", stream_id="")
    with pytest.raises(NoSuchThing, match="there is no file 99"):
        erase(house, number, 99)
    with pytest.raises(NotPossible, match="1 file of unknown stream: there is nothing to delete"):
        erase(house, pattern="*")
    assert house.file(number).erasure_id is None


@pytest.mark.parametrize(
    ("pattern", "before", "after", "leaves"),
    [
        ("lesson-*", "lesson-1", "", True),
        ("lesson-*", "lesson-1", "room", True),
        ("lesson-*", "lesson-1", "lesson-2", False),
        ("lesson-*", "lesson-1", "lesson-1", False),
        ("*", "lesson-1", "", True),
        (None, "lesson-1", "", False),
    ],
)
def test_an_erasure_by_pattern_loses_a_file_whose_stream_is_dropped(
    pattern: str | None, before: str, after: str, leaves: bool
) -> None:
    erasure = Erasure(1, APP, pattern, (), 9, 1, "why", START, "somebody", "a test")
    file = MediaFile(1, APP, Vendor.TENCENT, "a", before, "record", START, START, erasure_id=1)
    assert leaves_erasure(file, file._replace(stream_id=after), erasure) is leaves
