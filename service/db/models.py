"""The tables of the main job: callbacks in, media files, rules, runs with their calls and attempts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.core.model import FileState, Outcome, Suspicion, Vendor, Verdict
from service.db.schema import BigId, Model, enum_column, partial_index


class RunState(StrEnum):
    """How the record of one pass stands; documented in docs/states.md."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    LOST = "lost"


class Trigger(StrEnum):
    """What started a pass."""

    SCHEDULE = "schedule"
    RETRY = "retry"
    COMMAND = "command"
    APPROVAL = "approval"


# The conditions of partial indexes, as text: a query with the same text is seen to be covered, on both databases.
IS_PENDING = text("verdict = 'pending'")
IS_SCHEDULED = text("state = 'scheduled'")
# (Said by what it is not: SQLite would answer an IN through the index on states, and read all of them.)
IS_UNDECIDED = text("state NOT IN ('deleting', 'deleted', 'gone', 'failed')")
IS_RETRYING = text("retry_at IS NOT NULL")
IS_CLAIMED = text("claim_run_id IS NOT NULL")
IS_PRUNABLE = text(
    "pruned_at IS NULL AND verdict NOT IN ('pending', 'set_aside', 'not_understood', 'forged', 'unknown_app')"
)
IS_PASSING = text("outcome IN ('retryable', 'rejected', 'blocked')")
IS_OPEN = text("outcome IS NULL")
IS_TO_ERASE = text("erasure_id IS NOT NULL")
IS_OBSERVED = text("observed_due_at IS NOT NULL")
IS_UNPURGED = text("last_cache_code <> '1'")
IS_LOST = text("lost_on IS NOT NULL")
IS_ADOPTED_BY_URL = text("vendor = 'Huawei' AND adopted_at IS NOT NULL")
IS_QUIET = text("quiet_until IS NOT NULL AND stream_id <> ''")


