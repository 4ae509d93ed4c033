"""Reading JSON that strangers wrote: numbers stay text, nothing is guessed, and no body makes the reader fail."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Final, TypeAlias, TypeGuard

JsonValue: TypeAlias = str | bool | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A JSON value whose numbers are their literal text: `123` and `"123"` read alike, and no id passes through a float."""

MAX_DEPTH: Final = 64  # ZEGO's deepest answer has six levels; the interpreter's own limit depends on the caller
MAX_ID_BYTES: Final = 1024
"""Longest file id, name or URL that is stored (docs/protocol.md, "The callback")."""
_MAX_SIZE_BYTES: Final = 2**63 - 1
_MAX_DURATION_S: Final = 10 * 366 * 86_400  # ten years: a longer one is in a wrong unit

# What is no bracket: strings (one whose end is missing goes on to the end of the text) and everything else. It never
# looks back: linear on any input.
_NO_BRACKETS = re.compile(r'[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# ASCII only: int() and float() also take other scripts' digits, underscores and "nan".
_WHOLE = re.compile(r"([0-9]+)(\.0*)?")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def read_json(text: str) -> tuple[JsonValue, str | None]:
    """Read one JSON value; also returns what leaves its meaning uncertain (a duplicate key, NaN), if anything does.

    A text that is not JSON or nested too deeply is a ValueError with one line for people.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        brackets = _NO_BRACKETS.sub("", text)
        if max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) > MAX_DEPTH:
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
    return value, problems[0] if problems else None


def is_text(value: JsonValue, max_bytes: int = MAX_ID_BYTES) -> TypeGuard[str]:
    """Whether it is a text that every database can hold (no NUL, no lone surrogate), of at most so many bytes."""
    return isinstance(value, str) and not _UNSTORABLE.search(value) and len(value.encode()) <= max_bytes


def make_storable(text: str, limit: int) -> str:
    """At most `limit` characters of the text, with U+FFFD where no database could hold a character."""
    return _UNSTORABLE.sub("\ufffd", text[:limit])


def is_rounded(text: str) -> bool:
    """A Tencent id that some encoder passed through a float: asking for it would say "not found" of another file."""
    return not text.isdecimal() and _DECIMAL.fullmatch(text) is not None


def read_size(value: JsonValue) -> int | None:
    """A size in bytes, None where there is none to read; a ValueError if it is larger than any file."""
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    if len(match[1]) > len(str(_MAX_SIZE_BYTES)) or int(match[1]) > _MAX_SIZE_BYTES:
        raise ValueError("FileSize is larger than any file")
    return int(match[1])


def read_duration(value: JsonValue) -> float | None:
    """Seconds, None where there are none to read; a ValueError if they are longer than any recording."""
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        return None
    if float(value) >= _MAX_DURATION_S:
        raise ValueError("Duration is longer than any recording")
    return float(value)
