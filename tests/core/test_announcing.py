from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.core.announcing import merge_announcement
from service.core.model import MediaFile, Suspicion, Vendor

END = datetime(2026, 3, 1, tzinfo=UTC)
KNOWN = MediaFile(
    app_id="1",
    vendor=Vendor.TENCENT,
    file_id="f",
    stream_id="room",
    event="record",
    began_at=None,
    ended_at=END,
    received_at=END + timedelta(minutes=1),
)
LATER = END + timedelta(hours=1)
EARLIER = END - timedelta(hours=1)


def merge(known: MediaFile, announced: MediaFile, *, end_believed: bool = True) -> MediaFile:
    return merge_announcement(known, announced, end_believed=end_believed).file


def test_the_same_again_changes_nothing() -> None:
    again = merge_announcement(KNOWN, replace(KNOWN, received_at=LATER), end_believed=True)
    assert (again.file, again.differences) == (KNOWN, ())


def test_the_later_end_wins_and_an_earlier_one_is_recorded() -> None:
    assert merge(KNOWN, replace(KNOWN, ended_at=LATER)).ended_at == LATER
    earlier = merge_announcement(KNOWN, replace(KNOWN, ended_at=EARLIER), end_believed=True)
    assert earlier.file == KNOWN
    assert earlier.differences == (f"ended_at: {EARLIER}",)


def test_an_announcement_without_an_end_of_its_own_does_not_move_the_end() -> None:
    assert merge(KNOWN, replace(KNOWN, ended_at=LATER), end_believed=False) == KNOWN


def test_missing_facts_are_filled_in_and_known_ones_stay() -> None:
    filled = merge(KNOWN, replace(KNOWN, size_bytes=5, duration_s=2.5, stream_id="other"))
    assert (filled.size_bytes, filled.duration_s, filled.stream_id) == (5, 2.5, "room")
    second = merge_announcement(filled, replace(KNOWN, size_bytes=6), end_believed=True)
    assert (second.file.size_bytes, second.differences) == (5, ("size_bytes: 6",))


def test_a_stale_announcement_of_a_trusted_file_can_only_make_it_live_longer() -> None:
    stale = replace(KNOWN, suspicion=Suspicion.STALE, size_bytes=1, ended_at=EARLIER)
    assert merge(KNOWN, stale) == KNOWN
    assert merge(KNOWN, replace(stale, ended_at=LATER)) == replace(KNOWN, ended_at=LATER)


def test_a_fresh_announcement_replaces_what_only_a_stale_one_said() -> None:
    stale = replace(KNOWN, suspicion=Suspicion.STALE, size_bytes=1, stream_id="trial-forged")
    fresh = merge(stale, replace(KNOWN, size_bytes=7, received_at=LATER))
    assert (fresh.suspicion, fresh.size_bytes, fresh.stream_id) == (None, 7, "room")
    assert fresh.received_at == stale.received_at


def test_a_stale_end_that_is_later_is_kept_even_by_a_fresh_announcement() -> None:
    stale = replace(KNOWN, suspicion=Suspicion.STALE, ended_at=LATER)
    assert merge(stale, KNOWN).ended_at == LATER


def test_a_conflict_is_never_lifted_by_another_callback() -> None:
    conflicting = replace(KNOWN, suspicion=Suspicion.CONFLICT)
    assert merge(conflicting, KNOWN).suspicion is Suspicion.CONFLICT
    assert merge(KNOWN, conflicting).suspicion is Suspicion.CONFLICT
