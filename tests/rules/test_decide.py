from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.model import FileState, Hold, MediaFile, Suspicion
from service.rules.decide import Decision, RetentionRule, RuleSet, decide, find_rule, trust_end
from service.rules.match import Match
from tests.rules.examples import DAY, END, ERASURE, EXAMS, FILE, HOLD, HOUR, LATER, LESSONS, MINUTE, NEWEST, REST, SMALL


def by_rules(*rules: RetentionRule, file: MediaFile = FILE, now: datetime = LATER) -> Decision:
    return decide(file, RuleSet(1, rules), None, None, now)


def test_no_match_is_kept_for_ever() -> None:
    assert by_rules(EXAMS) == Decision(FileState.KEPT, None, None, "no rule matches it")
    assert by_rules().reason == "there are no rules"


def test_the_first_rule_that_matches_decides() -> None:
    assert by_rules(EXAMS, LESSONS, REST).rule == "lessons"
    assert by_rules(EXAMS, REST, LESSONS).rule == "rest"
    assert find_rule(FILE, (EXAMS, LESSONS, REST)) == (LESSONS, None)


@pytest.mark.parametrize("now", [END, LATER])
def test_a_file_is_due_when_its_window_has_passed_since_its_end(now: datetime) -> None:
    decision = by_rules(REST, now=now)
    assert decision == Decision(FileState.SCHEDULED, "rest", END + 30 * DAY, 'rule "rest" deletes files older than 30d')


@pytest.mark.parametrize(
    ("created_at", "since"), [(None, END), (END - DAY, END), (END, END), (END + 3 * DAY, END + 3 * DAY)]
)
def test_age_counts_from_the_later_of_its_end_and_the_vendors_own_time(
    created_at: datetime | None, since: datetime
) -> None:
    assert by_rules(REST, file=FILE._replace(vendor_created_at=created_at)).due_at == since + 30 * DAY


@pytest.mark.parametrize(
    ("rule", "file", "reason", "missing"),
    [
        (SMALL, FILE, 'rule "small" cannot be judged: its size is not known', "size"),
        (LESSONS, FILE._replace(stream_id=""), 'rule "lessons" cannot be judged: its stream is not known', "stream"),
        (EXAMS, FILE._replace(stream_id="exam-1"), 'rule "exams" keeps files for ever', None),
        (
            REST,
            FILE._replace(ended_at=datetime(9999, 12, 31, tzinfo=UTC)),
            'rule "rest" deletes files older than 30d, but that date is past the end of the calendar',
            None,
        ),
        (
            NEWEST,
            FILE._replace(stream_id=""),
            'rule "newest" keeps the newest 2 of each stream, and its stream is not known',
            "stream",
        ),
    ],
)
def test_a_rule_may_keep_a_file_and_says_why(
    rule: RetentionRule, file: MediaFile, reason: str, missing: str | None
) -> None:
    # The rule behind it, which would delete the file, is not asked.
    assert by_rules(rule, REST, file=file) == Decision(FileState.KEPT, rule.name, None, reason, missing=missing)


def test_a_later_rule_that_cannot_be_judged_does_not_matter() -> None:
    assert by_rules(REST, SMALL).due_at == END + 30 * DAY


def test_deciding_takes_no_rank_and_says_so() -> None:
    decision = by_rules(NEWEST)
    assert (decision.state, decision.due_at, decision.keep_latest) == (FileState.SCHEDULED, END + DAY, 2)


def test_adopted_files_wait_until_a_person_has_applied_rules() -> None:
    adopted = FILE._replace(stream_id="", event="")
    by_setting = RuleSet(1, (REST,), applied_by_person=False)
    decision = decide(adopted, by_setting, None, None, LATER)
    assert (decision.state, decision.rule, decision.due_at) == (FileState.KEPT, "rest", None)
    assert "until a person applies rules" in decision.reason
    assert decide(FILE, by_setting, None, None, LATER).due_at == END + 30 * DAY
    assert by_rules(REST, file=adopted).due_at == END + 30 * DAY
    assert decide(adopted, by_setting, None, ERASURE, LATER).state is FileState.SCHEDULED


def test_a_hold_wins_and_the_date_stays_known() -> None:
    decision = decide(FILE, RuleSet(1, (REST,)), HOLD, None, LATER)
    assert decision == Decision(FileState.HELD, "rest", END + 30 * DAY, "held: court case")
    ending = Hold(5, "1001", "case", until=END)
    assert decide(FILE, RuleSet(1, ()), ending, None, END - DAY).reason == "held until 2026-05-01 12:00 UTC: case"


