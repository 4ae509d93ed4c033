"""One leader: who may change files, who takes over and when, and what a new leader does first."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.audit.store import list_run_requests
from service.holds.holds import release_hold
from service.leader.leader import LeadLost
from service.leader.store import find_leader, set_progress
from service.model import FileState, Suspicion, WaitReason
from service.orders import applied_by_somebody, take_over
from service.sweep.backoff import RetryPolicy
from tests.children import start_child
from tests.orders.house import START, TESTER, House, lead_and_work, open_house
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRIES = RetryPolicy(timedelta(minutes=1), timedelta(hours=6), timedelta(days=7))


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        house.keep("1d")
        house.add("a")
        yield house


@pytest.fixture
def other(house: House, database_url: str) -> Iterator[House]:
    """A second process beside the house that leads."""
    assert house.leader.leads
    with open_house(database_url) as other:
        yield other


def repair(house: House, confirm: str = "off", slept: list[float] | None = None) -> None:
    take_over(
        house.leader,
        retry_policy=RETRIES,
        jitter=lambda: 0.5,
        confirm=confirm,
        cooling_off=timedelta(hours=24),
        catch_up=house.catch_up.run,
        now=house.now,
        sleep=(slept if slept is not None else []).append,
    )


def test_only_the_leader_changes_files(house: House, other: House) -> None:
    assert not other.leader.try_to_lead()
    with pytest.raises(LeadLost):
        other.change(1, state_reason="changed by the second")
    house.leader.release()
    assert other.leader.try_to_lead()
    with pytest.raises(LeadLost):
        house.change(1, state_reason="changed by the first")
    assert not house.leader.leads
    assert "changed" not in house.file(1).state_reason
    other.change(1, state_reason="changed by the second")
    assert house.file(1).state_reason == "changed by the second"


def test_work_that_was_begun_under_a_lost_lead_is_not_continued_under_a_new_one(house: House, other: House) -> None:
    """Threads share one leader: what one of them still does must not slip in when another one leads again."""
    with house.leader.bound():
        house.leader.release()
        other.lead()
        other.leader.release()
        again = threading.Thread(target=house.lead)
        again.start()
        again.join()
        with pytest.raises(LeadLost):
            house.change(1, state_reason="changed under the old lead")
        assert house.leader.leads
    house.change(1, state_reason="changed under the new lead")
    house.leader.release()
    with pytest.raises(LeadLost), house.leader.bound():
        pytest.fail("it does not lead")


def test_every_leader_has_a_token_of_its_own(house: House, other: House) -> None:
    before = house.leader.look()
    house.leader.release()
    other.lead()
    assert other.leader.look().token > before.token
    assert house.leader.look() != before


def test_a_killed_leader_is_replaced_at_once_on_its_machine(house: House, database_url: str) -> None:
    house.leader.release()
    child = start_child(lead_and_work, database_url, 600.0)
    assert child.receive(30) == "leads"
    assert not house.leader.try_to_lead()
    child.end()
    house.lead()


def test_a_stopped_leader_is_replaced_after_its_lease_and_changes_nothing_when_it_wakes_up(
    house: House, database_url: str
) -> None:
    house.leader.release()
    house.leader.lease = timedelta(seconds=0.6)
    child = start_child(lead_and_work, database_url, 0.6)
    try:
        assert child.receive(30) == "leads"
        wait_until(lambda: house.file(1).state_reason == "changed by the first leader")
        while True:  # not inside of a transaction: nobody else could do anything then
            os.kill(child.pid, signal.SIGSTOP)
            assert child.wait_until_stopped()
            if not _is_locked(house):
                break
            os.kill(child.pid, signal.SIGCONT)
            time.sleep(0.005)
        assert not house.leader.try_to_lead()
        started = time.monotonic()
        wait_until(house.leader.try_to_lead)
        assert time.monotonic() - started > 0.4
        house.change(1, state_reason="changed by the second leader")
        os.kill(child.pid, signal.SIGCONT)
        assert child.receive(30) == "a test leads now"
        assert child.wait() == 0
        assert house.file(1).state_reason == "changed by the second leader"
    finally:
        child.end()


def _is_locked(house: House) -> bool:
    """Whether the stopped process holds the leader's row."""
    free = threading.Event()

    def look() -> None:
        house.database.transact(lambda tx: find_leader(tx, lock=True))
        free.set()

    thread = threading.Thread(target=look)
    thread.start()
    is_free = free.wait(0.3)
    if not is_free:
        threading.Thread(target=thread.join).start()
    return not is_free


