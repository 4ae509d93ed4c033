"""Matching: holding what a retention rule asks for against what is known of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from service.core.durations import format_size
from service.core.model import Vendor
from service.core.patterns import matches, pattern_implies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.core.model import MediaFile

_ANY_STREAM: Final = ("*",)


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule asks of a file; a key that is None asks nothing, and each other one must hold.

    `stream` holds patterns (`*` and `?`), `app`, `vendor` and `event` exact values; one of several is enough.
    Limits are inclusive; sizes are in bytes. `adopted` asks whether a file is known from the vendor's listing only.
    """

    stream: tuple[str, ...] | None = None
    app: tuple[str, ...] | None = None
    vendor: tuple[Vendor, ...] | None = None
    event: tuple[str, ...] | None = None
    min_duration: timedelta | None = None
    max_duration: timedelta | None = None
    min_size: int | None = None
    max_size: int | None = None
    adopted: bool | None = None


class Judgement(StrEnum):
    """What holding a match against a file gives."""

    MATCHES = "matches"
    DIFFERS = "does not match"
    UNKNOWN = "cannot be judged"


@dataclass(frozen=True, slots=True)
class MatchResult:
    """A judgement, the match key that settled it (None where all keys match), and the why in words."""

    judgement: Judgement
    key: str | None
    why: str


def judge(match: Match, file: MediaFile) -> MatchResult:
    """Hold a match against a file; a condition known to fail outweighs every fact that is missing."""
    judgement = settle(match, file)
    if judgement is not Judgement.MATCHES:
        for find in _OBJECTIONS:
            objection = find(match, file)
            if objection is not None and objection.judgement is judgement:
                return objection
    return MatchResult(Judgement.MATCHES, None, "it matches")


def settle(match: Match, file: MediaFile) -> Judgement:
    """The judgement of `judge` alone: no words, so it is cheap enough for millions of files."""
    doubt = _MATCHES
    for key, judge_key in _JUDGES:
        if getattr(match, key) is not None:
            judgement = judge_key(match, file)
            if judgement is _DIFFERS:
                return judgement
            if judgement is _UNKNOWN:
                doubt = judgement
    return doubt


def match_implies(narrow: Match, wide: Match) -> bool:
    """Tell whether no file can get past `wide` to `narrow`: what the one matches, the other provably matches too.

    A file that `wide` cannot be judged for does not get past it either: it is kept.
    """
    return (
        _streams_imply(narrow.stream or _ANY_STREAM, wide.stream or _ANY_STREAM)
        and _values_imply(narrow.app, wide.app)
        and _values_imply(narrow.vendor or tuple(Vendor), wide.vendor)
        and _values_imply(narrow.event, wide.event)
        and (wide.min_duration or timedelta(0)) <= (narrow.min_duration or timedelta(0))
        and (narrow.max_duration or timedelta.max) <= (wide.max_duration or timedelta.max)
        and (wide.min_size or 0) <= (narrow.min_size or 0)
        and _or_endless(narrow.max_size) <= _or_endless(wide.max_size)
        and wide.adopted in (None, narrow.adopted)
    )


def _streams_imply(narrow: Sequence[str], wide: Sequence[str]) -> bool:
    return all(any(pattern_implies(pattern, wider) for wider in wide) for pattern in narrow)


def _values_imply(narrow: tuple[str, ...] | None, wide: tuple[str, ...] | None) -> bool:
    return wide is None or (narrow is not None and set(narrow) <= set(wide))


def _differs(key: str, why: str) -> MatchResult:
    return MatchResult(Judgement.DIFFERS, key, why)


def _unknown(key: str, fact: str) -> MatchResult:
    return MatchResult(Judgement.UNKNOWN, key, f"its {fact} is not known")


def _judge_stream(match: Match, file: MediaFile) -> Judgement:
    if match.stream is None:
        return _MATCHES
    if not file.stream_id:
        return _UNKNOWN
    for pattern in match.stream:
        if matches(pattern, file.stream_id):
            return _MATCHES
    return _DIFFERS


def _judge_app(match: Match, file: MediaFile) -> Judgement:
    return _judge_value(match.app, file.app_id)


def _judge_vendor(match: Match, file: MediaFile) -> Judgement:
    return _judge_value(match.vendor, file.vendor)


def _judge_event(match: Match, file: MediaFile) -> Judgement:
    return _judge_value(match.event, file.known_event)


def _judge_adopted(match: Match, file: MediaFile) -> Judgement:
    # Every callback tells its event, and no listing does; a disputed one was told as well.
    return _MATCHES if match.adopted in (None, not file.event) else _DIFFERS


