"""`files confirm` and `files retry`: what they change, what they must not, and what they refuse."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from service.files.actions import confirm_files, retry_files
from service.model import FileState, NoSuchThing, NotPossible, Outcome, Suspicion, WaitReason
from tests.orders.house import APP, OTHER_APP, START, TESTER, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Transaction

HELD, SCHEDULED, UNCONFIRMED, FAILED = FileState.HELD, FileState.SCHEDULED, FileState.UNCONFIRMED, FileState.FAILED
ADD_CALLBACK = text(
    "INSERT INTO callbacks (id, app_id, signature, content_hash, received_at, content_type, event, verdict, reason,"
    " understood_at, repeats, media_file_id) VALUES (:id, :app, :signature, :hash, :at, '', '', :verdict, '',"
    " :understood_at, 0, :file)"
)


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        house.keep("1d")
        yield house


def understand(house: House, callback: int, file: int, verdict: str) -> None:
    """Let the leader have understood a callback that speaks against a file."""
    values = {
        "id": callback,
        "app": APP,
        "signature": str(callback),
        "hash": hashlib.sha256(json.dumps(callback).encode()).hexdigest(),
        "at": house.time.replace(tzinfo=None) if house.database.is_sqlite else house.time,
        "verdict": verdict,
        "understood_at": house.time.replace(tzinfo=None) if house.database.is_sqlite else house.time,
        "file": file,
    }

    def add(tx: Transaction) -> None:
        tx.execute(text("DELETE FROM callbacks WHERE id = :id"), {"id": callback})
        tx.execute(ADD_CALLBACK, values)

    house.leader.transact(add)


def add_unconfirmed(house: House, *file_ids: str, suspicion: Suspicion = Suspicion.STALE, **facts: Any) -> list[int]:
    numbers = house.add(*file_ids, suspicion=suspicion, **facts)
    for number in numbers:
        understand(house, number, number, suspicion.value)
    return numbers


def confirm(house: House, *numbers: int) -> int:
    return confirm_files(house.database, TESTER, numbers, house.time)


def retry(house: House, *numbers: int) -> int:
    return retry_files(house.database, TESTER, numbers, house.time)


@pytest.mark.parametrize("suspicion", list(Suspicion))
def test_a_confirmed_file_is_decided_by_the_rules(house: House, suspicion: Suspicion) -> None:
    (number, other) = add_unconfirmed(house, "a", "b", suspicion=suspicion)
    house.move(hours=1)
    result = house.result(confirm(house, number))
    assert result == {"confirmed": 1, "suspected_again": [], "too_late": []}
    file = house.file(number)
    assert (file.state, file.suspicion) == (SCHEDULED, None)
    assert file.confirmed_at is not None
    assert START <= file.confirmed_at <= house.time
    assert house.file(other).state is UNCONFIRMED


@pytest.mark.parametrize("verdict", ["stale", "conflict"])
def test_what_is_understood_after_a_confirmation_was_written_keeps_the_file_unconfirmed(
    house: House, verdict: str
) -> None:
    """Interleaving (i), also for a second callback of the same kind, and where no clock moves."""
    (number, other) = add_unconfirmed(house, "a", "b")
    order = confirm(house, number, other)
    understand(house, 1_000, number, verdict)
    assert house.result(order) == {"confirmed": 1, "suspected_again": [number], "too_late": []}
    assert (house.file(number).state, house.file(number).suspicion) == (UNCONFIRMED, Suspicion.STALE)
    assert house.file(number).confirmed_at is None
    assert house.file(other).state is SCHEDULED
    assert house.result(confirm(house, number))["confirmed"] == 1


def test_a_callback_that_turns_out_to_be_in_conflict_is_understood_again(house: House) -> None:
    """The second body under its signature arrives: the verdict on the first one changes, too."""
    (number,) = add_unconfirmed(house, "a")
    order = confirm(house, number)
    understand(house, number, number, "conflict")
    assert house.result(order)["suspected_again"] == [number]


def test_a_file_that_only_the_setting_kept_can_be_confirmed(house: House) -> None:
    """CONFIRM=all: unconfirmed, without a suspicion."""
    (number,) = house.add("a")
    house.change(number, state=UNCONFIRMED)
    assert house.result(confirm(house, number))["confirmed"] == 1
    assert house.file(number).state is SCHEDULED
    assert house.file(number).confirmed_at == START


def test_a_confirmation_of_a_web_process_whose_clock_runs_ahead_is_dated_by_the_leader(house: House) -> None:
    (number,) = add_unconfirmed(house, "a")
    order = confirm_files(house.database, TESTER, [number], START + timedelta(hours=1))
    house.result(order)
    assert house.file(number).confirmed_at == START


@pytest.mark.parametrize("state", [FileState.DELETED, FileState.GONE])
def test_a_file_that_ended_before_the_order_was_applied_stays_ended(house: House, state: FileState) -> None:
    (number,) = add_unconfirmed(house, "a")
    order = confirm(house, number)
    house.change(number, state=state)
    assert house.result(order)["too_late"] == [number]
    assert house.file(number).state is state


def test_a_confirmed_file_counts_among_the_newest_of_its_stream_again(house: House) -> None:
    """What was kept in its place is looked at again."""
    house.apply('[[rules]]\nname = "all"\nkeep = "1d"\nkeep_latest = 1\n')
    (old,) = house.add("old", age=timedelta(days=9))
    house.change(old, state=FileState.KEPT, state_reason="the newest")
    (elsewhere,) = house.add("elsewhere", stream_id="elsewhere")
    house.change(elsewhere, state=FileState.KEPT, state_reason="the newest there")
    (new,) = add_unconfirmed(house, "new", age=timedelta(days=3))
    house.catch_up.run()
    assert house.file(old).state is FileState.KEPT
    house.result(confirm(house, new))
    assert house.file(old).state is SCHEDULED
    assert house.file(elsewhere).state_reason == "the newest there"


def test_confirming_thousands_takes_several_transactions(house: House) -> None:
    numbers = add_unconfirmed(house, *(f"file-{number}" for number in range(1_100)))
    assert house.result(confirm(house, *numbers))["confirmed"] == 1_100
    assert set(house.states().values()) == {SCHEDULED}


@pytest.mark.parametrize(
    ("numbers", "words", "kind"),
    [
        ((1,), "file 1 is scheduled: there is nothing to confirm", NotPossible),
        ((2, 1), "file 1 is scheduled", NotPossible),
        ((2, 99), "there is no file 99: see `zego-retention files list`", NoSuchThing),
        ((), "no file is named", NotPossible),
        (tuple(range(10_001)), "10,001 files were given: at most 10,000 are allowed", NotPossible),
    ],
)
def test_all_files_of_a_confirmation_are_unconfirmed_or_nothing_is_ordered(
    house: House, numbers: tuple[int, ...], words: str, kind: type[NotPossible]
) -> None:
    house.add("a")
    add_unconfirmed(house, "b")
    before = house.leader.look().number
    with pytest.raises(kind, match=words):
        confirm(house, *numbers)
    assert house.leader.look().number == before


@pytest.mark.parametrize("numbers", [(1,), (2,), (3, 2)])
def test_only_failed_and_waiting_files_can_be_retried(house: House, numbers: tuple[int, ...]) -> None:
    house.add("a")
    house.add("b", wait_until=START + timedelta(hours=1), wait_reason=WaitReason.COOLING_OFF)
    house.add("c")
    house.change(3, state=FAILED)
    with pytest.raises(NotPossible, match="is scheduled: only failed or waiting files can be retried"):
        retry(house, *numbers)


def test_a_failed_file_starts_over(house: House) -> None:
    (number,) = house.add("a")
    house.change(
        number,
        state=FAILED,
        state_reason="given up",
        attempts=9,
        first_attempt_at=START - timedelta(days=7),
        last_outcome=Outcome.REJECTED,
        wait_until=START + timedelta(hours=6),
        wait_reason=WaitReason.RETRY,
    )
    assert house.result(retry(house, number)) == {"retried": 1, "too_late": []}
    file = house.file(number)
    assert (file.state, file.attempts, file.first_attempt_at, file.wait_until) == (SCHEDULED, 0, None, None)
    assert file.call_after == file.due_at
    assert file.last_outcome is Outcome.REJECTED


def test_a_failed_file_that_is_held_or_unconfirmed_is_so_when_it_starts_over(house: House) -> None:
    held, suspicious = house.add("a", stream_id="held")[0], house.add("b", suspicion=Suspicion.CONFLICT)[0]
    for number in (held, suspicious):
        house.change(number, state=FAILED)
    house.hold("held")
    house.result(retry(house, held, suspicious))
    assert (house.file(held).state, house.file(suspicious).state) == (HELD, UNCONFIRMED)


def test_a_retry_ends_a_backoff_and_nothing_else(house: House) -> None:
    until = START + timedelta(hours=6)
    (number,) = house.add("a", attempts=3, wait_until=until, wait_reason=WaitReason.RETRY)
    assert house.file(number).call_after == until
    house.result(retry(house, number))
    file = house.file(number)
    assert (file.wait_until, file.wait_reason, file.attempts) == (None, None, 3)
    assert file.call_after == file.due_at


@pytest.mark.parametrize("reason", [WaitReason.COOLING_OFF, WaitReason.ADOPTION])
def test_a_retry_of_a_failed_file_does_not_end_another_wait(house: House, reason: WaitReason) -> None:
    until = START + timedelta(hours=6)
    (number,) = house.add("a", wait_until=until, wait_reason=reason)
    house.change(number, state=FAILED)
    house.result(retry(house, number))
    assert (house.file(number).call_after, house.file(number).wait_reason) == (until, reason)


def test_a_file_that_was_claimed_before_a_retry_is_applied_keeps_its_call(house: House) -> None:
    (number,) = house.add("a", wait_until=START + timedelta(hours=6), wait_reason=WaitReason.RETRY)
    order = retry(house, number)
    house.change(number, state=FileState.DELETING)
    assert house.result(order) == {"retried": 0, "too_late": [number]}
    assert house.file(number).state is FileState.DELETING


def test_an_order_says_which_app_it_concerns_if_it_is_one(house: House) -> None:
    (number,) = add_unconfirmed(house, "a")
    (other,) = add_unconfirmed(house, "b", app_id=OTHER_APP)
    assert house.order(confirm(house, number)).app_id == APP
    assert house.order(confirm(house, number, other)).app_id is None
