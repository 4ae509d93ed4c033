"""Reading JSON that strangers wrote: numbers stay text, and nothing in a body can make the reader fail in a new way."""

from __future__ import annotations

import json
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


@dataclass(frozen=True, slots=True)
class ReadJson:
    """What JSON text held. `problem` names a fault that leaves the meaning uncertain (a duplicate key, NaN)."""

    value: JsonValue
    problem: str | None


class _Faults:
    """The hooks of one reading; they note what the standard reader would let pass."""

    def __init__(self) -> None:
        self.first: str | None = None

    def note(self, fault: str) -> None:
        self.first = self.first or fault

    def constant(self, name: str) -> str:
        self.note(f"{name} is not a JSON number")
        return name

    def pairs(self, items: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        read: dict[str, JsonValue] = {}
        for key, value in items:
            if key in read:
                self.note(f"the key {key[:40]!a} occurs twice in one object")
            read[key] = value
        return read


def read_json(text: str) -> ReadJson:
    """Read one JSON value.

    Raises:
        ValueError: the text is not JSON, or nested too deeply; the message is one line for people.
    """
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"JSON nested more than {MAX_DEPTH} levels deep")
    faults = _Faults()
    value: JsonValue = json.loads(
        text,
        parse_int=str,
        parse_float=str,
        parse_constant=faults.constant,
        object_pairs_hook=faults.pairs,
        strict=False,  # a raw line break inside a string harms nobody
    )
    return ReadJson(value, faults.first)


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
