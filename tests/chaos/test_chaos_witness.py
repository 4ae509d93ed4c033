"""The judge finds each kind of fault, and nothing where all is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.model import FileState, MediaFile, Outcome, Suspicion, Vendor, WaitReason
from service.sweep.records import Attempt
from tests.chaos.witness import (
    REST,
    Evidence,
    Fault,
    HoldPromise,
    Kind,
    Recording,
    RulesPromise,
    WrongClock,
    find_unfinished,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WINDOWS = {"keep": None, "day": timedelta(hours=12), REST: timedelta(seconds=60)}
SHORTER = {**WINDOWS, REST: timedelta(seconds=10)}


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def recording(name: str, stream: str, kind: Kind = Kind.FRESH, status: int | None = 200) -> Recording:
    made = Recording(Vendor.TENCENT, name, stream, START, kind)
    made.note(after(0), after(0.1), status)
    return made


def stored(number: int, each: Recording, state: FileState, **facts: Any) -> MediaFile:
    known: dict[str, Any] = {
        "received_at": START,
        "event": "record",
        "ended_at": START,
        "state": state,
        "state_at": START,
    }
    return MediaFile(number, "1", Vendor.TENCENT, each.file_id, each.stream, **known | facts)


def attempt(number: int, file: int, outcome: Outcome = Outcome.DELETED) -> Attempt:
    done = (outcome, True, "0", "success", "r", after(70.5))
    return Attempt(number, number, 1, file, after(70), REST, 1, after(60), "a rule", *done)


def make_evidence(**more: Any) -> Evidence:
    """One file was deleted in time, one is held, one kept for ever, one kept for a day; nothing is wrong."""
    gone, held, kept, day = (
        recording(*names) for names in (("g", "room-1"), ("h", "held-1"), ("k", "keep-1"), ("d", "day-1"))
    )
    forged = recording("f", "room-1", Kind.FORGED, 401)
    files = [
        stored(1, gone, FileState.DELETED),
        stored(2, held, FileState.HELD),
        stored(3, kept, FileState.KEPT),
        stored(4, day, FileState.SCHEDULED, due_at=START + timedelta(hours=12)),
    ]
    facts: dict[str, Any] = {
        "recordings": {each.file_id: each for each in (gone, held, kept, day, forged)},
        "removals": {"g": after(70)},
        "asked": {"g": 1},
        "stored": frozenset("hkd"),
        "files": {file.file_id: file for file in files},
        "attempts": {"g": [attempt(1, 1)]},
        "holds": [HoldPromise("held-1", START, None)],
        "rules": [RulesPromise(after(-10), after(-9), WINDOWS)],
        "confirmed": {},
        "wrong_clock": [],
        "now": after(900),
    }
    return Evidence(**facts | more)


def change_file(evidence: Evidence, name: str, **facts: Any) -> Evidence:
    return replace(evidence, files={**evidence.files, name: evidence.files[name]._replace(**facts)})


def remove(evidence: Evidence, name: str, at: datetime) -> Evidence:
    """A file goes, properly as far as its record is concerned."""
    number = evidence.files[name].id
    return replace(
        change_file(evidence, name, state=FileState.DELETED),
        removals={**evidence.removals, name: at},
        asked={**evidence.asked, name: 1},
        stored=evidence.stored - {name},
        attempts={**evidence.attempts, name: [attempt(9, number)]},
    )


def without_file(evidence: Evidence, name: str) -> Evidence:
    return replace(evidence, files={key: file for key, file in evidence.files.items() if key != name})


CASES: dict[str, tuple[Callable[[Evidence], Evidence], Fault, str]] = {
    "a callback is lost": (lambda e: without_file(e, "k"), Fault.LOST, "not in the inventory"),
    "its stream is lost": (lambda e: change_file(e, "h", stream_id="other"), Fault.LOST, "stored with stream"),
    "a forged one is taken": (
        lambda e: replace(e, files={**e.files, "f": stored(9, e.recordings["f"], FileState.KEPT)}),
        Fault.WRONG,
        "forged",
    ),
    "a held one is deleted": (lambda e: remove(e, "h", after(200)), Fault.WRONG, "held since"),
    "a kept one is deleted": (lambda e: remove(e, "k", after(200)), Fault.WRONG, "not before ever"),
    "one is deleted hours early": (lambda e: remove(e, "d", after(200)), Fault.WRONG, "not before 2026-03-02 00:00:00"),
    "one is deleted a second early": (lambda e: replace(e, removals={"g": after(59)}), Fault.WRONG, "not before"),
    "one is said to be deleted, and is there": (
        lambda e: change_file(e, "k", state=FileState.DELETED),
        Fault.WRONG,
        "still there",
    ),
    "one is gone, and nobody knows": (
        lambda e: change_file(e, "g", state=FileState.KEPT),
        Fault.UNEXPLAINED,
        "attempts: deleted",
    ),
    "one was deleted, and is said to have been gone": (
        lambda e: change_file(e, "g", state=FileState.GONE),
        Fault.UNEXPLAINED,
        "is gone",
    ),
    "one was deleted without an attempt": (lambda e: replace(e, attempts={}), Fault.UNEXPLAINED, "no attempt says so"),
    "one was asked for twice": (lambda e: replace(e, asked={"g": 2}), Fault.UNEXPLAINED, "asked for 2 times"),
    "a process ended": (lambda e: replace(e, ended_by_themselves=["it ended"]), Fault.UNEXPLAINED, "it ended"),
    "one is left in deleting": (lambda e: change_file(e, "h", state=FileState.DELETING), Fault.STUCK, "`deleting`"),
    "one has failed": (lambda e: change_file(e, "h", state=FileState.FAILED), Fault.STUCK, "`failed`"),
    "one is due": (lambda e: change_file(e, "d", due_at=after(1)), Fault.STUCK, "is due since"),
    "one that is due is not confirmed": (
        lambda e: replace(
            change_file(e, "g", state=FileState.UNCONFIRMED, suspicion=Suspicion.STALE),
            removals={},
            asked={},
            stored=e.stored | {"g"},
            attempts={},
        ),
        Fault.STUCK,
        "should have ended",
    ),
    "callbacks wait": (lambda e: replace(e, pending=3), Fault.STUCK, "3 callbacks"),
    "callbacks wait in the spool": (lambda e: replace(e, spooled="1 callback waits"), Fault.STUCK, "1 callback waits"),
    "an order waits": (lambda e: replace(e, unapplied=["order 3"]), Fault.STUCK, "order 3"),
    "the audit was altered": (lambda e: replace(e, chain_fault="entry 3"), Fault.WRONG, "entry 3"),
}


def test_where_all_is_well_nothing_is_found() -> None:
    assert judge(make_evidence()) == []
    assert find_unfinished(make_evidence()) == []


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_found(case: str) -> None:
    harm, fault, words = CASES[case]
    found = judge(harm(make_evidence()))
    assert any(each.fault is fault and words in each.text for each in found), found


def test_what_an_order_promises_counts_from_its_answer_to_its_taking_back() -> None:
    stays, hold = HoldPromise("held-1", START, None), HoldPromise("room-1", after(69), after(100))
    assert judge(make_evidence(holds=[stays, hold])) == [], "its call was on its way"
    assert judge(make_evidence(holds=[stays, hold._replace(since=after(60))]))
    assert judge(make_evidence(holds=[stays, hold._replace(since=after(10), until=after(69))])) == []


@pytest.mark.parametrize(
    ("at", "is_known", "is_right"),
    [(12, False, False), (22, False, True), (22, True, False), (41, True, True)],
)
def test_shorter_rules_count_once_they_may_be_in_force_and_for_known_files_after_the_cooling_off(
    at: float, is_known: bool, is_right: bool
) -> None:
    highest_id = 1 if is_known else 0
    rules = [
        RulesPromise(after(-10), after(-9), WINDOWS),
        RulesPromise(after(20), after(21), SHORTER, timedelta(seconds=20), highest_id),
    ]
    assert (judge(make_evidence(rules=rules, removals={"g": after(at)})) == []) is is_right


def test_rules_that_were_taken_back_do_not_count_any_more() -> None:
    rules = [
        RulesPromise(after(-10), after(-9), WINDOWS),
        RulesPromise(after(1), after(2), SHORTER),
        RulesPromise(after(20), after(21), WINDOWS),
    ]
    assert judge(make_evidence(rules=rules, removals={"g": after(22)})) == []
    assert judge(make_evidence(rules=rules, removals={"g": after(30)}))
    unanswered = [*rules[:2], rules[2]._replace(known_at=None)]
    assert judge(make_evidence(rules=unanswered, removals={"g": after(30)})) == [], "perhaps they were not"


def test_what_nobody_could_trust_is_deleted_only_after_it_was_confirmed() -> None:
    stale, conflict = recording("g", "room-1", Kind.STALE), recording("g", "room-1", Kind.CONFLICT)
    evidence = make_evidence()
    assert judge(replace(evidence, recordings={**evidence.recordings, "g": stale}))
    assert judge(replace(evidence, recordings={**evidence.recordings, "g": stale}, confirmed={"g": after(65)})) == []
    assert judge(replace(evidence, recordings={**evidence.recordings, "g": conflict})) == [], "nobody sent the second"
    conflict.note(after(1), after(2), 200, is_second=True)
    assert judge(replace(evidence, recordings={**evidence.recordings, "g": conflict}))


def test_what_a_wrong_clock_received_may_wait_to_be_confirmed() -> None:
    evidence = change_file(
        make_evidence(wrong_clock=[WrongClock(after(-1), after(0.05), timedelta(days=1))]), "h", stream_id=""
    )
    assert judge(evidence) == []
    assert judge(replace(evidence, wrong_clock=[WrongClock(after(-9), after(-8), timedelta(days=1))]))


def test_a_wait_that_a_clock_ahead_has_written_is_too_long_and_not_for_ever() -> None:
    due = {"due_at": after(1), "wait_until": after(86_400 + 20), "wait_reason": WaitReason.ADOPTION}
    waiting = change_file(make_evidence(), "d", **due)
    assert judge(waiting)
    ahead = WrongClock(after(0), after(5), timedelta(days=1))
    assert judge(replace(waiting, wrong_clock=[ahead])) == []
    assert judge(replace(waiting, wrong_clock=[ahead._replace(ahead=-ahead.ahead)]))
    assert judge(change_file(replace(waiting, wrong_clock=[ahead]), "d", wait_reason=WaitReason.RETRY))
