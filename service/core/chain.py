"""The chain of hashes over the audit: each link covers one entry and everything before it (docs/audit.md)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the audit as it was written; `detail` is the JSON text as it is stored."""

    id: int
    at: datetime
    actor: str
    through: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Link:
    """One place of the chain: the entry that has it (None: there is none of that number any more), and its hash."""

    position: int
    entry_id: int
    hash: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: its text is what people note down elsewhere."""

    position: int
    hash: str

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"


START: Final = Head(0, "0" * 64)
"""The head of a chain without entries."""

_HASH_DIGITS: Final = 64


def parse_head(text: str) -> Head:
    """Read what `str(head)` wrote.

    Raises:
        ValueError: it is no such text; the message shows a right one.
    """
    position, _, digits = text.partition(":")
    is_hash = len(digits) == _HASH_DIGITS and set(digits) <= set("0123456789abcdef")
    if not (position.isascii() and position.isdecimal() and len(position) <= len(str(2**63)) and is_hash):
        raise ValueError(f"{text[:80]!r} is not a head: write it as `audit verify` shows it, POSITION:HASH")
    return Head(int(position), digits)


def canonical_time(moment: datetime) -> str:
    """A time in ISO 8601, in UTC and always to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def canonical_bytes(entry: Entry) -> bytes:
    """The bytes of an entry that its hash covers: JSON in ASCII with sorted keys and without spaces."""
    facts = {
        "id": entry.id,
        "at": canonical_time(entry.at),
        "actor": entry.actor,
        "through": entry.through,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
    }
    # What was tampered with may hold what JSON does not know.
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), default=repr).encode("ascii")


def add_link(head: Head, entry: Entry) -> Head:
    """The head of the chain with one more entry."""
    digest = hashlib.sha256(head.hash.encode() + canonical_bytes(entry)).hexdigest()
    return Head(head.position + 1, digest)


def check_chain(head: Head, links: Iterable[Link], noted: Head | None = None) -> tuple[Head, str | None]:
    """Follow links, in their order, from a head that is known to be right; returns how far, and the first thing wrong.

    A `noted` head that is passed on the way has to be found as it was noted.
    """
    for link in links:
        followed = _follow(head, link, noted)
        if isinstance(followed, str):
            return head, followed
        head = followed
    return head, None


def _follow(head: Head, link: Link, noted: Head | None) -> Head | str:
    """The head after one more link, or what is wrong with it."""
    if link.position != head.position + 1:
        return f"position {head.position + 1} of the chain is missing: entries were removed"
    which = f"entry {link.entry_id} (position {link.position})"
    if link.entry is None:
        return f"{which} is missing or unreadable: it was removed or altered"
    following = add_link(head, link.entry)
    if following.hash != link.hash:
        return f"{which} is not what was chained: it or its hash was altered"
    if noted is not None and noted.position == following.position and noted != following:
        return (
            f"the chain has another hash at position {noted.position} than the head noted: it was rewritten,"
            " or the head given is not of this database"
        )
    return following
