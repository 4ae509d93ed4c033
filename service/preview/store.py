"""The table of previews."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Integer, Table, Text

from service.database.schema import BigId, UtcDateTime, metadata

previews: Final = Table(
    "previews",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("as_of", UtcDateTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("through", Text, nullable=False),
    # What it compares with, and how far the inventory went.
    Column("base_revision", Integer, nullable=False),
    Column("highest_id", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("rules", Text, nullable=False),
    # How many files become due sooner.
    Column("sooner_count", BigInteger, nullable=False),
    Column("result", JSON, nullable=False),
)
