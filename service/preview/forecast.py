"""What two rule sets mean for an inventory, counted file by file: kinds of change, and deletions by day."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from service.model import FileState, MediaFile
from service.units import count_of, format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HORIZON_DAYS: Final = 90
MAX_SAMPLES: Final = 5
"""How many files of each category are shown."""

_LATER: Final = HORIZON_DAYS + 1
_NEVER: Final = HORIZON_DAYS + 2
_DAY: Final = timedelta(days=1)
_KEPT_ALL_THE_SAME: Final = (FileState.HELD, FileState.UNCONFIRMED, FileState.FAILED, FileState.DELETING)
_HORIZONS: Final = (("newly_due_now", 0), ("newly_due_in_7_days", 7), ("newly_due_in_30_days", 30))


class Effect(StrEnum):
    """What a candidate does to the date of a file; each file has one."""

    SOONER = "sooner"
    LATER = "later"
    NO_LONGER_DELETED = "no_longer_deleted"
    UNCHANGED = "unchanged"


CATEGORIES: Final = (*Effect, "moved", "kept", "due_now", "spared", *dict(_HORIZONS), *_KEPT_ALL_THE_SAME)
"""What files can have in common in a preview; documented in docs/rules.md."""


class Change(NamedTuple):
    """One file under the rules in force and under a candidate.

    `before` is its row as it stands, `after` the row that would follow from applying the candidate now. The dates say
    when the rules delete it, whatever else keeps it: None is never, also where it is among the newest of its stream.
    `held_until` is when the last of its holds ends (None: it has none, or one without an end). `missing` is the fact
    for lack of which the candidate keeps it.
    """

    before: MediaFile
    after: MediaFile
    date_before: datetime | None
    date_after: datetime | None
    held_until: datetime | None
    missing: str | None

    @property
    def effect(self) -> Effect:
        """What the candidate does to its date."""
        before, after = self.date_before, self.date_after
        if before == after or self.before.erasure_id is not None:
            return Effect.UNCHANGED
        if after is None:
            return Effect.NO_LONGER_DELETED
        return Effect.SOONER if before is None or after < before else Effect.LATER

    def to_json(self) -> dict[str, Any]:
        """The file in short, with what both rule sets say of it."""
        shown = {name: getattr(self.before, name) for name in ("id", "app_id", "vendor", "file_id", "state")}
        return shown | {
            "stream_id": self.before.stream_id or None,
            "ended_at": format_moment(self.before.ended_at),
            "rule_before": self.before.rule,
            "due_before": self.date_before and format_moment(self.date_before),
            "rule_after": self.after.rule,
            "due_after": self.date_after and format_moment(self.date_after),
        }


@dataclass(slots=True)
class Amount:
    """How much: files, seconds of recording and bytes, each as far as known, and of how many files they are not."""

    count: int = 0
    seconds: float = 0.0
    unknown_durations: int = 0
    bytes: int = 0
    unknown_sizes: int = 0

    def add_file(self, file: MediaFile) -> None:
        """Count a file in."""
        self.count += 1
        if file.duration_s is not None and 0 <= file.duration_s < math.inf:
            self.seconds += file.duration_s
        else:
            self.unknown_durations += 1
        if file.size_bytes is not None and file.size_bytes >= 0:
            self.bytes += file.size_bytes
        else:
            self.unknown_sizes += 1

    def add(self, other: Amount) -> None:
        """Count another amount in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """As previews and forecasts show it; `hours` is null for a sum that no number holds."""
        shown = asdict(self)
        seconds = shown.pop("seconds")
        return shown | {"hours": round(seconds / 3600, 2) if math.isfinite(seconds) else None}


class Amounts(dict[str | None, Amount]):
    """Amounts by name; None stands for files that no rule decides."""

    def add(self, name: str | None, amount: Amount) -> None:
        """Count an amount in under a name."""
        self.setdefault(name, Amount()).add(amount)

    def to_json(self) -> list[dict[str, Any]]:
        """Named amounts, the largest first."""
        in_order = sorted(self.items(), key=lambda item: (-item[1].count, item[0] or ""))
        return [{"name": name, **amount.to_json()} for name, amount in in_order]


@dataclass(slots=True)
class Category:
    """The files that have something in common: how much they are, by rule, app and vendor, and a few of them."""

    total: Amount = field(default_factory=Amount)
    by_rule: Amounts = field(default_factory=Amounts)
    by_app: Amounts = field(default_factory=Amounts)
    by_vendor: Amounts = field(default_factory=Amounts)
    samples: list[Change] = field(default_factory=list)

    def to_json(self, files: int) -> dict[str, Any]:
        """As previews show it; the share is that of all `files`."""
        parts = {name: getattr(self, name).to_json() for name in ("by_rule", "by_app", "by_vendor")}
        samples = [change.to_json() for change in self.samples]
        return {**self.total.to_json(), "share": describe_share(self.total.count, files), **parts, "samples": samples}


@dataclass(slots=True)
class RuleEffect:
    """What one rule of the candidate does with the files that it decides: how many it keeps, deletes later, or now.

    `unjudged` counts those among the kept ones for which a fact is missing, by that fact.
    """

    kept: int = 0
    later: int = 0
    due: int = 0
    unjudged: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rules in force mean: how much there is, in parts, and how many files are called on each day.

    Day 0 is now, day 1 the 24 hours after that, up to `HORIZON_DAYS`.
    """

    as_of: datetime
    revision: int
    parts: dict[str, Amounts]
    days: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As the API and `--json` show it."""
        parts = {name: amounts.to_json() for name, amounts in self.parts.items()}
        return {"as_of": format_moment(self.as_of), "revision": self.revision, **parts, "days": list(self.days)}