def _judge_value(wanted: tuple[str, ...] | None, value: str) -> Judgement:
    if wanted is None or value in wanted:
        return _MATCHES
    return _DIFFERS if value else _UNKNOWN


def _judge_duration(match: Match, file: MediaFile) -> Judgement:
    return _judge_limits(_known_duration(file), _seconds(match.min_duration), _seconds(match.max_duration))


def _judge_size(match: Match, file: MediaFile) -> Judgement:
    return _judge_limits(_known_size(file), match.min_size, match.max_size)


def _judge_limits(value: float | None, lowest: float | None, highest: float | None) -> Judgement:
    if lowest is None and highest is None:
        return _MATCHES
    if value is None:
        return _UNKNOWN
    if (lowest is not None and value < lowest) or (highest is not None and value > highest):
        return _DIFFERS
    return _MATCHES


_MATCHES, _DIFFERS, _UNKNOWN = Judgement.MATCHES, Judgement.DIFFERS, Judgement.UNKNOWN
_JUDGES: Final[tuple[tuple[str, Callable[[Match, MediaFile], Judgement]], ...]] = (
    ("app", _judge_app),
    ("vendor", _judge_vendor),
    ("event", _judge_event),
    ("adopted", _judge_adopted),
    ("stream", _judge_stream),
    ("min_duration", _judge_duration),
    ("max_duration", _judge_duration),
    ("min_size", _judge_size),
    ("max_size", _judge_size),
)
"""The cheap ones first: the order does not change what comes out."""


def _object_to_stream(match: Match, file: MediaFile) -> MatchResult | None:
    judgement = _judge_stream(match, file)
    if judgement is Judgement.MATCHES:
        return None
    if judgement is Judgement.UNKNOWN:
        return _unknown("stream", "stream")
    return _differs("stream", f'stream "{file.stream_id}" does not fit {_join(match.stream or ())}')


def _object_to_app(match: Match, file: MediaFile) -> MatchResult | None:
    return _object_to_value("app", _judge_app(match, file), match.app, file.app_id)


def _object_to_vendor(match: Match, file: MediaFile) -> MatchResult | None:
    return _object_to_value("vendor", _judge_vendor(match, file), match.vendor, file.vendor)


def _object_to_event(match: Match, file: MediaFile) -> MatchResult | None:
    return _object_to_value("event", _judge_event(match, file), match.event, file.known_event)


def _object_to_adopted(match: Match, file: MediaFile) -> MatchResult | None:
    if _judge_adopted(match, file) is Judgement.MATCHES:
        return None
    return _differs(
        "adopted", "it is known from a listing only" if match.adopted is False else "a callback announced it"
    )


def _object_to_value(key: str, judgement: Judgement, wanted: tuple[str, ...] | None, value: str) -> MatchResult | None:
    if judgement is Judgement.MATCHES:
        return None
    if judgement is Judgement.UNKNOWN:
        return _unknown(key, key)
    return _differs(key, f'{key} "{value}" is not {_join(wanted or ())}')


def _object_to_duration(match: Match, file: MediaFile) -> MatchResult | None:
    limits = (_seconds(match.min_duration), _seconds(match.max_duration))
    return _object_to_limits("duration", _judge_duration(match, file), _known_duration(file), limits)


def _object_to_size(match: Match, file: MediaFile) -> MatchResult | None:
    limits = (match.min_size, match.max_size)
    return _object_to_limits("size", _judge_size(match, file), _known_size(file), limits)


def _object_to_limits(
    fact: str, judgement: Judgement, value: float | None, limits: tuple[float | None, float | None]
) -> MatchResult | None:
    if judgement is Judgement.MATCHES:
        return None
    lowest, _ = limits
    if value is None:
        return _unknown(f"max_{fact}" if lowest is None else f"min_{fact}", fact)
    shown = f"{value:g}s" if fact == "duration" else format_size(int(value))
    if lowest is not None and value < lowest:
        return _differs(f"min_{fact}", f"{fact} {shown} is under min_{fact}")
    return _differs(f"max_{fact}", f"{fact} {shown} is over max_{fact}")


def _known_duration(file: MediaFile) -> float | None:
    value = file.duration_s
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _known_size(file: MediaFile) -> int | None:
    value = file.size_bytes
    return value if value is not None and value >= 0 else None


_OBJECTIONS: Final[tuple[Callable[[Match, MediaFile], MatchResult | None], ...]] = (
    _object_to_stream,
    _object_to_app,
    _object_to_vendor,
    _object_to_event,
    _object_to_adopted,
    _object_to_duration,
    _object_to_size,
)


def _or_endless(size: int | None) -> float:
    return math.inf if size is None else size


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _join(values: Sequence[str]) -> str:
    return " or ".join(f'"{value}"' for value in values)
