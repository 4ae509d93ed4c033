"""What people order: holds, erasures, previews, plans, tokens and the audit; cooling-off and approval of files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_table(
        "audit_links",
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit_links")),
    )
    with op.batch_alter_table("audit_links", schema=None) as batch_op:
        batch_op.create_index("uq_audit_links_entry_id", ["entry_id"], unique=True)

    op.create_table(
        "erasures",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("app_id", sa.String(length=20), nullable=True),
        sa.Column("stream_pattern", sa.Text(), nullable=True),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.Column("files_count", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("app_id", sa.String(length=20), nullable=False),
        sa.Column(
            "vendor", sa.Enum("Tencent", "Ws", "Huawei", name="vendor", native_enum=False, length=16), nullable=True
        ),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("stream_pattern", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.create_index(
            "ix_holds_standing",
            ["app_id"],
            unique=False,
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        )

    op.create_table(
        "previews",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("base_revision", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("sooner", sa.LargeBinary(), nullable=False),
        sa.Column("sooner_count", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_previews")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column(
            "role", sa.Enum("viewer", "operator", "admin", name="role", native_enum=False, length=16), nullable=False
        ),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_table(
        "plans",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("app_id", sa.String(length=20), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.Column("files_count", sa.BigInteger(), nullable=False),
        sa.Column("present_count", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("open", "approved", "lapsed", name="planstate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("approved_revision", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_plans_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "app_id", name=op.f("pk_plans")),
    )
    with op.batch_alter_table("plans", schema=None) as batch_op:
        batch_op.create_index(
            "ix_plans_open",
            ["app_id"],
            unique=True,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        )

    with op.batch_alter_table("media_files", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cooling_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("approval", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("observed_due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("erasure_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        batch_op.drop_index(batch_op.f("ix_media_files_due"), sqlite_where=sa.text("state = 'scheduled'"))
        batch_op.create_index(
            "ix_media_files_due",
            ["app_id", "vendor", "due_at", "id", "cooling_until"],
            unique=False,
            sqlite_where=sa.text("state = 'scheduled'"),
            postgresql_where=sa.text("state = 'scheduled'"),
        )
        batch_op.create_index(
            "ix_media_files_erasure",
            ["erasure_id"],
            unique=False,
            sqlite_where=sa.text("erasure_id IS NOT NULL"),
            postgresql_where=sa.text("erasure_id IS NOT NULL"),
        )
        batch_op.drop_index("ix_media_files_state")
        batch_op.create_index("ix_media_files_state", ["state", "due_at", "id", "cooling_until"], unique=False)
        batch_op.create_index("ix_media_files_listing", ["state", "id"], unique=False)
        batch_op.create_index(
            "ix_media_files_observed",
            ["observed_due_at", "rule", "state"],
            unique=False,
            sqlite_where=sa.text("observed_due_at IS NOT NULL"),
            postgresql_where=sa.text("observed_due_at IS NOT NULL"),
        )

    with op.batch_alter_table("rule_revisions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("through", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("cooling_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("preview_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )

    with op.batch_alter_table("callbacks", schema=None) as batch_op:
        batch_op.create_index("ix_callbacks_listing", ["verdict", "id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("callbacks", schema=None) as batch_op:
        batch_op.drop_index("ix_callbacks_listing")

    with op.batch_alter_table("rule_revisions", schema=None) as batch_op:
        batch_op.drop_column("preview_id")
        batch_op.drop_column("cooling_until")
        batch_op.drop_column("through")

    with op.batch_alter_table("media_files", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_media_files_observed",
            sqlite_where=sa.text("observed_due_at IS NOT NULL"),
            postgresql_where=sa.text("observed_due_at IS NOT NULL"),
        )
        batch_op.drop_index("ix_media_files_listing")
        batch_op.drop_index("ix_media_files_state")
        batch_op.create_index("ix_media_files_state", ["state", "due_at", "id"], unique=False)
        batch_op.drop_index(
            "ix_media_files_erasure",
            sqlite_where=sa.text("erasure_id IS NOT NULL"),
            postgresql_where=sa.text("erasure_id IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_media_files_due",
            sqlite_where=sa.text("state = 'scheduled'"),
            postgresql_where=sa.text("state = 'scheduled'"),
        )
        batch_op.create_index(
            batch_op.f("ix_media_files_due"),
            ["app_id", "vendor", "due_at", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'scheduled'"),
            postgresql_where=sa.text("state = 'scheduled'"),
        )
        batch_op.drop_column("erasure_id")
        batch_op.drop_column("observed_due_at")
        batch_op.drop_column("approval")
        batch_op.drop_column("cooling_until")

    with op.batch_alter_table("plans", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_plans_open", sqlite_where=sa.text("state = 'open'"), postgresql_where=sa.text("state = 'open'")
        )

    op.drop_table("plans")
    op.drop_table("tokens")
    op.drop_table("previews")
    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_holds_standing",
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        )

    op.drop_table("holds")
    op.drop_table("erasures")
    with op.batch_alter_table("audit_links", schema=None) as batch_op:
        batch_op.drop_index("uq_audit_links_entry_id")

    op.drop_table("audit_links")
    op.drop_table("audit_entries")
