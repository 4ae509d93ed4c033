"""The settings of the worker: commands go by them, so that no shell's own settings weaken what guards deletions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "zego0007"
down_revision = "zego0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("leader", schema=None) as batch_op:
        batch_op.add_column(sa.Column("settings", sa.JSON(), nullable=True))
        batch_op.drop_column("schedule")


def downgrade() -> None:
    with op.batch_alter_table("leader", schema=None) as batch_op:
        batch_op.add_column(sa.Column("schedule", sa.Text(), nullable=True))
        batch_op.drop_column("settings")
