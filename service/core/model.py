"""The words of the service: plain, frozen values that every room shares.

No clock, no database, no HTTP. All times are aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime


class Vendor(StrEnum):
    """The CDN vendor that stores a file, spelt as on ZEGO's wire (docs/protocol.md, "DeleteMedia")."""

    TENCENT = "Tencent"
    WANGSU = "Ws"
    HUAWEI = "Huawei"


class FileState(StrEnum):
    """Where a media file is on its way; documented in docs/states.md."""

    KEPT = "kept"
    SCHEDULED = "scheduled"
    HELD = "held"
    UNCONFIRMED = "unconfirmed"
    DELETING = "deleting"
    DELETED = "deleted"
    GONE = "gone"
    FAILED = "failed"


END_STATES = frozenset({FileState.DELETED, FileState.GONE})
"""States that only the vendor's listing may reopen."""


class Suspicion(StrEnum):
    """Why a file is not believed in until the vendor's listing or a person confirms it.

    `unlisted` says nothing against its callback: with CONFIRM=all, every file has to be seen in a listing.
    """

    STALE = "stale"
    CONFLICT = "conflict"
    UNLISTED = "unlisted"


class Verdict(StrEnum):
    """How a stored callback was judged; documented in docs/callbacks.md."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    STALE = "stale"
    CONFLICT = "conflict"
    IGNORED = "ignored"
    SET_ASIDE = "set_aside"
    MISDIRECTED = "misdirected"
    NOT_UNDERSTOOD = "not_understood"
    FORGED = "forged"
    UNKNOWN_APP = "unknown_app"


QUARANTINE_VERDICTS = frozenset({Verdict.FORGED, Verdict.UNKNOWN_APP})
"""Callbacks that were answered 401: kept apart, capped, never in the inventory."""


class Outcome(StrEnum):
    """What is known of one file after one call of DeleteMedia; documented in docs/outcomes.md."""

    DELETED = "deleted"
    GONE = "gone"
    RETRYABLE = "retryable"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a token may do in the API; each role may also do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def may(role: Role, needed: Role) -> bool:
    """Whether a role covers what needs another one."""
    in_order = list(Role)
    return in_order.index(role) >= in_order.index(needed)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and through what ("command line", "API token NAME", "settings")."""

    name: str
    through: str


class Action(StrEnum):
    """What a decision says should happen to a file now."""

    KEEP = "keep"
    OBSERVE = "observe"
    WAIT = "wait"
    DELETE = "delete"
    HOLD = "hold"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback that announces a file, read from ZEGO's wire (docs/protocol.md, "The callback").

    `began_at` and `ended_at` are what the callback claims, not yet believed (`believe_end` judges them).
    """

    app_id: str
    vendor: Vendor
    file_id: str
    stream_id: str
    event: str
    began_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    size_bytes: int | None
    replay_url: str | None


DISPUTED_EVENT: Final = "?"
"""The event of a file that a listing has confirmed, but of which only doubted callbacks told an event."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The facts of one recorded file, as far as they are known: what a decision may look at.

    `rank` counts the recordings of the same app and stream that the rule deciding it decides, from the newest (1); None
    means it is not known.
    `received_at` is when the file was first announced, or adopted; `vendor_created_at` is when the listing says it was
    made. `event` is empty if no callback has announced it, and `DISPUTED_EVENT` if none of those that did is believed.
    """

    app_id: str
    vendor: Vendor
    file_id: str
    stream_id: str
    event: str
    began_at: datetime | None
    ended_at: datetime
    received_at: datetime
    duration_s: float | None = None
    size_bytes: int | None = None
    replay_url: str | None = None
    suspicion: Suspicion | None = None
    rank: int | None = None
    erasure: Erasure | None = None
    vendor_created_at: datetime | None = None

    @property
    def known_event(self) -> str:
        """The event that announced it; empty if it is not known."""
        return "" if self.event == DISPUTED_EVENT else self.event

    @property
    def aged_from(self) -> datetime:
        """What its age counts from: its end or, if that is later, when the vendor says it was made."""
        created = self.vendor_created_at
        return self.ended_at if created is None else max(self.ended_at, created)


@dataclass(frozen=True, slots=True)
class Erasure:
    """A person's request that a file goes now, whatever the rules say; holds win over it."""

    number: int
    requested_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's order to keep: one file, or every file of a stream pattern within an app."""

    app_id: str
    reason: str
    file: tuple[Vendor, str] | None = None
    stream_pattern: str | None = None
    until: datetime | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules and holds say about one file at one moment, and why.

    `due_at` is when the rule lets the file go (None: never), also where a hold or a suspicion keeps it for now;
    `observed_due_at` is when a rule that only observes would have let it go. No call before `cooling_until`.
    """

    action: Action
    rule: str | None
    due_at: datetime | None
    reason: str
    observed_due_at: datetime | None = None
    cooling_until: datetime | None = None

    @property
    def state(self) -> FileState:
        """The state that an undecided file gets from this decision."""
        return _STATE_OF_ACTION[self.action]


_STATE_OF_ACTION = {
    Action.KEEP: FileState.KEPT,
    Action.OBSERVE: FileState.KEPT,
    Action.WAIT: FileState.SCHEDULED,
    Action.DELETE: FileState.SCHEDULED,
    Action.HOLD: FileState.HELD,
    Action.CONFIRM: FileState.UNCONFIRMED,
}


class Transport(StrEnum):
    """How far a call to ZEGO got."""

    ANSWERED = "answered"
    """An HTTP answer was read to its end."""
    NOT_SENT = "not_sent"
    """The connection never stood: ZEGO cannot have seen the request."""
    LOST = "lost"
    """The request may have arrived, but no whole answer came back."""


@dataclass(frozen=True, slots=True)
class FileError:
    """One entry of `Data.Errors`: the CDN vendor's own words about one file."""

    file_id: str
    code: str
    message: str
    request_id: str


@dataclass(frozen=True, slots=True)
class DeleteAnswer:
    """What was observed of one DeleteMedia call; nothing here is interpreted yet.

    `code` is the top-level `Code` (None: there was none to read). `unreadable` says that an HTTP answer came
    but was not a whole JSON answer of ZEGO (an error page, cut JSON, a `Data` that cannot be read).
    `cache_code` is what it says of purging Wangsu's cache: "" if that was asked for and it says nothing, None if it was
    not asked for. `raw` is the body as text, cut.
    """

    transport: Transport
    http_status: int | None = None
    code: int | None = None
    message: str = ""
    request_id: str = ""
    deleted: frozenset[str] = frozenset()
    errors: tuple[FileError, ...] = ()
    unreadable: bool = False
    retry_after_s: float | None = None
    cache_code: str | None = None
    raw: str = ""


Lane: TypeAlias = tuple[str, Vendor]
"""Files that may share a call: those of one app and one vendor."""
