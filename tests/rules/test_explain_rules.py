from __future__ import annotations

from datetime import datetime

import pytest

from service.model import MediaFile, Suspicion, WaitReason
from service.rules.decide import WHY_UNCONFIRMED, RetentionRule, RuleSet
from service.rules.explain import describe_date, describe_wait, explain, explain_past
from tests.rules.examples import DAY, END, ERASURE, EXAMS, FILE, HOLD, HOUR, LESSONS, NEWEST, REST, SMALL


def rules(*in_order: RetentionRule) -> RuleSet:
    return RuleSet(1, in_order)


def test_an_explanation_reads_like_this() -> None:
    file = FILE._replace(suspicion=Suspicion.CONFLICT)
    assert [
        (line.name, str(line.result), line.why) for line in explain(file, rules(EXAMS, LESSONS, REST), [HOLD], None)
    ] == [
        ("hold", "holds", "held: court case"),
        (
            "suspicion",
            "unconfirmed",
            WHY_UNCONFIRMED[Suspicion.CONFLICT],
        ),
        ("exams", "does not match", 'its stream "lesson-7" does not match "exam-*"'),
        ("lessons", "would decide", 'rule "lessons" deletes files older than 7d'),
        ("rest", "not reached", 'rule "lessons" comes first'),
    ]


@pytest.mark.parametrize(
    ("in_order", "latest", "expected"),
    [
        ((REST,), None, [("decides", 'rule "rest" deletes files older than 30d')]),
        ((EXAMS,), None, [("does not match", 'its stream "lesson-7" does not match "exam-*"')]),
        (
            (SMALL, REST),
            None,
            [("cannot be judged", "its size is not known"), ("not reached", 'rule "small" comes first')],
        ),
        ((NEWEST,), "it is the newest", [("decides", "it is the newest")]),
        (
            (NEWEST,),
            None,
            [("decides", 'rule "newest" deletes files older than 1d, but the newest 2 of each stream stay')],
        ),
        ((REST,), "it is the newest", [("decides", 'rule "rest" deletes files older than 30d')]),
        ((), None, []),
    ],
)
def test_each_rule_has_its_line(
    in_order: tuple[RetentionRule, ...], latest: str | None, expected: list[tuple[str, str]]
) -> None:
    lines = explain(FILE, rules(*in_order), [], None, latest=latest)
    assert [(str(line.result), line.why) for line in lines] == expected
    assert [line.name for line in lines] == [rule.name for rule in in_order]


def test_no_rule_is_reached_behind_an_erasure() -> None:
    lines = explain(FILE, rules(LESSONS, REST), [HOLD], ERASURE)
    assert [str(line.result) for line in lines] == ["holds", "erases", "not reached", "not reached"]
    assert lines[2].why == "erasure 3 comes first"


def test_a_deleted_file_is_spoken_of_in_the_past() -> None:
    lines = explain_past(
        FILE, rules(EXAMS, SMALL, LESSONS, REST), "lessons", 'rule "lessons" deletes files older than 7d'
    )
    assert [(line.name, str(line.result), line.why) for line in lines] == [
        ("exams", "did not match", 'its stream "lesson-7" does not match "exam-*"'),
        ("small", "did not match", "it did not match then; what is known of the file has changed since"),
        ("lessons", "decided", 'rule "lessons" deletes files older than 7d'),
        ("rest", "not reached", 'rule "lessons" came first'),
    ]


def test_what_an_erasure_or_an_unknown_rule_deleted_has_one_line() -> None:
    assert explain_past(FILE, rules(REST), None, "erasure 3") == (("erasure", "erased", "erasure 3"),)
    assert explain_past(FILE, rules(), "lost", "then") == (("lost", "decided", "then"),)


@pytest.mark.parametrize(
    ("file", "rule", "due_at", "words"),
    [
        (FILE, EXAMS, None, None),
        (FILE, REST, END + 30 * DAY, "ended 2026-05-01 12:00 UTC + 30d = 2026-05-31 12:00 UTC"),
        (
            FILE._replace(received_at=END),
            REST,
            END + 30 * DAY,
            "arrived 2026-05-01 12:00 UTC + 30d = 2026-05-31 12:00 UTC",
        ),
        (
            FILE._replace(vendor_created_at=END + DAY),
            LESSONS,
            END + 8 * DAY,
            "made (says the vendor) 2026-05-02 12:00 UTC + 7d = 2026-05-09 12:00 UTC",
        ),
        (
            FILE,
            LESSONS,
            END + DAY,
            "ended 2026-05-01 12:00 UTC + 7d by today's facts; 2026-05-02 12:00 UTC by the facts when it was decided",
        ),
        (FILE, None, END + HOUR, "due since its erasure was requested: 2026-05-01 13:00 UTC"),
    ],
)
def test_the_arithmetic_of_a_date(
    file: MediaFile, rule: RetentionRule | None, due_at: datetime | None, words: str | None
) -> None:
    assert describe_date(file, rule, due_at) == words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (WaitReason.RETRY, "retried after 2026-05-02 12:00 UTC"),
        (WaitReason.ADOPTION, "a listing first showed it on 2026-05-01 12:00 UTC, so it waits until"),
        (WaitReason.COOLING_OFF, "its date moved earlier during a cooling-off"),
    ],
)
def test_a_wait_says_what_for_while_it_lasts(reason: WaitReason, words: str) -> None:
    file = FILE._replace(due_at=END, wait_until=END + DAY, wait_reason=reason, adopted_at=END)
    assert words in (describe_wait(file, END) or "")
    assert describe_wait(file, END + DAY) is None
    assert describe_wait(file._replace(due_at=None), END) is None
    assert describe_wait(file._replace(due_at=END + 2 * DAY), END) is None, "its date comes later all the same"
