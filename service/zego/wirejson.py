"""Reading JSON that strangers wrote: numbers stay text, nothing is guessed, and no body makes the reader fail."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TypeAlias

JsonValue: TypeAlias = str | bool | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A JSON value whose numbers are their literal text: `123` and `"123"` read alike, and no id passes through a float."""

MAX_DEPTH = 64
"""Levels of nesting that are read. ZEGO's deepest answer has six; the interpreter's own limit depends on the caller."""

# Up to the next bracket outside of strings (one whose end is missing goes on to the end of the text). It matches
# everywhere and never looks back: linear on any input.
_STRETCH = re.compile(r'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^"\[\]{}]*+)*+([\[\]{}]?)', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

MAX_ID_BYTES = 1024
"""Longest file id or URL that is stored (docs/protocol.md, "The callback")."""
MAX_SIZE_BYTES = 2**63 - 1
MAX_DURATION_S = 10 * 366 * 86_400
"""Ten years: no recording is longer, so a longer one is a wrong unit."""

# ASCII only: int() and float() also take other scripts' digits, underscores and "nan".
_WHOLE = re.compile(r"([0-9]+)(\.0*)?")
_MAX_SIZE_DIGITS = 19
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ReadJson:
    """What JSON text held. `problem` names a fault that leaves the meaning uncertain (a duplicate key, NaN)."""

    value: JsonValue
    problem: str | None


def read_json(text: str) -> ReadJson:
    """Read one JSON value.

    Raises:
        ValueError: the text is not JSON, or nested too deeply; the message is one line for people.
    """
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"JSON nested more than {MAX_DEPTH} levels deep")
    problems: list[str] = []

    def read_constant(name: str) -> str:
        problems.append(f"{name} is not a JSON number")
        return name

    def read_object(items: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        read: dict[str, JsonValue] = {}
        for key, value in items:
            if key in read:
                problems.append(f"the key {key[:40]!a} occurs twice in one object")
            read[key] = value
        return read

    value: JsonValue = json.loads(
        text,
        parse_int=str,
        parse_float=str,
        parse_constant=read_constant,
        object_pairs_hook=read_object,
        strict=False,  # a raw line break inside a string harms nobody
    )
    return ReadJson(value, problems[0] if problems else None)


def storable(text: str) -> bool:
    """Whether every database can hold the text: no NUL, no lone surrogate."""
    return not _UNSTORABLE.search(text)


def make_storable(text: str, limit: int) -> str:
    """Return at most `limit` characters of the text, with U+FFFD where no database could hold a character."""
    return _UNSTORABLE.sub("\ufffd", text[:limit])


def _depth(text: str) -> int:
    deepest = depth = 0
    for bracket in _STRETCH.findall(text):
        if bracket in ("[", "{"):
            depth += 1
            deepest = max(deepest, depth)
        elif bracket:
            depth -= 1
    return deepest


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
