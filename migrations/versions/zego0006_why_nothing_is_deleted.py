"""Why the worker that leads deletes nothing, and ZEGO's clock: web processes and commands cannot see either."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "zego0006"
down_revision = "zego0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leader", sa.Column("refusals", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("leader", sa.Column("zego_ahead_s", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("leader", schema=None) as batch_op:
        batch_op.drop_column("zego_ahead_s")
        batch_op.drop_column("refusals")