class ListingState(StrEnum):
    """How the record of one listing stands; documented in docs/reconcile.md."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNUSED = "unused"


class SignatureRow(Model):
    """One row per signature seen: locked first, so that two bodies with one signature see each other."""

    __tablename__ = "signatures"

    signature: Mapped[str] = mapped_column(String(40), primary_key=True)
    first_seen_at: Mapped[datetime]


class CallbackRow(Model):
    """The inbox: every callback that was stored, as it came, with its verdict. The quarantine is a verdict, too."""

    __tablename__ = "callbacks"
    __table_args__ = (
        UniqueConstraint("signature", "app_id", "content_hash"),
        Index("ix_callbacks_verdict", "verdict", "app_id", "id"),
        Index("ix_callbacks_listing", "verdict", "id"),
        partial_index("ix_callbacks_unfinished", IS_PENDING, "id"),
        partial_index("ix_callbacks_prunable", IS_PRUNABLE, "received_at", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    app_id: Mapped[str] = mapped_column(String(20))
    signature: Mapped[str] = mapped_column(String(40))
    content_hash: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime]
    raw: Mapped[bytes]
    content_type: Mapped[str] = mapped_column(String(200))
    event: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[Verdict]
    reason: Mapped[str]
    finished_at: Mapped[datetime | None]
    repeats: Mapped[int] = mapped_column(Integer, default=0)
    # When its raw bytes were dropped; that it came, and its verdict, stay on record.
    pruned_at: Mapped[datetime | None]
    media_file_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("media_files.id"), index=True)


class MediaFileRow(Model):
    """The inventory: one row per file, identified by app, vendor and the vendor's file id."""

    __tablename__ = "media_files"
    __table_args__ = (
        UniqueConstraint("app_id", "vendor", "file_id"),
        partial_index("ix_media_files_due", IS_SCHEDULED, "app_id", "vendor", "due_at", "id", "cooling_until"),
        partial_index("ix_media_files_retry", IS_RETRYING, "retry_at"),
        partial_index("ix_media_files_undecided", IS_UNDECIDED, "revision", "id"),
        partial_index("ix_media_files_claim", IS_CLAIMED, "claim_run_id"),
        partial_index("ix_media_files_erasure", IS_TO_ERASE, "erasure_id"),
        partial_index("ix_media_files_observed", IS_OBSERVED, "observed_due_at", "rule", "state"),
        partial_index("ix_media_files_unpurged", IS_UNPURGED, "last_cache_code", "last_attempt_at"),
        partial_index("ix_media_files_lost", IS_LOST, "app_id", "lost_on"),
        partial_index("ix_media_files_quiet", IS_QUIET, "quiet_until", "app_id", "stream_id"),
        partial_index("ix_media_files_url", IS_ADOPTED_BY_URL, "app_id", "replay_url"),
        Index("ix_media_files_state", "state", "due_at", "id", "cooling_until"),
        Index("ix_media_files_listing", "state", "id"),
        Index("ix_media_files_stream", "app_id", "stream_id", "ended_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    app_id: Mapped[str] = mapped_column(String(20))
    vendor: Mapped[Vendor]
    file_id: Mapped[str]
    stream_id: Mapped[str]
    event: Mapped[str] = mapped_column(String(64))
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime]
    received_at: Mapped[datetime]
    duration_s: Mapped[float | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    replay_url: Mapped[str | None]
    differences: Mapped[str | None]
    # Transcoded renditions that were announced of it, as JSON.
    renditions: Mapped[str | None]

    # What the vendor's listing says: its name, when it was made, when it expires by itself, and when that was seen.
    name: Mapped[str | None]
    vendor_created_at: Mapped[datetime | None]
    vendor_expires_at: Mapped[datetime | None]
    listed_at: Mapped[datetime | None]
    listed_in: Mapped[int | None] = mapped_column(BigId)
    # Found in a listing before any callback announced it. Nobody calls it before `quiet_until`, whatever the rules say.
    adopted_at: Mapped[datetime | None]
    quiet_until: Mapped[datetime | None]
    # The UTC day of an adopted file whose callback should have come, as YYYY-MM-DD.
    lost_on: Mapped[str | None] = mapped_column(String(10))

    suspicion: Mapped[Suspicion | None]
    confirmed_at: Mapped[datetime | None]
    confirmed_by: Mapped[str | None]
    # When the vendor was last asked whether an unconfirmed file exists, without confirming it.
    asked_at: Mapped[datetime | None]

    state: Mapped[FileState]
    state_reason: Mapped[str]
    rule: Mapped[str | None]
    due_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(Integer)
    decided_at: Mapped[datetime]
    # No call before this moment: a change of rules moved the date earlier, and can be taken back until then.
    cooling_until: Mapped[datetime | None]
    # What approved its deletion: "preview 7", "run 12", "erasure 3". The breaker does not count it again.
    approval: Mapped[str | None] = mapped_column(String(40))
    # When a rule that only observes would have let it go.
    observed_due_at: Mapped[datetime | None]
    erasure_id: Mapped[int | None] = mapped_column(BigId)

    claim_run_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("runs.id"))
    claimed_at: Mapped[datetime | None]

    attempts: Mapped[int] = mapped_column(Integer, default=0)
    first_attempt_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    last_outcome: Mapped[Outcome | None]
    last_code: Mapped[str | None]
    last_message: Mapped[str | None]
    last_request_id: Mapped[str | None]
    # Of a deleted file, what came of purging Wangsu's cache (core/purge.py): "1" is done, None: not asked for.
    last_cache_code: Mapped[str | None]
    last_attempt_at: Mapped[datetime | None]


class RevisionRow(Model):
    """One applied rule set, immutable; the highest number is in force."""

    __tablename__ = "rule_revisions"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    applied_at: Mapped[datetime]
    applied_by: Mapped[str]
    through: Mapped[str | None]
    source: Mapped[str]
    rules: Mapped[str]
    cooling_until: Mapped[datetime | None]
    preview_id: Mapped[int | None] = mapped_column(BigId)


class RunRow(Model):
    """The record of one pass of the sweep. Its totals are counted from its attempts, not stored."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    trigger: Mapped[Trigger] = mapped_column(enum_column(Trigger))
    slot_at: Mapped[datetime | None] = mapped_column(unique=True)
    state: Mapped[RunState] = mapped_column(enum_column(RunState), index=True)
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str]
    note: Mapped[str | None]


class CallRow(Model):
    """One DeleteMedia call: written before it is sent, completed when its answer is understood."""

    __tablename__ = "calls"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[int] = mapped_column(BigId, ForeignKey("runs.id"), index=True)
    app_id: Mapped[str] = mapped_column(String(20))
    vendor: Mapped[Vendor]
    opened_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    http_status: Mapped[int | None] = mapped_column(Integer)
    code: Mapped[str | None]
    message: Mapped[str | None]
    request_id: Mapped[str | None]
    cache_code: Mapped[str | None]
    raw: Mapped[str | None]


class AttemptRow(Model):
    """One file in one call: written before the call with the decision behind it, completed with the outcome."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_file", "media_file_id", "id"),
        partial_index("ix_attempts_open", IS_OPEN, "run_id"),
        partial_index("ix_attempts_passing", IS_PASSING, "opened_at", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    call_id: Mapped[int] = mapped_column(BigId, ForeignKey("calls.id"), index=True)
    run_id: Mapped[int] = mapped_column(BigId, ForeignKey("runs.id"), index=True)
    media_file_id: Mapped[int] = mapped_column(BigId, ForeignKey("media_files.id"))
    opened_at: Mapped[datetime]
    rule: Mapped[str | None]
    revision: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[datetime | None]
    reason: Mapped[str]
    outcome: Mapped[Outcome | None]
    charged: Mapped[bool | None]
    code: Mapped[str | None]
    message: Mapped[str | None]
    request_id: Mapped[str | None]
    ended_at: Mapped[datetime | None]


class ListingRow(Model):
    """The record of one comparison of an app and vendor with SearchMedia.

    `cursor` is where it goes on after a kill, as JSON. Its counts grow with what the files' own rows tell, so that a
    page that is read twice counts once.
    """

    __tablename__ = "listings"
    __table_args__ = (Index("ix_listings_lane", "app_id", "vendor", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    app_id: Mapped[str] = mapped_column(String(20))
    vendor: Mapped[Vendor]
    state: Mapped[ListingState] = mapped_column(enum_column(ListingState))
    since: Mapped[datetime | None]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str]
    cursor: Mapped[str | None]
    calls: Mapped[int] = mapped_column(Integer, default=0)
    listed: Mapped[int] = mapped_column(BigInteger, default=0)
    adopted: Mapped[int] = mapped_column(BigInteger, default=0)
    lost: Mapped[int] = mapped_column(BigInteger, default=0)
    confirmed: Mapped[int] = mapped_column(BigInteger, default=0)
    filled: Mapped[int] = mapped_column(BigInteger, default=0)
    reopened: Mapped[int] = mapped_column(BigInteger, default=0)
    missing: Mapped[int] = mapped_column(BigInteger, default=0)
    # Files that the second look showed although the first one had not.
    contradicted: Mapped[int] = mapped_column(BigInteger, default=0)
    gone: Mapped[int] = mapped_column(BigInteger, default=0)
    note: Mapped[str | None]


class GateRow(Model):
    """Why an app, or one vendor of it, is not called at the moment. No row: it is."""

    __tablename__ = "gates"

    app_id: Mapped[str] = mapped_column(String(20), primary_key=True)
    vendor: Mapped[str] = mapped_column(String(16), primary_key=True)
    blocked: Mapped[bool]
    since: Mapped[datetime]
    until: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer)
    code: Mapped[str]
    message: Mapped[str]


class PaceRow(Model):
    """When the next call of an app may leave, in microseconds of the database's clock."""

    __tablename__ = "paces"

    app_id: Mapped[str] = mapped_column(String(20), primary_key=True)
    next_us: Mapped[int] = mapped_column(BigInteger)


class LeaseRow(Model):
    """Who may do a thing that one process at a time does. The fence grows with every new holder."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    holder: Mapped[str]
    fence: Mapped[int] = mapped_column(BigInteger)
    renewed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
