from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.matching import Judgement, Match, judge, match_implies
from service.core.model import Action, Erasure, FileState, Hold, MediaFile, Suspicion, Vendor
from service.core.rules import (
    Mode,
    RetentionRule,
    RuleResult,
    believe_end,
    decide,
    explain,
    find_rule,
    find_unreachable,
)

END = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FILE = MediaFile(
    app_id="1001",
    vendor=Vendor.TENCENT,
    file_id="5285890784273533167",
    stream_id="lesson-7",
    event="record",
    began_at=END - HOUR,
    ended_at=END,
    received_at=END + MINUTE,
)
SMALL = RetentionRule("small", Match(max_size=1_000_000), keep=DAY)
LESSONS = RetentionRule("lessons", Match(stream=("lesson-*",)), keep=7 * DAY)
EXAMS = RetentionRule("exams", Match(stream=("exam-*",)), keep=None)
REST = RetentionRule("rest", Match(), keep=30 * DAY)
NEWEST = RetentionRule("newest", Match(), keep=DAY, keep_latest=2)
HOLD = Hold("1001", "court case", stream_pattern="lesson-*")
LATER = END + 1000 * DAY

moments = st.datetimes(datetime(2026, 5, 1), datetime(2026, 5, 10), timezones=st.just(UTC))  # noqa: DTZ001
windows = st.integers(1, 6).map(lambda days: days * DAY)
stream_patterns = st.sampled_from(["*", "a*", "b*", "?b", "ab", "c"])
matches = st.builds(
    Match,
    stream=st.none() | st.lists(stream_patterns, min_size=1, max_size=2).map(tuple),
    app=st.none() | st.just(("1",)),
    vendor=st.none() | st.lists(st.sampled_from(Vendor), min_size=1, max_size=3).map(tuple),
    event=st.none() | st.just(("record",)),
    min_duration=st.none() | st.just(10 * SECOND),
    max_duration=st.none() | st.just(20 * SECOND),
    min_size=st.none() | st.integers(0, 2),
    max_size=st.none() | st.integers(2, 3),
)
rules = st.builds(
    RetentionRule,
    name=st.sampled_from(["one", "two", "three"]),
    match=matches,
    keep=st.none() | windows,
    keep_latest=st.none() | st.integers(1, 2),
)
files = st.builds(
    MediaFile,
    app_id=st.sampled_from(["1", "2"]),
    vendor=st.sampled_from(Vendor),
    file_id=st.sampled_from(["x", "y"]),
    stream_id=st.sampled_from(["ab", "a", "bb", "c", ""]),
    event=st.sampled_from(["record", "compose", ""]),
    began_at=st.none(),
    ended_at=moments,
    received_at=moments,
    duration_s=st.sampled_from([None, 5.0, 10.0, 25.0, float("nan")]),
    size_bytes=st.none() | st.integers(0, 4),
    suspicion=st.none() | st.sampled_from(Suspicion),
    rank=st.none() | st.integers(1, 4),
)
hold_lists = st.lists(
    st.builds(
        Hold,
        app_id=st.sampled_from(["1", "2"]),
        reason=st.just("because"),
        file=st.none() | st.tuples(st.sampled_from(Vendor), st.sampled_from(["x", "y"])),
        stream_pattern=st.none() | stream_patterns,
        until=st.none() | moments,
    ),
    max_size=2,
)
rule_lists = st.lists(rules, max_size=4)


def test_no_match_is_kept_for_ever() -> None:
    decision = decide(FILE, [EXAMS], [], LATER)
    assert (decision.action, decision.rule, decision.due_at) == (Action.KEEP, None, None)
    assert decide(FILE, [], [], LATER).reason == "there are no rules"


def test_the_first_rule_that_matches_decides() -> None:
    assert decide(FILE, [EXAMS, LESSONS, REST], [], END).rule == "lessons"
    assert decide(FILE, [EXAMS, REST, LESSONS], [], END).rule == "rest"


