"""Deciding sets of files at once: what the rules say of all files that share app, vendor, event and stream.

Most rules ask nothing else. Where a size, a duration or a rank matters, files fall into few kinds that are decided
alike. Every verdict comes out of `decide_by_rules`, as that of a single file does.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from service.core.matching import Judgement, settle
from service.core.rules import decide_by_rules, is_kept_for_lack_of_a_fact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from service.core.matching import Match
    from service.core.model import MediaFile
    from service.core.rules import RetentionRule

_UNKNOWN, _ODD = -1, -2

Shape: TypeAlias = tuple[tuple[int, Judgement], ...]
"""Which rules can decide files, by their place: groups with the same shape are decided alike, up to their sizes,
durations and ranks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule set says of every file of a kind: the rule, and at what age a file may go (None: never).

    Ages count from `MediaFile.aged_from`. `observed` is the age at which a rule that only observes would have let it
    go; `fixed` is a due date that does not come from an age. `lacks_fact` says that it keeps them only because
    something about them is not known: verdicts are the same whether it does or not.
    """

    rule: str | None
    keep: timedelta | None = None
    observed: timedelta | None = None
    fixed: datetime | None = None
    lacks_fact: bool = field(default=False, compare=False)

    def is_sooner_than(self, other: Verdict) -> bool:
        """It gives an earlier date than another verdict on the same files; never counts as the latest date."""
        return self.keep is not None and other.fixed is None and (other.keep is None or self.keep < other.keep)


def find_candidates(rules: Sequence[RetentionRule], group: MediaFile) -> list[tuple[int, RetentionRule]]:
    """The rules, with their places, that what is known of a group does not rule out."""
    return [(place, rule) for place, rule in enumerate(rules) if settle(rule.match, group) is not Judgement.DIFFERS]


def share_matches(*rule_sets: Sequence[RetentionRule]) -> tuple[tuple[RetentionRule, ...], ...]:
    """The same rule sets, equal matches being one object: what one set asks of a group is not asked again."""
    shared: dict[Match, Match] = {}
    return tuple(
        tuple(replace(rule, match=shared.setdefault(rule.match, rule.match)) for rule in rules) for rules in rule_sets
    )


def narrow(
    candidates: Sequence[tuple[int, RetentionRule]], group: MediaFile, known: dict[int, Judgement] | None = None
) -> Shape:
    """The rules among these that can decide files of a group, up to the first that decides all that reach it.

    `group` tells app, vendor, event and stream; its size and duration have to be None. `known` remembers judgements of
    the same group by the identity of the match.
    """
    found = []
    known = {} if known is None else known
    for place, rule in candidates:
        match = rule.match
        judgement = known.get(id(match))
        if judgement is None:
            judgement = known[id(match)] = settle(match, group)
        if judgement is not Judgement.DIFFERS:
            found.append((place, judgement))
            if not _asks_for_more(match):
                break
    return tuple(found)


def find_verdict(rules: Sequence[RetentionRule], file: MediaFile, as_of: datetime) -> Verdict:
    """What rules say of files of the kind of this one, whatever their end."""
    if file.erasure is not None:
        return Verdict(None, fixed=min(file.erasure.requested_at, as_of))
    decision = decide_by_rules(file, rules, as_of)
    keep = None if decision.due_at is None else decision.due_at - file.aged_from
    observed = None if decision.observed_due_at is None else decision.observed_due_at - file.aged_from
    return Verdict(decision.rule, keep, observed, lacks_fact=is_kept_for_lack_of_a_fact(file, rules))


class Kinds:
    """Tells files apart, within groups of one shape, as far as rules can but for ranks: by bands of sizes and lengths.

    `is_one` says that the rules tell nothing apart, not by ranks either.
    """

    def __init__(self, rules: Sequence[RetentionRule]) -> None:
        matches = [rule.match for rule in rules]
        self._sizes = _limits([size for match in matches for size in (match.min_size, match.max_size)])
        durations = [duration for match in matches for duration in (match.min_duration, match.max_duration)]
        self._durations = _limits([None if each is None else each.total_seconds() for each in durations])
        self.is_one = not (self._sizes or self._durations or any(rule.keep_latest for rule in rules))

    def find(self, size_bytes: int | None, duration_s: float | None) -> tuple[int, int]:
        """The kind of a file: those of one kind and rank are decided alike."""
        return (
            _band(self._sizes, size_bytes) if self._sizes else 0,
            _band(self._durations, duration_s) if self._durations else 0,
        )


def _asks_for_more(match: Match) -> bool:
    return (match.min_size, match.max_size, match.min_duration, match.max_duration) != (None, None, None, None)


def _limits(values: Sequence[float | None]) -> list[float]:
    return sorted({value for value in values if value is not None})


def _band(limits: Sequence[float], value: float | None) -> int:
    """A number for each limit and for each gap between them: limits are inclusive."""
    if value is None:
        return _UNKNOWN
    if not math.isfinite(value) or value < 0:
        return _ODD
    return bisect_left(limits, value) + bisect_right(limits, value)
