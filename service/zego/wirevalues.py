"""Single values of ZEGO's wire that callbacks and listings share: ids, sizes and durations, never through a guess."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.zego.wirejson import JsonValue

MAX_ID_BYTES = 1024
"""Longest file id or URL that is stored (docs/protocol.md, "The callback")."""
MAX_SIZE_BYTES = 2**63 - 1
MAX_DURATION_S = 10 * 366 * 86_400
"""Ten years: no recording is longer, so a longer one is a wrong unit."""

# ASCII only: int() and float() also take other scripts' digits, underscores and "nan".
_WHOLE = re.compile(r"([0-9]+)(\.0*)?")
_MAX_SIZE_DIGITS = 19
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def is_rounded(text: str) -> bool:
    """A Tencent id that some encoder passed through a float: asking for it would say "not found" of another file."""
    return not text.isdecimal() and _DECIMAL.fullmatch(text) is not None


def read_size(value: JsonValue) -> int | None:
    """Return a size in bytes; None where there is none to read.

    Raises:
        ValueError: it is larger than any file.
    """
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    digits = match[1].lstrip("0") or "0"  # int() refuses thousands of digits, zeros too
    if len(digits) > _MAX_SIZE_DIGITS or int(digits) > MAX_SIZE_BYTES:
        raise ValueError("larger than any file")
    return int(digits)


def read_duration(value: JsonValue) -> float | None:
    """Return a duration in seconds; None where there is none to read.

    Raises:
        ValueError: it is longer than any recording.
    """
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        return None
    seconds = float(value)
    if not math.isfinite(seconds) or seconds >= MAX_DURATION_S:
        raise ValueError("longer than any recording")
    return seconds
