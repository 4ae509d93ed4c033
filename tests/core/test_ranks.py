from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.ranks import Span, newest, rank_recordings

ZERO = datetime(2026, 5, 1, tzinfo=UTC)


def span(number: int, began: int | None, ended: int) -> Span:
    return Span(number, None if began is None else ZERO + timedelta(seconds=began), ZERO + timedelta(seconds=ended))


seconds = st.integers(0, 12)
span_lists = st.lists(st.tuples(st.none() | seconds, seconds), max_size=8).map(
    lambda pairs: [span(number, began, ended) for number, (began, ended) in enumerate(pairs)]
)


def overlap(one: Span, other: Span) -> bool:
    return one.ended_at == other.ended_at or (one.start < other.ended_at and other.start < one.ended_at)


def rank_by_definition(spans: list[Span]) -> dict[int, int]:
    """Join whatever overlaps until nothing changes, then count the groups from the latest end."""
    groups = [{one} for one in spans]
    joined = True
    while joined:
        joined = False
        for one, other in combinations(groups, 2):
            if any(overlap(a, b) for a in one for b in other):
                groups.remove(other)
                one.update(other)
                joined = True
                break
    groups.sort(key=lambda group: max(member.ended_at for member in group), reverse=True)
    return {member.id: rank for rank, group in enumerate(groups, start=1) for member in group}


def newest_first(spans: list[Span]) -> list[Span]:
    return sorted(spans, key=lambda each: each.ended_at, reverse=True)


@pytest.mark.parametrize(
    ("spans", "ranks"),
    [
        ([], {}),
        ([span(1, 0, 5), span(2, 6, 9)], {1: 2, 2: 1}),
        ([span(1, 0, 5), span(2, 0, 5)], {1: 1, 2: 1}),
        ([span(1, 0, 5), span(2, 1, 6)], {1: 1, 2: 1}),
        ([span(1, 0, 5), span(2, 5, 9)], {1: 2, 2: 1}),
        ([span(1, None, 5), span(2, None, 5)], {1: 1, 2: 1}),
        # Formats of one recording end close together; further apart are two recordings.
        ([span(1, None, 5), span(2, None, 6)], {1: 1, 2: 1}),
        ([span(1, None, 5), span(2, None, 500)], {1: 2, 2: 1}),
        ([span(1, 0, 5), span(2, None, 3)], {1: 1, 2: 1}),
        ([span(1, 0, 5), span(2, None, 5)], {1: 1, 2: 1}),
        ([span(1, 5, 9), span(2, None, 5)], {1: 1, 2: 2}),
        # A chain: the first and the last meet only through the one between them.
        ([span(1, 0, 4), span(2, 3, 7), span(3, 6, 9), span(4, 20, 30)], {1: 2, 2: 2, 3: 2, 4: 1}),
        # A short file inside a long one, ended long before it.
        ([span(1, 0, 12), span(2, 1, 2), span(3, 3, 4)], {1: 1, 2: 1, 3: 1}),
        # A begin after the end is no begin.
        ([span(1, 9, 5), span(2, 6, 8)], {1: 2, 2: 1}),
    ],
)
def test_overlapping_files_are_formats_of_one_recording(spans: list[Span], ranks: dict[int, int]) -> None:
    assert rank_recordings(spans) == ranks


@given(span_lists)
def test_one_pass_ranks_as_the_definition_does(spans: list[Span]) -> None:
    assert rank_recordings(spans) == rank_by_definition(spans)


@given(span_lists, st.integers(0, 5))
def test_the_newest_are_those_ranked_so_and_no_more_is_read_than_needed(spans: list[Span], count: int) -> None:
    ranks = rank_by_definition(spans)
    expected = frozenset(number for number, rank in ranks.items() if rank <= count)
    source = iter(newest_first(spans))
    assert newest(source, count) == expected
    assert len(list(source)) == max(0, len(spans) - len(expected) - 1)


def test_spans_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="newest first"):
        newest([span(1, 0, 5), span(2, 6, 9)], 2)
