"""What two rule sets mean for an inventory, counted file by file: kinds of change, and deletions by day."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from service.model import FileState, MediaFile
from service.units import count_of, format_moment

HORIZON_DAYS: Final = 90
MAX_SAMPLES: Final = 5
"""How many files of each category are shown."""

_LATER: Final = HORIZON_DAYS + 1
_NEVER: Final = HORIZON_DAYS + 2
_DAY: Final = timedelta(days=1)
_KEPT_ALL_THE_SAME: Final = (FileState.HELD, FileState.UNCONFIRMED, FileState.FAILED, FileState.DELETING)
_NO_EFFECT: Final = {"kept": 0, "later": 0, "due": 0}
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
    """Counts changes, and shows what came out as JSON (docs/http.md): a change of rules, or a forecast of one set."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._portions: dict[tuple[Any, ...], _Portion] = {}

    def add(self, change: Change) -> None:
        """Count one file."""
        before, after = change.before, change.after
        day_before, call_before = self._look_ahead(before, change.date_before, change.held_until)
        day_after, call_after = self._look_ahead(after, change.date_after, change.held_until)
        key = (
            *(before.app_id, before.vendor, before.state, before.rule, after.rule, change.missing, change.effect),
            change.date_after is None,
            *(day_before, day_after, call_before, call_after),
        )
        portion = self._portions.get(key)
        if portion is None:
            portion = self._portions[key] = _Portion(Amount(), [], *key)
        portion.amount.add_file(before)
        if len(portion.samples) < MAX_SAMPLES:
            portion.samples.append(change)

    def count(self, effect: Effect) -> int:
        """How many files there are with this effect."""
        return sum(portion.amount.count for portion in self._portions.values() if portion.effect is effect)

    def show_changes(self, names: Iterable[str]) -> dict[str, Any]:
        """Every category of `CATEGORIES`, what each rule of the candidate does (by name, in this order), and by day.

        A rule without effects decides no file. `emptied_apps` are those of which every file is due at once, and was
        not before.
        """
        portions = list(self._portions.values())
        found: dict[str, list[_Portion]] = {name: [] for name in CATEGORIES}
        for portion in portions:
            for name in _list_categories(portion):
                found[name].append(portion)
        files = sum(portion.amount.count for portion in portions)
        not_due = {portion.app_id for portion in portions if portion.day_after != 0}
        return {
            "files": files,
            "changes": {name: _show_category(name, chosen, files) for name, chosen in found.items()},
            "effects": _show_effects(names, portions),
            "emptied_apps": sorted({portion.app_id for portion in portions if portion.day_before != 0} - not_due),
            "forecast": {
                "in_force": _count_days((each.call_before, each.amount) for each in portions),
                "candidate": _count_days((each.call_after, each.amount) for each in portions),
            },
        }

    def show_forecast(self) -> dict[str, Any]:
        """How much there is, in all and in parts, and how many files are called now and on each of the next days."""
        portions = list(self._portions.values())
        return {
            **_sum_up(portions).to_json(),
            "by_state": _sum_by(portions, lambda portion: portion.state),
            "by_rule": _sum_by(portions, lambda portion: portion.rule_before),
            "by_app": _sum_by(portions, lambda portion: portion.app_id),
            "by_vendor": _sum_by(portions, lambda portion: portion.vendor),
            "days": _count_days((each.call_before, each.amount) for each in portions),
        }

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


def _show_category(name: str, portions: Sequence[_Portion], files: int) -> dict[str, Any]:
    amount = _sum_up(portions)
    samples = sorted((change for portion in portions for change in portion.samples), key=lambda each: each.before.id)
    return {
        **amount.to_json(),
        "share": amount.count / files if files else 0.0,
        # What is spared shows by which rules it would be deleted today.
        "by_rule": _sum_by(portions, lambda each: each.rule_before if name == "spared" else each.rule_after),
        "by_app": _sum_by(portions, lambda portion: portion.app_id),
        "by_vendor": _sum_by(portions, lambda portion: portion.vendor),
        "samples": [change.to_json() for change in samples[:MAX_SAMPLES]],
    }


def _show_effects(names: Iterable[str], portions: Iterable[_Portion]) -> list[dict[str, Any]]:
    """How many files each rule keeps, deletes later and deletes now; those that no rule decides come last, under None.

    `unjudged` counts those among the kept ones for which a fact is missing, by that fact.
    """
    found: dict[str | None, dict[str, Any]] = {name: _NO_EFFECT | {"unjudged": {}} for name in names}
    for portion in portions:
        effect = found.setdefault(portion.rule_after, _NO_EFFECT | {"unjudged": {}})
        effect["kept" if portion.is_kept else "due" if portion.day_after == 0 else "later"] += portion.amount.count
        if portion.missing is not None:
            unjudged = effect["unjudged"]
            unjudged[portion.missing] = unjudged.get(portion.missing, 0) + portion.amount.count
    return [{"rule": name, **effect} for name, effect in found.items()]


def _count_days(amounts: Iterable[tuple[int, Amount]]) -> list[int]:
    days = [0] * (_NEVER + 1)
    for day, amount in amounts:
        days[day] += amount.count
    return days[:_LATER]


def _sum_up(portions: Iterable[_Portion]) -> Amount:
    total = Amount()
    for portion in portions:
        total.add(portion.amount)
    return total


def _sum_by(portions: Iterable[_Portion], find_name: Callable[[_Portion], str | None]) -> list[dict[str, Any]]:
    """Amounts by name, the largest first."""
    found: defaultdict[str | None, Amount] = defaultdict(Amount)
    for portion in portions:
        found[find_name(portion)].add(portion.amount)
    in_order = sorted(found.items(), key=lambda item: (-item[1].count, item[0] or ""))
    return [{"name": name, **amount.to_json()} for name, amount in in_order]
