"""The schedule of the worker that leads: who asks about sweeps must not take his own settings for the worker's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "zego0003"
down_revision = "zego0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leader", sa.Column("schedule", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("leader", schema=None) as batch_op:
        batch_op.drop_column("schedule")
