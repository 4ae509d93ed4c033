from __future__ import annotations

from itertools import pairwise
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.plan import Bisection, plan_batches

ids = st.lists(st.text("abcdefgh/ü", min_size=1, max_size=300), max_size=350, unique=True)


@given(ids, st.integers(1, 100), st.integers(400, 8000))
def test_batches_lose_and_repeat_nothing_and_respect_both_bounds(
    file_ids: list[str], max_files: int, max_bytes: int
) -> None:
    def cost(file_id: str) -> int:
        return len(file_id.encode())

    batches = plan_batches(file_ids, overhead=200, cost=cost, max_files=max_files, max_bytes=max_bytes)

    assert [file_id for batch in batches for file_id in batch] == file_ids
    assert all(1 <= len(batch) <= max_files for batch in batches)
    assert all(200 + sum(map(cost, batch)) <= max_bytes or len(batch) == 1 for batch in batches)


@given(ids)
def test_batches_are_no_smaller_than_need_be(file_ids: list[str]) -> None:
    batches = plan_batches(file_ids, overhead=100, cost=len, max_files=10, max_bytes=1000)
    for batch, following in pairwise(batches):
        assert len(batch) == 10 or 100 + sum(map(len, batch)) + len(following[0]) > 1000


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
            bisection.failed(part, code)
            guilty |= set(part) if len(part) == 1 else set()
        else:
            bisection.passed(part)
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
        bisection.failed(part, "2" if "a" in part else "1000")
    assert {part for part in asked if len(part) == 1} == {("a",), ("b",), ("c",), ("d",)}