@pytest.mark.parametrize(
    ("now", "action"),
    [
        (END, Action.WAIT),
        (END + 30 * DAY - timedelta(microseconds=1), Action.WAIT),
        (END + 30 * DAY, Action.DELETE),
        (LATER, Action.DELETE),
    ],
)
def test_a_file_is_due_when_its_window_has_passed_since_its_end(now: datetime, action: Action) -> None:
    decision = decide(FILE, [REST], [], now)
    assert (decision.action, decision.rule, decision.due_at) == (action, "rest", END + 30 * DAY)
    assert decision.state is FileState.SCHEDULED
    assert decision.reason == 'rule "rest" keeps it for 30d'


@pytest.mark.parametrize(
    ("created_at", "since"), [(None, END), (END - DAY, END), (END, END), (END + 3 * DAY, END + 3 * DAY)]
)
def test_age_counts_from_the_later_of_its_end_and_the_vendors_own_time(
    created_at: datetime | None, since: datetime
) -> None:
    file = replace(FILE, vendor_created_at=created_at)
    assert decide(file, [REST], [], END).due_at == since + 30 * DAY
    observing = replace(REST, mode=Mode.OBSERVE)
    assert decide(file, [observing], [], END).observed_due_at == since + 30 * DAY


def test_a_file_that_waits_for_a_listing_says_so() -> None:
    decision = decide(replace(FILE, suspicion=Suspicion.UNLISTED), [REST], [], LATER)
    assert decision.action is Action.CONFIRM
    assert decision.reason.startswith("CONFIRM=all: it has not been seen in a listing yet")


def test_a_rule_may_keep_for_ever() -> None:
    decision = decide(replace(FILE, stream_id="exam-1"), [EXAMS, REST], [], LATER)
    assert (decision.action, decision.rule, decision.due_at) == (Action.KEEP, "exams", None)
    assert decision.reason == 'rule "exams" keeps it for ever'


def test_an_earlier_rule_that_cannot_be_judged_keeps_the_file_and_says_why() -> None:
    decision = decide(FILE, [SMALL, REST], [], LATER)
    assert (decision.action, decision.rule, decision.due_at) == (Action.KEEP, "small", None)
    assert decision.reason == 'rule "small" cannot be judged: its size is not known'
    assert decide(replace(FILE, size_bytes=5_000_000), [SMALL, REST], [], LATER).action is Action.DELETE


def test_a_later_rule_that_cannot_be_judged_does_not_matter() -> None:
    assert decide(FILE, [REST, SMALL], [], LATER).action is Action.DELETE


@pytest.mark.parametrize(
    ("rank", "action", "words"),
    [
        (None, Action.KEEP, "its rank is not known"),
        (1, Action.KEEP, "it is number 1"),
        (2, Action.KEEP, "it is number 2"),
        (3, Action.DELETE, "keeps it for 1d"),
    ],
)
def test_the_newest_of_a_stream_are_kept_whatever_their_age(rank: int | None, action: Action, words: str) -> None:
    decision = decide(replace(FILE, rank=rank), [NEWEST], [], LATER)
    assert decision.action is action
    assert (decision.due_at is None) == (action is Action.KEEP)
    assert words in decision.reason


def test_the_rule_that_decides_a_file_is_the_first_that_matches_unless_one_cannot_be_judged() -> None:
    assert find_rule(FILE, [EXAMS, LESSONS, REST]) == 1
    assert find_rule(FILE, [EXAMS]) is None
    assert find_rule(FILE, [SMALL, REST]) is None  # its size is not known
    assert find_rule(replace(FILE, size_bytes=2_000_000), [SMALL, REST]) == 1


def test_a_window_past_the_end_of_the_calendar_keeps() -> None:
    decision = decide(replace(FILE, ended_at=datetime(9999, 12, 31, tzinfo=UTC)), [REST], [], LATER)
    assert (decision.action, decision.due_at) == (Action.KEEP, None)


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        (HOLD, True),
        (replace(HOLD, app_id="1002"), False),
        (replace(HOLD, stream_pattern="exam-*"), False),
        (replace(HOLD, until=LATER), False),
        (replace(HOLD, until=LATER + SECOND), True),
        (Hold("1001", "complaint", file=(Vendor.TENCENT, FILE.file_id)), True),
        (Hold("1002", "complaint", file=(Vendor.TENCENT, FILE.file_id)), False),
        (Hold("1001", "complaint", file=(Vendor.HUAWEI, FILE.file_id)), False),
        (Hold("1001", "complaint", file=(Vendor.TENCENT, "other")), False),
        (Hold("1001", "everything of the app"), True),
    ],
)
def test_a_hold_in_force_on_the_file_or_its_stream_wins_over_the_rules(hold: Hold, *, held: bool) -> None:
    decision = decide(FILE, [REST], [hold], LATER)
    assert decision.action is (Action.HOLD if held else Action.DELETE)
    assert decision.due_at == END + 30 * DAY
    assert (hold.reason in decision.reason) is held


