"""What a decision makes of a file's row: when it may be called (design.md, truth 10)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import Erasure, FileState, Hold, MediaFile, Vendor, WaitReason
from service.rules.decide import RetentionRule, RuleSet, decide
from service.rules.match import Match
from service.rules.waiting import apply_decision, find_call_after

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COOLING = NOW + DAY
FILE = MediaFile(
    id=7,
    app_id="1",
    vendor=Vendor.HUAWEI,
    file_id="f",
    stream_id="room",
    event="record",
    ended_at=NOW - 10 * DAY,
    received_at=NOW - 10 * DAY,
)
HOLD = Hold(1, "1", "court case")
ERASURE = Erasure(3, None, None, (7,), 7, 1, "asked to be forgotten", NOW - HOUR, "ann", "command line")


def keeping(
    days: int | None, revision: int, cooling_until: datetime | None = COOLING, keep_latest: int | None = None
) -> RuleSet:
    keep = None if days is None else days * DAY
    rules = (RetentionRule("all", Match(), keep, keep_latest),)
    return RuleSet(revision, rules, cooling_until=cooling_until, shown_up_to=100)


def decided(
    file: MediaFile,
    rules: RuleSet,
    now: datetime = NOW,
    *,
    hold: Hold | None = None,
    erasure: Erasure | None = None,
    old_rule_counts: bool = False,
) -> MediaFile:
    decision = decide(file, rules, hold, erasure, now)
    return apply_decision(file, decision, rules, now, old_rule_counts=old_rule_counts)


def waits(file: MediaFile) -> tuple[datetime | None, WaitReason | None, datetime | None]:
    assert file.call_after == find_call_after(file.due_at, file.wait_until)
    return file.wait_until, file.wait_reason, file.call_after


def test_the_row_of_a_new_file() -> None:
    row = decided(FILE._replace(decide_again=True), keeping(30, 2))
    expected = FILE._replace(
        state=FileState.SCHEDULED,
        state_reason='rule "all" deletes files older than 30d',
        state_at=NOW,
        rule="all",
        due_at=NOW + 20 * DAY,
        call_after=NOW + 20 * DAY,
        revision=2,
    )
    assert row == expected


def test_the_moment_of_a_state_changes_with_the_state_alone() -> None:
    row = decided(decided(FILE, keeping(30, 1)), keeping(40, 2), NOW + HOUR)
    assert row.state_at == NOW
    assert decided(row, keeping(40, 2), NOW + HOUR, hold=HOLD).state_at == NOW + HOUR


@pytest.mark.parametrize(
    ("before", "after", "wait_until"),
    [
        (30, 5, COOLING),
        (None, 5, COOLING),
        # The old rules would have deleted it before the change can no longer be taken back: then it may go, too.
        (11, 5, NOW + DAY),
        (9, 5, NOW - DAY),
        (5, 30, None),
        (5, 5, None),
        (30, None, None),
        (None, None, None),
    ],
)
def test_a_date_brought_forward_waits_until_both_say_so(
    before: int | None, after: int | None, wait_until: datetime | None
) -> None:
    row = decided(decided(FILE, keeping(before, 1, None)), keeping(after, 2))
    assert row.wait_until == wait_until
    assert row.wait_reason == (None if wait_until is None else WaitReason.COOLING_OFF)
    waits(row)


def test_of_old_date_and_cooling_off_the_earlier_counts() -> None:
    old = decided(FILE._replace(ended_at=NOW - 10 * DAY + HOUR), keeping(10, 1, None))
    assert waits(decided(old, keeping(5, 2))) == (NOW + HOUR, WaitReason.COOLING_OFF, NOW + HOUR)


@pytest.mark.parametrize("cooling_until", [None, NOW, NOW - HOUR])
def test_what_can_no_longer_be_taken_back_makes_nobody_wait(cooling_until: datetime | None) -> None:
    assert decided(decided(FILE, keeping(30, 1, None)), keeping(5, 2, cooling_until)).wait_until is None


def test_a_file_never_decided_before_is_not_brought_forward() -> None:
    assert decided(FILE, keeping(5, 2)).wait_until is None


def test_an_adopted_file_in_its_wait_still_waits_after_a_hold_on_everything() -> None:  # interleaving (a)
    adoption = (NOW + 20 * HOUR, WaitReason.ADOPTION)
    adopted = FILE._replace(event="", stream_id="", wait_until=adoption[0], wait_reason=adoption[1])
    row = decided(adopted, keeping(5, 2))
    held = decided(row, keeping(5, 2), NOW + HOUR, hold=HOLD)
    released = decided(held, keeping(5, 2), NOW + 2 * HOUR)
    assert held.state is FileState.HELD
    assert released.state is FileState.SCHEDULED
    assert waits(released) == (*adoption, adoption[0])


@pytest.mark.parametrize("hold", [None, HOLD])
def test_a_size_that_becomes_known_after_a_change_waits_for_the_cooling_off(hold: Hold | None) -> None:
    # Interleaving (b), and a hold that hid the change makes no difference.
    small = RetentionRule("small", Match(max_size=10), 5 * DAY)
    rules = RuleSet(2, (small,), cooling_until=COOLING)
    unknown = decided(FILE, rules)
    known = decided(unknown._replace(size_bytes=9), rules, NOW + HOUR, hold=hold)
    assert waits(known) == (COOLING, WaitReason.COOLING_OFF, COOLING)
    assert waits(decided(known, rules, NOW + 2 * HOUR)) == waits(known)


def test_the_newest_file_waits_when_a_revision_drops_keep_latest() -> None:  # interleaving (c)
    row = decided(FILE, keeping(5, 1, None, keep_latest=1))
    changed = decided(row, keeping(5, 2), old_rule_counts=True)
    assert waits(changed) == (COOLING, WaitReason.COOLING_OFF, COOLING)


def test_deciding_again_about_the_same_makes_no_file_wait() -> None:
    rules = keeping(5, 2, keep_latest=1)
    row = decided(FILE, rules)
    assert decided(row, rules, NOW + HOUR, old_rule_counts=True) == row
    later = row._replace(ended_at=row.ended_at - HOUR)
    assert decided(later, rules, old_rule_counts=True).wait_until == COOLING


def test_a_change_taken_back_leaves_the_wait_and_moves_the_date() -> None:
    short = decided(decided(FILE, keeping(30, 1, None)), keeping(5, 2))
    back = decided(short, keeping(30, 3, NOW + 25 * HOUR), NOW + HOUR)
    assert waits(back) == (COOLING, WaitReason.COOLING_OFF, NOW + 20 * DAY)
    again = decided(back, keeping(5, 4, NOW + 26 * HOUR), NOW + 2 * HOUR)
    assert again.wait_until == NOW + 26 * HOUR


def test_a_backoff_is_neither_shortened_nor_renamed() -> None:
    retried = decided(FILE, keeping(9, 1, None))._replace(wait_until=NOW + 3 * DAY, wait_reason=WaitReason.RETRY)
    assert waits(decided(retried, keeping(5, 2))) == (NOW + 3 * DAY, WaitReason.RETRY, NOW + 3 * DAY)


@pytest.mark.parametrize(
    ("reason", "kept"), [(WaitReason.COOLING_OFF, False), (WaitReason.ADOPTION, False), (WaitReason.RETRY, True)]
)
def test_an_erasure_ends_all_waits_but_a_backoff(reason: WaitReason, *, kept: bool) -> None:
    row = decided(FILE, keeping(5, 2))._replace(wait_until=COOLING, wait_reason=reason)
    erased = decided(row, keeping(5, 2), erasure=ERASURE)
    assert (erased.due_at, erased.wait_until) == (NOW - HOUR, COOLING if kept else None)
    assert waits(erased)[2] == (COOLING if kept else NOW - HOUR)


def test_an_erasure_taken_back_leaves_a_file_without_an_old_date() -> None:
    waiting = decided(decided(FILE, keeping(30, 1, None)), keeping(5, 2))
    erased = decided(waiting, keeping(5, 2), erasure=ERASURE)
    assert waits(decided(erased, keeping(5, 2), NOW + HOUR)) == waits(waiting)


def test_what_a_preview_has_shown_is_noted_on_the_file() -> None:
    before = decided(FILE, keeping(30, 1, None))
    moved = decided(before, keeping(5, 2))
    assert moved.moved_by == 2
    assert decided(before._replace(id=101), keeping(5, 2)).moved_by is None
    assert decided(before, RuleSet(2, keeping(5, 2).rules)).moved_by is None
    assert decided(moved, keeping(5, 2), hold=HOLD).moved_by == 2
    assert decided(moved, keeping(5, 3)).moved_by == 2
    assert decided(moved, keeping(6, 3)).moved_by is None
    assert decided(moved, keeping(4, 3)).moved_by == 3
    # What becomes known later, under the same revision, was in no preview.
    assert decided(moved._replace(ended_at=NOW - 11 * DAY), keeping(5, 2)).moved_by is None
    assert decided(before, keeping(30, 2), erasure=ERASURE).moved_by is None
    assert decided(decided(FILE, keeping(5, 1, None, 1)), keeping(5, 2), old_rule_counts=True).moved_by == 2


windows = st.none() | st.integers(1, 40)
waiting_files = st.builds(
    lambda wait, days, revision: decided(FILE, keeping(days, revision, None))._replace(
        wait_until=wait and wait[0], wait_reason=wait and wait[1]
    ),
    st.none() | st.tuples(st.integers(-48, 48).map(lambda h: NOW + h * HOUR), st.sampled_from(WaitReason)),
    windows,
    st.integers(1, 2),
)


@given(waiting_files, st.lists(st.tuples(windows, st.integers(-24, 48), st.booleans()), max_size=5))
def test_no_decision_lowers_what_a_file_waits_for(file: MediaFile, changes: list[tuple[int | None, int, bool]]) -> None:
    for number, (days, hours, held) in enumerate(changes, start=2):
        rules = keeping(days, number, NOW + hours * HOUR)
        row = decided(file, rules, hold=HOLD if held else None)
        assert file.wait_until is None or (row.wait_until is not None and row.wait_until >= file.wait_until)
        waits(row)
        file = row


@given(windows, windows, st.integers(1, 48), st.booleans())
def test_a_file_goes_only_if_the_old_rules_agree_or_the_change_stands(
    before: int | None, after: int | None, hours: int, old_rule_counts: bool
) -> None:
    old = decided(FILE, keeping(before, 1, None))
    until = NOW + hours * HOUR
    row = decided(old, keeping(after, 2, until), old_rule_counts=old_rule_counts)
    if row.call_after is not None and row.call_after < until:
        assert not old_rule_counts
        assert old.call_after is not None
        assert old.call_after <= row.call_after or row.due_at == old.due_at
