"""Copying everything into another database: from SQLite to PostgreSQL, when one machine is not enough any more."""

from __future__ import annotations

from typing import Final

from sqlalchemy import exists, func, insert, select

from service.database.columns import metadata
from service.database.engine import VERSION_TABLE, Database, Transaction, UnfitDatabase

_ROWS_AT_ONCE: Final = 1_000


def copy_everything(source: Database, target: Database) -> dict[str, int]:
    """Copy every row of a database that nobody uses into one that holds none, in one transaction; rows by table.

    Both have the schema of this release, whose tables `service.tables` declares. UnfitDatabase: the target holds rows;
    it is not changed.
    """
    tables = metadata.sorted_tables
    with target.write() as new, source.read() as old:
        if not source.is_sqlite:  # whose transactions see one moment
            old.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        names = {table.name for table in tables}
        if unknown := set(old.dialect.get_table_names(old)) - names - {VERSION_TABLE}:
            raise LookupError(f"tables that this process does not know: {', '.join(sorted(unknown))}")
        if used := [table.name for table in tables if new.scalar(select(exists().select_from(table)))]:
            raise UnfitDatabase(f"database {target.name} is not new: its table {used[0]} has rows; name an empty one")
        copied = {}
        for table in tables:
            copied[table.name] = 0
            for rows in old.execution_options(yield_per=_ROWS_AT_ONCE).execute(select(table)).mappings().partitions():
                new.execute(insert(table), [dict(row) for row in rows])
                copied[table.name] += len(rows)
        if not target.is_sqlite:
            _continue_counting(new)
    return copied


def _continue_counting(tx: Transaction) -> None:
    """Let the numbers that PostgreSQL gives to new rows begin behind those that were copied."""
    for table in metadata.sorted_tables:
        if (column := table.autoincrement_column) is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            tx.execute(select(func.setval(sequence, func.max(column))).having(func.max(column).is_not(None)))
