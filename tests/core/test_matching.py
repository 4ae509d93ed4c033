from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.core.matching import Judgement, Match, judge, match_implies, settle
from service.core.model import DISPUTED_EVENT, MediaFile, Vendor

END = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FILE = MediaFile(
    app_id="1001",
    vendor=Vendor.HUAWEI,
    file_id="record/app/x/1.mp4",
    stream_id="lesson-7",
    event="record",
    began_at=END - MINUTE,
    ended_at=END,
    received_at=END,
    duration_s=60.0,
    size_bytes=10_000_000,
)


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(stream=("lesson-*",)),
        Match(stream=("exam-*", "lesson-?")),
        Match(app=("1001",)),
        Match(vendor=(Vendor.TENCENT, Vendor.HUAWEI)),
        Match(event=("record", "compose")),
        Match(min_duration=MINUTE, max_duration=MINUTE),
        Match(min_size=10_000_000, max_size=10_000_000),
        Match(
            stream=("*",), app=("1001",), vendor=(Vendor.HUAWEI,), event=("record",), min_size=1, max_duration=MINUTE
        ),
    ],
)
def test_a_file_matches_if_every_key_does_limits_included(match: Match) -> None:
    assert judge(match, FILE).judgement is Judgement.MATCHES


@pytest.mark.parametrize(
    ("match", "key"),
    [
        (Match(stream=("exam-*",)), "stream"),
        (Match(stream=("lesson",)), "stream"),
        (Match(app=("100", "10011")), "app"),
        (Match(vendor=(Vendor.TENCENT,)), "vendor"),
        (Match(event=("compose",)), "event"),
        (Match(min_duration=timedelta(seconds=61)), "min_duration"),
        (Match(max_duration=timedelta(seconds=59)), "max_duration"),
        (Match(min_size=10_000_001), "min_size"),
        (Match(max_size=9_999_999), "max_size"),
        (Match(stream=("lesson-*",), max_size=1), "max_size"),
    ],
)
def test_the_first_key_that_fails_is_named(match: Match, key: str) -> None:
    result = judge(match, FILE)
    assert (result.judgement, result.key) == (Judgement.DIFFERS, key)
    assert key in result.why


@pytest.mark.parametrize(
    ("match", "file", "key"),
    [
        (Match(stream=("*",)), replace(FILE, stream_id=""), "stream"),
        (Match(event=("record",)), replace(FILE, event=""), "event"),
        (Match(event=("record", "compose")), replace(FILE, event=DISPUTED_EVENT), "event"),
        (Match(event=("compose",), adopted=False), replace(FILE, event=DISPUTED_EVENT), "event"),
        (Match(min_duration=MINUTE), replace(FILE, duration_s=None), "min_duration"),
        (Match(max_duration=MINUTE), replace(FILE, duration_s=float("nan")), "max_duration"),
        (Match(min_duration=MINUTE), replace(FILE, duration_s=float("inf")), "min_duration"),
        (Match(max_duration=MINUTE), replace(FILE, duration_s=-1.0), "max_duration"),
        (Match(min_size=1), replace(FILE, size_bytes=None), "min_size"),
        (Match(max_size=1), replace(FILE, size_bytes=-1), "max_size"),
    ],
)
def test_a_missing_or_senseless_fact_cannot_be_judged(match: Match, file: MediaFile, key: str) -> None:
    result = judge(match, file)
    assert (result.judgement, result.key) == (Judgement.UNKNOWN, key)
    assert "is not known" in result.why


def test_a_missing_fact_that_no_key_asks_for_does_not_matter() -> None:
    bare = replace(FILE, stream_id="", event="", duration_s=None, size_bytes=None)
    assert judge(Match(app=("1001",), vendor=(Vendor.HUAWEI,)), bare).judgement is Judgement.MATCHES


