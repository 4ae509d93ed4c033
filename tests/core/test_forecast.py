from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta

import pytest

from service.core.forecast import LATER, NEVER, Cell, Change, Reckoning, Situation, day_of
from service.core.model import Vendor
from service.core.narrowing import Verdict

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def change(before: Verdict, after: Verdict, situation: Situation | None = None) -> Change:
    return Change("1", Vendor.HUAWEI, before, after, situation or Situation())


def cell_of(made: Change, *ages: timedelta) -> Cell:
    """A cell with files of these ages, each of an hour and ten bytes."""
    cell = Cell(made, NOW, lambda moment: moment)
    for number, age in enumerate(ages):
        place = bisect_left(cell.cuts, NOW - age)
        cell.counts[place] += 1
        cell.seconds[place] += 3600
        cell.bytes[place] += 10
        cell.samples.append((place, number))
    return cell


@pytest.mark.parametrize(
    ("distance", "day"),
    [
        (-DAY, 0),
        (timedelta(0), 0),
        (SECOND, 1),
        (DAY, 1),
        (DAY + SECOND, 2),
        (90 * DAY, 90),
        (91 * DAY, LATER),
        (999 * DAY, LATER),
    ],
)
def test_days_count_from_the_moment(distance: timedelta, day: int) -> None:
    assert day_of(NOW + distance, NOW) == day


@pytest.mark.parametrize(
    "age", [timedelta(0), 3 * DAY - SECOND, 3 * DAY, 3 * DAY + SECOND, 10 * DAY, 11 * DAY, 200 * DAY]
)
def test_each_file_counts_on_the_day_on_which_it_goes(age: timedelta) -> None:
    made = change(Verdict("old", 10 * DAY), Verdict("new", 3 * DAY))
    [portion] = cell_of(made, age).portions()
    assert portion.before_day == day_of(NOW - age + 10 * DAY, NOW)
    assert portion.after_day == day_of(NOW - age + 3 * DAY, NOW)
    assert portion.observed_day == NEVER


def test_never_and_fixed_dates_are_days_as_well() -> None:
    [portion] = cell_of(change(Verdict(None), Verdict(None, fixed=NOW)), DAY).portions()
    assert (portion.before_day, portion.after_day) == (NEVER, 0)


def test_a_date_moves_earlier_also_from_never_but_not_of_an_erasure() -> None:
    assert change(Verdict("a"), Verdict("a", DAY)).is_sooner
    assert change(Verdict("a", 2 * DAY), Verdict("a", DAY)).is_sooner
    assert not change(Verdict("a", DAY), Verdict("b", DAY)).is_sooner
    assert not change(Verdict("a", DAY), Verdict("b")).is_sooner
    assert not change(Verdict(None, fixed=NOW), Verdict(None, fixed=NOW)).is_sooner


def reckon(cell: Cell, cooling_off: timedelta = DAY) -> Reckoning:
    reckoning = Reckoning(NOW, cooling_off)
    reckoning.add_all(cell.portions())
    return reckoning


def counts(reckoning: Reckoning) -> dict[str, int]:
    return {name: category.total.count for name, category in reckoning.categories.items() if category.total.count}


def test_what_becomes_due_sooner_waits_for_the_cooling_off() -> None:
    cell = cell_of(change(Verdict("old", 10 * DAY), Verdict("new", 3 * DAY)), 4 * DAY, 11 * DAY)
    reckoning = reckon(cell)
    wanted = {"newly_due_now": 1, "newly_due_in_7_days": 0, "sooner": 2, "moved": 2}
    assert counts(reckoning) == {name: count for name, count in wanted.items() if count}
    assert (reckoning.before[0], reckoning.before[6]) == (1, 1)
    assert (reckoning.after[0], reckoning.after[1]) == (0, 2)
    assert counts(reckon(cell, timedelta(0)))["due_now"] == 2


def test_holds_doubts_and_failures_keep_files_out_of_the_forecast() -> None:
    verdicts = (Verdict("a", 10 * DAY), Verdict("a", 3 * DAY))
    for situation, name in (
        (Situation(is_held=True), "held"),
        (Situation(is_suspect=True), "unconfirmed"),
        (Situation(is_failed=True), "failed"),
    ):
        reckoning = reckon(cell_of(change(*verdicts, situation), 4 * DAY))
        assert counts(reckoning) == {name: 1, "sooner": 1}
        assert sum(reckoning.after) == 0


def test_a_hold_that_ends_counts_from_its_end() -> None:
    situation = Situation(is_held=True, held_until=NOW + 5 * DAY)
    reckoning = reckon(cell_of(change(Verdict("a"), Verdict("a", 3 * DAY), situation), 4 * DAY))
    assert counts(reckoning) == {"held": 1, "newly_due_in_7_days": 1, "newly_due_in_30_days": 1, "sooner": 1}
    assert reckoning.after[5] == 1


def test_what_a_rule_only_observes_is_told() -> None:
    reckoning = reckon(cell_of(change(Verdict("a", DAY), Verdict("a", observed=DAY)), 4 * DAY))
    assert counts(reckoning) == {"rescued": 1, "later": 1, "kept": 1, "observed": 1}
    assert reckoning.effects(["a"]) == [{"rule": "a", "kept": 1, "later": 0, "due": 0, "unjudged": 0}]


def test_parts_are_summed_up_the_largest_first() -> None:
    reckoning = Reckoning(NOW, DAY)
    for app_id, ages in (("1", [4 * DAY]), ("2", [4 * DAY, 5 * DAY])):
        made = Change(app_id, Vendor.HUAWEI, Verdict(None), Verdict("a", 3 * DAY), Situation())
        reckoning.add_all(cell_of(made, *ages).portions())
    told = reckoning.categories["newly_due_now"].as_json()
    assert (told["count"], told["hours"], told["bytes"]) == (3, 3.0, 30)
    assert [(part["name"], part["count"]) for part in told["by_app"]] == [("2", 2), ("1", 1)]
    assert [(part["name"], part["bytes"]) for part in told["by_rule"]] == [("a", 30)]
