"""Notifications: what was reported and what waits to be sent, so that a restart repeats nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "zego0005"
down_revision = "zego0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("claimed_by", sa.String(length=200), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )


def downgrade() -> None:
    op.drop_table("notifications")