def test_a_file_whose_stream_is_not_known_may_be_the_one_that_a_hold_means() -> None:
    decision = decide(replace(FILE, stream_id=""), [REST], [HOLD], LATER)
    assert decision.action is Action.HOLD
    assert "its stream is not known" in decision.reason


def test_a_hold_shows_its_reason_and_end_and_keeps_what_the_rules_say() -> None:
    decision = decide(FILE, [EXAMS], [replace(HOLD, until=datetime(2030, 1, 2, tzinfo=UTC))], LATER)
    assert (decision.action, decision.rule, decision.due_at) == (Action.HOLD, None, None)
    assert decision.reason == "held until 2030-01-02 00:00 UTC: court case"


@pytest.mark.parametrize("suspicion", Suspicion)
def test_a_suspect_file_waits_to_be_confirmed_however_old(suspicion: Suspicion) -> None:
    decision = decide(replace(FILE, suspicion=suspicion), [REST], [], LATER)
    assert (decision.action, decision.rule, decision.due_at) == (Action.CONFIRM, "rest", END + 30 * DAY)
    assert decision.state is FileState.UNCONFIRMED
    assert "confirm" in decision.reason


@pytest.mark.parametrize("rule", [EXAMS, SMALL, replace(REST, keep=None)])
def test_a_suspect_file_is_unconfirmed_even_where_no_rule_would_delete_it(rule: RetentionRule) -> None:
    decision = decide(replace(FILE, suspicion=Suspicion.STALE), [rule], [], LATER)
    assert (decision.action, decision.due_at) == (Action.CONFIRM, None)


@pytest.mark.parametrize(("rank", "action"), [(None, Action.CONFIRM), (1, Action.CONFIRM), (3, Action.CONFIRM)])
def test_a_suspect_file_has_no_rank_before_it_is_confirmed(rank: int | None, action: Action) -> None:
    decision = decide(replace(FILE, suspicion=Suspicion.CONFLICT, rank=rank), [NEWEST], [], LATER)
    assert decision.action is action


def test_a_held_suspect_file_is_held() -> None:
    assert decide(replace(FILE, suspicion=Suspicion.STALE), [REST], [HOLD], LATER).action is Action.HOLD


@given(files, rule_lists, hold_lists, moments)
def test_deletion_needs_a_matching_rule_a_passed_window_and_no_doubt(
    file: MediaFile, rule_list: list[RetentionRule], holds: list[Hold], now: datetime
) -> None:
    decision = decide(file, rule_list, holds, now)
    if decision.action is not Action.DELETE:
        return
    judgements = [judge(rule.match, file).judgement for rule in rule_list]
    first = next(number for number, judgement in enumerate(judgements) if judgement is not Judgement.DIFFERS)
    rule = rule_list[first]
    assert judgements[first] is Judgement.MATCHES
    assert decision.rule == rule.name
    assert rule.keep is not None
    assert decision.due_at == file.ended_at + rule.keep <= now
    assert rule.keep_latest is None or (file.rank is not None and file.rank > rule.keep_latest)
    assert file.suspicion is None
    assert all(decide(file, rule_list, [hold], now).action is Action.DELETE for hold in holds)


@given(files, rule_lists, moments)
def test_a_hold_on_the_very_file_always_holds(file: MediaFile, rule_list: list[RetentionRule], now: datetime) -> None:
    hold = Hold(file.app_id, "because", file=(file.vendor, file.file_id))
    without, held = decide(file, rule_list, [], now), decide(file, rule_list, [hold], now)
    assert held.action is Action.HOLD
    assert (held.rule, held.due_at) == (without.rule, without.due_at)


