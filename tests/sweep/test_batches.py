from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sweep.bisect import MAX_URL_BYTES, bisect, count_fitting

if TYPE_CHECKING:
    from collections.abc import Sequence

costs = st.lists(st.integers(1, 9_000), max_size=250)


@given(costs, st.integers(1, 7_000), st.integers(1, 100))
def test_a_call_takes_as_many_files_as_fit_and_one_at_least(costs: list[int], overhead: int, most: int) -> None:
    count = count_fitting(costs, overhead, most)
    assert count <= min(len(costs), most)
    assert count in {0, 1} or overhead + sum(costs[:count]) <= MAX_URL_BYTES
    if count < min(len(costs), most):
        assert count >= 1
        assert overhead + sum(costs[: count + 1]) > MAX_URL_BYTES


@dataclass
class Found:
    """What a bisection found with a ZEGO that fails any call with a bad id."""

    is_no_files_fault: bool
    guilty: set[str]
    passed: set[str]
    calls: int


def search(count: int, bad: set[int], code: str = "2") -> Found:
    names = [f"id{number}" for number in range(count)]
    wicked = {names[number] for number in bad}
    found = Found(False, set(), set(), 0)

    def ask(part: Sequence[str]) -> tuple[Sequence[str], str]:
        found.calls += 1
        assert not found.passed & set(part), "a file that was deleted already is asked for again"
        if wicked & set(part):
            found.guilty |= set(part) if len(part) == 1 else set()
            return part, code
        found.passed |= set(part)
        return part, "0"

    found.is_no_files_fault = bisect(names, code, ask)
    return found


@given(st.data(), st.integers(2, 100), st.sampled_from(["2", "1000", "http 414", "41003"]))
def test_bisection_finds_exactly_the_bad_ids_in_few_calls(data: st.DataObject, count: int, code: str) -> None:
    # With fewer bad ids than single ids are probed, no probe of good ids can be missed: the search never stops early.
    most = min(count - 1, count.bit_length() - 1)
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=most))
    found = search(count, bad, code)
    assert not found.is_no_files_fault
    assert found.guilty == {f"id{number}" for number in bad}
    assert found.passed == {f"id{number}" for number in range(count)} - found.guilty
    assert found.calls <= 2 * len(bad) * (log2(count) + 1) + log2(count) + 2


@given(st.integers(2, 100), st.sampled_from(["1000"]))
def test_where_every_part_fails_with_1000_no_file_is_at_fault(count: int, code: str) -> None:
    found = search(count, set(range(count)), code)
    assert found.is_no_files_fault
    assert not found.passed
    assert found.calls <= 2 * (log2(count) + 2)


@given(st.integers(16, 100), st.sampled_from(["2", "http 414"]))
def test_a_whole_call_of_bad_ids_stops_the_search_after_few_calls(count: int, code: str) -> None:
    found = search(count, set(range(count)), code)
    assert found.is_no_files_fault
    assert found.calls <= log2(count) + 4


@pytest.mark.parametrize("count", [2, 3])
def test_where_each_id_was_asked_alone_and_refused_each_is_guilty(count: int) -> None:
    found = search(count, set(range(count)), "2")
    assert len(found.guilty) == count
    assert not found.is_no_files_fault


@given(st.integers(2, 100))
def test_missing_files_never_stop_the_search(count: int) -> None:
    found = search(count, set(range(count)), "41003")
    assert not found.is_no_files_fault
    assert len(found.guilty) == count


@given(st.data(), st.integers(2, 100), st.sampled_from(["2", "1000"]))
def test_whatever_is_bad_no_good_id_is_called_guilty(data: st.DataObject, count: int, code: str) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    found = search(count, bad, code)
    assert found.guilty <= {f"id{number}" for number in bad}
    if not found.is_no_files_fault:
        assert len(found.guilty) + len(found.passed) == count


def test_halves_that_fail_differently_are_searched_to_the_end() -> None:
    asked = []

    def ask(part: Sequence[str]) -> tuple[Sequence[str], str]:
        asked.append(tuple(part))
        return part, "2" if "a" in part else "1000"

    bisect(["a", "b", "c", "d"], "2", ask)
    assert {part for part in asked if len(part) == 1} == {("a",), ("b",), ("c",), ("d",)}


def test_what_may_not_be_asked_for_any_more_is_left_out() -> None:
    asked = []

    def ask(part: Sequence[str]) -> tuple[Sequence[str], str]:
        asked.append(tuple(part))
        left = [each for each in part if each not in ("b", "c")]
        return left, "2" if "a" in left else "0"

    assert not bisect(["a", "b", "c", "d"], "2", ask)
    assert asked == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(("first", "is_no_files_fault"), [("2", True), ("0", False)])
def test_a_search_that_cannot_go_on_blames_files_only_if_another_part_passed(
    first: str, is_no_files_fault: bool
) -> None:
    answers = iter([(["a", "b"], first), None])
    assert bisect(["a", "b", "c", "d"], "2", lambda _: next(answers)) is is_no_files_fault
