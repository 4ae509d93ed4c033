"""What two rule sets mean for an inventory, counted file by file: kinds of change, and deletions by day."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from service.model import FileState, MediaFile
from service.units import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HORIZON_DAYS: Final = 90
MAX_SAMPLES: Final = 5
"""How many files of each category are shown."""

_LATER: Final = HORIZON_DAYS + 1
_NEVER: Final = HORIZON_DAYS + 2
_DAY: Final = timedelta(days=1)


class Effect(StrEnum):
    """What a candidate does to the date of a file; each file has one."""

    SOONER = "sooner"
    LATER = "later"
    NO_LONGER_DELETED = "no_longer_deleted"
    UNCHANGED = "unchanged"


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
        seconds, size = file.duration_s, file.size_bytes
        if seconds is not None and 0 <= seconds < math.inf:
            self.seconds += seconds
        else:
            self.unknown_durations += 1
        if size is not None and size >= 0:
            self.bytes += size
        else:
            self.unknown_sizes += 1

    def add(self, other: Amount) -> None:
        """Count another amount in."""
        self.count += other.count
        self.seconds += other.seconds
        self.unknown_durations += other.unknown_durations
        self.bytes += other.bytes
        self.unknown_sizes += other.unknown_sizes

    def to_json(self) -> dict[str, Any]:
        """As previews and forecasts show it."""
        hours = round(self.seconds / 3600, 2) if math.isfinite(self.seconds) else None
        return {
            "count": self.count,
            "hours": hours,
            "unknown_durations": self.unknown_durations,
            "bytes": self.bytes,
            "unknown_sizes": self.unknown_sizes,
        }


Amounts = dict[str | None, Amount]
"""Amounts by name; None stands for files that no rule decides."""


@dataclass(slots=True)
class Category:
    """The files that have something in common: how much they are, by rule, app and vendor, and a few of them."""

    total: Amount = field(default_factory=Amount)
    by_rule: Amounts = field(default_factory=dict)
    by_app: Amounts = field(default_factory=dict)
    by_vendor: Amounts = field(default_factory=dict)
    samples: list[Change] = field(default_factory=list)

    def add(self, portion: _Portion, rule: str | None) -> None:
        """Count files in, under a rule."""
        self.total.add(portion.amount)
        for amounts, name in ((self.by_rule, rule), (self.by_app, portion.app_id), (self.by_vendor, portion.vendor)):
            amounts.setdefault(name, Amount()).add(portion.amount)
        self.samples = sorted((*self.samples, *portion.samples), key=_find_number)[:MAX_SAMPLES]

    def to_json(self, files: int) -> dict[str, Any]:
        """As previews show it; `share` is that of all `files`."""
        return {
            **self.total.to_json(),
            "share": self.total.count / files if files else 0.0,
            "by_rule": list_amounts(self.by_rule),
            "by_app": list_amounts(self.by_app),
            "by_vendor": list_amounts(self.by_vendor),
            "samples": [_describe(change) for change in self.samples],
        }


CATEGORIES: Final = (
    "due_now",
    "newly_due_now",
    "newly_due_in_7_days",
    "newly_due_in_30_days",
    "spared",
    *Effect,
    "moved",
    "kept",
    "held",
    "unconfirmed",
    "failed",
    "deleting",
)
"""What files can have in common in a preview; documented in docs/rules.md."""

_HORIZONS: Final = (("newly_due_now", 0), ("newly_due_in_7_days", 7), ("newly_due_in_30_days", 30))
_STATE_CATEGORIES: Final = (FileState.HELD, FileState.UNCONFIRMED, FileState.FAILED, FileState.DELETING)


@dataclass(slots=True)
class RuleEffect:
    """What one rule of the candidate does with the files that it decides: how many it keeps, deletes later, or now.

    `unjudged` counts those among the kept ones for which a fact is missing, by that fact.
    """

    kept: int = 0
    later: int = 0
    due: int = 0
    unjudged: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As previews show it."""
        return {"kept": self.kept, "later": self.later, "due": self.due, "unjudged": self.unjudged}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rules in force mean: how much there is, and how many files are deleted by the end of each day.

    Day 0 is what is called now, day 1 the 24 hours after that, up to `HORIZON_DAYS`.
    """

    as_of: datetime
    revision: int
    total: Amount
    by_state: Amounts
    by_rule: Amounts
    by_app: Amounts
    by_vendor: Amounts
    days: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As the API and `--json` show it."""
        parts = ("by_state", "by_rule", "by_app", "by_vendor")
        return {
            "as_of": format_moment(self.as_of),
            "revision": self.revision,
            **self.total.to_json(),
            **{part: list_amounts(getattr(self, part)) for part in parts},
            "days": list(self.days),
        }


