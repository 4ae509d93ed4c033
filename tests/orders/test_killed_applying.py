"""A leader is killed after any commit of applying orders: the next one applies them completely, and once."""

from __future__ import annotations

import signal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from service.files.actions import ErasureRequest, confirm_files, erase_files, retry_files
from service.files.store import list_in_range, save_files
from service.holds.holds import release_hold
from service.model import FileState, MediaFile, Suspicion
from tests.children import Blow, Step, start_child
from tests.orders.house import APP, APPS, TESTER, House, catch_up_once, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Transaction

KINDS = ("held", "erased", "stale", "failed", "plain")


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    """Files whose numbers lie far apart, so that orders by pattern walk over several ranges."""
    with open_house(database_url) as house:
        house.lead()
        house.keep("30d")
        for start in (1, 6_000, 14_000):
            numbers = [house.add(f"{kind}-{start}", stream_id=f"{kind}-{start}")[0] for kind in KINDS]
            house.change(numbers[2], suspicion=Suspicion.STALE, state=FileState.UNCONFIRMED)
            house.change(numbers[3], state=FileState.FAILED)
            house.leader.transact(lambda tx: move(tx, numbers[0], start))  # noqa: B023
        yield house


def move(tx: Transaction, first: int, start: int) -> None:
    if start > 1:
        tx.execute(
            text("UPDATE media_files SET id = id - :first + :start WHERE id >= :first"),
            {"first": first, "start": start},
        )


def read_files(house: House) -> list[MediaFile]:
    with house.database.read() as tx:
        return list_in_range(tx, 0, 100)


def find(files: list[MediaFile], kind: str) -> list[int]:
    return [file.id for file in files if file.file_id.startswith(kind)]


def place_orders(house: House, files: list[MediaFile]) -> tuple[int, list[int]]:
    hold, held = house.hold("held-*")
    wanted = ErasureRequest("somebody asked", app_id=APP, stream_pattern="erased-*")
    _, erased = erase_files(house.database, TESTER, wanted, house.time, known_apps=APPS)
    confirmed = confirm_files(house.database, TESTER, find(files, "stale"), house.time)
    retried = retry_files(house.database, TESTER, find(files, "failed"), house.time)
    return hold, [held, erased, confirmed, retried]


def assert_all_is_applied(house: House, numbers: list[int]) -> None:
    held, erased, confirmed, retried = (house.order(number).result or {} for number in numbers)
    assert (held["files"], held["unknown_stream"]) == (3, 0)
    assert (erased["files"], confirmed["confirmed"], retried["retried"]) == (3, 3, 3)
    files = read_files(house)
    scheduled, by_erasure = FileState.SCHEDULED, {file.file_id for file in files if file.erasure_id is not None}
    states: dict[str, set[Any]] = {}
    for file in files:
        states.setdefault(file.file_id.partition("-")[0], set()).add(file.state)
    assert states == {kind: {scheduled} for kind in KINDS} | {"held": {FileState.HELD}}
    assert by_erasure == {file.file_id for file in files if file.file_id.startswith("erased")}
    assert all(file.rule is None for file in files if file.erasure_id is not None)
    assert not any(file.decide_again for file in files)


@pytest.mark.parametrize("step", [Step.COMMITTED, pytest.param(Step.COMMIT, marks=pytest.mark.long)])
def test_orders_are_applied_completely_by_the_next_leader(house: House, database_url: str, step: Step) -> None:
    files = read_files(house)
    for number in count(1):
        hold, orders = place_orders(house, files)
        house.leader.release()
        child = start_child(catch_up_once, database_url, Blow(step, number))
        killed = child.wait() == -signal.SIGKILL
        house.lead()
        house.catch_up.run()
        assert_all_is_applied(house, orders)
        release_hold(house.database, TESTER, hold, house.time)
        house.catch_up.run()
        house.leader.transact(lambda tx: save_files(tx, files))
        if not killed:
            break
    assert number > 8