def test_a_file_of_unknown_stream_may_be_the_one_that_a_hold_means() -> None:
    decision = decide(FILE._replace(stream_id=""), RuleSet(1, (REST,)), HOLD, None, LATER)
    assert decision.reason == "held: court case (its stream is not known, so the hold may concern it)"


@pytest.mark.parametrize("suspicion", Suspicion)
@pytest.mark.parametrize("rule", [REST, EXAMS, SMALL, NEWEST])
def test_a_suspect_file_waits_to_be_confirmed_whatever_the_rules_say(suspicion: Suspicion, rule: RetentionRule) -> None:
    decision = by_rules(rule, file=FILE._replace(suspicion=suspicion))
    assert decision.state is FileState.UNCONFIRMED
    assert "until a listing or a person confirms it" in decision.reason
    assert decision.due_at == by_rules(rule).due_at


def test_an_erasure_goes_before_the_rules_and_behind_holds_and_suspicions() -> None:
    rules = RuleSet(1, (RetentionRule("all", Match(), keep=None),))
    decision = decide(FILE, rules, None, ERASURE, LATER)
    assert (decision.state, decision.rule, decision.due_at) == (FileState.SCHEDULED, None, END + HOUR)
    assert decision.reason == "erasure 3 of 2026-05-01 13:00 UTC: asked to be forgotten"
    assert decide(FILE, rules, HOLD, ERASURE, LATER).state is FileState.HELD
    suspect = FILE._replace(suspicion=Suspicion.CONFLICT)
    assert decide(suspect, rules, None, ERASURE, LATER).state is FileState.UNCONFIRMED
    assert decide(suspect, rules, HOLD, ERASURE, LATER).state is FileState.HELD


def test_an_erasure_is_due_at_once_even_if_the_clock_ran_ahead_when_it_was_requested() -> None:
    assert decide(FILE, RuleSet(1, ()), None, ERASURE, END).due_at == END


@pytest.mark.parametrize("state", [FileState.DELETED, FileState.GONE, FileState.DELETING])
def test_nothing_is_decided_about_ended_files_and_files_in_a_call(state: FileState) -> None:
    file = FILE._replace(state=state)
    with pytest.raises(ValueError, match=f"file 7 is {state}"):
        by_rules(REST, file=file)


@pytest.mark.parametrize("hold", [None, HOLD])
def test_a_failed_file_stays_failed_and_its_date_is_kept(hold: Hold | None) -> None:
    failed = FILE._replace(state=FileState.FAILED, state_reason="given up after 9 attempts")
    decision = decide(failed, RuleSet(1, (REST,)), hold, None, LATER)
    assert decision == Decision(FileState.FAILED, "rest", END + 30 * DAY, "given up after 9 attempts")


@pytest.mark.parametrize(
    ("began_at", "ended_at", "expected"),
    [
        (END - HOUR, END, (END - HOUR, END)),
        (None, END, (None, END)),
        (END, END, (END, END)),
        (None, None, (None, FILE.received_at)),
        (END - HOUR, None, (END - HOUR, FILE.received_at)),
        (None, FILE.received_at + 2 * MINUTE, (None, FILE.received_at + 2 * MINUTE)),
        (None, FILE.received_at + 2 * MINUTE + timedelta(seconds=1), (None, FILE.received_at)),
        (None, datetime(2015, 1, 1, tzinfo=UTC), (None, datetime(2015, 1, 1, tzinfo=UTC))),
        (None, datetime(2014, 12, 31, 23, 59, 59, tzinfo=UTC), (None, FILE.received_at)),
        (datetime(1970, 1, 1, tzinfo=UTC), END, (None, END)),
        (END + timedelta(seconds=1), END, (END + timedelta(seconds=1), FILE.received_at)),
        (datetime(2500, 1, 1, tzinfo=UTC), END, (None, FILE.received_at)),
        (END - 800 * DAY, END - 700 * DAY, (END - 800 * DAY, END - 700 * DAY)),
    ],
)
def test_claimed_times_are_trusted_only_within_reason(
    began_at: datetime | None, ended_at: datetime | None, expected: tuple[datetime | None, datetime]
) -> None:
    assert trust_end(began_at, ended_at, FILE.received_at) == expected