@pytest.mark.parametrize(
    ("match", "file"),
    [
        (Match(stream=("exam-*",), min_size=1), replace(FILE, size_bytes=None)),
        (Match(min_size=1, min_duration=timedelta(hours=1)), replace(FILE, size_bytes=None)),
        (Match(stream=("*",), vendor=(Vendor.TENCENT,)), replace(FILE, stream_id="")),
        (Match(min_duration=MINUTE, max_size=1), replace(FILE, duration_s=None)),
    ],
)
def test_a_condition_known_to_fail_outweighs_a_missing_fact(match: Match, file: MediaFile) -> None:
    assert judge(match, file).judgement is Judgement.DIFFERS


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        (Match(), Match(), True),
        (Match(app=("1",)), Match(), True),
        (Match(), Match(app=("1",)), False),
        (Match(stream=("a-1-*",)), Match(stream=("b-*", "a-*")), True),
        (Match(stream=("a-*", "c-*")), Match(stream=("b-*", "a-*")), False),
        (Match(), Match(stream=("*",)), True),
        (Match(), Match(stream=("?*",)), False),
        (Match(vendor=(Vendor.HUAWEI,)), Match(vendor=(Vendor.TENCENT, Vendor.HUAWEI)), True),
        (Match(), Match(vendor=tuple(Vendor)), True),
        (Match(), Match(vendor=(Vendor.HUAWEI,)), False),
        (Match(event=("record",)), Match(event=("record", "compose")), True),
        (Match(event=("compose",)), Match(event=("record",)), False),
        (Match(min_duration=2 * MINUTE), Match(min_duration=MINUTE), True),
        (Match(min_duration=MINUTE), Match(min_duration=2 * MINUTE), False),
        (Match(), Match(min_duration=MINUTE), False),
        (Match(max_duration=MINUTE), Match(max_duration=2 * MINUTE), True),
        (Match(max_duration=2 * MINUTE), Match(max_duration=MINUTE), False),
        (Match(), Match(max_duration=MINUTE), False),
        (Match(min_size=2), Match(min_size=1), True),
        (Match(min_size=1), Match(min_size=2), False),
        (Match(), Match(min_size=0), True),
        (Match(max_size=0), Match(max_size=1), True),
        (Match(max_size=1), Match(max_size=0), False),
        (Match(), Match(max_size=0), False),
        (Match(stream=("a*",), app=("1",)), Match(stream=("a*",), event=("record",)), False),
    ],
)
def test_implication_holds_key_by_key(narrow: Match, wide: Match, *, expected: bool) -> None:
    assert match_implies(narrow, wide) is expected


ADOPTED = replace(FILE, stream_id="", event="")
DISPUTED = replace(FILE, stream_id="", event=DISPUTED_EVENT)


@pytest.mark.parametrize(
    ("file", "adopted", "judgement"),
    [
        (ADOPTED, True, Judgement.MATCHES),
        (ADOPTED, False, Judgement.DIFFERS),
        (FILE, True, Judgement.DIFFERS),
        (FILE, False, Judgement.MATCHES),
        (replace(FILE, stream_id=""), True, Judgement.DIFFERS),  # a merged file without a stream was announced
        (DISPUTED, True, Judgement.DIFFERS),  # by callbacks that contradict each other
        (DISPUTED, False, Judgement.MATCHES),
    ],
)
def test_a_rule_tells_adopted_files_from_announced_ones(file: MediaFile, adopted: bool, judgement: Judgement) -> None:
    result = judge(Match(adopted=adopted), file)
    assert result.judgement is judgement
    assert settle(Match(adopted=adopted), file) is judgement
    assert result.key == (None if judgement is Judgement.MATCHES else "adopted")


def test_words_for_a_file_that_only_disputed_callbacks_announced() -> None:
    assert judge(Match(adopted=True), DISPUTED).why == "a callback announced it"
    assert judge(Match(event=("record",)), DISPUTED).why == "its event is not known"
    assert judge(Match(event=("record",), adopted=True), DISPUTED).judgement is Judgement.DIFFERS


@pytest.mark.parametrize(
    ("narrow", "wide", "implies"),
    [(True, None, True), (None, True, False), (True, True, True), (True, False, False), (False, None, True)],
)
def test_being_adopted_narrows_a_match(narrow: bool | None, wide: bool | None, implies: bool) -> None:
    assert match_implies(Match(adopted=narrow), Match(adopted=wide)) is implies
