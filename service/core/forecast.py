"""What two rule sets would do with an inventory, counted by the day on which each file would go (docs/rules.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from service.core.model import Vendor
    from service.core.narrowing import Verdict

HORIZON_DAYS: Final = 90
LATER: Final = HORIZON_DAYS + 1
"""The day of what goes beyond the horizon."""
NEVER: Final = HORIZON_DAYS + 2
SAMPLE: Final = 5
"""How many files of each kind of change are shown."""

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Situation:
    """What else than the rules bears on files.

    `cooling_until` is the end of a cooling-off from an earlier change, and `cooling_after` what would be left of it
    under the candidate. `held_until` None means that a hold stands until it is released. `retry_day` is when what is
    due now is asked for again (0: it does not wait).
    """

    is_failed: bool = False
    is_suspect: bool = False
    is_held: bool = False
    held_until: datetime | None = None
    cooling_until: datetime | None = None
    cooling_after: datetime | None = None
    retry_day: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of file: an app, a vendor, what the rules in force and a candidate say, and what else bears on it."""

    app_id: str
    vendor: Vendor
    before: Verdict
    after: Verdict
    situation: Situation

    @property
    def is_sooner(self) -> bool:
        """The candidate moves the date earlier; never counts as the latest date."""
        return self.after.is_sooner_than(self.before)

    @property
    def is_same(self) -> bool:
        """Both give the same date, through the same rule."""
        return self.before == self.after


class Cell:
    """Counts the files of one kind by when they ended: between two cuts, all of them go on the same days.

    Callers in a hurry add to `counts`, `seconds` and `bytes` themselves, at `bisect_left(cuts, ended_at)`; `samples`
    holds the first few as (place, number of the file).
    """

    def __init__(self, change: Change, as_of: datetime, stored: Callable[[datetime], Any]) -> None:
        """`stored` turns a moment into what ends are compared as."""
        self.change = change
        self.is_sooner = change.is_sooner
        self._as_of = as_of
        windows = {change.before.keep, change.after.keep, change.after.observed, change.before.observed} - {None}
        moments = {as_of - keep + day * _DAY for keep in windows if keep for day in range(HORIZON_DAYS + 1)}
        self._moments = sorted(moments)
        self.cuts = [stored(moment) for moment in self._moments]
        self.counts = [0] * (len(self.cuts) + 1)
        self.seconds = [0.0] * (len(self.cuts) + 1)
        self.bytes = [0] * (len(self.cuts) + 1)
        self.samples: list[tuple[int, int]] = []

    def portions(self) -> Iterator[Portion]:
        """What was counted, by the days on which it goes."""
        found: dict[int, list[int]] = {}
        for place, number in self.samples:
            found.setdefault(place, []).append(number)
        for place, count in enumerate(self.counts):
            if count:
                seconds = self.seconds[place] if math.isfinite(self.seconds[place]) else 0.0
                amount = Amount(count, seconds, self.bytes[place])
                yield Portion(self.change, amount, *self._days(place), tuple(found.get(place, ())))

    def _days(self, place: int) -> tuple[int, int, int]:
        before, after = self.change.before, self.change.after
        return (
            self._day(place, before.keep, before.fixed),
            self._day(place, after.keep, after.fixed),
            self._day(place, after.observed, None),
        )

    def _day(self, place: int, keep: timedelta | None, fixed: datetime | None) -> int:
        if fixed is not None:
            return day_of(fixed, self._as_of)
        if keep is None:
            return NEVER
        return LATER if place == len(self._moments) else day_of(self._moments[place] + keep, self._as_of)


