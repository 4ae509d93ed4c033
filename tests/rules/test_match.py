from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.model import MediaFile, Vendor
from service.rules.match import KEYS, Judgement, Match, judge, match_implies

END = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FILE = MediaFile(
    id=1,
    app_id="1001",
    vendor=Vendor.HUAWEI,
    file_id="record/app/x/1.mp4",
    stream_id="lesson-7",
    event="record",
    ended_at=END,
    received_at=END,
    duration_s=60.0,
    size_bytes=10_000_000,
)
ADOPTED = FILE._replace(stream_id="", event="")
TENCENT = FILE._replace(vendor=Vendor.TENCENT, file_id="528589")


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(stream=("lesson-*",)),
        Match(stream=("exam-*", "lesson-?")),
        Match(name=("record/app/*.mp4",)),
        Match(app=("1001",)),
        Match(vendor=(Vendor.TENCENT, Vendor.HUAWEI)),
        Match(event=("record", "compose")),
        Match(adopted=False),
        Match(min_duration=MINUTE, max_duration=MINUTE),
        Match(min_size=10_000_000, max_size=10_000_000),
        Match(stream=("*",), app=("1001",), vendor=(Vendor.HUAWEI,), event=("record",), min_size=1),
    ],
)
def test_a_file_matches_if_every_key_does_limits_included(match: Match) -> None:
    assert judge(match, FILE) == (Judgement.MATCHES, None)


def judged(match: Match, file: MediaFile) -> tuple[Judgement, str, str]:
    """The judgement, and the name of the key that brought it about, with the reason in words."""
    judgement, key = judge(match, file)
    assert key is not None
    return judgement, key.name, key.describe(match, file)


@pytest.mark.parametrize(
    ("match", "key", "why"),
    [
        (Match(stream=("exam-*", "x")), "stream", 'its stream "lesson-7" does not match "exam-*" or "x"'),
        (Match(stream=("lesson",)), "stream", "does not match"),
        (Match(name=("*/2.mp4",)), "name", 'its name "record/app/x/1.mp4" does not match "*/2.mp4"'),
        (Match(app=("100", "10011")), "app", 'its app "1001" is not "100" or "10011"'),
        (Match(vendor=(Vendor.TENCENT,)), "vendor", 'its vendor "Huawei" is not "Tencent"'),
        (Match(event=("compose",)), "event", 'its event "record" is not "compose"'),
        (Match(adopted=True), "adopted", "it is not adopted, and this rule has adopted = true"),
        (Match(min_duration=timedelta(seconds=61)), "min_duration", "its duration 60s is under 61s"),
        (Match(max_duration=timedelta(seconds=59)), "max_duration", "its duration 60s is over 59s"),
        (Match(min_size=10_000_001), "min_size", "its size 10MB is under 10000001B"),
        (Match(max_size=5_000_000), "max_size", "its size 10MB is over 5MB"),
        (Match(stream=("lesson-*",), max_size=1), "max_size", "is over"),
    ],
)
def test_the_key_that_fails_is_named(match: Match, key: str, why: str) -> None:
    judgement, name, reason = judged(match, FILE)
    assert (judgement, name) == (Judgement.DIFFERS, key)
    assert why in reason


@pytest.mark.parametrize(
    ("match", "file", "key", "fact"),
    [
        (Match(stream=("*",)), ADOPTED, "stream", "stream"),
        (Match(event=("record", "compose")), ADOPTED, "event", "event"),
        (Match(name=("*",)), TENCENT, "name", "name"),
        (Match(min_duration=MINUTE), FILE._replace(duration_s=None), "min_duration", "duration"),
        (Match(max_duration=MINUTE), FILE._replace(duration_s=float("nan")), "max_duration", "duration"),
        (Match(min_duration=MINUTE), FILE._replace(duration_s=float("inf")), "min_duration", "duration"),
        (Match(max_duration=MINUTE), FILE._replace(duration_s=-1.0), "max_duration", "duration"),
        (Match(min_size=1), FILE._replace(size_bytes=None), "min_size", "size"),
        (Match(max_size=1), FILE._replace(size_bytes=-1), "max_size", "size"),
    ],
)
def test_a_missing_or_senseless_fact_cannot_be_judged(match: Match, file: MediaFile, key: str, fact: str) -> None:
    assert judged(match, file) == (Judgement.UNKNOWN, key, f"its {fact} is not known")
    assert KEYS[key].fact == fact


