"""Putting rules in force: numbers, the setting KEEP, and how long files wait for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.model import FileState
from service.rules.file import catch_all, parse_rules
from service.rules.store import Shown, ensure_first_rules, find_current, keep_differs, put_in_force
from tests.orders.house import KEEP, START, TESTER, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.rules.store import Revision

DAY = timedelta(days=1)


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        yield house


def current(house: House) -> Revision:
    with house.database.read() as tx:
        revision = find_current(tx)
    assert revision is not None
    return revision


def difference(house: House, keep: str | None) -> str | None:
    with house.database.read() as tx:
        return keep_differs(tx, keep)


def test_the_setting_is_the_first_revision_and_nothing_later(house: House) -> None:
    assert not ensure_first_rules(house.database, None, DAY, START)
    assert ensure_first_rules(house.database, "30d", DAY, START)
    assert not ensure_first_rules(house.database, "7d", DAY, START)
    revision = current(house)
    assert (revision.number, revision.rules, revision.by_person) == (1, catch_all("30d"), False)
    assert (revision.applied_by, revision.through, revision.cooling_until) == ("KEEP", "settings", START + DAY)


def test_processes_that_start_together_apply_the_setting_once(house: House) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: ensure_first_rules(house.database, "30d", DAY, START), range(6)))
    assert done.count(True) == 1
    assert current(house).number == 1


def test_a_setting_that_differs_says_how_to_put_it_in_force(house: House) -> None:
    assert "there are no rules yet" in (difference(house, "30d") or "")
    ensure_first_rules(house.database, "30d", DAY, START)
    assert difference(house, "30d") is None
    assert difference(house, None) is None
    assert difference(house, "7d") == (
        "ZEGO_RETENTION_KEEP=7d is not in force: revision 1 decides; see `zego-retention rules list`, or put it in"
        " force with `zego-retention rules apply --keep`"
    )


def test_adopted_files_wait_until_a_person_has_applied_rules(house: House) -> None:
    ensure_first_rules(house.database, "1d", timedelta(0), START)
    house.catch_up.run()
    (adopted,), (announced,) = house.add("adopted", event=""), house.add("announced")
    assert (house.file(adopted).state, house.file(announced).state) == (FileState.KEPT, FileState.SCHEDULED)
    house.keep("1d")
    assert house.file(adopted).state is FileState.SCHEDULED


def test_revisions_get_their_numbers_one_after_the_other(house: House) -> None:
    def put(_: int) -> tuple[int, int]:
        rules = parse_rules(KEEP.format(window="9d"))
        return house.database.transact(lambda tx: put_in_force(tx, TESTER, rules, "a test", START, DAY))

    with ThreadPoolExecutor(6) as pool:
        numbers = sorted(pool.map(put, range(12)))
    assert numbers == [(number, number) for number in range(1, 13)]


def test_a_revision_remembers_what_was_shown_of_it(house: House) -> None:
    rules = parse_rules(KEEP.format(window="9d"))
    shown = Shown(preview_id=7, highest_id=100, sooner_count=3)
    _, order = house.database.transact(
        lambda tx: put_in_force(tx, TESTER, rules, "preview 7", START, timedelta(0), preview=shown)
    )
    revision = current(house)
    assert (revision.preview_id, revision.preview_highest_id, revision.moved_count) == (7, 100, 3)
    assert (revision.cooling_until, revision.by_person, revision.rules) == (None, True, rules)
    assert house.result(order) == {"revision": 1}


def test_keep_latest_dropped_by_a_revision_lets_the_newest_file_wait(house: House) -> None:
    """Interleaving (c)."""
    house.apply(KEEP.format(window="1d") + "keep_latest = 1\n")
    (number,) = house.add("a", age=90 * DAY)
    house.change(number, state=FileState.KEPT, state_reason="the newest of its stream")
    house.keep("1d", cooling_off=DAY)
    assert house.file(number).call_after == START + DAY


def test_a_size_that_becomes_known_after_a_change_waits_for_the_cooling_off(house: House) -> None:
    """Interleaving (b)."""
    house.keep("30d")
    (number,) = house.add("a")
    house.apply('[[rules]]\nname = "small"\nmatch = { max_size = "10MB" }\nkeep = "1d"\n', cooling_off=DAY)
    assert (house.file(number).state, house.file(number).due_at) == (FileState.KEPT, None)
    house.move(hours=1)
    house.change(number, size_bytes=5, decide_again=True)
    house.catch_up.run()
    assert (house.file(number).state, house.file(number).call_after) == (FileState.SCHEDULED, START + DAY)


def test_keep_latest_that_came_before_the_date_counts_as_well_when_it_is_dropped(house: House) -> None:
    """Its revision changed nothing else of the file; that it may have been kept for its rank must not be forgotten."""
    house.keep("1d")
    (number,) = house.add("a", age=timedelta(0))
    house.apply(KEEP.format(window="1d") + "keep_latest = 1\n")
    house.move(days=30)
    house.change(number, state=FileState.KEPT, state_reason="the newest of its stream")
    house.keep("1d", cooling_off=DAY)
    assert house.file(number).call_after == house.time + DAY
