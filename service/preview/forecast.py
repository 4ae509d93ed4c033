"""What two rule sets mean for an inventory, counted file by file: kinds of change, and deletions by day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from service.model import FileState, MediaFile
from service.rules.match import find_duration, find_size
from service.units import format_moment

HORIZON_DAYS: Final = 90
MAX_SAMPLES: Final = 5
"""How many files of each category are shown."""

_LATER, _NEVER = HORIZON_DAYS + 1, HORIZON_DAYS + 2
_DAY: Final = timedelta(days=1)
# Each holds those before it: what becomes due sooner, was not due already, and is by then.
_HORIZONS: Final = {"newly_due_now": 0, "newly_due_in_7_days": 7, "newly_due_in_30_days": 30}
_KEPT_ALL_THE_SAME: Final = ("held", "unconfirmed", "failed", "deleting")
CATEGORIES: Final = (
    *("sooner", "later", "no_longer_deleted", "unchanged"),  # what happens to its date: each file is in one of these
    *("moved", "kept", "due_now", "spared", *_HORIZONS, *_KEPT_ALL_THE_SAME),
)
"""What files can have in common in a preview; documented in docs/rules.md."""

_Amounts: TypeAlias = "defaultdict[tuple[Any, ...], Counter[str]]"
"""By what files have in common: their number, milliseconds of recording and bytes, and how many have them unknown."""


class Change(NamedTuple):
    """One file under the rules in force (`before`) and as it would be after applying a candidate now (`after`).

    The dates say when the rules delete it, whatever else keeps it; None is never, also for its rank. `held_until`: the
    last of its holds ends (None: none does). `missing`: the fact for lack of which the candidate keeps it.
    """

    before: MediaFile
    after: MediaFile
    date_before: datetime | None
    date_after: datetime | None
    held_until: datetime | None
    missing: str | None

    @property
    def effect(self) -> str:
        """What the candidate does to its date: one of the first four categories."""
        before, after = self.date_before, self.date_after
        if before == after or self.before.erasure_id is not None:
            return "unchanged"
        if after is None:
            return "no_longer_deleted"
        return "sooner" if before is None or after < before else "later"

    def to_json(self) -> dict[str, Any]:
        """The file in short, with what both rule sets say of it."""
        file, dates = self.before, (self.date_before, self.date_after)
        due_before, due_after = (date and format_moment(date) for date in dates)
        shown = {name: getattr(file, name) for name in ("id", "app_id", "vendor", "file_id", "state")}
        shown |= {"name": file.name or None, "size_bytes": find_size(file), "reason": self.after.state_reason}
        shown |= {"stream_id": file.stream_id or None, "ended_at": format_moment(file.ended_at)}
        shown |= {"rule_before": file.rule, "due_before": due_before}
        return shown | {"rule_after": self.after.rule, "due_after": due_after}


def count_changes(changes: Iterable[Change], rules: Iterable[str], now: datetime) -> dict[str, Any]:
    """What a preview shows (docs/http.md): every category, what each of the candidate's rules does, and calls by day.

    `unjudged` counts the files that a rule keeps for lack of a fact, by that fact. Of `emptied_apps`, no file that can
    be deleted is kept for longer than a day, and some were before.
    """
    amounts: _Amounts = defaultdict(Counter)
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in CATEGORIES}
    effects: dict[str | None, dict[str, Any]] = {name: _no_effect(name) for name in rules}
    days_before, days_after = Counter[int](), Counter[int]()
    soon_due: set[str] = set()
    staying: set[str] = set()
    for change in changes:
        before, after = change.before, change.after
        day_before, call_before = look_ahead(before, change.date_before, change.held_until, now)
        day_after, call_after = look_ahead(after, change.date_after, change.held_until, now)
        days_before[call_before] += 1
        days_after[call_after] += 1
        if before.state not in _KEPT_ALL_THE_SAME and max(day_before, day_after) > 1:
            (staying if day_after > 1 else soon_due).add(before.app_id)
        effect = effects.get(after.rule) or effects.setdefault(after.rule, _no_effect(after.rule))
        effect["kept" if change.date_after is None else "later" if day_after else "due"] += 1
        if change.missing is not None:
            effect["unjudged"][change.missing] += 1
        categories = tuple(_list_categories(change, day_before, day_after, call_after))
        amount = amounts[categories, before.rule, after.rule, before.app_id, before.vendor]
        _add(amount, before)
        if amount["count"] <= MAX_SAMPLES:
            for name in categories:
                if len(samples[name]) < MAX_SAMPLES:
                    samples[name].append(change.to_json())
    return {
        "files": days_before.total(),
        "changes": _show_categories(amounts, samples, days_before.total()),
        "effects": list(effects.values()),
        "emptied_apps": sorted(soon_due - staying),
        "forecast": {"in_force": _show_days(days_before), "candidate": _show_days(days_after)},
    }


def count_forecast(changes: Iterable[Change], now: datetime) -> dict[str, Any]:
    """How much there is, in all and in parts, and how many files are called now and on each of the next days."""
    amounts: _Amounts = defaultdict(Counter)
    days: Counter[int] = Counter()
    for change in changes:
        file = change.before
        _add(amounts[file.state, file.rule, file.app_id, file.vendor], file)
        days[look_ahead(file, change.date_before, change.held_until, now)[1]] += 1
    return _show(amounts, "by_state", "by_rule", "by_app", "by_vendor") | {"days": _show_days(days)}


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
        yield from (name for name, horizon in _HORIZONS.items() if day_after <= horizon)


def _add(amount: Counter[str], file: MediaFile) -> None:
    duration, size = find_duration(file), find_size(file)
    amount["count"] += 1
    amount["milliseconds"] += round((duration or 0) * 1000)
    amount["unknown_durations"] += duration is None
    amount["bytes"] += size or 0
    amount["unknown_sizes"] += size is None


def _show_categories(amounts: _Amounts, samples: Mapping[str, Any], files: int) -> dict[str, dict[str, Any]]:
    found: dict[str, _Amounts] = {name: defaultdict(Counter) for name in CATEGORIES}
    for (categories, rule_before, rule_after, app_id, vendor), amount in amounts.items():
        for name in categories:  # what is spared shows by which rules it would be deleted today
            found[name][rule_before if name == "spared" else rule_after, app_id, vendor].update(amount)
    shown = {name: _show(group, "by_rule", "by_app", "by_vendor") for name, group in found.items()}
    for name, category in shown.items():
        category |= {"share": category["count"] / max(files, 1), "samples": samples[name]}
    return shown


def _show(amounts: _Amounts, *parts: str) -> dict[str, Any]:
    """How much there is in all, and by each member of the groups, the largest first."""
    total: Counter[str] = Counter()
    for amount in amounts.values():
        total.update(amount)
    shown: dict[str, Any] = {name: total[name] for name in ("count", "unknown_durations", "bytes", "unknown_sizes")}
    shown["hours"] = round(total["milliseconds"] / 3_600_000, 2)
    for place, part in enumerate(parts):
        members: defaultdict[str | None, _Amounts] = defaultdict(lambda: defaultdict(Counter))
        for group, amount in amounts.items():
            members[group[place]][group] = amount
        in_part = [{"name": name, **_show(found)} for name, found in members.items()]
        shown[part] = sorted(in_part, key=lambda each: (-each["count"], each["name"] or ""))
    return shown


def _no_effect(rule: str | None) -> dict[str, Any]:
    return {"rule": rule, "kept": 0, "later": 0, "due": 0, "unjudged": Counter()}


def _show_days(days: Counter[int]) -> list[int]:
    return [days[day] for day in range(_LATER)]
