"""What one listed file means for what is known of it: tables without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.listing.adopt import Known, Sighting, adopt_file, compare_file, end_missing, is_lost
from service.model import Erasure, FileState, MediaFile, Outcome, Suspicion, Vendor, WaitReason
from service.zego.messages import ListedFile

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ASKED = NOW - timedelta(seconds=1)
SIGHTING = Sighting(7, ASKED, NOW + DAY, NOW)
CREATED = NOW - 10 * DAY
LISTED = ListedFile("f1", CREATED, "lesson", 2_000, 61.0, "https://media.invalid/f1")
SEEN: dict[str, Any] = {"listed_in": 7, "missing_since": None, "confirmed_at": ASKED}


def compare(known: Known, listed: ListedFile = LISTED) -> tuple[MediaFile, tuple[str, ...]]:
    compared = compare_file(known, listed, SIGHTING)
    assert compared is not None
    return compared


def known_file(**facts: Any) -> MediaFile:
    """A file that a callback announced, and about which a listing has nothing to add."""
    said: dict[str, Any] = {
        "stream_id": "room-1",
        "event": "record",
        "ended_at": NOW - 5 * DAY,
        "received_at": NOW - 5 * DAY,
        "began_at": NOW - 5 * DAY - HOUR,
        "duration_s": 60.0,
        "size_bytes": 1_000,
        "replay_url": "https://media.invalid/said",
        "name": "lesson",
        "vendor_created_at": CREATED,
        "revision": 3,
    }
    return MediaFile(id=1, app_id="1", vendor=Vendor.TENCENT, file_id="f1", **(said | facts))


@pytest.mark.parametrize(
    ("created", "trusted"),
    [
        (CREATED, True),
        (NOW + timedelta(minutes=2), True),
        (NOW + timedelta(minutes=3), False),
        (datetime(2015, 1, 1, tzinfo=UTC), True),
        (datetime(2014, 12, 31, tzinfo=UTC), False),
        (None, False),
    ],
)
def test_an_adopted_file_ages_from_when_the_vendor_made_it_if_that_can_be_true(
    created: datetime | None, trusted: bool
) -> None:
    file = adopt_file("1", Vendor.TENCENT, ListedFile("f1", created, "lesson", 2_000, 61.0, "url"), SIGHTING)
    assert (file.ended_at, file.vendor_created_at) == ((created, created) if trusted else (NOW, None))
    assert (file.is_adopted, file.stream_id, file.adopted_at, file.received_at) == (True, "", NOW, NOW)
    assert (file.name, file.size_bytes, file.duration_s, file.replay_url) == ("lesson", 2_000, 61.0, "url")
    assert (file.wait_until, file.wait_reason, file.decide_again) == (NOW + DAY, WaitReason.ADOPTION, True)
    assert (file.listed_in, file.confirmed_at) == (7, ASKED)


@pytest.mark.parametrize(
    ("created", "first_callback_at", "lost"),
    [
        (NOW - DAY, NOW - 2 * DAY, True),
        (NOW - DAY, NOW - HOUR, False),
        (NOW - DAY, None, False),
        (None, NOW - 2 * DAY, False),
        (NOW - timedelta(minutes=1), NOW - 2 * DAY, False),  # its callback may be on its way
    ],
)
def test_a_callback_is_lost_if_the_app_s_callbacks_arrived_before_the_file_was_made(
    created: datetime | None, first_callback_at: datetime | None, lost: bool
) -> None:
    assert is_lost(adopt_file("1", Vendor.WANGSU, ListedFile("f1", created), SIGHTING), first_callback_at) is lost


@pytest.mark.parametrize(
    ("facts", "becomes"),
    [
        ({"size_bytes": None}, {"size_bytes": 2_000}),
        ({"duration_s": None}, {"duration_s": 61.0}),
        ({"replay_url": None}, {"replay_url": "https://media.invalid/f1"}),
        ({"name": None}, {"name": "lesson"}),
        ({"name": "before"}, {"name": "lesson"}),
        ({"vendor_created_at": None}, {"vendor_created_at": CREATED}),
        ({"vendor_created_at": NOW - DAY}, {"vendor_created_at": CREATED}),
    ],
)
def test_what_is_not_known_is_filled_in_and_what_the_vendor_says_is_followed(
    facts: dict[str, Any], becomes: dict[str, Any]
) -> None:
    file = known_file(**facts)
    file_after, what = compare(Known(file))
    assert what == ("filled",)
    assert file_after == file._replace(decide_again=True, **SEEN, **becomes)


def test_a_file_that_is_known_already_is_only_seen() -> None:
    file = known_file(missing_since=NOW - DAY)
    file_after, what = compare(Known(file))
    assert what == ()
    assert file_after == file._replace(**SEEN)


# Suspicions

BEFORE, AFTER = ASKED - HOUR, ASKED + timedelta(milliseconds=1)
SUSPECTED: dict[str, Any] = {"suspicion": Suspicion.STALE, "state": FileState.UNCONFIRMED, "state_at": BEFORE}
DROPPED: dict[str, Any] = {
    "stream_id": "",
    "event": "",
    "began_at": None,
    "ended_at": CREATED,
    "adopted_at": NOW,
    "suspicion": None,
    "size_bytes": 2_000,
    "duration_s": 61.0,
    "replay_url": "https://media.invalid/f1",
    "wait_until": NOW + DAY,
    "wait_reason": WaitReason.ADOPTION,
    "decide_again": True,
}


@pytest.mark.parametrize("suspicion", Suspicion)
@pytest.mark.parametrize("state", [FileState.UNCONFIRMED, FileState.HELD, FileState.FAILED, FileState.DELETING])
def test_a_listing_confirms_a_suspected_file_and_what_only_unverified_callbacks_said_is_dropped(
    suspicion: Suspicion, state: FileState
) -> None:
    file = known_file(**SUSPECTED | {"suspicion": suspicion, "state": state})
    file_after, what = compare(Known(file, suspected_at=BEFORE))
    assert "confirmed" in what
    assert "reopened" not in what
    assert file_after == file._replace(**SEEN | DROPPED)


def test_what_a_trusted_callback_said_before_the_doubt_stays() -> None:
    file = known_file(**SUSPECTED)
    file_after, _ = compare(Known(file, is_announced=True, suspected_at=BEFORE))
    assert file_after == file._replace(suspicion=None, decide_again=True, **SEEN)


@pytest.mark.parametrize(
    ("suspected_at", "state_at"), [(AFTER, BEFORE), (ASKED, BEFORE), (BEFORE, AFTER), (None, ASKED), (AFTER, AFTER)]
)
def test_a_page_confirms_no_suspicion_that_was_understood_after_it_was_requested(
    suspected_at: datetime | None, state_at: datetime
) -> None:
    file = known_file(**SUSPECTED | {"state_at": state_at})
    file_after, what = compare(Known(file, suspected_at=suspected_at))
    assert what == ()
    assert file_after == file._replace(listed_in=7, missing_since=None)


def test_a_file_that_waited_for_any_confirmation_is_decided_again() -> None:
    file = known_file(state=FileState.UNCONFIRMED, state_at=BEFORE)  # CONFIRM=all
    file_after, what = compare(Known(file))
    assert ("confirmed" in what, file_after.stream_id) == (True, "room-1")


@pytest.mark.parametrize(("pattern", "left"), [("room-*", None), (None, 5)])
def test_an_erasure_by_pattern_that_rested_on_a_dropped_stream_is_taken_off(
    pattern: str | None, left: int | None
) -> None:
    erasure = Erasure(5, "1", pattern, () if pattern else (1,), 9, 1, "she asked", BEFORE, "a", "b")
    file = known_file(**SUSPECTED, erasure_id=5)
    file_after, _ = compare(Known(file, suspected_at=BEFORE, erasure=erasure))
    assert file_after.erasure_id == left


def test_a_longer_wait_stays() -> None:
    file = known_file(**SUSPECTED, wait_until=NOW + 2 * DAY, wait_reason=WaitReason.COOLING_OFF)
    file_after, _ = compare(Known(file, suspected_at=BEFORE))
    assert (file_after.wait_until, file_after.wait_reason) == (NOW + 2 * DAY, WaitReason.COOLING_OFF)


# Ends

ENDED: dict[str, Any] = {
    "state_at": BEFORE,
    "rule": "all",
    "due_at": NOW - DAY,
    "call_after": NOW - DAY,
    "moved_by": 2,
    "attempts": 2,
    "first_attempt_at": BEFORE,
    "last_outcome": Outcome.DELETED,
    "last_attempt_id": 4,
    "wait_until": NOW - HOUR,
    "wait_reason": WaitReason.RETRY,
}


@pytest.mark.parametrize("state", [FileState.DELETED, FileState.GONE])
def test_an_ended_file_that_is_shown_again_is_decided_as_if_it_were_adopted_now(state: FileState) -> None:
    file = known_file(**ENDED, state=state)
    new, what = compare(Known(file))
    assert "reopened" in what
    assert "confirmed" not in what
    assert (new.state, new.state_at, new.revision, new.due_at, new.moved_by) == (
        FileState.KEPT,
        NOW,
        -1,
        None,
        None,
    )
    assert (new.attempts, new.first_attempt_at, new.last_outcome, new.last_attempt_id) == (0, None, None, 4)
    assert (new.wait_until, new.wait_reason, new.decide_again) == (
        NOW + DAY,
        WaitReason.ADOPTION,
        True,
    )
    assert (new.stream_id, new.event, new.ended_at) == (file.stream_id, file.event, file.ended_at)


@pytest.mark.parametrize("state_at", [ASKED, AFTER, None])
def test_a_page_that_was_requested_before_the_end_was_known_changes_nothing(state_at: datetime | None) -> None:
    file = known_file(**ENDED | {"state_at": state_at}, state=FileState.DELETED)
    assert compare_file(Known(file), LISTED, SIGHTING) is None


@pytest.mark.parametrize(("created", "left"), [(CREATED, 5), (NOW - timedelta(minutes=30), None)])
def test_an_erasure_concerns_no_recording_that_was_made_after_it(created: datetime, left: int | None) -> None:
    erasure = Erasure(5, None, None, (1,), 9, 1, "she asked", NOW - HOUR, "a", "b")
    file = known_file(**ENDED, state=FileState.DELETED, erasure_id=5)
    file_after, _ = compare(Known(file, erasure=erasure), ListedFile("f1", created))
    assert file_after.erasure_id == left


def test_an_erasure_concerns_no_recording_of_which_nobody_says_when_it_was_made() -> None:
    erasure = Erasure(5, None, None, (1,), 9, 1, "she asked", NOW - HOUR, "a", "b")
    file = known_file(**ENDED, state=FileState.DELETED, erasure_id=5, vendor_created_at=None)
    file_after, _ = compare(Known(file, erasure=erasure), ListedFile("f1", None))
    assert file_after.erasure_id is None


@pytest.mark.parametrize(("was_asked_for", "state"), [(False, FileState.GONE), (True, FileState.DELETED)])
def test_a_missing_file_is_gone_or_was_deleted_by_a_call_without_an_answer(
    was_asked_for: bool, state: FileState
) -> None:
    file = end_missing(known_file(missing_since=NOW - HOUR), NOW, NOW, was_asked_for=was_asked_for)
    assert (file.state, file.state_at) == (state, NOW)
    assert "two complete listings in a row" in file.state_reason
    assert ("deleted it" in file.state_reason) is was_asked_for