def test_the_name_is_the_listings_for_tencent_and_the_file_id_for_the_others() -> None:
    assert judge(Match(name=("lesson*",)), TENCENT._replace(name="lesson.mp4"))[0] is Judgement.MATCHES
    assert judge(Match(name=("5*",)), TENCENT)[0] is Judgement.UNKNOWN
    assert judge(Match(name=("record/*",)), FILE._replace(vendor=Vendor.WANGSU))[0] is Judgement.MATCHES


def test_whether_a_file_is_adopted_is_always_known() -> None:
    assert judge(Match(adopted=True), ADOPTED)[0] is Judgement.MATCHES
    assert judged(Match(adopted=False), ADOPTED)[2] == "it is adopted, and this rule has adopted = false"
    assert judge(Match(adopted=True), FILE._replace(stream_id=""))[0] is Judgement.DIFFERS


def test_a_missing_fact_that_no_key_asks_for_does_not_matter() -> None:
    bare = ADOPTED._replace(duration_s=None, size_bytes=None)
    assert judge(Match(app=("1001",), vendor=(Vendor.HUAWEI,)), bare)[0] is Judgement.MATCHES


@pytest.mark.parametrize(
    ("match", "file"),
    [
        (Match(stream=("exam-*",), min_size=1), FILE._replace(size_bytes=None)),
        (Match(min_size=1, min_duration=timedelta(hours=1)), FILE._replace(size_bytes=None)),
        (Match(stream=("*",), vendor=(Vendor.TENCENT,)), ADOPTED),
        (Match(min_duration=MINUTE, max_size=1), FILE._replace(duration_s=None)),
        (Match(event=("record",), adopted=False), ADOPTED),
    ],
)
def test_a_condition_known_to_fail_outweighs_a_missing_fact(match: Match, file: MediaFile) -> None:
    assert judge(match, file)[0] is Judgement.DIFFERS


@pytest.mark.parametrize("key", KEYS)
def test_only_five_keys_look_at_nothing_but_the_origin(key: str) -> None:
    asked: dict[str, Any] = {key: ("1",)}
    assert Match(**asked).looks_only_at_origin is (key in {"app", "vendor", "event", "adopted", "stream"})


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
        (Match(name=("a/b",)), Match(name=("a/*",)), True),
        (Match(name=("a*",)), Match(stream=("a*",)), False),
        (Match(vendor=(Vendor.HUAWEI,)), Match(vendor=(Vendor.TENCENT, Vendor.HUAWEI)), True),
        (Match(), Match(vendor=(Vendor.HUAWEI,)), False),
        (Match(event=("record",)), Match(event=("record", "compose")), True),
        (Match(event=("compose",)), Match(event=("record",)), False),
        (Match(min_duration=2 * MINUTE), Match(min_duration=MINUTE), True),
        (Match(min_duration=MINUTE), Match(min_duration=2 * MINUTE), False),
        (Match(), Match(min_duration=MINUTE), False),
        (Match(max_duration=MINUTE), Match(max_duration=2 * MINUTE), True),
        (Match(max_duration=2 * MINUTE), Match(max_duration=MINUTE), False),
        (Match(), Match(max_duration=MINUTE), False),
        (Match(), Match(min_size=0), True),
        (Match(max_size=0), Match(max_size=1), True),
        (Match(), Match(max_size=0), False),
        (Match(adopted=True), Match(), True),
        (Match(), Match(adopted=True), False),
        (Match(adopted=True), Match(adopted=False), False),
        (Match(stream=("a*",), app=("1",)), Match(stream=("a*",), event=("record",)), False),
    ],
)
def test_implication_holds_key_by_key(narrow: Match, wide: Match, *, expected: bool) -> None:
    assert match_implies(narrow, wide) is expected
