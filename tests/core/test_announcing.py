from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

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


@pytest.mark.parametrize(
    ("known", "announced", "after"),
    [
        (None, None, None),
        (None, Suspicion.STALE, None),
        (None, Suspicion.UNLISTED, None),
        (Suspicion.STALE, None, None),
        (Suspicion.STALE, Suspicion.STALE, Suspicion.STALE),
        (Suspicion.STALE, Suspicion.UNLISTED, Suspicion.UNLISTED),
        (Suspicion.UNLISTED, None, Suspicion.UNLISTED),
        (Suspicion.UNLISTED, Suspicion.STALE, Suspicion.UNLISTED),
        (Suspicion.UNLISTED, Suspicion.UNLISTED, Suspicion.UNLISTED),
        *((each, Suspicion.CONFLICT, Suspicion.CONFLICT) for each in (None, *Suspicion)),
        *((Suspicion.CONFLICT, each, Suspicion.CONFLICT) for each in (None, *Suspicion)),
    ],
)
def test_doubts_after_another_announcement(
    known: Suspicion | None, announced: Suspicion | None, after: Suspicion | None
) -> None:
    assert merge(replace(KNOWN, suspicion=known), replace(KNOWN, suspicion=announced)).suspicion is after


def test_an_announcement_that_waits_for_a_listing_teaches_facts_like_a_fresh_one() -> None:
    unlisted = replace(KNOWN, suspicion=Suspicion.UNLISTED, size_bytes=7, stream_id="other")
    assert merge(KNOWN, unlisted) == replace(KNOWN, size_bytes=7)
    stale = replace(KNOWN, suspicion=Suspicion.STALE, size_bytes=1, vendor_created_at=END)
    taught = merge(stale, unlisted)
    assert (taught.stream_id, taught.size_bytes, taught.vendor_created_at) == ("other", 7, END)


ADOPTED = replace(KNOWN, stream_id="", event="", received_at=LATER, size_bytes=9, vendor_created_at=END)
CALLED = replace(KNOWN, event="compose", ended_at=EARLIER, began_at=EARLIER - timedelta(hours=1), size_bytes=8)


def introduce(known: MediaFile, announced: MediaFile, *, end_believed: bool = True) -> MediaFile:
    return merge_announcement(known, announced, end_believed=end_believed, only_listed=True).file


@pytest.mark.parametrize("suspicion", [None, Suspicion.UNLISTED])
def test_a_believed_announcement_tells_of_a_listed_file_what_no_listing_tells(suspicion: Suspicion | None) -> None:
    told = introduce(ADOPTED, replace(CALLED, suspicion=suspicion))
    assert (told.stream_id, told.event, told.began_at, told.ended_at) == ("room", "compose", CALLED.began_at, EARLIER)
    assert (told.size_bytes, told.received_at, told.suspicion) == (9, LATER, None), "the listing is the truth"
    assert told.aged_from == ADOPTED.aged_from, "it gets no older"


@pytest.mark.parametrize("suspicion", [Suspicion.STALE, Suspicion.CONFLICT])
def test_a_suspicious_announcement_tells_nothing_of_a_listed_file(suspicion: Suspicion) -> None:
    told = introduce(ADOPTED, replace(CALLED, suspicion=suspicion))
    assert replace(told, suspicion=None) == ADOPTED
    later = introduce(ADOPTED, replace(CALLED, suspicion=suspicion, ended_at=LATER))
    assert later.ended_at == LATER


def test_a_listed_file_keeps_its_end_where_an_earlier_one_would_make_it_older_or_is_not_told() -> None:
    assert introduce(replace(ADOPTED, vendor_created_at=None), CALLED).ended_at == END
    assert introduce(replace(ADOPTED, ended_at=LATER), CALLED).ended_at == LATER
    assert introduce(ADOPTED, CALLED, end_believed=False).ended_at == END
    assert introduce(ADOPTED, replace(CALLED, ended_at=LATER)).ended_at == LATER