class _Portion(NamedTuple):
    """Files that are counted alike; days count from now, by what rules and holds say, and by when a sweep calls."""

    amount: Amount
    samples: list[Change]
    app_id: str
    vendor: str
    state: FileState
    rule_before: str | None
    rule_after: str | None
    missing: str | None
    effect: Effect
    is_kept: bool
    day_before: int
    day_after: int
    call_before: int
    call_after: int


class Tally:
    """Counts changes: categories, what each rule does, and deletions by day."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._portions: dict[tuple[Any, ...], _Portion] = {}

    def add(self, change: Change) -> None:
        """Count one file."""
        before, after = change.before, change.after
        day_before, call_before = self._look_ahead(before, change.date_before, change.held_until)
        day_after, call_after = self._look_ahead(after, change.date_after, change.held_until)
        key = (
            *(before.app_id, before.vendor, before.state, before.rule, after.rule, change.missing),
            *(change.effect, change.date_after is None, day_before, day_after, call_before, call_after),
        )
        portion = self._portions.get(key)
        if portion is None:
            portion = self._portions[key] = _Portion(Amount(), [], *key)
        portion.amount.add_file(before)
        if len(portion.samples) < MAX_SAMPLES:
            portion.samples.append(change)

    def sum_categories(self) -> dict[str, Category]:
        """Every category of `CATEGORIES`, by the candidate's rules; what is spared, by those that would delete it."""
        found = {name: Category() for name in CATEGORIES}
        for portion in self._portions.values():
            for name in _list_categories(portion):
                category, amount = found[name], portion.amount
                category.total.add(amount)
                category.by_rule.add(portion.rule_before if name == "spared" else portion.rule_after, amount)
                category.by_app.add(portion.app_id, amount)
                category.by_vendor.add(portion.vendor, amount)
                category.samples = sorted((*category.samples, *portion.samples), key=_find_number)[:MAX_SAMPLES]
        return found

    def sum_rules(self, names: Iterable[str]) -> dict[str | None, RuleEffect]:
        """What each rule does, in this order; files that no rule decides come last, under None, if there are any."""
        found: dict[str | None, RuleEffect] = {name: RuleEffect() for name in names}
        for portion in self._portions.values():
            effect, count = found.setdefault(portion.rule_after, RuleEffect()), portion.amount.count
            kind = "kept" if portion.is_kept else "due" if portion.day_after == 0 else "later"
            setattr(effect, kind, getattr(effect, kind) + count)
            if portion.missing is not None:
                effect.unjudged[portion.missing] = effect.unjudged.get(portion.missing, 0) + count
        return found

    def count_days(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """How many files are called on each day, under the rules in force and under the candidate."""
        before, after = [0] * (_NEVER + 1), [0] * (_NEVER + 1)
        for portion in self._portions.values():
            before[portion.call_before] += portion.amount.count
            after[portion.call_after] += portion.amount.count
        return tuple(before[:_LATER]), tuple(after[:_LATER])

    def find_emptied_apps(self) -> tuple[str, ...]:
        """Apps of which the candidate deletes every file at once, and the rules in force do not."""
        portions = self._portions.values()
        not_due = {portion.app_id for portion in portions if portion.day_after != 0}
        return tuple(sorted({portion.app_id for portion in portions if portion.day_before != 0} - not_due))

    def forecast(self, revision: int) -> Forecast:
        """What was counted, as a forecast of the rules in force."""
        names: dict[str, Callable[[_Portion], str | None]] = {
            "by_state": lambda portion: portion.state,
            "by_rule": lambda portion: portion.rule_before,
            "by_app": lambda portion: portion.app_id,
            "by_vendor": lambda portion: portion.vendor,
        }
        parts = {part: Amounts() for part in names}
        for portion in self._portions.values():
            for part, find_name in names.items():
                parts[part].add(find_name(portion), portion.amount)
        return Forecast(self._now, revision, parts, self.count_days()[0])

    def _look_ahead(self, row: MediaFile, date: datetime | None, held_until: datetime | None) -> tuple[int, int]:
        """The days on which a file is due, once its holds have ended, and on which a sweep calls it."""
        state = row.state
        if date is None or row.suspicion is not None or state in (FileState.FAILED, FileState.DELETING):
            return _NEVER, _NEVER
        if state is FileState.HELD:
            if held_until is None:
                return _NEVER, _NEVER
            date = max(date, held_until)
        day, wait_until = day_of(date, self._now), row.wait_until
        return day, day if wait_until is None or wait_until <= date else day_of(wait_until, self._now)


def day_of(moment: datetime, now: datetime) -> int:
    """The day, counted from `now`, by whose end a moment has come; 0: it has come already."""
    return 0 if moment <= now else min(_LATER, -((now - moment) // _DAY))


def describe_share(count: int, total: int) -> str:
    """A number of files and their share of all: `28 of 29 files, 97 %`. Not all is never 100 %, and some never 0 %."""
    percent = round(100 * count / total) if total else 0
    percent = min(max(percent, 1), 99) if 0 < count < total else percent
    return f"{count:,} of {count_of(total, 'file')}, {percent} %"


def _list_categories(portion: _Portion) -> Iterator[str]:
    yield portion.effect
    if portion.rule_before != portion.rule_after:
        yield "moved"
    if portion.is_kept:
        yield "kept"
    if portion.state in _KEPT_ALL_THE_SAME:
        yield portion.state
    if portion.call_after == 0:
        yield "due_now"
    if portion.day_before == 0 < portion.day_after:
        yield "spared"
    for name, horizon in _HORIZONS:
        if portion.day_after <= horizon < portion.day_before:
            yield name


def _find_number(change: Change) -> int:
    return change.before.id
