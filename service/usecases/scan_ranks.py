"""Ranks in one pass over the inventory: under several rule sets at once, stream by stream, the newest files first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from service.core.matching import Judgement, Match, settle
from service.core.model import FileState, MediaFile
from service.core.ranks import Ranking, Span
from service.core.rules import find_rule
from service.db import inventory_scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.core.rules import RetentionRule
    from service.db.engine import Session
    from service.db.inventory_scan import LightFile, Oddity

Ranks: TypeAlias = "tuple[int | None, ...]"
"""A file's rank under each rule set, None where the rule that decides it there does not count recordings.

As far as it matters: 1 for what the rule keeps as one of the newest, else one more than it keeps.
"""

TODAY = 2
"""The first rule sets are the one in force and a candidate; those of changes that can be taken back follow."""


class Counting(NamedTuple):
    """A rule that counts recordings: its rule set, its place in there, and how many recordings it keeps."""

    rule_set: int
    place: int
    latest: int


class ScanRanks:
    """Ranks each file of a scan among those of its stream that the same rule decides, under each of the rule sets."""

    def __init__(self, session: Session, rule_sets: Sequence[Sequence[RetentionRule]], as_of: datetime) -> None:
        """The rule sets in force and to come, then those before each change that can be taken back."""
        self._rule_sets = rule_sets
        self._counting = [rule for rules in rule_sets for rule in rules if rule.keep_latest]
        # Nothing else is known of a stream as a whole: what else a rule asks for must not rule it out.
        self._asked = {Match(stream=rule.match.stream, app=rule.match.app) for rule in self._counting}
        self._as_of = as_of
        self._moments = inventory_scan.Moments(session)
        self._maybe_deleted = inventory_scan.list_maybe_deleted(session) if self._counting else set()
        self._rankings: dict[Counting, Ranking] = {}
        self._full: set[Counting] = set()
        self.none: Ranks = (None,) * len(rule_sets)

    @property
    def are_asked_for(self) -> bool:
        """Some rule counts recordings."""
        return bool(self._counting)

    def begin(self, app_id: str, stream_id: str) -> bool:
        """Go on with the next stream; whether any rule may count its recordings."""
        self._rankings, self._full = {}, set()
        if not stream_id:
            return False
        probe = MediaFile(app_id, "", "", stream_id, "", None, self._as_of, self._as_of)  # type: ignore[arg-type]
        return any(settle(match, probe) is not Judgement.DIFFERS for match in self._asked)

    def find_counting(self, facts: MediaFile) -> tuple[Counting, ...]:
        """The rules that decide a file, those that count recordings."""
        found = []
        for number, rules in enumerate(self._rule_sets):
            place = find_rule(facts, rules)
            if place is not None and (latest := rules[place].keep_latest):
                found.append(Counting(number, place, latest))
        return tuple(found)

    def rank(self, light: LightFile, oddity: Oddity | None, counting: Sequence[Counting]) -> Ranks:
        """The ranks of the next file of the stream, which counts for those behind it if it surely exists and stays.

        `counting` are the rules that decide it.
        """
        if oddity is not None and oddity.suspicion is not None:
            return self.none
        ranks: list[int | None] = list(self.none)
        span: Span | None = None
        for rule in counting:
            if not _is_compared(rule, oddity):
                continue
            ranks[rule.rule_set] = rule.latest + 1
            if rule not in self._full:
                span = span or self._span(light)
                if self._place(rule, span, stays=self._stays(light, oddity)) <= rule.latest:
                    ranks[rule.rule_set] = 1
        return tuple(ranks)

    def _place(self, rule: Counting, span: Span, *, stays: bool) -> int:
        ranking = self._rankings.get(rule)
        if ranking is None:
            ranking = self._rankings[rule] = Ranking()
        if not stays:
            return ranking.find_rank(span)
        rank = ranking.place(span)
        if rank > rule.latest:
            self._full.add(rule)
        return rank

    def _stays(self, light: LightFile, oddity: Oddity | None) -> bool:
        if light.number in self._maybe_deleted:
            return False
        if oddity is None:
            return True
        # What was announced after the moment that counts displaces nothing: it was not there to be compared.
        is_new = oddity.is_newer or bool(oddity.quiet_until)
        return not (is_new or oddity.state is FileState.DELETING or oddity.erasure_id is not None)

    def _span(self, light: LightFile) -> Span:
        ended_at = self._moments.read(light.ended_at) or self._as_of
        return Span(light.number, self._moments.read(light.began_at), ended_at)


def _is_compared(rule: Counting, oddity: Oddity | None) -> bool:
    """Under rules before a change, only files that it found count (see `find_wait`)."""
    if rule.rule_set < TODAY:
        return True
    return oddity is not None and bool(oddity.came_before >> (rule.rule_set - TODAY) & 1)
