"""What two rule sets mean for an inventory, counted file by file: kinds of change, and deletions by day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from operator import add
from typing import Any, Final, NamedTuple, TypeAlias

from service.model import FileState, MediaFile
from service.rules.match import find_duration, find_size
from service.units import format_moment

HORIZON_DAYS: Final = 90
MAX_SAMPLES: Final = 5
"""How many files of each category are shown."""

_LATER: Final = HORIZON_DAYS + 1
_NEVER: Final = HORIZON_DAYS + 2
_DAY: Final = timedelta(days=1)
_HORIZONS: Final = {"newly_due_now": 0, "newly_due_in_7_days": 7, "newly_due_in_30_days": 30}
_KEPT_ALL_THE_SAME: Final = ("held", "unconfirmed", "failed", "deleting")
CATEGORIES: Final = (
    *("sooner", "later", "no_longer_deleted", "unchanged"),  # what happens to its date: each file is in one of these
    *("moved", "kept", "due_now", "spared", *_HORIZONS, *_KEPT_ALL_THE_SAME),
)
"""What files can have in common in a preview; documented in docs/rules.md."""

_Amount: TypeAlias = tuple[int, ...]
"""Files, their milliseconds of recording and bytes as far as known, and of how many files the one or other is not."""

_NOTHING: Final[_Amount] = (0, 0, 0, 0, 0)


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
    def effect(self) -> str:
        """What the candidate does to its date."""
        before, after = self.date_before, self.date_after
        if before == after or self.before.erasure_id is not None:
            return "unchanged"
        if after is None:
            return "no_longer_deleted"
        return "sooner" if before is None or after < before else "later"

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


class Tally:
    """Counts changes; what came out is shown as JSON (docs/http.md)."""

    def __init__(self, rules: Iterable[str], now: datetime) -> None:
        self._now = now
        self._amounts: dict[str, dict[tuple[str | None, ...], _Amount]] = {name: {} for name in CATEGORIES}
        self._samples: dict[str, list[dict[str, Any]]] = {name: [] for name in CATEGORIES}
        self._effects: dict[str | None, Counter[str]] = {name: Counter() for name in rules}
        self._unjudged: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
        self._days = (Counter[int](), Counter[int]())
        self._not_due = (set[str](), set[str]())

    def add(self, change: Change) -> None:
        """Count one file."""
        before, after = change.before, change.after
        day_before, call_before = look_ahead(before, change.date_before, change.held_until, self._now)
        day_after, call_after = look_ahead(after, change.date_after, change.held_until, self._now)
        for place, (day, call) in enumerate(((day_before, call_before), (day_after, call_after))):
            self._days[place][call] += 1
            if day:
                self._not_due[place].add(before.app_id)
        effect = "kept" if change.date_after is None else "later" if day_after else "due"
        self._effects.setdefault(after.rule, Counter())[effect] += 1
        if change.missing is not None:
            self._unjudged[after.rule][change.missing] += 1
        measured = _measure(before)
        for name in _list_categories(change, day_before, day_after, call_after):
            # What is spared shows by which rules it would be deleted today.
            group = (before.rule if name == "spared" else after.rule, before.app_id, before.vendor)
            _add(self._amounts[name], group, measured)
            if len(self._samples[name]) < MAX_SAMPLES:
                self._samples[name].append(change.to_json())

    def show(self) -> dict[str, Any]:
        """Every category, what each rule of the candidate does, and calls by day.

        A rule without effects decides no file. `emptied_apps` are those of which every file is due at once, and was
        not before. `unjudged` counts the files that a rule keeps for lack of a fact, by that fact.
        """
        files = self._days[0].total()
        changes = {
            name: _show(amounts.values()) | _show_parts(amounts, "by_rule", "by_app", "by_vendor")
            for name, amounts in self._amounts.items()
        }
        for name, change in changes.items():
            change |= {"share": change["count"] / max(files, 1), "samples": self._samples[name]}
        return {
            "files": files,
            "changes": changes,
            "effects": [
                {"rule": name, **{each: effects[each] for each in ("kept", "later", "due")}}
                | {"unjudged": self._unjudged[name]}
                for name, effects in self._effects.items()
            ],
            "emptied_apps": sorted(self._not_due[0] - self._not_due[1]),
            "forecast": {"in_force": _show_days(self._days[0]), "candidate": _show_days(self._days[1])},
        }


def count_forecast(changes: Iterable[Change], now: datetime) -> dict[str, Any]:
    """How much there is, in all and in parts, and how many files are called now and on each of the next days."""
    amounts: dict[tuple[str | None, ...], _Amount] = {}
    days: Counter[int] = Counter()
    for change in changes:
        file = change.before
        _add(amounts, (file.state, file.rule, file.app_id, file.vendor), _measure(file))
        days[look_ahead(file, change.date_before, change.held_until, now)[1]] += 1
    parts = _show_parts(amounts, "by_state", "by_rule", "by_app", "by_vendor")
    return {**_show(amounts.values()), **parts, "days": _show_days(days)}


def look_ahead(row: MediaFile, date: datetime | None, held_until: datetime | None, now: datetime) -> tuple[int, int]:
    """The days on which a file is due, once its holds have ended, and on which a sweep calls it; 0 is now."""
    if row.state is FileState.HELD and date is not None:
        date = None if held_until is None else max(date, held_until)
    if date is None or row.suspicion is not None or row.state in (FileState.FAILED, FileState.DELETING):
        return _NEVER, _NEVER
    day, wait_until = day_of(date, now), row.wait_until
    return day, day if wait_until is None or wait_until <= date else day_of(wait_until, now)


def day_of(moment: datetime, now: datetime) -> int:
    """The day, counted from `now`, by whose end a moment has come; 0: it has come already."""
    return 0 if moment <= now else min(_LATER, -((now - moment) // _DAY))


def _list_categories(change: Change, day_before: int, day_after: int, call_after: int) -> Iterator[str]:
    yield change.effect
    if change.before.rule != change.after.rule:
        yield "moved"
    if change.date_after is None:
        yield "kept"
    if change.before.state in _KEPT_ALL_THE_SAME:
        yield change.before.state
    if call_after == 0:
        yield "due_now"
    if day_before == 0 < day_after:
        yield "spared"
    if day_after < day_before:
        yield from (name for name, horizon in _HORIZONS.items() if day_after <= horizon < day_before)


def _measure(file: MediaFile) -> _Amount:
    duration, size = find_duration(file), find_size(file)
    return 1, round((duration or 0) * 1000), size or 0, duration is None, size is None


def _add(amounts: dict[tuple[str | None, ...], _Amount], group: tuple[str | None, ...], more: _Amount) -> None:
    amounts[group] = tuple(map(add, amounts.get(group, _NOTHING), more))


def _show(amounts: Iterable[_Amount]) -> dict[str, Any]:
    count, milliseconds, size, unknown_durations, unknown_sizes = map(sum, zip(_NOTHING, *amounts, strict=True))
    return {
        "count": count,
        "hours": round(milliseconds / 3_600_000, 2),
        "unknown_durations": unknown_durations,
        "bytes": size,
        "unknown_sizes": unknown_sizes,
    }


def _show_parts(amounts: Mapping[tuple[str | None, ...], _Amount], *names: str) -> dict[str, Any]:
    """Amounts by each member of the groups, the largest first."""
    shown = {}
    for place, name in enumerate(names):
        parts = defaultdict(list)
        for group, amount in amounts.items():
            parts[group[place]].append(amount)
        in_parts = [{"name": part, **_show(found)} for part, found in parts.items()]
        shown[name] = sorted(in_parts, key=lambda part: (-part["count"], part["name"] or ""))
    return shown


def _show_days(days: Counter[int]) -> list[int]:
    return [days[day] for day in range(_LATER)]