class _Portion(NamedTuple):
    """Files that are counted alike; days count from now, by what the rules say, and by when a sweep calls."""

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
        if before is after and change.date_before is change.date_after:
            day_after, call_after = day_before, call_before
        else:
            day_after, call_after = self._look_ahead(after, change.date_after, change.held_until)
        key = (
            *(before.app_id, before.vendor, after.state if after.state in _STATE_CATEGORIES else before.state),
            *(before.rule, after.rule, change.missing, change.effect, change.date_after is None),
            *(day_before, day_after, call_before, call_after),
        )
        portion = self._portions.get(key)
        if portion is None:
            portion = self._portions[key] = _Portion(Amount(), [], *key)
        portion.amount.add_file(before)
        if len(portion.samples) < MAX_SAMPLES:
            portion.samples.append(change)

    def sum_up(self) -> dict[str, Category]:
        """Every category of `CATEGORIES`."""
        found = {name: Category() for name in CATEGORIES}
        for portion in self._portions.values():
            for name in _list_categories(portion):
                found[name].add(portion, portion.rule_before if name == "spared" else portion.rule_after)
        return found

    def sum_by(self, name: Callable[[_Portion], str | None]) -> Amounts:
        """Amounts of all files, by a name."""
        found: Amounts = {}
        for portion in self._portions.values():
            found.setdefault(name(portion), Amount()).add(portion.amount)
        return found

    def sum_rules(self, names: Iterable[str]) -> dict[str | None, RuleEffect]:
        """What each rule does, in this order; files that no rule decides come last, under None, if there are any."""
        found: dict[str | None, RuleEffect] = {name: RuleEffect() for name in names}
        for portion in self._portions.values():
            effect = found.setdefault(portion.rule_after, RuleEffect())
            count = portion.amount.count
            if portion.is_kept:
                effect.kept += count
            elif portion.day_after == 0:
                effect.due += count
            else:
                effect.later += count
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
        """Apps of which the candidate deletes every file at once, where the rules in force do not."""
        apps: dict[str, list[bool]] = {}
        for portion in self._portions.values():
            apps.setdefault(portion.app_id, []).append(portion.day_after == 0)
        newly = {portion.app_id for portion in self._portions.values() if portion.day_before != 0}
        return tuple(sorted(app_id for app_id, is_due in apps.items() if all(is_due) and app_id in newly))

    def forecast(self, revision: int) -> Forecast:
        """What was counted, as a forecast of one rule set."""
        by_app = self.sum_by(lambda portion: portion.app_id)
        total = Amount()
        for amount in by_app.values():
            total.add(amount)
        return Forecast(
            as_of=self._now,
            revision=revision,
            total=total,
            by_state=self.sum_by(lambda portion: portion.state),
            by_rule=self.sum_by(lambda portion: portion.rule_before),
            by_app=by_app,
            by_vendor=self.sum_by(lambda portion: portion.vendor),
            days=self.count_days()[0],
        )

    def _look_ahead(self, row: MediaFile, date: datetime | None, held_until: datetime | None) -> tuple[int, int]:
        """The days on which a file is due, once its holds have ended, and on which a sweep calls it."""
        state = row.state
        if date is None or row.suspicion is not None or state in (FileState.FAILED, FileState.DELETING):
            return _NEVER, _NEVER
        if state is FileState.HELD:
            if held_until is None:
                return _NEVER, _NEVER
            date = max(date, held_until)
        day = day_of(date, self._now)
        wait_until = row.wait_until
        return day, day if wait_until is None or wait_until <= date else day_of(wait_until, self._now)


def day_of(moment: datetime, now: datetime) -> int:
    """The day, counted from `now`, by whose end a moment has come; 0: it has come already."""
    return 0 if moment <= now else min(_LATER, -((now - moment) // _DAY))


def list_amounts(amounts: Amounts) -> list[dict[str, Any]]:
    """Named amounts, the largest first."""
    in_order = sorted(amounts.items(), key=lambda item: (-item[1].count, item[0] or ""))
    return [{"name": name, **amount.to_json()} for name, amount in in_order]


def _list_categories(portion: _Portion) -> Iterator[str]:
    yield portion.effect
    if portion.rule_before != portion.rule_after:
        yield "moved"
    if portion.is_kept:
        yield "kept"
    if portion.state in _STATE_CATEGORIES:
        yield portion.state
    for name, horizon in _HORIZONS:
        if portion.day_after <= horizon < portion.day_before:
            yield name
    if portion.day_before == 0 < portion.day_after:
        yield "spared"
    if portion.call_after == 0:
        yield "due_now"


def _find_number(change: Change) -> int:
    return change.before.id


def _describe(change: Change) -> dict[str, Any]:
    """A file in short, with what both rule sets say of it."""
    file = change.before
    return {
        "id": file.id,
        "app_id": file.app_id,
        "vendor": file.vendor,
        "file_id": file.file_id,
        "stream_id": file.stream_id or None,
        "state": file.state,
        "ended_at": format_moment(file.ended_at),
        "rule_before": file.rule,
        "due_before": None if change.date_before is None else format_moment(change.date_before),
        "rule_after": change.after.rule,
        "due_after": None if change.date_after is None else format_moment(change.date_after),
    }
