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
    Limits are inclusive; sizes are in bytes.
    """

    stream: tuple[str, ...] | None = None
    app: tuple[str, ...] | None = None
    vendor: tuple[Vendor, ...] | None = None
    event: tuple[str, ...] | None = None
    min_duration: timedelta | None = None
    max_duration: timedelta | None = None
    min_size: int | None = None
    max_size: int | None = None


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
    objections = [objection for find in _OBJECTIONS if (objection := find(match, file)) is not None]
    for objection in objections:
        if objection.judgement is Judgement.DIFFERS:
            return objection
    return objections[0] if objections else MatchResult(Judgement.MATCHES, None, "it matches")


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
    )


def _streams_imply(narrow: Sequence[str], wide: Sequence[str]) -> bool:
    return all(any(pattern_implies(pattern, wider) for wider in wide) for pattern in narrow)


def _values_imply(narrow: tuple[str, ...] | None, wide: tuple[str, ...] | None) -> bool:
    return wide is None or (narrow is not None and set(narrow) <= set(wide))


def _differs(key: str, why: str) -> MatchResult:
    return MatchResult(Judgement.DIFFERS, key, why)


def _unknown(key: str, fact: str) -> MatchResult:
    return MatchResult(Judgement.UNKNOWN, key, f"its {fact} is not known")


def _object_to_stream(match: Match, file: MediaFile) -> MatchResult | None:
    if match.stream is None:
        return None
    if not file.stream_id:
        return _unknown("stream", "stream")
    if any(matches(pattern, file.stream_id) for pattern in match.stream):
        return None
    return _differs("stream", f'stream "{file.stream_id}" does not fit {_join(match.stream)}')


def _object_to_app(match: Match, file: MediaFile) -> MatchResult | None:
    return _object_to_value("app", match.app, file.app_id)


def _object_to_vendor(match: Match, file: MediaFile) -> MatchResult | None:
    return _object_to_value("vendor", match.vendor, file.vendor)


def _object_to_event(match: Match, file: MediaFile) -> MatchResult | None:
    return _object_to_value("event", match.event, file.event)


def _object_to_value(key: str, wanted: tuple[str, ...] | None, value: str) -> MatchResult | None:
    if wanted is None or value in wanted:
        return None
    if not value:
        return _unknown(key, key)
    return _differs(key, f'{key} "{value}" is not {_join(wanted)}')


def _object_to_duration(match: Match, file: MediaFile) -> MatchResult | None:
    value = file.duration_s
    known = value if value is not None and math.isfinite(value) and value >= 0 else None
    return _object_to_limits("duration", known, (_seconds(match.min_duration), _seconds(match.max_duration)))


def _object_to_size(match: Match, file: MediaFile) -> MatchResult | None:
    value = file.size_bytes
    known = value if value is not None and value >= 0 else None
    return _object_to_limits("size", known, (match.min_size, match.max_size))


def _object_to_limits(fact: str, value: float | None, limits: tuple[float | None, float | None]) -> MatchResult | None:
    lowest, highest = limits
    if lowest is None and highest is None:
        return None
    if value is None:
        return _unknown(f"max_{fact}" if lowest is None else f"min_{fact}", fact)
    shown = f"{value:g}s" if fact == "duration" else format_size(int(value))
    if lowest is not None and value < lowest:
        return _differs(f"min_{fact}", f"{fact} {shown} is under min_{fact}")
    if highest is not None and value > highest:
        return _differs(f"max_{fact}", f"{fact} {shown} is over max_{fact}")
    return None


_OBJECTIONS: Final[tuple[Callable[[Match, MediaFile], MatchResult | None], ...]] = (
    _object_to_stream,
    _object_to_app,
    _object_to_vendor,
    _object_to_event,
    _object_to_duration,
    _object_to_size,
)


def _or_endless(size: int | None) -> float:
    return math.inf if size is None else size


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _join(values: Sequence[str]) -> str:
    return " or ".join(f'"{value}"' for value in values)
