"""The table of listings."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from service.database.schema import BigId, UtcDateTime, enum_column, metadata
from service.listing.record import ListingState
from service.model import Vendor

listings: Final = Table(
    "listings",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("app_id", String(20), nullable=False),
    Column("vendor", enum_column(Vendor), nullable=False),
    Column("state", enum_column(ListingState), nullable=False),
    Column("since", UtcDateTime),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("worker", Text, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("listed", BigInteger, nullable=False),
    Column("adopted", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("confirmed", BigInteger, nullable=False),
    Column("filled", BigInteger, nullable=False),
    Column("reopened", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("gone", BigInteger, nullable=False),
    Column("note", Text),
    Index("ix_listings_app", "app_id", "vendor", "id"),
)
