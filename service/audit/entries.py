"""Reading the audit, and proving that nothing in it was altered (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.audit import store
from service.audit.chain import START, Entry, Head, check_chain
from service.database import Database, Transaction

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Verified:
    """What following the chain found: up to where it is right, and the first thing wrong, if any."""

    head: Head
    fault: str | None


def verify_chain(database: Database, noted: Head | None = None) -> Verified:
    """Follow the whole chain; a `noted` head has to be in it still.

    Whoever can write the database can rewrite the whole chain, but not a head that was noted elsewhere.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    with database.read() as tx:
        head = store.find_head(tx)  # first: what is written meanwhile comes after it
        try:
            found, fault = check_chain(_iterate(tx, head.number), head, noted)
        except _UnreadableError as error:
            return Verified(error.before, f"entry {error.before.number + 1} cannot be read: it was altered")
        if fault is None and store.list_forward(tx, head.number, 1) and store.find_head(tx) == head:
            fault = f"there are entries beyond {head.number}, which is where the audit ends: it was altered"
    return Verified(found, fault)


def export_entries(database: Database, after: int = 0) -> Iterator[tuple[Entry, str]]:
    """Every entry with its hash, the oldest first, those beyond `after`; read batch after batch."""
    while True:
        with database.read() as tx:
            batch = store.list_forward(tx, after, _BATCH)
        yield from batch
        if len(batch) < _BATCH:
            return
        after = batch[-1][0].number


class _UnreadableError(Exception):
    def __init__(self, before: Head) -> None:
        super().__init__()
        self.before = before


def _iterate(tx: Transaction, up_to: int) -> Iterator[tuple[Entry, str]]:
    """Entries in their order, up to a number."""
    before, size = START, _BATCH
    while True:
        try:
            batch = store.list_forward(tx, before.number, size)
        except ValueError as error:  # one of them has a time that is none
            if size == 1:
                raise _UnreadableError(before) from error
            size = 1
            continue
        for entry, stored in batch:
            if entry.number > up_to:
                return
            yield entry, stored
            before = Head(entry.number, stored)
        if not batch:
            return
