"""The keys of a rule's match: how each is read and written in a rules file, tested against a file, and described.

A new key is a field of `Match` and a row of `KEYS`. In a pattern `*` stands for any run of characters, `?` for exactly
one, and all else for itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import cached_property, lru_cache, partial
from operator import ge, is_, le
from typing import Any, Final, TypeAlias

from service.model import MediaFile, Vendor
from service.units import describe_choice, format_duration, format_size, parse_duration, parse_size, quote

_ORIGIN: Final = frozenset({"app", "vendor", "event", "adopted", "stream"})
_MAX_APP: Final = 2**32 - 1

Test: TypeAlias = "Callable[[Any], bool]"


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits the pattern, case-sensitively, in at most len(pattern) x len(text) steps."""
    return compile_pattern(pattern)(text)


def is_pattern(text: str) -> bool:
    """Whether a text stands for more than itself."""
    return "*" in text or "?" in text


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """The test that `matches` applies: a comparison for plain texts and prefixes, else a regular expression."""
    if not is_pattern(pattern):
        return lambda text: text == pattern
    prefix = pattern[:-1]
    if pattern[-1] == "*" and not is_pattern(prefix):
        return lambda text: text.startswith(prefix)
    # A part between two stars may be taken where it first occurs: what follows then has the most room. So its match is
    # final, `(?>…)`, and only the last star tries all places: the steps never multiply.
    first, *parts = ["".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*")]
    stars = "".join(f"(?>.*?{part})" for part in parts[:-1]) + f".*{parts[-1]}" if parts else ""
    search = re.compile(first + stars, re.DOTALL).fullmatch
    return lambda text: search(text) is not None


def pattern_implies(narrow: str, wide: str) -> bool:
    """Whether every text that fits `narrow` plainly fits `wide`; False also where that would take a proof.

    Plainly: they are equal, `narrow` is a plain text that fits, or `wide` is a prefix of it and a `*`.
    """
    if narrow == wide:
        return True
    if not is_pattern(narrow):
        return matches(wide, narrow)
    return wide.endswith("*") and not is_pattern(wide[:-1]) and narrow.startswith(wide[:-1])


@dataclass(frozen=True)
class Match:
    """What a rule asks of a file; a key that is None asks nothing, and each other one must fit (docs/rules.md).

    One of several patterns or values is enough. Limits are inclusive; sizes are in bytes.
    """

    stream: tuple[str, ...] | None = None
    name: tuple[str, ...] | None = None
    app: tuple[str, ...] | None = None
    vendor: tuple[Vendor, ...] | None = None
    event: tuple[str, ...] | None = None
    adopted: bool | None = None
    min_duration: timedelta | None = None
    max_duration: timedelta | None = None
    min_size: int | None = None
    max_size: int | None = None

    @cached_property
    def conditions(self) -> tuple[tuple[Key, Any, Test], ...]:
        """The keys that ask something, each with what it asks for, and the test of a known fact."""
        asked = ((key, getattr(self, name)) for name, key in KEYS.items())
        return tuple((key, wanted, key.kind.make_test(wanted)) for key, wanted in asked if wanted is not None)

    @cached_property
    def looks_only_at_origin(self) -> bool:
        """Files of equal app, vendor, event and stream are judged alike."""
        return all(key.name in _ORIGIN for key, _, _ in self.conditions)


class Judgement(Enum):
    """What comparing a match with a file gives."""

    MATCHES = "matches"
    DIFFERS = "does not match"
    UNKNOWN = "cannot be judged"


def judge(match: Match, file: MediaFile) -> tuple[Judgement, Key | None]:
    """Compare a match with a file; with the key that fails or, if none does, one whose fact is missing."""
    missing = None
    for key, _, test in match.conditions:
        fact = key.find_fact(file)
        if fact is None:
            missing = missing or key
        elif not test(fact):
            return Judgement.DIFFERS, key
    return (Judgement.MATCHES, None) if missing is None else (Judgement.UNKNOWN, missing)


def match_implies(narrow: Match, wide: Match) -> bool:
    """Whether no file gets past `wide` to `narrow`: what `narrow` matches, `wide` plainly matches or cannot judge."""
    for key, wanted, test in wide.conditions:
        asked = getattr(narrow, key.name)
        if key.kind.is_list:
            implies = all(any(pattern_implies(each, wider) for wider in wanted) for each in asked or ("*",))
        else:  # what a narrower match asks for has to fit as a fact would
            implies = test(key.kind.unlimited if asked is None else _number(asked))
        if not implies:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of condition: its test of a known fact, and the words between fact and value where that fails.

    `unlimited` is the limit that no file fails.
    """

    make_test: Callable[[Any], Test]
    differs: str
    is_list: bool = False
    unlimited: float | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a match: the fact that it asks for (None: not known), and its kind of condition.

    `parse` reads a value from its text in a rules file (None: it is true or false), `write` writes it.
    """

    name: str
    fact: str
    find_fact: Callable[[MediaFile], Any]
    kind: Kind
    parse: Callable[[str], Any] | None
    write: Callable[[Any], str | bool] = str
    show: Callable[[Any], str] = '"{}"'.format

    def describe(self, match: Match, file: MediaFile) -> str:
        """Why a file does not fit this key of a match, or cannot be judged."""
        fact, wanted = self.find_fact(file), getattr(match, self.name)
        if fact is None:
            return f"its {self.fact} is not known"
        if self.kind is _FLAG:
            return f"it is{' ' if fact else ' not '}{self.fact}, and this rule has {self.name} = {str(wanted).lower()}"
        values = " or ".join(map(self.show, wanted if self.kind.is_list else (wanted,)))
        return f"its {self.fact} {self.show(fact)} {self.kind.differs} {values}"


def find_duration(file: MediaFile) -> float | None:
    """The recorded seconds, if they are known and make sense."""
    value = file.duration_s
    return value if value is not None and 0 <= value < math.inf else None


def find_size(file: MediaFile) -> int | None:
    """The bytes, if they are known and make sense."""
    value = file.size_bytes
    return value if value is not None and value >= 0 else None


def _fit_a_pattern(patterns: tuple[str, ...]) -> Test:
    tests = [compile_pattern(pattern) for pattern in patterns]
    return tests[0] if len(tests) == 1 else lambda text: any(test(text) for test in tests)


def _number(limit: timedelta | int) -> float:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def _show_duration(value: float | timedelta) -> str:
    return format_duration(value) if isinstance(value, timedelta) else f"{value:g}s"


def _read_pattern(text: str, longest: int) -> str:
    if not text:
        raise ValueError('is empty and matches nothing: write a pattern, for example "trial-*"')
    if len(text) > longest:
        raise ValueError(f"has {len(text)} characters: at most {longest} are allowed")
    if re.search("[\0\ud800-\udfff]", text):
        raise ValueError(f"{quote(text)} has a character that no stream or file name has")
    return text


def _read_app(text: str) -> str:
    if re.fullmatch("[1-9][0-9]{0,9}", text) is None or int(text) > _MAX_APP:
        raise ValueError(f'{quote(text)} is not an AppId: write its digits, for example "1234567890"')
    return text


def _read_choice(text: str, *choices: str) -> str:
    if text in choices:
        return choices[choices.index(text)]
    raise ValueError(describe_choice(text, choices))


_PATTERN: Final = Kind(_fit_a_pattern, "does not match", is_list=True)
_VALUE: Final = Kind(_fit_a_pattern, "is not", is_list=True)  # a value is a pattern without stars
_FLAG: Final = Kind(lambda flag: partial(is_, flag), "is not")
_LOWEST: Final = Kind(lambda limit: partial(le, _number(limit)), "is under", unlimited=0)
_HIGHEST: Final = Kind(lambda limit: partial(ge, _number(limit)), "is over", unlimited=math.inf)
_DURATION: Final = (parse_duration, format_duration, _show_duration)
_SIZE: Final = (parse_size, format_size, format_size)

KEYS: Final = {
    key.name: key
    for key in (
        Key("stream", "stream", lambda file: file.stream_id or None, _PATTERN, lambda text: _read_pattern(text, 255)),
        Key("name", "name", lambda file: file.shown_name or None, _PATTERN, lambda text: _read_pattern(text, 1024)),
        Key("app", "app", lambda file: file.app_id, _VALUE, _read_app),
        Key("vendor", "vendor", lambda file: file.vendor, _VALUE, lambda text: _read_choice(text, *Vendor)),
        Key("event", "event", lambda file: file.event or None, _VALUE, lambda t: _read_choice(t, "record", "compose")),
        Key(
            *("adopted", "adopted", lambda file: file.is_adopted, _FLAG, None, bool),
        ),
        Key("min_duration", "duration", find_duration, _LOWEST, *_DURATION),
        Key("max_duration", "duration", find_duration, _HIGHEST, *_DURATION),
        Key("min_size", "size", find_size, _LOWEST, *_SIZE),
        Key("max_size", "size", find_size, _HIGHEST, *_SIZE),
    )
}
"""The keys by name, in the order in which they are tested and written."""
