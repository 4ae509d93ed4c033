from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.core.cooling import Change, Standing, cool, follow_changes, is_sooner
from service.core.file_sets import FileSet
from service.core.model import Action, Decision, MediaFile, Vendor
from service.core.rules import RuleSet
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
NEVER = Standing(None, None, None)


def keeping(window: str, revision: int = 2, cooled: datetime | None = NOW + DAY, shown: tuple[int, ...] = ()) -> Change:
    rules = RuleSet(revision, parse_rules(f'[[rules]]\nname = "all"\nkeep = "{window}"\n'))
    return Change(rules, cooled, revision + 100, FileSet(shown))


def standing(due_in_days: int) -> Standing:
    return Standing(NOW + due_in_days * DAY, None, None)


def test_a_date_that_moves_earlier_waits_until_the_change_has_cooled() -> None:
    after = follow_changes(7, FILE, standing(20), [keeping("5d")], NOW)
    assert after == Standing(ENDED + 5 * DAY, NOW + DAY, None)


def test_a_date_where_there_was_none_is_earlier() -> None:
    assert follow_changes(7, FILE, NEVER, [keeping("5d")], NOW).cooling_until == NOW + DAY


@pytest.mark.parametrize("window", ["30d", "40d", "forever"])
def test_a_date_that_stays_or_moves_later_does_not_wait(window: str) -> None:
    assert follow_changes(7, FILE, standing(20), [keeping(window)], NOW).cooling_until is None


def test_a_change_that_a_later_one_took_back_still_counts_for_what_came_between() -> None:
    # A file that was not decided under the change in the middle must not be called as if it had been.
    changes = [keeping("forever", 2), keeping("30d", 3, NOW + 2 * DAY)]
    after = follow_changes(7, FILE, standing(20), changes, NOW)
    assert after == Standing(NOW + 20 * DAY, NOW + 2 * DAY, None)


def test_the_longest_wait_counts() -> None:
    changes = [keeping("5d", 2, NOW + 3 * DAY), keeping("4d", 3, NOW + DAY)]
    assert follow_changes(7, FILE, standing(20), changes, NOW).cooling_until == NOW + 3 * DAY


def test_only_what_its_preview_showed_is_approved() -> None:
    assert follow_changes(7, FILE, NEVER, [keeping("5d", shown=(6, 7))], NOW).approval == "preview 102"
    assert follow_changes(8, FILE, NEVER, [keeping("5d", shown=(6, 7))], NOW).approval is None


def test_an_earlier_date_that_no_preview_showed_ends_an_approval() -> None:
    approved = Standing(NOW + 20 * DAY, None, "preview 1")
    assert follow_changes(7, FILE, approved, [keeping("5d")], NOW).approval is None
    assert follow_changes(7, FILE, approved, [keeping("40d")], NOW).approval == "preview 1"


DUE = Decision(Action.DELETE, "all", NOW - DAY, "rule")


def test_what_cools_waits_and_says_until_when() -> None:
    cooled = cool(DUE, NOW + DAY, NOW)
    assert cooled.action is Action.WAIT
    assert "waits until 2026-03-02 12:00 UTC" in cooled.reason
    assert cooled.due_at == DUE.due_at


@pytest.mark.parametrize("until", [None, NOW, NOW - DAY])
def test_what_has_cooled_goes(until: datetime | None) -> None:
    cooled = cool(DUE, until, NOW)
    assert cooled.action is Action.DELETE
    assert cooled.cooling_until == until


def test_sooner_is_strict_and_never_is_the_latest() -> None:
    assert is_sooner(NOW, None)
    assert is_sooner(NOW, NOW + DAY)
    assert not is_sooner(NOW, NOW)
    assert not is_sooner(None, NOW)
    assert not is_sooner(None, None)
