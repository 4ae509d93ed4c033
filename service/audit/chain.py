"""The chain of hashes over the audit: each hash covers one entry and everything before it (docs/operations.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the audit; `detail` is the JSON text as it is stored."""

    number: int
    at: datetime
    actor: str
    through: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: its text is what people note down elsewhere."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


START: Final = Head(0, "0" * 64)
"""The head of a chain without entries."""

_HASH_DIGITS: Final = 64


def parse_head(text: str) -> Head:
    """Read what `str(head)` wrote.

    Raises:
        ValueError: it is no such text; the message shows a right one.
    """
    number, _, digits = text.partition(":")
    is_hash = len(digits) == _HASH_DIGITS and set(digits) <= set("0123456789abcdef")
    if not (number.isascii() and number.isdecimal() and len(number) <= len(str(2**63)) and is_hash):
        raise ValueError(f"{text[:80]!r} is not a head: write it as `audit verify` shows it, NUMBER:HASH")
    return Head(int(number), digits)


def chain_entry(head: Head, entry: Entry) -> Head:
    """The head of the chain with one more entry."""
    digest = hashlib.sha256(head.hash.encode() + _to_bytes(entry)).hexdigest()
    return Head(entry.number, digest)


def check_chain(entries: Iterable[tuple[Entry, str]], head: Head, noted: Head | None = None) -> tuple[Head, str | None]:
    """Follow a chain from its start; returns how far it is right, and the first thing wrong.

    `entries` come with their stored hashes, in order. `head` is the stored end. A `noted` head has to be found as it
    was noted.
    """
    at = START
    for entry, stored in entries:
        if entry.number != at.number + 1:
            return at, f"entry {at.number + 1} is missing: entries were removed"
        following = chain_entry(at, entry)
        if following.hash != stored:
            return at, f"entry {entry.number} is not what was chained: it or its hash was altered"
        if noted is not None and noted.number == following.number and noted != following:
            return at, (
                f"entry {noted.number} has another hash than the head noted: the chain was rewritten, or the head given"
                " is not of this database"
            )
        at = following
    if at != head:
        return at, f"entry {at.number + 1} is missing: the audit ends at {at.number}, and its head is {head.number}"
    if noted is not None and noted.number > at.number:
        return at, f"the audit ends at {at.number}, before the head noted: entries were removed"
    return at, None


def _to_bytes(entry: Entry) -> bytes:
    facts = {
        "number": entry.number,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "actor": entry.actor,
        "through": entry.through,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), default=repr).encode("ascii")