@given(files, rule_lists, hold_lists, moments, moments)
def test_a_later_moment_never_takes_a_due_file_back(
    file: MediaFile, rule_list: list[RetentionRule], holds: list[Hold], one: datetime, other: datetime
) -> None:
    earlier, later = sorted((one, other))
    before, after = decide(file, rule_list, holds, earlier), decide(file, rule_list, holds, later)
    assert before.due_at == after.due_at
    if before.action is Action.DELETE:
        assert after.action is Action.DELETE


@given(files, rule_lists, rule_lists, moments)
def test_rules_after_the_one_that_decides_change_nothing(
    file: MediaFile, rule_list: list[RetentionRule], more: list[RetentionRule], now: datetime
) -> None:
    decision = decide(file, rule_list, [], now)
    if decision.rule is not None:
        assert decide(file, [*rule_list, *more], [], now) == decision


@given(files, rule_lists, hold_lists, moments)
def test_an_explanation_tells_of_every_rule_and_agrees_with_the_decision(
    file: MediaFile, rule_list: list[RetentionRule], holds: list[Hold], now: datetime
) -> None:
    lines = explain(file, rule_list, holds, now)
    by_rules = decide(replace(file, suspicion=None), rule_list, [], now).rule
    of_rules = lines[len(lines) - len(rule_list) :]
    assert [line.name for line in of_rules] == [rule.name for rule in rule_list]
    is_below = len(lines) > len(rule_list)
    settles = {RuleResult.WOULD_DECIDE if is_below else RuleResult.DECIDES, RuleResult.UNKNOWN}
    settling = [line.name for line in of_rules if line.result in settles]
    assert settling == ([] if by_rules is None else [by_rules])
    held = any(line.result is RuleResult.HOLDS for line in lines)
    assert held == (decide(file, rule_list, holds, now).action is Action.HOLD)


def test_an_explanation_reads_like_this() -> None:
    file = replace(FILE, suspicion=Suspicion.CONFLICT)
    lines = explain(file, [EXAMS, LESSONS, REST], [HOLD], LATER)
    assert [(line.name, str(line.result), line.why) for line in lines] == [
        ("hold", "holds", "held: court case"),
        ("suspicion", "unconfirmed", "callbacks with one signature told different things: confirm it to let it go"),
        ("exams", "does not match", 'stream "lesson-7" does not fit "exam-*"'),
        ("lessons", "would decide", 'rule "lessons" keeps it for 7d'),
        ("rest", "not reached", 'rule "lessons" comes first'),
    ]


@pytest.mark.parametrize(
    ("began_at", "ended_at", "expected"),
    [
        (END - HOUR, END, (END - HOUR, END)),
        (None, END, (None, END)),
        (END, END, (END, END)),
        (None, None, (None, FILE.received_at)),
        (END - HOUR, None, (END - HOUR, FILE.received_at)),
        (None, FILE.received_at + 2 * MINUTE, (None, FILE.received_at + 2 * MINUTE)),
        (None, FILE.received_at + 2 * MINUTE + SECOND, (None, FILE.received_at)),
        (None, datetime(2015, 1, 1, tzinfo=UTC), (None, datetime(2015, 1, 1, tzinfo=UTC))),
        (None, datetime(2014, 12, 31, 23, 59, 59, tzinfo=UTC), (None, FILE.received_at)),
        (datetime(1970, 1, 1, tzinfo=UTC), END, (None, END)),
        (END + SECOND, END, (END + SECOND, FILE.received_at)),
        (datetime(2500, 1, 1, tzinfo=UTC), END, (None, FILE.received_at)),
        (END - 800 * DAY, END - 700 * DAY, (END - 800 * DAY, END - 700 * DAY)),
    ],
)
def test_claimed_times_are_believed_only_in_reason(
    began_at: datetime | None, ended_at: datetime | None, expected: tuple[datetime | None, datetime]
) -> None:
    assert believe_end(began_at, ended_at, FILE.received_at) == expected


