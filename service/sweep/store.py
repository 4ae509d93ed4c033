"""The tables of the sweep, and their queries."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from service.database.schema import BigId, UtcDateTime, enum_column, metadata, partial_index
from service.model import Outcome, Vendor
from service.sweep.records import PlanState, RunState, Trigger

IS_OPEN: Final = text("outcome IS NULL")
IS_PRUNABLE: Final = text("outcome IN ('retryable', 'rejected', 'blocked')")
IS_OPEN_PLAN: Final = text("state = 'open'")

runs: Final = Table(
    "runs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("trigger", enum_column(Trigger), nullable=False),
    Column("state", enum_column(RunState), nullable=False, index=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("worker", Text, nullable=False),
    Column("note", Text),
)

calls: Final = Table(
    "calls",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigInteger, ForeignKey("runs.id"), nullable=False, index=True),
    Column("app_id", String(20), nullable=False),
    Column("vendor", enum_column(Vendor), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    Column("http_status", Integer),
    Column("code", Text),
    Column("message", Text),
    Column("request_id", Text),
    Column("cache_code", Text),
    Column("raw", Text),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("call_id", BigInteger, ForeignKey("calls.id"), nullable=False, index=True),
    Column("run_id", BigInteger, ForeignKey("runs.id"), nullable=False, index=True),
    Column("media_file_id", BigInteger, ForeignKey("media_files.id"), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("rule", Text),
    Column("revision", Integer, nullable=False),
    Column("due_at", UtcDateTime),
    Column("reason", Text, nullable=False),
    Column("outcome", enum_column(Outcome)),
    Column("charged", Boolean),
    Column("code", Text),
    Column("message", Text),
    Column("request_id", Text),
    Column("ended_at", UtcDateTime),
    Index("ix_attempts_file", "media_file_id", "id"),
    partial_index("ix_attempts_open", IS_OPEN, "call_id"),
    partial_index("ix_attempts_prunable", IS_PRUNABLE, "opened_at", "id"),
)

plans: Final = Table(
    "plans",
    metadata,
    Column("run_id", BigInteger, ForeignKey("runs.id"), primary_key=True),
    Column("app_id", String(20), primary_key=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("highest_id", BigInteger, nullable=False),
    Column("files_count", BigInteger, nullable=False),
    Column("present_count", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", enum_column(PlanState), nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_by", Text),
    Column("called", BigInteger, nullable=False),
    partial_index("ix_plans_open", IS_OPEN_PLAN, "app_id", unique=True),
)

app_states: Final = Table(
    "app_states",
    metadata,
    Column("app_id", String(20), primary_key=True),
    # Empty: the whole app.
    Column("vendor", String(16), primary_key=True),
    Column("blocked", Boolean, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    Column("failures", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
)
