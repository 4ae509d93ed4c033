from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.core.cooling import Approved, Change, cool, find_wait, follow_approval, is_sooner
from service.core.file_sets import FileSet
from service.core.model import Action, Decision, MediaFile, Vendor
from service.core.rules import RuleSet, decide_by_rules
from service.core.rules_file import parse_rules

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ENDED = NOW - 10 * DAY
FILE = MediaFile(
    app_id="1",
    vendor=Vendor.TENCENT,
    file_id="f",
    stream_id="room",
    event="record",
    began_at=None,
    ended_at=ENDED,
    received_at=ENDED,
)
NONE = Approved(None, None)


def keeping(window: str) -> RuleSet:
    return RuleSet(2, parse_rules(f'[[rules]]\nname = "all"\nkeep = "{window}"\n'))


def change(
    before: str,
    after: str = "5d",
    *,
    until: datetime | None = NOW + DAY,
    applied_at: datetime = NOW,
    shown: tuple[int, ...] = (),
) -> Change:
    return Change(keeping(before), keeping(after), applied_at, until, 102, FileSet(shown))


def date_under(rules: RuleSet, _: datetime | None) -> datetime | None:
    return decide_by_rules(FILE, rules.rules, NOW).due_at


def waits_until(due_in_days: int | None, *changes: Change) -> datetime | None:
    due_at = None if due_in_days is None else ENDED + due_in_days * DAY
    found = find_wait(FILE.received_at, due_at, changes, NOW, date_under)
    return None if found is None else found.cooling_until


def test_a_date_earlier_than_that_of_the_rules_before_waits() -> None:
    assert waits_until(5, change("30d")) == NOW + DAY
    assert waits_until(5, change("forever")) == NOW + DAY


@pytest.mark.parametrize("due_in_days", [30, 31, None])
def test_a_date_that_is_no_earlier_does_not_wait(due_in_days: int | None) -> None:
    assert waits_until(due_in_days, change("30d")) is None


def test_what_was_taken_back_makes_nobody_wait() -> None:
    # 30d, then 5d, then 30d again: the date is where it was.
    assert waits_until(30, change("30d", "5d"), change("5d", "30d")) is None


def test_a_change_that_a_later_one_took_back_still_counts_for_what_came_between() -> None:
    # 30d, then for ever, then 30d again: the last change moved the date from never.
    assert waits_until(30, change("30d", "forever"), change("forever", "30d", until=NOW + 2 * DAY)) == NOW + 2 * DAY


def test_the_longest_wait_counts() -> None:
    assert waits_until(4, change("30d", "5d", until=NOW + 3 * DAY), change("5d", "4d")) == NOW + 3 * DAY


@pytest.mark.parametrize("until", [None, NOW, NOW - DAY])
def test_a_change_that_cannot_be_taken_back_any_more_makes_nobody_wait(until: datetime | None) -> None:
    assert waits_until(5, change("30d", until=until)) is None


def test_a_file_that_came_after_the_change_does_not_wait() -> None:
    assert waits_until(5, change("30d", applied_at=FILE.received_at)) == NOW + DAY
    assert waits_until(5, change("30d", applied_at=FILE.received_at - timedelta(seconds=1))) is None


def test_dates_before_a_change_are_asked_for_among_what_it_found() -> None:
    asked = []

    def note(rules: RuleSet, announced_by: datetime | None) -> datetime | None:
        asked.append((rules, announced_by))
        return None

    changes = [change("30d"), change("20d", applied_at=NOW - DAY)]
    assert find_wait(FILE.received_at, ENDED, changes, NOW, note) is not None
    assert asked == [(keeping("30d"), NOW), (keeping("20d"), NOW - DAY)]


def follow(approved: Approved, *changes: Change, number: int = 7) -> Approved:
    return follow_approval(number, approved, changes, date_under)


def test_only_what_its_preview_showed_is_approved() -> None:
    assert follow(NONE, change("30d", shown=(6, 7))) == Approved("preview 102", ENDED + 5 * DAY)
    assert follow(NONE, change("30d", shown=(6, 7)), number=8).approval is None


def test_a_preview_approves_nothing_that_it_does_not_move_earlier() -> None:
    assert follow(NONE, change("5d", "30d", shown=(7,))).approval is None


def test_an_approval_ends_with_the_date_that_it_was_given_for() -> None:
    approved = Approved("preview 1", ENDED + 30 * DAY)
    assert follow(approved, change("30d", "30d")).approval == "preview 1"
    assert follow(approved, change("30d", "5d")).approval is None
    assert follow(approved, change("30d", "40d")).approval is None
    assert follow(approved, change("30d", "40d"), change("40d", "30d")).approval is None
    assert follow(approved, change("20d", "20d")).approval is None  # another date than the approved one, by now


DUE = Decision(Action.DELETE, "all", NOW - DAY, "rule")


def test_what_cools_waits_and_says_until_when() -> None:
    cooled = cool(DUE, change("30d"), None, NOW)
    assert cooled.action is Action.WAIT
    assert "a change of rules moved its date earlier, so it waits until 2026-03-02 12:00 UTC" in cooled.reason
    assert cooled.due_at == DUE.due_at


def test_what_was_adopted_a_while_ago_waits_and_says_until_when() -> None:
    cooled = cool(DUE, None, NOW + DAY, NOW)
    assert cooled.action is Action.WAIT
    assert "it was found in a listing only a while ago, so it waits until 2026-03-02 12:00 UTC" in cooled.reason
    assert cooled.cooling_until == NOW + DAY


def test_the_longer_wait_counts() -> None:
    short = change("30d")
    assert cool(DUE, short, NOW + 2 * DAY, NOW).cooling_until == NOW + 2 * DAY
    assert cool(DUE, change("30d", until=NOW + 3 * DAY), NOW + 2 * DAY, NOW).cooling_until == NOW + 3 * DAY


def test_an_adopted_file_whose_date_is_further_off_waits_for_nothing() -> None:
    later = replace(DUE, action=Action.WAIT, due_at=NOW + 5 * DAY)
    assert cool(later, None, NOW + DAY, NOW) == later
    assert cool(DUE, None, NOW, NOW) == DUE


@pytest.mark.parametrize("until", [None, NOW, NOW - DAY])
def test_what_has_cooled_goes(until: datetime | None) -> None:
    cooled = cool(DUE, change("30d", until=until), None, NOW)
    assert cooled.action is Action.DELETE
    assert cooled.cooling_until == until


def test_sooner_is_strict_and_never_is_the_latest() -> None:
    assert is_sooner(NOW, None)
    assert is_sooner(NOW, NOW + DAY)
    assert not is_sooner(NOW, NOW)
    assert not is_sooner(None, NOW)
    assert not is_sooner(None, None)
