"""The database: engines, transactions and migrations, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from service.database.engine import Database, DatabaseUnavailable, Transaction, UnfitDatabase

__all__ = ["Database", "DatabaseUnavailable", "Transaction", "UnfitDatabase"]
