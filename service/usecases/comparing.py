"""Comparing two rule sets over the whole inventory in one pass: exact, and deciding each kind of file only once."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from service.core.forecast import Cell, Change, Situation, day_of
from service.core.model import FileState, MediaFile, Vendor
from service.core.narrowing import Kinds, find_candidates, find_verdict, narrow, share_matches
from service.core.rules import RetentionRule, RuleSet, find_hold_end
from service.db import erasures, holds, inventory_scan, revisions
from service.db.inventory_scan import LightFile, Moments, Oddity
from service.usecases.scan_ranks import TODAY, ScanRanks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from service.core.forecast import Portion
    from service.core.matching import Judgement
    from service.core.model import Erasure, Hold
    from service.core.narrowing import Shape, Verdict
    from service.db.engine import Session
    from service.usecases.scan_ranks import Counting, Ranks

_FIRST = 3  # files of each portion that a preview may show


@dataclass(slots=True)
class _Group:
    """Files that share app, vendor, event and stream: what can decide them, and whether a hold on the stream stands."""

    facts: MediaFile
    before: Shape
    after: Shape
    kinds: Kinds
    is_held: bool
    held_until: datetime | None
    plain: Cell | None = None
    cells: dict[Any, Cell] = field(default_factory=dict)
    counting: dict[Any, tuple[Counting, ...]] = field(default_factory=dict)
    """By the kind of file: the rules that decide it and count recordings."""


class Comparison:
    """The rules in force and a candidate, held against every file that is neither deleted nor gone.

    `sooner` holds the numbers of the files whose date the candidate moves earlier, in no order.
    """

    def __init__(
        self, session: Session, in_force: RuleSet, candidate: Sequence[RetentionRule], as_of: datetime
    ) -> None:
        """Compare as of a moment, in the transaction of a session."""
        self.sooner = array("q")
        self._session = session
        self._in_force = in_force
        self._rules = share_matches(in_force.rules, candidate)
        self._as_of = as_of
        self._moments = Moments(session)
        self._cooling = revisions.list_cooling(session, in_force.revision, as_of)
        earlier = [change.before.rules for change in self._cooling]
        self._earlier_kinds = Kinds(list(chain.from_iterable(earlier)))
        self._ranks = ScanRanks(session, (*self._rules, *earlier), as_of)
        self._stream: tuple[str, str] | None = None
        self._is_counted = False
        self._holds: dict[str, list[Hold]] = {}
        self._held_files = self._find_held_files()
        self._groups: dict[tuple[str, str, str, str], _Group] = {}
        self._candidates: dict[tuple[str, str, str], tuple[list[tuple[int, RetentionRule]], ...]] = {}
        self._kinds: dict[tuple[Shape, Shape], Kinds] = {}
        self._cells: dict[Any, Cell] = {}
        self._oddities: dict[str, Oddity] = {}
        self._erasures: dict[int, Erasure] = {}

    def run(
        self, progress: Callable[[int], None] | None = None, streams: Collection[tuple[str, str]] | None = None
    ) -> None:
        """Look at every file (of these streams) once; `progress` hears how many more are done."""
        revision, by_stream = self._in_force.revision, self._ranks.are_asked_for
        waits = [change.applied_at for change in self._cooling]
        scan = inventory_scan.scan_inventory(self._session, revision, self._as_of, waits, streams, by_stream=by_stream)
        for rows in scan:
            self._count(rows, self._rank(rows) if by_stream else None)
            if progress:
                progress(len(rows))

    def portions(self) -> Iterator[Portion]:
        """What was counted."""
        return chain.from_iterable(cell.portions() for cell in self._cells.values())

    def _count(self, rows: Sequence[Any], ranks: Sequence[Ranks] | None) -> None:
        # A million files go through here: no objects, and nothing is looked up twice.
        groups, held_files, sooner = self._groups, self._held_files, self.sooner
        for place, (number, app_id, vendor, event, stream_id, aged_from, seconds, size, oddity, *_) in enumerate(rows):
            key = (app_id, vendor, event, stream_id)
            group = groups.get(key) or self._open_group(key)
            cell = group.plain if oddity is None else None
            if cell is None or number in held_files:
                cell = self._find_cell(group, LightFile(*rows[place]), ranks[place] if ranks else self._ranks.none)
            slot = bisect_left(cell.cuts, aged_from)
            count = cell.counts[slot]
            cell.counts[slot] = count + 1
            if seconds:
                cell.seconds[slot] += seconds
            if size:
                cell.bytes[slot] += size
            if count < _FIRST:
                cell.samples.append((slot, number))
            if cell.is_sooner:
                sooner.append(number)

    def _open_group(self, key: tuple[str, str, str, str]) -> _Group:
        app_id, vendor, event, stream_id = key
        facts = MediaFile(app_id, Vendor(vendor), "", stream_id, event, None, self._as_of, self._as_of)
        known: dict[int, Judgement] = {}
        before, after = (narrow(rules, facts, known) for rules in self._candidates_of(facts))
        is_held, until = find_hold_end(facts, self._holds_of(app_id), self._as_of)
        group = _Group(facts, before, after, self._kinds_of(before, after), is_held, until)
        if group.kinds.is_one:
            situation = Situation(is_held=is_held, held_until=until)
            group.plain = self._cell(group, facts, situation, self._ranks.none, None)
        self._groups[key] = group
        return group

    def _candidates_of(self, facts: MediaFile) -> tuple[list[tuple[int, RetentionRule]], ...]:
        """The rules of both sets that an app, a vendor and an event leave: far fewer to hold against each stream."""
        key = (facts.app_id, facts.vendor, facts.event)
        if key not in self._candidates:
            any_stream = replace(facts, stream_id="")
            self._candidates[key] = tuple(find_candidates(rules, any_stream) for rules in self._rules)
        return self._candidates[key]

    def _kinds_of(self, before: Shape, after: Shape) -> Kinds:
        if (before, after) not in self._kinds:
            shapes = zip(self._rules, (before, after), strict=True)
            deciding = [rules[place] for rules, shape in shapes for place, _ in shape]
            self._kinds[before, after] = Kinds(deciding)
        return self._kinds[before, after]

    def _find_cell(self, group: _Group, light: LightFile, ranks: Ranks) -> Cell:
        """The cell of a file that its group alone does not settle."""
        kind = self._kind_of(group, light)
        known = (light.oddity, kind, ranks)
        if light.number not in self._held_files and known in group.cells:
            return group.cells[known]
        oddity = None if light.oddity is None else self._read(light.oddity)
        facts = replace(
            group.facts,
            size_bytes=light.size_bytes,
            duration_s=light.duration_s,
            suspicion=oddity and oddity.suspicion,
            erasure=oddity and self._erasure_of(oddity),
        )
        cell = self._cell(group, facts, self._situation(group, light, oddity, facts, ranks), ranks, kind)
        if light.number not in self._held_files:
            group.cells[known] = cell
        return cell

    def _kind_of(self, group: _Group, light: LightFile) -> tuple[tuple[int, int], tuple[int, int]]:
        size, duration = light.size_bytes, light.duration_s
        return group.kinds.find(size, duration), self._earlier_kinds.find(size, duration)

    def _situation(
        self, group: _Group, light: LightFile, oddity: Oddity | None, facts: MediaFile, ranks: Ranks
    ) -> Situation:
        is_held, until = group.is_held, group.held_until
        if light.number in self._held_files:
            ends = [hold.until for hold in self._held_files[light.number]] + ([until] if is_held else [])
            is_held, until = True, None if None in ends else max(end for end in ends if end)
        if oddity is None:
            return Situation(is_held=is_held, held_until=until)
        return Situation(
            is_failed=oddity.state is FileState.FAILED,
            is_suspect=oddity.suspicion is not None,
            is_held=is_held,
            held_until=until,
            cooling_until=self._wait_of(0, oddity, facts, ranks),
            cooling_after=self._wait_of(1, oddity, facts, ranks),
            retry_day=day_of(self._moments.read(oddity.retry_at), self._as_of),
        )

    def _wait_of(self, side: int, oddity: Oddity, facts: MediaFile, ranks: Ranks) -> datetime | None:
        """Until when the changes that can still be taken back make a file wait under one of the rule sets."""
        if facts.erasure is not None:
            return None
        verdict = self._verdict(self._rules[side], facts, ranks[side])
        ends = [
            change.cooling_until
            for place, change in enumerate(self._cooling)
            if change.cooling_until is not None
            and oddity.came_before >> place & 1
            and verdict.is_sooner_than(self._verdict(change.before.rules, facts, ranks[TODAY + place]))
        ]
        quiet_until = self._moments.read(oddity.quiet_until)
        return max([*ends, *([quiet_until] if quiet_until else [])], default=None)

    def _verdict(self, rules: Sequence[RetentionRule], facts: MediaFile, rank: int | None) -> Verdict:
        return find_verdict(rules, facts if rank is None else replace(facts, rank=rank), self._as_of)

    def _cell(self, group: _Group, facts: MediaFile, situation: Situation, ranks: Ranks, kind: object) -> Cell:
        erased = facts.erasure and facts.erasure.number
        key = (
            facts.app_id,
            facts.vendor,
            group.before,
            group.after,
            not facts.stream_id,
            not facts.known_event,
            kind,
            ranks[:TODAY],
            erased,
            facts.suspicion,
            situation if situation != _NOTHING else None,
        )
        if key not in self._cells:
            before, after = (
                self._verdict(rules, facts, rank) for rules, rank in zip(self._rules, ranks[:TODAY], strict=True)
            )
            change = Change(facts.app_id, facts.vendor, before, after, situation)
            self._cells[key] = Cell(change, self._as_of, self._moments.store)
        return self._cells[key]

    def _rank(self, rows: Sequence[Any]) -> list[Ranks]:
        """The ranks of each file within its stream, where rules may ask for them."""
        ranks = []
        for row in rows:
            stream = (row[1], row[4])
            if stream != self._stream:
                self._stream, self._is_counted = stream, self._ranks.begin(*stream)
            ranks.append(self._rank_one(LightFile(*row)) if self._is_counted else self._ranks.none)
        return ranks

    def _rank_one(self, light: LightFile) -> Ranks:
        key = (light.app_id, light.vendor, light.event, light.stream_id)
        group = self._groups.get(key) or self._open_group(key)
        kind = self._kind_of(group, light)
        if kind not in group.counting:
            facts = replace(group.facts, size_bytes=light.size_bytes, duration_s=light.duration_s)
            group.counting[kind] = self._ranks.find_counting(facts)
        if not group.counting[kind]:
            return self._ranks.none
        oddity = None if light.oddity is None else self._read(light.oddity)
        return self._ranks.rank(light, oddity, group.counting[kind])

    def _read(self, text: str) -> Oddity:
        if text not in self._oddities:
            if len(self._oddities) > _MOST_REMEMBERED:
                self._oddities.clear()
            self._oddities[text] = inventory_scan.read_oddity(text)
        return self._oddities[text]

    def _erasure_of(self, oddity: Oddity) -> Erasure | None:
        number = oddity.erasure_id
        if number is None:
            return None
        if number not in self._erasures:
            self._erasures |= erasures.find_orders(self._session, [number])
        return self._erasures[number]

    def _holds_of(self, app_id: str) -> list[Hold]:
        if app_id not in self._holds:
            self._holds[app_id] = holds.list_in_force(self._session, [app_id], self._as_of)
        return self._holds[app_id]

    def _find_held_files(self) -> dict[int, list[Hold]]:
        """Holds on single files, by the numbers of the files."""
        found: dict[tuple[str, Vendor, str], list[Hold]] = {}
        for hold in inventory_scan.list_file_holds(self._session, self._as_of):
            if hold.file is not None:
                found.setdefault((hold.app_id, *hold.file), []).append(hold)
        numbers = inventory_scan.find_numbers(self._session, list(found))
        return {number: found[name] for name, number in numbers.items()}


_NOTHING = Situation()
_MOST_REMEMBERED = 10_000