@given(st.none() | moments, st.none() | moments, moments)
def test_a_believed_begin_is_never_after_the_end(
    began_at: datetime | None, ended_at: datetime | None, received_at: datetime
) -> None:
    begin, end = believe_end(began_at, ended_at, received_at)
    assert begin is None or begin <= end
    assert end <= received_at + 2 * MINUTE


@pytest.mark.parametrize(
    ("rule_list", "expected"),
    [
        ([LESSONS, EXAMS, REST], None),
        ([REST, LESSONS], (LESSONS, REST)),
        ([NEWEST, LESSONS], (LESSONS, NEWEST)),
        ([SMALL, LESSONS, REST], None),
        (
            [SMALL, RetentionRule("tiny", Match(max_size=10), DAY)],
            (RetentionRule("tiny", Match(max_size=10), DAY), SMALL),
        ),
        # Together the first two take every file; one alone does not, and only that counts.
        ([SMALL, RetentionRule("big", Match(min_size=1_000_000), DAY), REST], None),
    ],
)
def test_a_rule_is_unreachable_if_one_earlier_rule_alone_implies_it(
    rule_list: list[RetentionRule], expected: tuple[RetentionRule, RetentionRule] | None
) -> None:
    assert find_unreachable(rule_list) == expected


@given(matches, matches, files)
def test_a_rule_called_unreachable_never_gets_a_file(narrow: Match, wide: Match, file: MediaFile) -> None:
    if match_implies(narrow, wide) and judge(narrow, file).judgement is not Judgement.DIFFERS:
        assert judge(wide, file).judgement is not Judgement.DIFFERS


# Observing rules, erasures, and holds that cannot be checked

WATCHING = RetentionRule("watching", Match(stream=("lesson-*",)), keep=DAY, mode=Mode.OBSERVE)
ERASED = replace(FILE, erasure=Erasure(3, END + HOUR, "asked to be forgotten"))


def test_an_observing_rule_decides_and_lets_nothing_go() -> None:
    decision = decide(FILE, [WATCHING, REST], (), LATER)
    assert decision.action is Action.OBSERVE
    assert decision.state is FileState.KEPT
    assert (decision.rule, decision.due_at, decision.observed_due_at) == ("watching", None, END + DAY)


def test_an_observing_rule_keeps_the_newest_without_a_word_of_deleting() -> None:
    rule = replace(NEWEST, mode=Mode.OBSERVE)
    assert decide(replace(FILE, rank=1), [rule], (), LATER).observed_due_at is None
    assert decide(replace(FILE, rank=3), [rule], (), LATER).observed_due_at == END + DAY


@given(file=files, in_order=st.lists(rules, max_size=4), now=moments)
def test_what_observes_never_deletes(file: MediaFile, in_order: list[RetentionRule], now: datetime) -> None:
    observing = [replace(rule, mode=Mode.OBSERVE) for rule in in_order]
    watched, real = decide(file, observing, (), now), decide(file, in_order, (), now)
    assert watched.due_at is None
    assert watched.state in (FileState.KEPT, FileState.UNCONFIRMED)
    assert (watched.rule, watched.observed_due_at) == (real.rule, real.due_at)


def test_an_erasure_goes_before_the_rules() -> None:
    decision = decide(ERASED, [EXAMS, replace(REST, keep=None)], (), END + HOUR)
    assert (decision.action, decision.due_at) == (Action.DELETE, END + HOUR)
    assert "erasure 3" in decision.reason


def test_a_hold_and_a_suspicion_win_over_an_erasure() -> None:
    assert decide(ERASED, [REST], [HOLD], LATER).action is Action.HOLD
    assert decide(replace(ERASED, suspicion=Suspicion.CONFLICT), [REST], (), LATER).action is Action.CONFIRM


def test_an_erasure_is_explained_before_the_rules_that_do_not_count_any_more() -> None:
    assert [line.result for line in explain(ERASED, [REST], [HOLD], LATER)] == [RuleResult.HOLDS, RuleResult.ERASES]


def test_an_error_while_checking_a_hold_holds() -> None:
    broken = replace(HOLD, stream_pattern=7)  # type: ignore[arg-type]
    decision = decide(FILE, [LESSONS], [broken], LATER)
    assert decision.action is Action.HOLD
    assert "could not be checked" in decision.reason
