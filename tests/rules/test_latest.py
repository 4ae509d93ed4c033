from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import FileState, MediaFile, Outcome, Suspicion, Vendor, WaitReason
from service.rules.latest import Span, counts_as_recording, find_kept_as_latest, keep_as_latest, newest, span_of

ZERO = datetime(2026, 5, 1, tzinfo=UTC)
NOW = ZERO + timedelta(days=9)
FILE = MediaFile(
    id=1,
    app_id="1",
    vendor=Vendor.TENCENT,
    file_id="f",
    stream_id="room",
    event="record",
    ended_at=ZERO,
    received_at=ZERO,
    state=FileState.SCHEDULED,
    rule="all",
)


def at(second: int) -> datetime:
    return ZERO + timedelta(seconds=second)


def span(number: int, began: int | None, ended: int) -> Span:
    return Span(number, None if began is None else at(began), at(ended))


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
    ("spans", "first"),
    [
        ([], set()),
        ([span(1, 0, 5), span(2, 6, 9)], {2}),
        ([span(1, 0, 5), span(2, 0, 5)], {1, 2}),
        ([span(1, 0, 5), span(2, 1, 6)], {1, 2}),
        ([span(1, 0, 5), span(2, 5, 9)], {2}),
        ([span(1, None, 5), span(2, None, 5)], {1, 2}),
        # Formats of one recording end close together; further apart are two recordings.
        ([span(1, None, 5), span(2, None, 6)], {1, 2}),
        ([span(1, None, 5), span(2, None, 500)], {2}),
        ([span(1, 5, 9), span(2, None, 5)], {1}),
        # A chain: the first and the last meet only through the one between them.
        ([span(1, 0, 4), span(2, 3, 7), span(3, 6, 9)], {1, 2, 3}),
        ([span(1, 0, 4), span(2, 3, 7), span(3, 6, 9), span(4, 20, 30)], {4}),
        # Short files inside a long one, ended long before it.
        ([span(1, 0, 12), span(2, 1, 2), span(3, 3, 4)], {1, 2, 3}),
        # A begin after the end is no begin.
        ([span(1, 9, 5), span(2, 6, 8)], {2}),
    ],
)
def test_overlapping_files_are_formats_of_one_recording(spans: list[Span], first: set[int]) -> None:
    assert newest(newest_first(spans), 1) == first


@given(span_lists, st.integers(0, 5))
def test_the_newest_are_as_the_definition_says_and_no_more_is_read_than_needed(spans: list[Span], count: int) -> None:
    expected = {number for number, rank in rank_by_definition(spans).items() if rank <= count}
    source = iter(newest_first(spans))
    assert newest(source, count) == expected
    assert len(list(source)) == max(0, len(spans) - len(expected) - 1)


def test_spans_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="newest first"):
        newest([span(1, 0, 5), span(2, 6, 9)], 2)


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        ({}, True),
        ({"state": FileState.KEPT}, True),
        ({"state": FileState.HELD}, True),
        ({"state": FileState.FAILED}, True),
        ({"state": FileState.DELETED}, False),
        ({"state": FileState.GONE}, False),
        ({"state": FileState.DELETING}, False),
        ({"state": FileState.UNCONFIRMED}, False),
        ({"state": FileState.HELD, "suspicion": Suspicion.STALE}, False),
        ({"erasure_id": 4}, False),
        ({"last_outcome": Outcome.UNKNOWN}, False),
        ({"last_outcome": Outcome.RETRYABLE}, True),
        ({"wait_reason": WaitReason.ADOPTION, "wait_until": NOW + timedelta(seconds=1)}, False),
        ({"wait_reason": WaitReason.ADOPTION, "wait_until": NOW}, True),
        ({"wait_reason": WaitReason.COOLING_OFF, "wait_until": NOW + timedelta(hours=1)}, True),
    ],
)
def test_only_files_that_surely_stay_count_as_newer(facts: dict[str, Any], *, counts: bool) -> None:
    assert counts_as_recording(FILE._replace(**facts), NOW) is counts


@given(span_lists.filter(bool), st.integers(1, 4), st.data())
def test_a_file_is_kept_for_its_rank_whether_it_is_listed_itself_or_not(
    spans: list[Span], count: int, data: st.DataObject
) -> None:
    own = data.draw(st.sampled_from(spans))
    file = FILE._replace(id=own.id, began_at=own.began_at, ended_at=own.ended_at)
    assert span_of(file) == own
    kept = find_kept_as_latest(file, newest_first(spans), count)
    assert (kept is not None) == (rank_by_definition(spans)[own.id] <= count)
    assert find_kept_as_latest(file, newest_first([each for each in spans if each.id != own.id]), count) == kept


def test_being_kept_for_its_rank_reads_like_this() -> None:
    one = 'rule "all" keeps the newest recording of each stream, and it is one of them'
    assert find_kept_as_latest(FILE, [], 1) == one
    assert find_kept_as_latest(FILE, [], 3) == (
        'rule "all" keeps the newest 3 recordings of each stream, and it is one of them'
    )


def test_the_row_of_a_file_kept_for_its_rank_keeps_its_date() -> None:
    scheduled = FILE._replace(due_at=ZERO, call_after=ZERO, state_at=ZERO)
    kept = keep_as_latest(scheduled, "the newest", NOW)
    assert kept == scheduled._replace(state=FileState.KEPT, state_reason="the newest", state_at=NOW)
    assert keep_as_latest(kept, "the newest", NOW + timedelta(hours=1)) == kept
