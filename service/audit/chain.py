"""The chain of hashes over the audit: each covers one entry and everything before it (docs/operations.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC
from typing import Final, NamedTuple

from service.audit import store
from service.audit.store import START, Entry, Head
from service.database import Database

_HASH_DIGITS: Final = 64


class Verified(NamedTuple):
    """What following the chain found: up to where it is right, and the first thing wrong, if any."""

    head: Head
    fault: str | None


def parse_head(text: str) -> Head:
    """Read what `str(head)` wrote; the message of a ValueError shows a right one."""
    number, _, digits = text.partition(":")
    is_hash = len(digits) == _HASH_DIGITS and set(digits) <= set("0123456789abcdef")
    if not (number.isascii() and number.isdecimal() and len(number) <= len(str(2**63)) and is_hash):
        raise ValueError(f"{text[:80]!r} is not a head: write it as `audit verify` shows it, NUMBER:HASH")
    return Head(int(number), digits)


def hash_entry(before: Head, entry: Entry) -> str:
    """The hash of an entry that follows a head."""
    facts = asdict(entry) | {"at": entry.at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"}
    del facts["hash"]
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(before.hash.encode() + text.encode("ascii")).hexdigest()


def verify_chain(database: Database, noted: Head | None = None) -> Verified:
    """Follow the whole chain; a `noted` head has to be in it still.

    Whoever can write the database can rewrite the whole chain, but not a head that was noted elsewhere.
    """
    with database.read() as tx:
        head = store.find_head(tx)  # first: what is written meanwhile comes after it
        found = _follow(store.iterate_entries(tx), head, noted)
        beyond = store.iterate_entries(tx, head.number)
        if found.fault is None and next(beyond, None) is not None and store.find_head(tx) == head:
            fault = f"the audit ends at entry {head.number}, but there are later entries: it was altered"
            return Verified(head, fault)
    return found


def _follow(entries: Iterator[Entry], head: Head, noted: Head | None) -> Verified:
    at, fault = START, None
    try:
        for entry in entries:
            if entry.number > head.number:
                break
            if fault := _find_fault(at, entry, noted):
                return Verified(at, fault)
            at = Head(entry.number, entry.hash)
    except ValueError:  # a time that is none
        fault = f"entry {at.number + 1} cannot be read: it was altered"
    else:
        if at != head:
            fault = f"entry {at.number + 1} is missing: the audit ends at {at.number}, and its head is {head.number}"
        elif noted is not None and noted.number > at.number:
            fault = f"the audit ends at {at.number}, before the noted head: entries were removed"
    return Verified(at, fault)


def _find_fault(before: Head, entry: Entry, noted: Head | None) -> str | None:
    if entry.number != before.number + 1:
        return f"entry {before.number + 1} is missing: entries were removed"
    if entry.hash != hash_entry(before, entry):
        return f"entry {entry.number} does not match its hash: one of them was altered"
    if noted is not None and noted.number == entry.number and noted.hash != entry.hash:
        cause = "a backup was restored and written to, the chain was rewritten, or the head is from another database"
        return f"entry {noted.number} has another hash than the noted head: {cause}"
    return None
