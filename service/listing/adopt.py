"""What a file in the vendor's listing, which names no stream and no event, means for what is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from service.model import END_STATES, Erasure, FileState, MediaFile, Vendor, WaitReason
from service.rules.decide import leaves_erasure
from service.rules.waiting import find_call_after
from service.units import describe_moment
from service.zego.messages import ListedFile

_CALLBACK_ON_ITS_WAY: Final = timedelta(minutes=2)  # ZEGO sends a callback again for a minute
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_CLOCK_SKEW: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Which listing shows a file, when its page was requested, and until when adopted files are left alone."""

    listing_id: int
    asked_at: datetime
    wait_until: datetime
    now: datetime


class Known(NamedTuple):
    """A file of the inventory, what its callbacks say about trusting it, and the erasure that names it."""

    file: MediaFile
    is_announced: bool = False  # by a trusted callback
    suspected_at: datetime | None = None  # the last stale or conflicting callback was understood
    erasure: Erasure | None = None


def trust_created(listed: ListedFile, now: datetime) -> datetime | None:
    """When the vendor made a file, if that can be true: from 2015 until two minutes from now."""
    created = listed.created_at
    return created if created is not None and _EARLIEST <= created <= now + _CLOCK_SKEW else None


def adopt_file(app_id: str, vendor: Vendor, listed: ListedFile, sighting: Sighting) -> MediaFile:
    """The row of a file that nothing was known of; not decided yet."""
    now, created = sighting.now, trust_created(listed, sighting.now)
    return MediaFile(
        id=0,
        app_id=app_id,
        vendor=vendor,
        file_id=listed.file_id,
        stream_id="",
        event="",
        ended_at=created or now,
        received_at=now,
        duration_s=listed.duration_s,
        size_bytes=listed.size_bytes,
        replay_url=listed.media_url,
        name=listed.name,
        vendor_created_at=created,
        adopted_at=now,
        listed_in=sighting.listing_id,
        confirmed_at=sighting.asked_at,
        wait_until=sighting.wait_until,
        wait_reason=WaitReason.ADOPTION,
        decide_again=True,
    )


def is_lost(adopted: MediaFile, first_callback_at: datetime | None) -> bool:
    """Whether the callback of an adopted file must have been lost: the app's callbacks arrived before it was made."""
    created = adopted.vendor_created_at
    if created is None or first_callback_at is None:
        return False
    return first_callback_at < created <= adopted.received_at - _CALLBACK_ON_ITS_WAY


def compare_file(known: Known, listed: ListedFile, sighting: Sighting) -> tuple[MediaFile, tuple[str, ...]] | None:
    """The row of a known file that is listed, and what has changed by that, as a listing counts (nothing: only seen).

    None: it had ended, and its page was requested before that was known. A suspicion that was understood before the
    page was requested is cleared, and with it goes what only unverified callbacks said; a later one stays.
    """
    file, asked_at = known.file, sighting.asked_at
    is_ended, is_suspected = file.state in END_STATES, file.suspicion is not None
    if is_ended and (file.state_at is None or asked_at <= file.state_at):
        return None
    seen = file._replace(listed_in=sighting.listing_id, missing_since=None)
    if is_suspected:
        since = (known.suspected_at, file.state_at if file.state is FileState.UNCONFIRMED else None)
        if max((moment for moment in since if moment is not None), default=asked_at) >= asked_at:
            return seen, ()
    seen = seen._replace(confirmed_at=asked_at, suspicion=None)
    if is_suspected and not known.is_announced:
        seen = _drop_unverified(seen, known.erasure, listed, sighting)
    # The vendor's own facts follow the listing; what else was not known is filled in.
    new = seen._replace(
        name=listed.name or file.name,
        vendor_created_at=trust_created(listed, sighting.now) or file.vendor_created_at,
        size_bytes=listed.size_bytes if seen.size_bytes is None else seen.size_bytes,
        duration_s=listed.duration_s if seen.duration_s is None else seen.duration_s,
        replay_url=listed.media_url if seen.replay_url is None else seen.replay_url,
    )
    changes = ("filled",) if new != seen else ()
    if is_ended:
        new, changes = _reopen(new, known.erasure, sighting), (*changes, "reopened")
    elif is_suspected or file.state is FileState.UNCONFIRMED:
        changes = (*changes, "confirmed")
    return new._replace(decide_again=True) if changes else new, changes


def end_missing(file: MediaFile, began_at: datetime, now: datetime, *, was_asked_for: bool) -> MediaFile:
    """The row of a file that two complete listings in a row did not show.

    `was_asked_for`: an earlier call for it had no answer; so that call has deleted it.
    """
    first = "an unknown time" if file.missing_since is None else describe_moment(file.missing_since)
    reason = f"two complete listings in a row did not show it, of {first} and {describe_moment(began_at)}"
    state = FileState.GONE
    if was_asked_for:
        state, reason = FileState.DELETED, f"{reason}; an earlier call for it had no answer, so that one deleted it"
    return file._replace(state=state, state_reason=reason, state_at=now, decide_again=False)


def _drop_unverified(file: MediaFile, erasure: Erasure | None, listed: ListedFile, sighting: Sighting) -> MediaFile:
    """Treat a file as adopted: what chose its rule was said by nobody who can be trusted."""
    created = trust_created(listed, sighting.now) or file.vendor_created_at
    dropped = file._replace(
        stream_id="",
        event="",
        began_at=None,
        ended_at=created or file.received_at,
        duration_s=listed.duration_s,
        size_bytes=listed.size_bytes,
        replay_url=listed.media_url,
        adopted_at=file.adopted_at or sighting.now,
    )
    if erasure is not None and leaves_erasure(file, dropped, erasure):
        dropped = dropped._replace(erasure_id=None)
    return _wait(dropped, sighting)


def _reopen(file: MediaFile, erasure: Erasure | None, sighting: Sighting) -> MediaFile:
    """An ended file that is there again, to be decided as if it were adopted now.

    It may be another recording under the same id: an erasure concerns it only if it was surely made before that.
    """
    created = file.vendor_created_at
    is_erased = erasure is not None and created is not None and created <= erasure.requested_at
    reopened = file._replace(
        state=FileState.KEPT,
        state_reason="a listing shows it again",
        state_at=sighting.now,
        rule=None,
        due_at=None,
        revision=-1,
        moved_by=None,
        erasure_id=file.erasure_id if is_erased else None,
        attempts=0,
        first_attempt_at=None,
        last_outcome=None,
        wait_until=None,
    )
    return _wait(reopened, sighting)


def _wait(file: MediaFile, sighting: Sighting) -> MediaFile:
    until = sighting.wait_until
    if file.wait_until is not None and file.wait_until >= until:
        return file
    call_after = find_call_after(file.due_at, until)
    return file._replace(wait_until=until, wait_reason=WaitReason.ADOPTION, call_after=call_after)
