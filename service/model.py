"""The words of the service: plain, frozen values that every room shares.

No clock, no database, no HTTP. All times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple


class Vendor(StrEnum):
    """The CDN vendor that stores a file, spelt as on ZEGO's wire (docs/protocol.md, "DeleteMedia")."""

    TENCENT = "Tencent"
    WANGSU = "Ws"
    HUAWEI = "Huawei"


class FileState(StrEnum):
    """Where a media file is on its way; documented in docs/files.md."""

    KEPT = "kept"
    SCHEDULED = "scheduled"
    HELD = "held"
    UNCONFIRMED = "unconfirmed"
    DELETING = "deleting"
    DELETED = "deleted"
    GONE = "gone"
    FAILED = "failed"


END_STATES: Final = frozenset({FileState.DELETED, FileState.GONE})
"""States that only the vendor's listing may reopen."""


class Suspicion(StrEnum):
    """Why a file is not trusted until the vendor's listing or a person confirms it."""

    STALE = "stale"
    CONFLICT = "conflict"


class WaitReason(StrEnum):
    """Why a file is not called before its `wait_until`, although its rule would allow it."""

    COOLING_OFF = "cooling_off"
    ADOPTION = "adoption"
    RETRY = "retry"


class Verdict(StrEnum):
    """How a stored callback was judged; documented in docs/callbacks.md."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    STALE = "stale"
    CONFLICT = "conflict"
    IGNORED = "ignored"
    MISDIRECTED = "misdirected"
    NOT_UNDERSTOOD = "not_understood"
    FORGED = "forged"
    UNKNOWN_APP = "unknown_app"
    WRONG_PATH = "wrong_path"
    NOT_ALLOWED = "not_allowed"


QUARANTINE_VERDICTS: Final = frozenset({Verdict.FORGED, Verdict.UNKNOWN_APP, Verdict.WRONG_PATH, Verdict.NOT_ALLOWED})
"""Callbacks that were answered 401, 403 or 404: kept apart, capped, never in the inventory."""


class Outcome(StrEnum):
    """What is known of one file after one call of DeleteMedia; documented in docs/sweep.md."""

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


class NotPossible(Exception):  # noqa: N818  (an answer to a person, not a defect)
    """What was asked for cannot be done; the text says why in one line."""


class NoSuchThing(NotPossible):
    """The thing that was named does not exist."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a callback says of a file, as read from ZEGO's wire (docs/protocol.md, "The callback").

    `began_at` and `ended_at` are claims; `rules.decide.trust_end` judges them.
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


class MediaFile(NamedTuple):
    """One file of the inventory: its facts, what was decided about it, and what came of calling ZEGO.

    The fields are the columns of `media_files` (docs/files.md). `id` 0 stands for a file that is not stored yet.
    `stream_id` and `event` are empty where no trusted callback named them.
    """

    id: int
    app_id: str
    vendor: Vendor
    file_id: str
    stream_id: str
    event: str
    ended_at: datetime
    received_at: datetime
    began_at: datetime | None = None
    duration_s: float | None = None
    size_bytes: int | None = None
    replay_url: str | None = None
    name: str | None = None  # as the vendor's listing shows it (Tencent); for Ws and Huawei the file id is the name
    vendor_created_at: datetime | None = None
    adopted_at: datetime | None = None  # a listing first showed it, before any trusted callback announced it
    listed_in: int | None = None  # the last listing that showed it
    missing_since: datetime | None = None  # the first of the complete listings in a row that lack it began
    suspicion: Suspicion | None = None
    confirmed_at: datetime | None = None  # a listing or a person last confirmed that it exists as it is known here
    state: FileState = FileState.KEPT
    state_reason: str = ""
    state_at: datetime | None = None  # `state` last changed
    rule: str | None = None
    due_at: datetime | None = None  # its rule deletes it; None: never
    wait_until: datetime | None = None
    wait_reason: WaitReason | None = None
    call_after: datetime | None = None  # the later of `due_at` and `wait_until`; None where `due_at` is
    revision: int = -1  # the rule set under which it was last decided; -1: never decided
    decide_again: bool = False
    moved_by: int | None = None  # the previewed revision that moved its date earlier: the breaker does not count it
    erasure_id: int | None = None
    attempts: int = 0  # charged ones, since it was first asked for, or since a person retried it
    first_attempt_at: datetime | None = None
    last_outcome: Outcome | None = None
    last_attempt_id: int | None = None  # of all of its attempts, also from before a listing showed it again

    @property
    def is_adopted(self) -> bool:
        """Only a listing shows it: no trusted callback has announced it."""
        return not self.event

    @property
    def aged_from(self) -> datetime:
        """What its age counts from: its end or, if that is later, when the vendor says it was made."""
        created = self.vendor_created_at
        return self.ended_at if created is None else max(self.ended_at, created)

    @property
    def shown_name(self) -> str:
        """What a rule's `name` pattern is matched against; empty where it is not known."""
        return self.name or ("" if self.vendor is Vendor.TENCENT else self.file_id)


@dataclass(frozen=True, slots=True)
class Erasure:
    """A person's request that files go now, whatever the rules say; holds win over it.

    It concerns `file_ids` (numbers of the inventory), or the files of an app whose known stream fits the pattern and
    whose number is at most `highest_id`.
    """

    id: int
    app_id: str | None
    stream_pattern: str | None
    file_ids: Sequence[int]
    highest_id: int
    files_count: int
    reason: str
    requested_at: datetime
    requested_by: str
    through: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's order to keep: one file, or every file of a stream pattern within an app."""

    id: int
    app_id: str
    reason: str
    vendor: Vendor | None = None
    file_id: str | None = None
    stream_pattern: str | None = None
    until: datetime | None = None
    placed_at: datetime | None = None
    placed_by: str = ""
    through: str = ""
    released_at: datetime | None = None
    released_by: str | None = None
