"""The tables of what people order: holds, erasures, previews, plans, tokens; and the audit of it all."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.core.model import Role, Vendor
from service.db.schema import BigId, Model, enum_column, partial_index


class PlanState(StrEnum):
    """How a plan stands that the breaker stopped; documented in docs/states.md."""

    OPEN = "open"
    APPROVED = "approved"
    LAPSED = "lapsed"


IS_OPEN_PLAN = text("state = 'open'")
IS_STANDING = text("released_at IS NULL")


class HoldRow(Model):
    """An order to keep: one file (vendor and file id), or a stream pattern within an app; released, it stays on record.

    `settled_at` is when its files were last decided anew because of it; None: that is still to be done.
    """

    __tablename__ = "holds"
    __table_args__ = (partial_index("ix_holds_standing", IS_STANDING, "app_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    app_id: Mapped[str] = mapped_column(String(20))
    vendor: Mapped[Vendor | None]
    file_id: Mapped[str | None]
    stream_pattern: Mapped[str | None]
    reason: Mapped[str]
    until: Mapped[datetime | None]
    placed_at: Mapped[datetime]
    placed_by: Mapped[str]
    through: Mapped[str]
    released_at: Mapped[datetime | None]
    released_by: Mapped[str | None]
    settled_at: Mapped[datetime | None]


class ErasureRow(Model):
    """A person's request that files go now: which ones (see service.core.file_sets), why, and who entered it.

    `settled_at` is when the last of its files had been told; None: that is still to be done.
    """

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    requested_at: Mapped[datetime]
    requested_by: Mapped[str]
    through: Mapped[str]
    reason: Mapped[str]
    app_id: Mapped[str | None] = mapped_column(String(20))
    stream_pattern: Mapped[str | None]
    files: Mapped[bytes]
    files_count: Mapped[int] = mapped_column(BigInteger)
    settled_at: Mapped[datetime | None]


class PreviewRow(Model):
    """What a candidate would do, as it was shown; `sooner` is the set of files that it would make due sooner."""

    __tablename__ = "previews"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    as_of: Mapped[datetime]
    made_by: Mapped[str]
    through: Mapped[str]
    base_revision: Mapped[int] = mapped_column(Integer)
    source: Mapped[str]
    rules: Mapped[str]
    sooner: Mapped[bytes]
    sooner_count: Mapped[int] = mapped_column(BigInteger)
    result: Mapped[str]


class PlanRow(Model):
    """What a pass wanted to delete of one app when the breaker stopped it: a frozen set of files."""

    __tablename__ = "plans"
    __table_args__ = (partial_index("ix_plans_open", IS_OPEN_PLAN, "app_id", unique=True),)

    run_id: Mapped[int] = mapped_column(BigId, ForeignKey("runs.id"), primary_key=True)
    app_id: Mapped[str] = mapped_column(String(20), primary_key=True)
    made_at: Mapped[datetime]
    files: Mapped[bytes]
    files_count: Mapped[int] = mapped_column(BigInteger)
    present_count: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    state: Mapped[PlanState] = mapped_column(enum_column(PlanState))
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]
    # The rules in force when it was approved; under other ones the approval gives nothing any more.
    approved_revision: Mapped[int | None] = mapped_column(Integer)


class AuditEntryRow(Model):
    """One change by a person, a token or the settings; written with the change, never altered."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    through: Mapped[str]
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str]
    detail: Mapped[str]


class AuditLinkRow(Model):
    """An entry's place in the chain: its hash covers the entry and the hash before it."""

    __tablename__ = "audit_links"
    __table_args__ = (Index("uq_audit_links_entry_id", "entry_id", unique=True),)

    position: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    entry_id: Mapped[int] = mapped_column(BigId)
    hash: Mapped[str] = mapped_column(String(64))


class TokenRow(Model):
    """A bearer token of the API: only the SHA-256 of its random text is kept."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[Role] = mapped_column(enum_column(Role))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]
