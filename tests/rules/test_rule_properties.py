from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.model import FileState, Hold, MediaFile, Suspicion, Vendor
from service.rules.decide import RetentionRule, RuleSet, decide
from service.rules.match import Judgement, Match, judge, match_implies

DAY = timedelta(days=1)
HOLD = Hold(4, "1", "court case")

moments = st.datetimes(datetime(2026, 5, 1), datetime(2026, 5, 10), timezones=st.just(UTC))  # noqa: DTZ001
patterns = st.lists(st.sampled_from(["*", "a*", "b*", "?b", "ab", "c"]), min_size=1, max_size=2).map(tuple)
matches = st.builds(
    Match,
    stream=st.none() | patterns,
    name=st.none() | patterns,
    app=st.none() | st.just(("1",)),
    vendor=st.none() | st.lists(st.sampled_from(Vendor), min_size=1, max_size=2).map(tuple),
    event=st.none() | st.just(("record",)),
    adopted=st.none() | st.booleans(),
    min_duration=st.none() | st.sampled_from([timedelta(seconds=5), timedelta(seconds=10)]),
    max_duration=st.none() | st.sampled_from([timedelta(seconds=10), timedelta(seconds=20)]),
    min_size=st.none() | st.integers(0, 2),
    max_size=st.none() | st.integers(1, 3),
)
rules = st.builds(
    RetentionRule,
    name=st.sampled_from(["one", "two", "three"]),
    match=matches,
    keep=st.none() | st.integers(1, 6).map(lambda days: days * DAY),
    keep_latest=st.none() | st.integers(1, 2),
)
rule_sets = st.builds(
    RuleSet, revision=st.just(1), rules=st.lists(rules, max_size=4).map(tuple), applied_by_person=st.booleans()
)
files = st.builds(
    MediaFile,
    id=st.just(1),
    app_id=st.sampled_from(["1", "2"]),
    vendor=st.sampled_from(Vendor),
    file_id=st.sampled_from(["ab", "c"]),
    stream_id=st.sampled_from(["ab", "a", "bb", "c", ""]),
    event=st.sampled_from(["record", "compose", ""]),
    ended_at=moments,
    received_at=moments,
    vendor_created_at=st.none() | moments,
    duration_s=st.sampled_from([None, 5.0, 10.0, 25.0, float("nan")]),
    size_bytes=st.none() | st.integers(0, 4),
    name=st.none() | st.sampled_from(["b", "ab"]),
    suspicion=st.none() | st.sampled_from(Suspicion),
    state=st.sampled_from([FileState.KEPT, FileState.SCHEDULED, FileState.HELD, FileState.FAILED]),
)


@given(files, rule_sets, st.none() | st.just(HOLD), moments)
def test_a_date_to_delete_needs_a_rule_that_matches_and_no_reason_to_keep(
    file: MediaFile, rule_set: RuleSet, hold: Hold | None, now: datetime
) -> None:
    decision = decide(file, rule_set, hold, None, now)
    if decision.state is not FileState.SCHEDULED:
        return
    judgements = [judge(rule.match, file)[0] for rule in rule_set.rules]
    first = next(number for number, judgement in enumerate(judgements) if judgement is not Judgement.DIFFERS)
    rule = rule_set.rules[first]
    assert judgements[first] is Judgement.MATCHES
    assert rule.keep is not None
    assert (decision.rule, decision.due_at) == (rule.name, file.aged_from + rule.keep)
    assert decision.keep_latest == rule.keep_latest
    assert hold is None
    assert file.suspicion is None
    assert file.state is not FileState.FAILED
    assert rule_set.applied_by_person or not file.is_adopted
    assert rule.keep_latest is None or file.stream_id


@given(files, rule_sets, moments)
def test_holds_and_suspicions_change_the_state_and_never_the_date(
    file: MediaFile, rule_set: RuleSet, now: datetime
) -> None:
    trusted = decide(file._replace(suspicion=None), rule_set, None, None, now)
    for kept in (decide(file, rule_set, HOLD, None, now), decide(file, rule_set, None, None, now)):
        assert (kept.rule, kept.due_at) == (trusted.rule, trusted.due_at)


@given(files, rule_sets, st.lists(rules, max_size=3), moments)
def test_rules_behind_the_one_that_decides_change_nothing(
    file: MediaFile, rule_set: RuleSet, more: list[RetentionRule], now: datetime
) -> None:
    decision = decide(file, rule_set, None, None, now)
    longer = RuleSet(1, (*rule_set.rules, *more), rule_set.applied_by_person)
    if decision.rule is not None:
        assert decide(file, longer, None, None, now) == decision


@given(matches, files)
def test_what_stands_in_the_way_of_a_match_is_named(match: Match, file: MediaFile) -> None:
    judgement, key = judge(match, file)
    assert (key is None) == (judgement is Judgement.MATCHES)
    if key is not None:
        assert ("is not known" in key.describe(match, file)) == (judgement is Judgement.UNKNOWN)


@given(matches, files, files)
def test_rules_that_look_only_at_the_origin_judge_files_of_one_origin_alike(
    match: Match, file: MediaFile, other: MediaFile
) -> None:
    if match.looks_only_at_origin:
        same = other._replace(app_id=file.app_id, vendor=file.vendor, event=file.event, stream_id=file.stream_id)
        assert judge(match, file) == judge(match, same)


@given(matches, matches, files)
def test_no_file_gets_past_a_match_that_is_implied(narrow: Match, wide: Match, file: MediaFile) -> None:
    if match_implies(narrow, wide) and judge(narrow, file)[0] is not Judgement.DIFFERS:
        assert judge(wide, file)[0] is not Judgement.DIFFERS
