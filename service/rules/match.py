"""Matching: comparing what a retention rule asks for with what is known of a file.

`KEYS` is the one table of match keys. A new key is a field of `Match`, a row here, and a row in `rules.file`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, partial
from operator import ge, is_, le
from typing import Any, Final, TypeAlias

from service.model import MediaFile, Vendor
from service.rules.patterns import compile_pattern, pattern_implies
from service.units import format_duration, format_size

_ORIGIN: Final = frozenset({"app", "vendor", "event", "adopted", "stream"})

Check: TypeAlias = "Callable[[MediaFile], bool | None]"
"""Whether a file fits one key of a match; None: the fact that it asks for is not known."""


@dataclass(frozen=True)
class Match:
    """What a rule asks of a file; a key that is None asks nothing, and each other one must fit.

    `stream` and `name` hold patterns (`*` and `?`), `app`, `vendor` and `event` exact values; one of several is
    enough. `name` is compared with `MediaFile.shown_name`. `adopted` asks whether a file is known from the vendor's
    listing only. Limits are inclusive; sizes are in bytes.
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
    def checks(self) -> tuple[Check, ...]:
        """One check for each key that asks something."""
        return tuple(key.make_check(getattr(self, key.name)) for key in KEYS if getattr(self, key.name) is not None)

    @cached_property
    def looks_only_at_origin(self) -> bool:
        """Files of equal app, vendor, event and stream are judged alike."""
        return all(key.name in _ORIGIN or getattr(self, key.name) is None for key in KEYS)


class Judgement(StrEnum):
    """What comparing a match with a file gives."""

    MATCHES = "matches"
    DIFFERS = "does not match"
    UNKNOWN = "cannot be judged"


_MATCHES, _DIFFERS, _UNKNOWN = Judgement.MATCHES, Judgement.DIFFERS, Judgement.UNKNOWN


@dataclass(frozen=True, slots=True)
class MatchResult:
    """A judgement, the reason in words, and the key and the fact that brought it about (None where all keys match)."""

    judgement: Judgement
    key: str | None
    why: str
    fact: str | None = None


def compare(match: Match, file: MediaFile) -> Judgement:
    """The judgement of `judge` alone: no words, so it is cheap enough for millions of files."""
    judgement = _MATCHES
    for check in match.checks:
        fits = check(file)
        if fits is None:
            judgement = _UNKNOWN
        elif not fits:
            return _DIFFERS
    return judgement


def judge(match: Match, file: MediaFile) -> MatchResult:
    """Compare a match with a file; a condition known to fail outweighs every fact that is missing."""
    judgement = compare(match, file)
    if judgement is Judgement.MATCHES:
        return MatchResult(judgement, None, "it matches")
    wanted_result = False if judgement is Judgement.DIFFERS else None
    for key in KEYS:
        wanted = getattr(match, key.name)
        if wanted is not None and key.make_check(wanted)(file) is wanted_result:
            return MatchResult(judgement, key.name, key.describe_result(wanted, file), key.fact)
    raise AssertionError("one key gave the judgement")


def match_implies(narrow: Match, wide: Match) -> bool:
    """Whether no file gets past `wide` to `narrow`: what `narrow` matches, `wide` plainly matches too.

    A file that `wide` cannot be judged for does not get past it either: it is kept.
    """
    return all(
        getattr(wide, key.name) is None or key.kind.implies(getattr(narrow, key.name), getattr(wide, key.name))
        for key in KEYS
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of condition: its test of a known fact, the words between fact and value where that fails.

    `implies(narrow, wide)` is whether the value of a narrower match (None: asks nothing) lets no file past a wider one.
    """

    make_test: Callable[[Any], Callable[[Any], bool]]
    differs: str
    implies: Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class MatchKey:
    """One key of a match: its name, the fact that it asks for, how to find and show that, and its kind of condition.

    `find_fact` returns None where the fact is not known.
    """

    name: str
    fact: str
    find_fact: Callable[[MediaFile], Any]
    kind: _Kind
    show: Callable[[Any], str] = '"{}"'.format

    def make_check(self, wanted: object) -> Check:
        """The check of a file that a match with this value makes."""
        find_fact, test = self.find_fact, self.kind.make_test(wanted)

        def check(file: MediaFile) -> bool | None:
            fact = find_fact(file)
            return None if fact is None else test(fact)

        return check

    def describe_result(self, wanted: object, file: MediaFile) -> str:
        """Why a file does not fit, or cannot be judged."""
        fact = self.find_fact(file)
        if fact is None:
            return f"its {self.fact} is not known"
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        return f"its {self.fact} {self.show(fact)} {self.kind.differs} {' or '.join(map(self.show, values))}"


def _fit_a_pattern(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    tests = [compile_pattern(pattern) for pattern in patterns]
    return tests[0] if len(tests) == 1 else lambda text: any(test(text) for test in tests)


def _patterns_imply(narrow: tuple[str, ...] | None, wide: tuple[str, ...]) -> bool:
    return all(any(pattern_implies(pattern, wider) for wider in wide) for pattern in narrow or ("*",))


def _number(limit: timedelta | int) -> float:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


_PATTERN: Final = _Kind(_fit_a_pattern, "does not fit", _patterns_imply)
_VALUE: Final = _Kind(
    lambda values: frozenset(values).__contains__,
    "is not",
    lambda narrow, wide: narrow is not None and set(narrow) <= set(wide),
)
_FLAG: Final = _Kind(lambda flag: partial(is_, flag), "is not", is_)
_LOWEST: Final = _Kind(
    lambda limit: partial(le, _number(limit)), "is under", lambda narrow, wide: _number(wide) <= _number(narrow or 0)
)
_HIGHEST: Final = _Kind(
    lambda limit: partial(ge, _number(limit)),
    "is over",
    lambda narrow, wide: narrow is not None and _number(narrow) <= _number(wide),
)


def _find_duration(file: MediaFile) -> float | None:
    value = file.duration_s
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _find_size(file: MediaFile) -> int | None:
    value = file.size_bytes
    return value if value is not None and value >= 0 else None


def _show_duration(value: float | timedelta) -> str:
    return format_duration(value) if isinstance(value, timedelta) else f"{value:g}s"


def _show_origin(is_adopted: bool) -> str:  # noqa: FBT001  (the value of a match key)
    return '"listing"' if is_adopted else '"callback"'


KEYS: Final = (
    MatchKey("app", "app", lambda file: file.app_id, _VALUE),
    MatchKey("vendor", "vendor", lambda file: file.vendor, _VALUE),
    MatchKey("event", "event", lambda file: file.event or None, _VALUE),
    MatchKey("adopted", "origin", lambda file: file.is_adopted, _FLAG, _show_origin),
    MatchKey("stream", "stream", lambda file: file.stream_id or None, _PATTERN),
    MatchKey("name", "name", lambda file: file.shown_name or None, _PATTERN),
    MatchKey("min_duration", "duration", _find_duration, _LOWEST, _show_duration),
    MatchKey("max_duration", "duration", _find_duration, _HIGHEST, _show_duration),
    MatchKey("min_size", "size", _find_size, _LOWEST, format_size),
    MatchKey("max_size", "size", _find_size, _HIGHEST, format_size),
)
"""All keys, the cheap ones first; where several fail, the first is named."""
