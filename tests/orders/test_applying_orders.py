"""Orders: applied in their order, once, completely; one that raises stops the calls of its app and nothing else."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from service.audit.order import Order, OrderKind, Step
from service.audit.record import place_order, record_entry
from service.audit.store import find_block, finish_order, list_orders, list_run_requests
from service.database import Database
from service.holds.holds import apply_hold
from service.leader.store import find_leader
from service.model import FileState, NoSuchThing
from service.orders import RETRY_FAILED_S, wait_for_order
from tests.orders.house import APP, OTHER_APP, START, TESTER, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Transaction


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        house.keep("1d")
        yield house


def applied(house: House) -> tuple[int, int]:
    """The last number that was applied, and the last one of the audit."""
    with house.database.read() as tx:
        row = find_leader(tx)
    assert row is not None
    return row.applied, house.leader.look().number


def blocked(house: House, app_id: str) -> str | None:
    with house.database.read() as tx:
        return find_block(tx, app_id)


def test_orders_are_applied_in_the_order_of_their_numbers_and_once(house: House) -> None:
    seen = []

    def note(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
        seen.append(order.number)
        return apply_hold(tx, order, after, result)

    house.handlers[OrderKind.HOLD] = note
    numbers = [house.hold(f"room-{number}")[1] for number in range(150)]
    assert house.apply_orders.run() == 150
    assert seen == numbers
    assert house.apply_orders.run() == 0
    assert seen == numbers


def test_entries_without_an_order_and_requests_for_runs_are_skipped(house: House) -> None:
    house.database.transact(lambda tx: record_entry(tx, TESTER, "token.create", "token 1", {}, START))
    place = partial(place_order, subject="a sweep", payload={}, now=START, action="sweep.request")
    request = house.database.transact(lambda tx: place(tx, TESTER, OrderKind.SWEEP))
    _, hold = house.hold("*")
    house.database.transact(lambda tx: record_entry(tx, TESTER, "token.create", "token 2", {}, START))
    house.catch_up.run()
    assert applied(house) == (hold + 1, hold + 1)
    assert house.order(hold).applied_at == START
    with house.database.read() as tx:
        assert [(order.number, order.failure) for order in list_run_requests(tx)] == [(request, None)]
    house.leader.transact(lambda tx: finish_order(tx, request, START, {"run": 7}))
    assert house.order(request).result == {"run": 7}


@pytest.mark.parametrize("stage", ["before", "after", "broken statement"])
def test_an_order_that_raises_is_reported_and_blocks_its_app_while_others_go_on(house: House, stage: str) -> None:
    """Interleaving (j)."""
    broken = True

    def stumble(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
        if not broken or order.app_id != OTHER_APP:
            return apply_hold(tx, order, after, result)
        if stage == "after":
            apply_hold(tx, order, after, result)
        if stage == "broken statement":
            tx.exec_driver_sql("SELECT nothing FROM nowhere")
        raise ValueError("it\ncannot be applied")

    (mine,), (other,) = house.add("mine"), house.add("other", app_id=OTHER_APP)
    house.handlers[OrderKind.HOLD] = stumble
    _, failing = house.hold("*", app_id=OTHER_APP)
    _, later = house.hold("*")
    house.catch_up.run()
    failure = house.order(failing).failure
    assert failure is not None
    assert "\n" not in failure
    if stage != "broken statement":
        assert failure == "ValueError: it cannot be applied"
    assert blocked(house, OTHER_APP) == f"order {failing} (hold) could not be applied: {failure}"
    assert blocked(house, APP) is None
    assert house.order(later).applied_at == START
    assert applied(house) == (later, later)
    assert house.file(mine).state is FileState.HELD
    # Only its flag waits for the order: whatever is decided is decided under the hold.
    assert house.file(other).state is FileState.SCHEDULED

    broken = False
    house.ticks += RETRY_FAILED_S - 1
    house.catch_up.run()
    assert house.order(failing).applied_at is None
    house.ticks += 1
    house.catch_up.run()
    assert (house.order(failing).failure, house.order(failing).applied_at) == (None, START)
    assert blocked(house, OTHER_APP) is None
    assert house.file(other).state is FileState.HELD
    assert applied(house) == (later, later)


def hold_lock(tx: Transaction) -> None:
    """Fail as where somebody holds a lock for too long."""
    held = "DO $$ BEGIN RAISE EXCEPTION 'held' USING ERRCODE = '55P03'; END $$"
    tx.exec_driver_sql("SELECT nothing FROM nowhere" if tx.dialect.name == "sqlite" else held)


def test_an_order_that_a_lock_kept_from_being_applied_is_tried_again_at_once(house: House) -> None:
    tries: list[int] = []

    def stumble(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
        tries.append(order.number)
        if len(tries) < 3:
            hold_lock(tx)
        return apply_hold(tx, order, after, result)

    (number,) = house.add("mine")
    house.handlers[OrderKind.HOLD] = stumble
    _, hold = house.hold("*")
    assert house.result(hold)["files"] == 1
    assert tries == [hold] * 3
    assert blocked(house, APP) is None
    assert house.file(number).state is FileState.HELD


def test_an_order_that_concerns_all_apps_blocks_all_of_them(house: House) -> None:
    del house.handlers[OrderKind.RULES]
    house.keep("2d")
    reason = blocked(house, APP)
    assert reason is not None
    assert "this release applies no orders of kind rules" in reason
    assert blocked(house, "any other") == reason


def test_an_order_of_many_steps_is_applied_whole_or_not_at_all(house: House) -> None:
    """Between its steps it is not noted as applied, and its result grows from one to the next."""
    between = []

    def in_steps(tx: Transaction, order: Order, after: int, result: dict[str, Any]) -> Step:
        row = find_leader(tx)
        between.append((after, None if row is None else row.applied < order.number))
        return Step({"steps": [*result.get("steps", []), after]}, None if after == 3 else after + 1)

    house.handlers[OrderKind.HOLD] = in_steps
    _, number = house.hold("*")
    assert house.result(number) == {"steps": [0, 1, 2, 3]}
    assert between == [(0, True), (1, True), (2, True), (3, True)]


def test_fifty_holds_a_second_are_applied_as_they_come(house: House) -> None:
    """Interleaving (k), without the calls: the leader catches up between them, again and again."""
    house.add(*map(str, range(200)))
    second = Database(house.database.url.render_as_string(hide_password=False))
    stop = threading.Event()

    def place() -> None:
        with open_house(second.url.render_as_string(hide_password=False)) as other:
            for number in range(100):
                other.hold(f"room-{number}", app_id=APP)
                time.sleep(0.02)
        stop.set()

    thread = threading.Thread(target=place)
    thread.start()
    rounds = 0
    while not stop.is_set():
        house.catch_up.run()
        rounds += 1
    thread.join()
    second.dispose()
    started = time.monotonic()
    house.catch_up.run()
    assert time.monotonic() - started < 5
    assert rounds >= 3  # each ends, however fast orders come
    with house.database.read() as tx:
        orders = list_orders(tx, 0, 1_000)
    assert len(orders) == 101
    assert all(order.applied_at for order in orders)


def test_whoever_waits_for_an_order_gets_it_as_it_stands_at_the_timeout(house: House) -> None:
    _, number = house.hold("*")
    slept: list[float] = []
    order = wait_for_order(house.database, number, 3, slept.append, lambda: sum(slept))
    assert (order.applied_at, order.failure) == (None, None)
    assert sum(slept) >= 3

    def apply(_seconds: float) -> None:
        house.catch_up.run()

    assert wait_for_order(house.database, number, 3, apply).result is not None
    with pytest.raises(NoSuchThing, match="there is no order 99"):
        wait_for_order(house.database, 99, 3)
