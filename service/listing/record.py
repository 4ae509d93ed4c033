"""What is on record of one comparison of an app and vendor with the vendor's listing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.model import Vendor


class ListingState(StrEnum):
    """How the record of one listing stands; documented in docs/reconcile.md."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing, as its table has it; its counts are those of distinct files.

    `since`: only what was made after that was listed. `lost` are adopted files that were made after the app's first
    callback. `missing` were known before and not listed; `gone` of them were missing from the complete listing before.
    """

    id: int
    app_id: str
    vendor: Vendor
    state: ListingState
    since: datetime | None
    started_at: datetime
    finished_at: datetime | None
    worker: str
    calls: int = 0
    listed: int = 0
    adopted: int = 0
    lost: int = 0
    confirmed: int = 0
    filled: int = 0
    reopened: int = 0
    missing: int = 0
    gone: int = 0
    note: str | None = None

    @property
    def needs_person(self) -> bool:
        """It did not end as it should, or it shows that something is wrong: `note` says what, and what to do."""
        return self.state is ListingState.INCOMPLETE or (self.state is ListingState.COMPLETE and bool(self.note))