@dataclass(slots=True)
class Amount:
    """How much: files, seconds of recording, bytes (each as far as they are known)."""

    count: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def add(self, other: Amount) -> None:
        """Count another amount in."""
        self.count += other.count
        self.seconds += other.seconds
        self.bytes += other.bytes

    def as_json(self) -> dict[str, Any]:
        """As previews and forecasts show it."""
        return {"count": self.count, "hours": round(self.seconds / 3600, 2), "bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class Portion:
    """Files of one kind that go on the same days (0: now) by the dates of the rules.

    `observed_day` is when a rule that only observes would let them go.
    """

    change: Change
    amount: Amount
    before_day: int
    after_day: int
    observed_day: int
    samples: tuple[int, ...]


@dataclass(slots=True)
class Category:
    """The files that have one thing in common: how much they are, by rule, app and vendor, and a few of them."""

    total: Amount = field(default_factory=Amount)
    parts: dict[str, dict[str | None, Amount]] = field(default_factory=dict)
    samples: list[int] = field(default_factory=list)

    def add(self, portion: Portion, rule: str | None) -> None:
        """Count files in, under a rule."""
        self.total.add(portion.amount)
        change = portion.change
        for part, name in (("by_rule", rule), ("by_app", change.app_id), ("by_vendor", change.vendor.value)):
            self.parts.setdefault(part, {}).setdefault(name, Amount()).add(portion.amount)
        self.samples = sorted({*self.samples, *portion.samples})[:SAMPLE]

    def as_json(self) -> dict[str, Any]:
        """As previews show it; the largest parts come first."""
        return self.total.as_json() | {
            part: list_amounts(self.parts.get(part, {})) for part in ("by_rule", "by_app", "by_vendor")
        }


def list_amounts(amounts: dict[str | None, Amount]) -> list[dict[str, Any]]:
    """Named amounts, the largest first; the name None stands for files that no rule decides."""
    in_order = sorted(amounts.items(), key=lambda item: (-item[1].count, item[0] or ""))
    return [{"name": name} | amount.as_json() for name, amount in in_order]


CATEGORIES: Final = (
    "due_now",
    "newly_due_now",
    "newly_due_in_7_days",
    "newly_due_in_30_days",
    "rescued",
    "sooner",
    "later",
    "moved",
    "unchanged",
    "kept",
    "observed",
    "held",
    "unconfirmed",
    "failed",
)
"""What a file can have in common with others in a preview; documented in docs/rules.md."""

_EFFECTS: Final = ("kept", "later", "due", "unjudged")
_NO_EFFECT: Final = [0] * len(_EFFECTS)
_HORIZONS: Final = (("newly_due_now", 0), ("newly_due_in_7_days", 7), ("newly_due_in_30_days", 30))


class Reckoning:
    """Sums portions up: categories, and how many files go on each day under both rule sets."""

    def __init__(self, as_of: datetime, cooling_off: timedelta) -> None:
        """`cooling_off` is how long files wait whose date the candidate moves earlier."""
        self._as_of = as_of
        self._cooled_at = as_of + cooling_off
        self.categories = {name: Category() for name in CATEGORIES}
        self.before = [0] * (HORIZON_DAYS + 1)
        self.after = [0] * (HORIZON_DAYS + 1)
        self.files = 0
        self._effects: dict[str | None, list[int]] = {}

    def effects(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """For each rule of the candidate, in this order: files it keeps for good, lets go later, and lets go now.

        `unjudged` are those of the kept ones for which a fact is missing. Files that no rule decides come last, under
        None.
        """
        shown = [*names, *([None] if None in self._effects else [])]
        return [
            {"rule": name, **dict(zip(_EFFECTS, self._effects.get(name, _NO_EFFECT), strict=True))} for name in shown
        ]

    def add_all(self, portions: Iterable[Portion]) -> None:
        """Count portions in."""
        for portion in portions:
            self._add(portion)

    def _add(self, portion: Portion) -> None:
        self.files += portion.amount.count
        situation, change = portion.change.situation, portion.change
        if change.is_sooner:
            self._count("sooner", portion)
        if situation.is_failed:
            self._count("failed", portion)
            return
        self._compare(portion)
        effect = 0 if portion.after_day == NEVER else 2 if portion.after_day == 0 else 1
        effects = self._effects.setdefault(change.after.rule, [*_NO_EFFECT])
        effects[effect] += portion.amount.count
        effects[3] += portion.amount.count if change.after.lacks_fact else 0
        if situation.is_held:
            self._count("held", portion)
        elif situation.is_suspect:
            self._count("unconfirmed", portion)
        if not (situation.is_suspect or (situation.is_held and situation.held_until is None)):
            self._look_ahead(portion)

    def _compare(self, portion: Portion) -> None:
        change = portion.change
        if change.is_same:
            self._count("unchanged", portion)
        if change.before.rule != change.after.rule:
            self._count("moved", portion)
        if change.before.keep != change.after.keep and not change.is_sooner:
            self._count("later", portion)
        if portion.after_day == NEVER:
            self._count("kept", portion)

    def _look_ahead(self, portion: Portion) -> None:
        """Count what a sweep deletes: no call comes before a hold ends, nor, in the forecast, within a cooling-off."""
        change, situation = portion.change, portion.change.situation
        held = day_of(situation.held_until, self._as_of)
        before, after = max(portion.before_day, held), max(portion.after_day, held)
        for name, horizon in _HORIZONS:
            if after <= horizon < before:
                self._count(name, portion)
        if before == 0 < after:
            self.categories["rescued"].add(portion, change.before.rule)
        if max(portion.observed_day, held) == 0:
            self._count("observed", portion)
        cooling = day_of(situation.cooling_until, self._as_of)
        cooling_after = day_of(situation.cooling_after, self._as_of)
        if change.is_sooner:
            cooling_after = max(cooling_after, day_of(self._cooled_at, self._as_of))
        # A file that is not due now is decided again, and forgets that it waits for another attempt.
        called = max(after, cooling_after) or situation.retry_day
        _count_day(self.before, max(before, cooling) or situation.retry_day, portion.amount)
        _count_day(self.after, called, portion.amount)
        if called == 0:
            self._count("due_now", portion)

    def _count(self, name: str, portion: Portion) -> None:
        self.categories[name].add(portion, portion.change.after.rule)


def day_of(moment: datetime | None, as_of: datetime) -> int:
    """The day, counted from `as_of`, by whose end a moment has come; 0: it has come already (or there is none)."""
    if moment is None or moment <= as_of:
        return 0
    return min(LATER, math.ceil((moment - as_of) / _DAY))


def _count_day(days: list[int], day: int, amount: Amount) -> None:
    if day <= HORIZON_DAYS:
        days[day] += amount.count
