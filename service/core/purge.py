"""What came of purging Wangsu's CDN cache along with a deletion; pure (docs/outcomes.md, "The cache of Wangsu")."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

PURGED: Final = "1"
"""The code that says that the purge is done."""
NOT_TOLD: Final = ""
"""What is recorded where a purge was asked for and the answer says nothing of it."""


class Purge(StrEnum):
    """How a purge of the cache ended, as far as the answer tells. It never changes the outcome of the deletion."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


def read_purge(code: str | None) -> Purge | None:
    """Read what was recorded of a purge; None where none was asked for."""
    if code is None:
        return None
    return {PURGED: Purge.DONE, NOT_TOLD: Purge.UNKNOWN}.get(code, Purge.FAILED)
