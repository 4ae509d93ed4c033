"""The vendor's listing: what it says of files, its records, and what the service may forget."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_VENDOR = sa.Enum("Tencent", "Ws", "Huawei", name="vendor", native_enum=False, length=16)
_STATE = sa.Enum(
    "running",
    "interrupted",
    "complete",
    "incomplete",
    "unused",
    name="listingstate",
    native_enum=False,
    length=16,
)
_COUNTS = ("listed", "adopted", "lost", "confirmed", "filled", "reopened", "missing", "contradicted", "gone")
_OF_FILES = (
    ("renditions", sa.Text()),
    ("name", sa.Text()),
    ("vendor_created_at", _MOMENT),
    ("vendor_expires_at", _MOMENT),
    ("listed_at", _MOMENT),
    ("listed_in", _BIG),
    ("adopted_at", _MOMENT),
    ("quiet_until", _MOMENT),
    ("lost_on", sa.String(length=10)),
    ("asked_at", _MOMENT),
    ("last_cache_code", sa.Text()),
)
_IS_UNPURGED = sa.text("last_cache_code <> '1'")
_IS_PRUNABLE = sa.text(
    "pruned_at IS NULL AND verdict NOT IN ('pending', 'set_aside', 'not_understood', 'forged', 'unknown_app')"
)
_IS_PASSING = sa.text("outcome IN ('retryable', 'rejected', 'blocked')")
_IS_LOST = sa.text("lost_on IS NOT NULL")
_IS_ADOPTED_BY_URL = sa.text("vendor = 'Huawei' AND adopted_at IS NOT NULL")
_IS_QUIET = sa.text("quiet_until IS NOT NULL AND stream_id <> ''")


def upgrade() -> None:
    op.create_table(
        "listings",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("app_id", sa.String(length=20), nullable=False),
        sa.Column("vendor", _VENDOR, nullable=False),
        sa.Column("state", _STATE, nullable=False),
        sa.Column("since", _MOMENT, nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("heartbeat_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listings")),
    )
    op.create_index("ix_listings_lane", "listings", ["app_id", "vendor", "id"], unique=False)
    # Columns without a default are added in place on both databases: no table is rebuilt.
    for name, kind in _OF_FILES:
        op.add_column("media_files", sa.Column(name, kind, nullable=True))
    op.add_column("callbacks", sa.Column("pruned_at", _MOMENT, nullable=True))
    op.add_column("calls", sa.Column("cache_code", sa.Text(), nullable=True))
    op.create_index(
        "ix_media_files_lost",
        "media_files",
        ["app_id", "lost_on"],
        unique=False,
        sqlite_where=_IS_LOST,
        postgresql_where=_IS_LOST,
    )
    op.create_index(
        "ix_media_files_quiet",
        "media_files",
        ["quiet_until", "app_id", "stream_id"],
        unique=False,
        sqlite_where=_IS_QUIET,
        postgresql_where=_IS_QUIET,
    )
    op.create_index(
        "ix_media_files_url",
        "media_files",
        ["app_id", "replay_url"],
        unique=False,
        sqlite_where=_IS_ADOPTED_BY_URL,
        postgresql_where=_IS_ADOPTED_BY_URL,
    )
    op.create_index(
        "ix_media_files_unpurged",
        "media_files",
        ["last_cache_code", "last_attempt_at"],
        unique=False,
        sqlite_where=_IS_UNPURGED,
        postgresql_where=_IS_UNPURGED,
    )
    op.create_index(
        "ix_callbacks_prunable",
        "callbacks",
        ["received_at", "id"],
        unique=False,
        sqlite_where=_IS_PRUNABLE,
        postgresql_where=_IS_PRUNABLE,
    )
    op.create_index(
        "ix_attempts_passing",
        "attempts",
        ["opened_at", "id"],
        unique=False,
        sqlite_where=_IS_PASSING,
        postgresql_where=_IS_PASSING,
    )


def downgrade() -> None:
    op.drop_index("ix_attempts_passing", "attempts")
    op.drop_index("ix_callbacks_prunable", "callbacks")
    op.drop_index("ix_media_files_unpurged", "media_files")
    op.drop_index("ix_media_files_url", "media_files")
    op.drop_index("ix_media_files_quiet", "media_files")
    op.drop_index("ix_media_files_lost", "media_files")
    op.drop_column("calls", "cache_code")
    op.drop_column("callbacks", "pruned_at")
    for name, _ in reversed(_OF_FILES):
        op.drop_column("media_files", name)
    op.drop_table("listings")
