"""The inbox: every callback that was stored, as it came, with its verdict. The quarantine is a verdict, too."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from service.database.schema import BigId, UtcDateTime, enum_column, metadata, partial_index
from service.model import Verdict

IS_PENDING: Final = text("verdict = 'pending'")
IS_PRUNABLE: Final = text("raw IS NOT NULL AND verdict NOT IN ('pending', 'not_understood', 'forged', 'unknown_app')")

callbacks: Final = Table(
    "callbacks",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("app_id", String(20), nullable=False),
    Column("signature", String(40), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    # None: dropped after INBOX_KEEP, or as one of too many contents under one signature.
    Column("raw", LargeBinary),
    Column("content_type", String(200), nullable=False),
    Column("event", String(64), nullable=False),
    Column("verdict", enum_column(Verdict), nullable=False),
    Column("reason", Text, nullable=False),
    Column("understood_at", UtcDateTime),
    Column("repeats", Integer, nullable=False),
    Column("media_file_id", BigInteger, ForeignKey("media_files.id")),
    UniqueConstraint("signature", "app_id", "content_hash"),
    Index("ix_callbacks_verdict", "verdict", "app_id", "id"),
    Index("ix_callbacks_media_file_id", "media_file_id"),
    partial_index("ix_callbacks_pending", IS_PENDING, "id"),
    partial_index("ix_callbacks_prunable", IS_PRUNABLE, "received_at", "id"),
)
