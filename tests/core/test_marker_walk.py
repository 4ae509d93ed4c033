from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.listing import ListedFile, Query
from service.core.marker_walk import MarkerWalk
from service.core.time_walk import TimeWalk

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.core.walk import Walk

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def page_of(*keys: object) -> list[ListedFile]:
    return [ListedFile(str(key), NOW) for key in keys]


def follow(answer: Callable[[str], tuple[list[ListedFile], str | None]], limit: int = 5_000) -> tuple[int, MarkerWalk]:
    """How many questions a walk asked until it was over, through a dump after each."""
    walk = MarkerWalk()
    for step in range(limit):
        query = walk.next_query()
        if query is None:
            return step, walk
        files, marker = answer(query.marker)
        walk.take(files, total=None, next_marker=marker)
        walk = MarkerWalk.load(json.loads(json.dumps(walk.dump())))
    raise AssertionError("not over")


@given(st.lists(st.integers(0, 9_999), unique=True), st.integers(1, 7), st.sets(st.integers(0, 60), max_size=5))
def test_every_page_is_asked_once_whatever_happens_between(keys: list[int], size: int, cuts: set[int]) -> None:
    keys.sort()
    walk = MarkerWalk(size)
    seen: list[str] = []
    step = 0
    while (query := walk.next_query()) is not None:
        assert walk.next_query() == query
        assert (query.size, query.start, query.page) == (size, None, 0)
        if step in cuts:
            walk = MarkerWalk.load(json.loads(json.dumps(walk.dump())))
            assert walk.next_query() == query
        place = keys.index(int(query.marker)) + 1 if query.marker else 0
        page = keys[place : place + size]
        more = place + size < len(keys)
        walk.take(page_of(*page), total=None, next_marker=str(page[-1]) if more else "")
        seen += map(str, page)
        step += 1
    assert seen == list(map(str, keys))
    assert (walk.problems, walk.progress) == ((), 1.0)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("lead", [0, 1, 5, 64])
def test_markers_in_a_circle_end_the_walk(length: int, lead: int) -> None:
    def answer(marker: str) -> tuple[list[ListedFile], str]:
        place = int(marker) + 1 if marker else 0
        place = place if place < lead + length else lead
        return [], str(place)

    def answer_with_files(marker: str) -> tuple[list[ListedFile], str]:
        return page_of(marker), answer(marker)[1]

    steps, walk = follow(answer_with_files)
    assert lead + length <= steps <= 4 * (lead + length) + 4
    assert "leads back to a marker" in walk.problems[0] or "earlier page again" in walk.problems[0]
    assert length > 1 or steps == lead + 2
    steps, walk = follow(answer)
    assert steps <= 4 * (lead + length) + 4
    assert "leads back" in walk.problems[0] or "empty page" in walk.problems[0]


@pytest.mark.parametrize("length", [1, 3, 50])
def test_pages_that_repeat_under_new_markers_end_the_walk(length: int) -> None:
    def answer(marker: str) -> tuple[list[ListedFile], str]:
        number = int(marker or 0)
        return page_of(number % length), str(number + 1)

    steps, walk = follow(answer)
    assert steps <= 4 * length + 4
    assert "shows the files of an earlier page again" in walk.problems[0]


def test_empty_pages_are_passed_but_not_for_ever() -> None:
    steps, walk = follow(lambda marker: ([], str(int(marker or 0) + 1)))
    assert steps == 100
    assert "100th empty page" in walk.problems[0]
    steps, walk = follow(
        lambda marker: (
            page_of(marker) if int(marker or 0) % 100 == 99 else [],
            str(n) if (n := int(marker or 0) + 1) < 500 else "",
        )
    )
    assert (steps, walk.problems) == (500, ())


def test_an_answer_without_a_next_marker_is_no_end() -> None:
    steps, walk = follow(lambda _: (page_of(1), None))
    assert steps == 1
    assert walk.problems == ("the first page of the listing does not tell where to go on: it has no next marker",)


def test_entries_without_a_name_are_a_problem_but_not_the_end() -> None:
    walk = MarkerWalk()
    walk.take(page_of(1), total=None, next_marker="a", unnamed=2)
    assert walk.next_query() == Query(1_000, marker="a")
    assert walk.progress is None
    walk.take([], total=None, next_marker="")
    assert walk.problems == ("the first page of the listing holds entries without a name: 2",)
    with pytest.raises(ValueError, match="over"):
        walk.take([], total=None, next_marker="")


def test_problems_are_bounded_and_counted() -> None:
    walk = MarkerWalk()
    for number in range(80):
        walk.take(page_of(number), total=None, next_marker=f"m{number}", unnamed=1)
    walk = MarkerWalk.load(walk.dump())
    assert len(walk.problems) == 51
    assert walk.problems[-1] == "and 30 more like these"
    assert len(json.dumps(walk.dump())) < 10_000


@pytest.mark.parametrize(
    "change",
    [
        {"walk": "time/1"},
        {"size": 0},
        {"size": 1_001},
        {"marker": None},
        {"over": 0},
        {"stride": 0},
        {"steps": -1},
        {"empty": 1.5},
        {"kept_page": 3},
        {"problems": "x"},
        {"more_problems": True},
    ],
)
def test_a_cursor_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"cursor|1 to 1,000"):
        MarkerWalk.load({**MarkerWalk().dump(), **change})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="cursor"):
        MarkerWalk.load({})


def test_both_walks_are_walks() -> None:
    walks: list[Walk] = [MarkerWalk(), TimeWalk(None, NOW)]
    assert [walk.problems for walk in walks] == [(), ()]
