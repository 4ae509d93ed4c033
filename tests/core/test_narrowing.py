from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.core.matching import Judgement
from service.core.model import Erasure, MediaFile, Suspicion, Vendor
from service.core.narrowing import Kinds, find_candidates, find_verdict, narrow, share_matches
from service.core.rules import decide_by_rules
from service.core.rules_file import parse_rules

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FILE = MediaFile("1", Vendor.HUAWEI, "", "room-1", "record", None, NOW, NOW)
RULES = parse_rules(
    """
[[rules]]
name = "trials"
match = { stream = "trial-*" }
keep = "1d"

[[rules]]
name = "huge"
match = { vendor = "Huawei", min_size = "1MB", max_size = "2MB" }
keep = "2d"

[[rules]]
name = "long"
match = { stream = "room-*", min_duration = "1h" }
keep = "3d"

[[rules]]
name = "rooms"
match = { stream = ["room-?", "hall"] }
keep = "4d"
keep_latest = 2

[[rules]]
name = "rest"
keep = "5d"
mode = "observe"
"""
)


def shape_of(**facts: object) -> list[str]:
    group = replace(FILE, **facts)  # type: ignore[arg-type]
    return [RULES[place].name for place, _ in narrow(find_candidates(RULES, group), group)]


def test_a_group_is_left_with_the_rules_that_can_decide_its_files() -> None:
    assert shape_of() == ["huge", "long", "rooms"]
    assert shape_of(vendor=Vendor.TENCENT) == ["long", "rooms"]
    assert shape_of(stream_id="trial-7") == ["trials"]
    assert shape_of(stream_id="other", vendor=Vendor.TENCENT) == ["rest"]


def test_a_stream_that_is_not_known_stops_at_the_first_rule_on_streams() -> None:
    group = replace(FILE, stream_id="")
    assert narrow(find_candidates(RULES, group), group) == ((0, Judgement.UNKNOWN),)


@pytest.mark.parametrize("stream", ["trial-1", "room-1", "room-22", "hall", "", "x"])
@pytest.mark.parametrize("vendor", [Vendor.HUAWEI, Vendor.WANGSU])
def test_files_of_one_kind_are_decided_alike(stream: str, vendor: Vendor) -> None:
    group = replace(FILE, stream_id=stream, vendor=vendor)
    shape = narrow(find_candidates(RULES, group), group)
    kinds = Kinds([RULES[place] for place, _ in shape])
    sizes = (None, -1, 0, 999_999, 1_000_000, 1_000_001, 2_000_000, 2_000_001)
    durations = (None, -1.0, float("nan"), 0.0, 3_599.9, 3_600.0, 3_600.1)
    found: dict[tuple[tuple[int, int], int | None], set[object]] = {}
    for size, duration, rank in itertools.product(sizes, durations, (None, 1, 2, 3, 9)):
        file = replace(group, size_bytes=size, duration_s=duration, rank=rank)
        decision = decide_by_rules(file, RULES, NOW)
        fate = (decision.rule, decision.due_at, decision.observed_due_at)
        found.setdefault((kinds.find(size, duration), rank), set()).add(fate)
        verdict = find_verdict(RULES, replace(file, ended_at=NOW - timedelta(days=9)), NOW)
        assert verdict.rule == decision.rule
        assert decision.due_at == (None if verdict.keep is None else file.ended_at + verdict.keep)
        assert decision.observed_due_at == (None if verdict.observed is None else file.ended_at + verdict.observed)
    assert all(len(fates) == 1 for fates in found.values())
    assert kinds.is_one == (len(set().union(*found.values())) == 1)


@pytest.mark.parametrize("days", [-3, 3])
def test_a_window_is_the_same_whatever_the_vendors_own_time_is(days: int) -> None:
    file = replace(FILE, vendor_created_at=NOW + timedelta(days=days))
    for stream, window in (("trial-1", timedelta(days=1)), ("other", timedelta(days=5))):
        verdict = find_verdict(RULES, replace(file, stream_id=stream, vendor=Vendor.WANGSU), NOW)
        assert window in (verdict.keep, verdict.observed)


def test_an_erasure_has_its_own_date() -> None:
    verdict = find_verdict(RULES, replace(FILE, erasure=Erasure(1, NOW, "asked"), suspicion=Suspicion.STALE), NOW)
    assert (verdict.rule, verdict.keep, verdict.fixed) == (None, None, NOW)


def test_equal_matches_of_two_sets_are_asked_once() -> None:
    first, second = share_matches(
        RULES, parse_rules('[[rules]]\nname = "x"\nmatch = { stream = "trial-*" }\nkeep = "9d"\n')
    )
    assert first[0].match is second[0].match
    known: dict[int, Judgement] = {}
    for rules in (first, second):
        narrow(find_candidates(rules, FILE), FILE, known)
    assert (first, len(second)) == (RULES, 1)
