from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sweep.batches import MAX_URL_BYTES, Bisection, count_fitting

costs = st.lists(st.integers(1, 9_000), max_size=250)


@given(costs, st.integers(1, 7_000), st.integers(1, 100))
def test_a_call_takes_as_many_files_as_fit_and_one_at_least(costs: list[int], overhead: int, most: int) -> None:
    count = count_fitting(costs, overhead, most)
    assert count <= min(len(costs), most)
    assert count in {0, 1} or overhead + sum(costs[:count]) <= MAX_URL_BYTES
    if count < min(len(costs), most):
        assert count >= 1
        assert overhead + sum(costs[: count + 1]) > MAX_URL_BYTES


def search(count: int, bad: set[int], code: str = "2") -> tuple[Bisection, set[str], set[str], int]:
    """Bisect with a ZEGO that fails any call with a bad id; returns the search, guilty ids, passed ids and calls."""
    names = [f"id{number}" for number in range(count)]
    wicked = {names[number] for number in bad}
    bisection = Bisection(names, code)
    guilty: set[str] = set()
    passed: set[str] = set()
    calls = 0
    while part := bisection.next_part():
        calls += 1
        assert not passed & set(part), "a file that was deleted already is asked for again"
        if wicked & set(part):
            bisection.note_failed(part, code)
            guilty |= set(part) if len(part) == 1 else set()
        else:
            bisection.note_passed(part)
            passed |= set(part)
    return bisection, guilty, passed, calls


@given(st.data(), st.integers(2, 100), st.sampled_from(["2", "1000", "http 414", "41003"]))
def test_bisection_finds_exactly_the_bad_ids_in_few_calls(data: st.DataObject, count: int, code: str) -> None:
    # With fewer bad ids than single ids are probed, no probe of good ids can be missed: the search never stops early.
    most = min(count - 1, count.bit_length() - 1)
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=most))
    bisection, guilty, passed, calls = search(count, bad, code)

    assert not bisection.stopped
    assert not bisection.is_no_files_fault
    assert guilty == {f"id{number}" for number in bad}
    assert passed == {f"id{number}" for number in range(count)} - guilty
    assert calls <= 2 * len(bad) * (log2(count) + 1) + log2(count) + 2


@given(st.integers(2, 100), st.sampled_from(["1000"]))
def test_where_every_part_fails_with_1000_no_file_is_at_fault(count: int, code: str) -> None:
    bisection, _, passed, calls = search(count, set(range(count)), code)
    assert bisection.is_no_files_fault
    assert not passed
    assert calls <= 2 * (log2(count) + 2)


@given(st.integers(16, 100), st.sampled_from(["2", "http 414"]))
def test_a_whole_call_of_bad_ids_stops_the_search_after_few_calls(count: int, code: str) -> None:
    bisection, _, _, calls = search(count, set(range(count)), code)
    assert bisection.stopped
    assert bisection.is_no_files_fault
    assert calls <= log2(count) + 4


@pytest.mark.parametrize("count", [2, 3])
def test_where_each_id_was_asked_alone_and_refused_each_is_guilty(count: int) -> None:
    bisection, guilty, _, _ = search(count, set(range(count)), "2")
    assert len(guilty) == count
    assert not bisection.is_no_files_fault


@given(st.integers(2, 100))
def test_missing_files_never_stop_the_search(count: int) -> None:
    bisection, guilty, _, _ = search(count, set(range(count)), "41003")
    assert not bisection.stopped
    assert len(guilty) == count


@given(st.data(), st.integers(2, 100), st.sampled_from(["2", "1000"]))
def test_whatever_is_bad_no_good_id_is_called_guilty(data: st.DataObject, count: int, code: str) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    bisection, guilty, passed, _ = search(count, bad, code)
    assert guilty <= {f"id{number}" for number in bad}
    if not bisection.stopped:
        assert len(guilty) + len(passed) == count


def test_halves_that_fail_differently_are_searched_to_the_end() -> None:
    bisection = Bisection(["a", "b", "c", "d"], "2")
    asked = []
    while part := bisection.next_part():
        asked.append(part)
        bisection.note_failed(part, "2" if "a" in part else "1000")
    assert {part for part in asked if len(part) == 1} == {("a",), ("b",), ("c",), ("d",)}


def test_what_may_not_be_asked_for_any_more_is_left_out() -> None:
    bisection = Bisection(["a", "b", "c", "d"], "2")
    assert bisection.next_part() == ("a", "b")
    bisection.note_skipped(["b", "c"])
    bisection.note_failed(["a"], "2")
    assert bisection.next_part() == ("d",)
    bisection.note_passed(["d"])
    assert bisection.next_part() is None
    assert not bisection.is_no_files_fault
