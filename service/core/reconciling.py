"""What a file in the vendor's listing changes in the inventory (docs/reconcile.md).

A listing vouches for what the vendor sees: that the file exists, when it was made, its size, length and name. It names
no stream and no event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from service.core.model import END_STATES, Suspicion

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
    """A file of the inventory as far as a listing can change it; `number` is its own."""

    number: int
    file_id: str
    state: FileState
    received_at: datetime
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
    listed_in: int | None


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
    disputed, difference = drop_disputed(known)
    return Finding(values | disputed, confirms=known.suspicion is not None, reopens=reopens, difference=difference)


def drop_disputed(known: KnownFile) -> tuple[dict[str, Any], str | None]:
    """What is not believed of a file any more once a listing confirms it although callbacks contradict each other.

    The body of a callback is not signed: what only disputed ones say must not choose the rule. Returns the columns that
    are emptied, and what is to be noted.
    """
    if known.suspicion is not Suspicion.CONFLICT or not (known.stream_id or known.event):
        return {}, None
    said = f"{known.event or 'no event'} of stream {known.stream_id or 'unknown'}"
    note = f"confirmed by {BY_LISTING}, which names no stream and no event; disputed callbacks said {said}"
    return {"stream_id": "", "event": "", "began_at": None}, note


def find_lost_day(created_at: datetime | None, first_callback_at: datetime | None) -> str | None:
    """The UTC day of an adopted file whose callback should have come: made after the app's first one, less an hour."""
    if created_at is None or first_callback_at is None or created_at < first_callback_at - _BEFORE_FIRST_CALLBACK:
        return None
    return f"{created_at.astimezone(UTC):%Y-%m-%d}"
