"""The totals of a run stand on its row: lists of runs counted all of their attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "zego0004"
down_revision = "zego0003"
branch_labels = None
depends_on = None

_OUTCOMES = ("deleted", "gone", "retryable", "rejected", "blocked", "unknown")
_COUNTS = ("calls", "unanswered", *_OUTCOMES, "purges_failed", "freed_bytes")

_FILL_CALLS = """
UPDATE runs SET calls = counted.calls
FROM (SELECT run_id, count(*) AS calls FROM calls GROUP BY run_id) AS counted
WHERE counted.run_id = runs.id
"""
_FILL_OUTCOMES = f"""
UPDATE runs SET unanswered = counted.unanswered, {", ".join(f"{each} = counted.{each}" for each in _OUTCOMES)}
FROM (
    SELECT run_id, count(*) - count(outcome) AS unanswered,
        {", ".join(f"count(CASE WHEN outcome = '{each}' THEN 1 END) AS {each}" for each in _OUTCOMES)}
    FROM attempts
    WHERE NOT EXISTS (
        SELECT 1 FROM attempts AS later
        WHERE later.media_file_id = attempts.media_file_id AND later.id > attempts.id
            AND later.run_id = attempts.run_id
    )
    GROUP BY run_id
) AS counted
WHERE counted.run_id = runs.id
"""  # noqa: S608  (our own names)
_FILL_DELETED = """
UPDATE runs SET purges_failed = counted.purges_failed, freed_s = counted.freed_s, freed_bytes = counted.freed_bytes
FROM (
    SELECT attempts.run_id, count(CASE WHEN calls.cache_code <> '1' THEN 1 END) AS purges_failed,
        coalesce(sum(media_files.duration_s), 0) AS freed_s, coalesce(sum(media_files.size_bytes), 0) AS freed_bytes
    FROM attempts
    JOIN calls ON calls.id = attempts.call_id
    JOIN media_files ON media_files.id = attempts.media_file_id
    WHERE attempts.outcome = 'deleted'
    GROUP BY attempts.run_id
) AS counted
WHERE counted.run_id = runs.id
"""


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column("runs", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("freed_s", sa.Float(precision=53), nullable=False, server_default="0"))
    for fill in (_FILL_CALLS, _FILL_OUTCOMES, _FILL_DELETED):
        op.execute(fill)


def downgrade() -> None:
    for name in (*_COUNTS, "freed_s"):
        op.drop_column("runs", name)