def test_a_leader_that_lives_is_not_replaced_however_long_one_waits(house: House, other: House) -> None:
    other.leader.lease = timedelta(seconds=0.05)
    for _ in range(20):
        house.leader.lease = timedelta(seconds=0.01)
        house.leader.renew()
        assert not other.leader.try_to_lead()
        time.sleep(0.02)


def test_a_command_leads_for_its_order_where_nobody_does_and_starts_no_run(house: House, other: House) -> None:
    """Interleaving (l): `serve` is away for a moment; a sweep that was asked for before is left to it."""
    house.leader.release()
    requested = house.database.transact(
        lambda tx: place_order(tx, TESTER, OrderKind.SWEEP, "a sweep", {}, START, action="sweep.request")
    )
    _, number = other.hold("*")
    order = applied_by_somebody(other.database, other.leader, number, 5, lambda: repair(other))
    assert order.result is not None
    assert order.result["files"] == 1
    assert house.file(1).state is FileState.HELD
    assert not other.leader.leads
    house.lead()
    with house.database.read() as tx:
        assert [request.number for request in list_run_requests(tx)] == [requested]


def test_a_command_waits_for_the_leader_there_is_and_says_so_when_it_does_nothing(house: House, other: House) -> None:
    _, number = other.hold("*")
    started = time.monotonic()
    order = applied_by_somebody(other.database, other.leader, number, 0.3, lambda: pytest.fail("it must not lead"))
    assert (order.applied_at, order.failure) == (None, None)
    assert time.monotonic() - started < 5
    thread = threading.Timer(0.1, house.catch_up.run)
    thread.start()
    order = applied_by_somebody(other.database, other.leader, number, 10, lambda: pytest.fail("it must not lead"))
    thread.join()
    assert order.result is not None


def test_a_command_that_loses_the_lead_waits_for_whoever_has_it(house: House, other: House) -> None:
    house.leader.release()
    _, number = other.hold("*")

    def lose() -> None:
        other.leader.release()
        house.lead()
        house.catch_up.run()
        raise LeadLost("a test leads now")

    assert applied_by_somebody(other.database, other.leader, number, 5, lose).result is not None
    house.change(1, state_reason="still leads")


def test_a_new_leader_catches_up_and_waits_a_second_before_any_call(house: House) -> None:
    slept: list[float] = []
    _, number = house.hold("*")
    repair(house, slept=slept)
    assert house.order(number).applied_at == START
    assert slept == [1.0]


def test_switching_confirm_off_lets_what_waited_for_it_wait_for_the_cooling_off(house: House) -> None:
    (held_back,) = house.add("held back")
    (suspicious,) = house.add("suspicious", suspicion=Suspicion.STALE)
    (longer,) = house.add("longer", wait_until=START + timedelta(days=3), wait_reason=WaitReason.ADOPTION)
    (confirmed,) = house.add("confirmed", confirmed_at=START)
    repair(house, "all")
    for number in (held_back, longer):
        house.change(number, state=FileState.UNCONFIRMED, state_reason="not confirmed yet")
    repair(house, "all")
    assert house.file(held_back).state is FileState.UNCONFIRMED
    repair(house)
    file = house.file(held_back)
    assert (file.state, file.wait_reason) == (FileState.SCHEDULED, WaitReason.COOLING_OFF)
    assert file.call_after == START + timedelta(hours=24)
    assert house.file(longer).wait_until == START + timedelta(days=3)
    assert house.file(suspicious).state is FileState.UNCONFIRMED
    assert house.file(confirmed).call_after == START - timedelta(days=1)
    house.move(hours=5)
    repair(house)
    assert house.file(held_back).call_after == START + timedelta(hours=24)


def test_switching_confirm_off_does_not_forget_what_a_decision_took_back_to_scheduled_or_a_hold_keeps(
    house: House,
) -> None:
    """New rules and holds decide a file again; that it is not confirmed is only seen by the next sweep."""
    (held,) = house.add("held", stream_id="held")
    repair(house, "all")
    for number in (1, held):
        house.change(number, state=FileState.UNCONFIRMED, state_reason="not confirmed yet")
    house.keep("1d")
    hold, _ = house.hold("held")
    house.catch_up.run()
    assert house.states() == {"a": FileState.SCHEDULED, "held": FileState.HELD}
    repair(house)
    release_hold(house.database, TESTER, hold, START)
    house.catch_up.run()
    assert {house.file(number).call_after for number in (1, held)} == {START + timedelta(hours=24)}


def test_switching_confirm_off_reaches_more_files_than_fit_into_a_batch(house: House) -> None:
    house.add(*(f"file-{number}" for number in range(1_200)), state=FileState.UNCONFIRMED, decide_again=False)
    house.leader.transact(lambda tx: set_progress(tx, confirm="all"))
    repair(house)
    assert set(house.states().values()) == {FileState.SCHEDULED}
