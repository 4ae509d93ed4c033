"""What a file in the vendor's listing changes in the inventory (docs/reconcile.md).

A listing vouches for what the vendor sees: that the file exists, when it was made, its size, length and name. It names
no stream and no event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from service.core.model import DISPUTED_EVENT, END_STATES, Suspicion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.core.listing import ListedFile
    from service.core.model import FileState

BY_LISTING: Final = "the vendor's listing"
"""Who has confirmed a file that was seen in a listing."""

REOPEN_AFTER: Final = timedelta(hours=1)
"""A listing may be a little behind: a file that ended this shortly before is not taken to be back."""

_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_CLOCK_SKEW: Final = timedelta(minutes=2)
_BEFORE_FIRST_CALLBACK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of the inventory as far as a listing can change it; `number` is its own.

    `is_announced`: what is known of it comes from a callback that is believed, stale ones before it aside.
    """

    number: int
    file_id: str
    state: FileState
    received_at: datetime
    began_at: datetime | None
    ended_at: datetime
    decided_at: datetime
    suspicion: Suspicion | None
    stream_id: str
    event: str
    name: str | None
    size_bytes: int | None
    duration_s: float | None
    replay_url: str | None
    vendor_created_at: datetime | None
    vendor_expires_at: datetime | None
    adopted_at: datetime | None
    lost_on: str | None
    listed_in: int | None
    is_announced: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a listed file means for a known one: the columns that get other values, and what is to be noted of it.

    `confirms`: a doubt about the file ends. `reopens`: it had ended, and is there again. `difference` is for people.
    """

    values: Mapping[str, Any]
    confirms: bool = False
    reopens: bool = False
    difference: str | None = None

    @property
    def is_news(self) -> bool:
        """Something has to be written beyond that the file was seen."""
        return bool(self.values) or self.confirms or self.reopens


def believe_created(listed: ListedFile, now: datetime) -> datetime | None:
    """When the vendor made the file, if that can be true: from 2015 until two minutes from now."""
    created = listed.created_at
    return created if created is not None and _EARLIEST <= created <= now + _CLOCK_SKEW else None


def compare_listed(known: KnownFile, listed: ListedFile, asked_at: datetime, now: datetime) -> Finding | None:
    """Hold a listed file against the known one; None: what was listed was asked for too early to mean anything.

    What is missing is filled in; the vendor's own facts (name, creation, expiry) follow the listing. `asked_at` is when
    the listing was asked for.
    """
    reopens = known.state in END_STATES
    if reopens and asked_at < known.decided_at + REOPEN_AFTER:
        return None
    told: dict[str, Any] = {
        "name": listed.name,
        "vendor_created_at": believe_created(listed, now),
        "vendor_expires_at": listed.expires_at,
    }
    values = {key: value for key, value in told.items() if value is not None and value != getattr(known, key)}
    missing: dict[str, Any] = {
        "size_bytes": listed.size_bytes,
        "duration_s": listed.duration_s,
        "replay_url": listed.media_url,
    }
    values |= {key: value for key, value in missing.items() if value is not None and getattr(known, key) is None}
    doubted, difference = drop_doubted(known, listed, values.get("vendor_created_at"))
    return Finding(values | doubted, confirms=known.suspicion is not None, reopens=reopens, difference=difference)


def drop_doubted(
    known: KnownFile, listed: ListedFile | None, created_at: datetime | None
) -> tuple[dict[str, Any], str | None]:
    """What is not believed of a file any more once a listing confirms it although its callbacks are in doubt.

    The body of a callback is not signed, and a listing vouches for the file alone: what only doubted callbacks have
    said must not choose the rule. Returns the columns that get other values, and what is to be noted. `listed` None:
    nothing is known of the listed file but that it was listed.
    """
    is_doubted = known.suspicion in (Suspicion.CONFLICT, Suspicion.STALE)
    is_only_listed = known.adopted_at is not None and not known.event
    if not is_doubted or known.is_announced or is_only_listed:
        return {}, None
    said = f"{known.event or 'no event'} of stream {known.stream_id or 'unknown'}, {known.duration_s or '?'} s"
    note = f"confirmed by {BY_LISTING}, which names no stream and no event; doubted callbacks said {said}"
    created = created_at or known.vendor_created_at
    values = {
        "stream_id": "",
        "event": DISPUTED_EVENT,
        "began_at": None,
        "ended_at": created or known.received_at,
        "duration_s": listed.duration_s if listed else None,
        "size_bytes": listed.size_bytes if listed else None,
        "replay_url": listed.media_url if listed else None,
    }
    return {key: value for key, value in values.items() if value != getattr(known, key)}, note


def find_late_lost_day(known: KnownFile, created_at: datetime | None, first_callback_at: datetime | None) -> str | None:
    """The day of a lost callback that could not be told at the adoption: the vendor's time was not believed then."""
    is_told_first = known.adopted_at is not None and not known.event and known.vendor_created_at is None
    return find_lost_day(created_at, first_callback_at) if is_told_first and known.lost_on is None else None


def find_lost_day(created_at: datetime | None, first_callback_at: datetime | None) -> str | None:
    """The UTC day of an adopted file whose callback should have come: made after the app's first one, less an hour."""
    if created_at is None or first_callback_at is None or created_at < first_callback_at - _BEFORE_FIRST_CALLBACK:
        return None
    return f"{created_at.astimezone(UTC):%Y-%m-%d}"
