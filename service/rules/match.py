"""Matching: comparing what a retention rule asks for with what is known of a file.

`KEYS` is the one table of match keys. A new key is a field of `Match`, a row here, and a row in `rules.file`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from service.model import Vendor
from service.rules.patterns import compile_pattern, pattern_implies
from service.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.model import MediaFile

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
        getattr(wide, key.name) is None or key.implies(getattr(narrow, key.name), getattr(wide, key.name))
        for key in KEYS
    )


@dataclass(frozen=True, slots=True)
class MatchKey:
    """One key: how it is called, the fact it asks for, and what it does with the value wanted.

    `find_fact` returns None where the fact is not known. `make_test` gives the test of a known fact,
    `describe_difference` the words where that fails. `implies` is whether the value of a narrower match (None: asks
    nothing) lets no file past a wider one.
    """

    name: str
    fact: str
    find_fact: Callable[[MediaFile], Any]
    make_test: Callable[[Any], Callable[[Any], bool]]
    describe_difference: Callable[[Any, Any], str]
    implies: Callable[[Any, Any], bool]

    def make_check(self, wanted: object) -> Check:
        """The check of a file that a match with this value makes."""
        find_fact, test = self.find_fact, self.make_test(wanted)

        def check(file: MediaFile) -> bool | None:
            fact = find_fact(file)
            return None if fact is None else test(fact)

        return check

    def describe_result(self, wanted: object, file: MediaFile) -> str:
        """Why a file does not fit, in words that follow "it does not match:" or "it cannot be judged:"."""
        fact = self.find_fact(file)
        return f"its {self.fact} is not known" if fact is None else self.describe_difference(wanted, fact)


def _fits_a_pattern(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    tests = [compile_pattern(pattern) for pattern in patterns]
    if len(tests) == 1:
        return tests[0]
    return lambda text: any(test(text) for test in tests)


def _is_one_of(values: tuple[str, ...]) -> Callable[[str], bool]:
    return frozenset(values).__contains__


def _is(flag: bool) -> Callable[[bool], bool]:  # noqa: FBT001  (the value of a match key)
    return lambda fact: fact is flag


def _is_at_least(limit: timedelta | int) -> Callable[[float], bool]:
    lowest = _as_number(limit)
    return lambda fact: fact >= lowest


def _is_at_most(limit: timedelta | int) -> Callable[[float], bool]:
    highest = _as_number(limit)
    return lambda fact: fact <= highest


def _as_number(limit: timedelta | int) -> float:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def _patterns_imply(narrow: tuple[str, ...] | None, wide: tuple[str, ...]) -> bool:
    return all(any(pattern_implies(pattern, wider) for wider in wide) for pattern in narrow or ("*",))


def _values_imply(narrow: tuple[str, ...] | None, wide: tuple[str, ...]) -> bool:
    return narrow is not None and set(narrow) <= set(wide)


def _vendors_imply(narrow: tuple[Vendor, ...] | None, wide: tuple[Vendor, ...]) -> bool:
    return set(narrow or Vendor) <= set(wide)


def _flags_imply(narrow: bool | None, wide: bool) -> bool:  # noqa: FBT001  (values of a match key)
    return narrow is wide


def _lowest_implies(narrow: timedelta | int | None, wide: timedelta | int) -> bool:
    return _as_number(wide) <= _as_number(narrow or 0)


def _highest_implies(narrow: timedelta | int | None, wide: timedelta | int) -> bool:
    return narrow is not None and _as_number(narrow) <= _as_number(wide)


def _find_duration(file: MediaFile) -> float | None:
    value = file.duration_s
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _find_size(file: MediaFile) -> int | None:
    value = file.size_bytes
    return value if value is not None and value >= 0 else None


def _does_not_fit(fact: str) -> Callable[[Sequence[str], str], str]:
    return lambda wanted, value: f'{fact} "{value}" does not fit {_join(wanted)}'


def _is_not(fact: str) -> Callable[[Sequence[str], str], str]:
    return lambda wanted, value: f'{fact} "{value}" is not {_join(wanted)}'


def _join(values: Sequence[str]) -> str:
    return " or ".join(f'"{value}"' for value in values)


def _describe_adopted(wanted: bool, _: bool) -> str:  # noqa: FBT001  (values of a match key)
    return "a callback announced it" if wanted else "only a listing shows it"


KEYS: Final = (
    MatchKey("app", "app", lambda file: file.app_id, _is_one_of, _is_not("app"), _values_imply),
    MatchKey("vendor", "vendor", lambda file: file.vendor, _is_one_of, _is_not("vendor"), _vendors_imply),
    MatchKey("event", "event", lambda file: file.event or None, _is_one_of, _is_not("event"), _values_imply),
    MatchKey("adopted", "origin", lambda file: not file.event, _is, _describe_adopted, _flags_imply),
    MatchKey(
        "stream",
        "stream",
        lambda file: file.stream_id or None,
        _fits_a_pattern,
        _does_not_fit("stream"),
        _patterns_imply,
    ),
    MatchKey(
        "name", "name", lambda file: file.shown_name or None, _fits_a_pattern, _does_not_fit("name"), _patterns_imply
    ),
    MatchKey(
        "min_duration",
        "duration",
        _find_duration,
        _is_at_least,
        lambda _, fact: f"duration {fact:g}s is under min_duration",
        _lowest_implies,
    ),
    MatchKey(
        "max_duration",
        "duration",
        _find_duration,
        _is_at_most,
        lambda _, fact: f"duration {fact:g}s is over max_duration",
        _highest_implies,
    ),
    MatchKey(
        "min_size",
        "size",
        _find_size,
        _is_at_least,
        lambda _, fact: f"size {format_size(fact)} is under min_size",
        _lowest_implies,
    ),
    MatchKey(
        "max_size",
        "size",
        _find_size,
        _is_at_most,
        lambda _, fact: f"size {format_size(fact)} is over max_size",
        _highest_implies,
    ),
)
"""All keys, the cheap ones first; where several fail, the first is named."""
