"""Rules and inventories drawn at random, the same for the same seed; and what a preview has to say of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from service.audit.record import record_entry
from service.files.policy import PolicyReader
from service.files.store import add_erasure, list_in_range, save_files
from service.holds.store import add_hold
from service.model import END_STATES, Erasure, FileState, Hold, MediaFile, Outcome, Suspicion, Vendor, WaitReason
from service.preview.forecast import CATEGORIES, HORIZON_DAYS
from service.rules.decide import RetentionRule, RuleSet, decide
from service.rules.file import RulesError, parse_rules
from service.rules.waiting import apply_decision
from tests.world import APP, OTHER_APP, TESTER

if TYPE_CHECKING:
    from datetime import datetime

    from service.database import Database, Transaction

DAY = timedelta(days=1)
_STREAMS = ("trial-1", "trial-2", "room-1", "room-22", "")
_KEEPS = ("1d", "3d", "10d", "45d", "200d", "forever")
_CONDITIONS = (
    'stream = "trial-*"',
    'stream = ["room-?", "trial-2"]',
    'vendor = "Huawei"',
    f'app = "{APP}"',
    'event = "compose"',
    "adopted = false",
    "adopted = true",
    'name = "*1"',
    'max_size = "5MB"',
    'min_duration = "1h"',
)


class Chance:
    """Draws rules, files, and what can befall files."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def rules(self) -> tuple[RetentionRule, ...]:
        texts = []
        for number in range(self.random.randint(1, 4)):
            conditions = self.random.sample(_CONDITIONS, self.random.randint(0, 2))
            keep = self.random.choice(_KEEPS)
            lines = ["[[rules]]", f'name = "rule {number}"', f'keep = "{keep}"']
            if conditions:
                lines.append(f"match = {{ {', '.join(conditions)} }}")
            if keep != "forever" and self.random.random() < 0.5:
                lines.append(f"keep_latest = {self.random.randint(1, 3)}")
            texts.append("\n".join(lines))
        try:
            return parse_rules("\n\n".join(texts))
        except RulesError:  # a rule that is never reached, or one key twice: draw again
            return self.rules()

    def files(self, count: int, now: datetime) -> list[MediaFile]:
        return [self._file(f"file-{number:02}", now) for number in range(count)]

    def trouble(self, database: Database, now: datetime, *, in_flight: bool = False) -> None:
        """Suspicions, holds, erasures, failures, retries, adoptions and unknown outcomes, here and there."""

        def make(tx: Transaction) -> None:
            erasure = add_erasure(tx, Erasure(0, None, None, (), 0, 0, "asked for", now, "x", "a test"))
            for file in list_in_range(tx, 0, 1_000):
                if self.random.random() < 0.05:
                    until = self.random.choice([None, now + 3 * DAY, now - DAY])
                    self._hold(tx, file.app_id, now, until, vendor=file.vendor, file_id=file.file_id)
                change = self.random.choice(self._changes(now, erasure))
                changed = change if self.random.random() < 0.35 else {}
                if in_flight or changed.get("state") is not FileState.DELETING:
                    save_files(tx, [file._replace(decide_again=True, **changed)])
            if self.random.random() < 0.5:
                self._hold(tx, APP, now, self.random.choice([None, now + 8 * DAY]), stream_pattern="room-2*")
            record_entry(tx, TESTER, "trouble", "files", {}, now)

        database.transact(make)

    def _changes(self, now: datetime, erasure: int) -> list[dict[str, Any]]:
        wait = now + self.random.choice([timedelta(hours=2), 3 * DAY, -DAY])
        return [
            {"suspicion": self.random.choice(list(Suspicion))},
            {"state": FileState.FAILED},
            {"erasure_id": erasure},
            {"last_outcome": Outcome.UNKNOWN},
            {"wait_until": wait, "wait_reason": WaitReason.RETRY, "last_outcome": Outcome.RETRYABLE},
            {"wait_until": wait, "wait_reason": WaitReason.ADOPTION},
            {"state": FileState.DELETING},
            {"state": self.random.choice(sorted(END_STATES))},
        ]

    def _hold(self, tx: Transaction, app_id: str, now: datetime, until: datetime | None, **what: Any) -> None:
        add_hold(tx, Hold(0, app_id, "a case", until=until, placed_at=now, placed_by="x", through="a test", **what))

    def _file(self, name: str, now: datetime) -> MediaFile:
        chance = self.random
        age = timedelta(seconds=chance.randint(0, 120 * 86_400))
        if chance.random() < 0.3:
            age = chance.choice([DAY, 3 * DAY, 10 * DAY, 45 * DAY])  # exactly at a boundary, and all at once
        stream, event = chance.choice(_STREAMS), chance.choice(["record", "record", "compose"])
        if chance.random() < 0.15:
            stream = event = ""
        return MediaFile(
            id=0,
            app_id=chance.choice([APP, APP, OTHER_APP]),
            vendor=chance.choice([Vendor.TENCENT, Vendor.HUAWEI]),
            file_id=name,
            stream_id=stream,
            event=event,
            ended_at=now - age,
            received_at=now - age,
            began_at=None if chance.random() < 0.5 else now - age - chance.choice([timedelta(hours=2), 2 * DAY]),
            size_bytes=chance.choice([None, 1, 5_000_000, 5_000_001]),
            duration_s=chance.choice([None, 60.0, 3600.0, 3600.5]),
            vendor_created_at=now - age + timedelta(hours=chance.randint(-48, 96)) if chance.random() < 0.3 else None,
            decide_again=True,
        )


@dataclass
class ByHand:
    """What a preview has to say, found one file after the other from the definitions in docs/rules.md."""

    now: datetime
    cooling_off: timedelta
    rows: list[tuple[MediaFile, MediaFile]] = field(default_factory=list)
    found: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in CATEGORIES})
    days: tuple[list[int], list[int]] = field(
        default_factory=lambda: ([0] * (HORIZON_DAYS + 1), [0] * (HORIZON_DAYS + 1))
    )
    unjudged: dict[str, int] = field(default_factory=dict)

    def compare(self, database: Database, candidate: tuple[RetentionRule, ...]) -> ByHand:
        with database.read() as tx:
            files = [file for file in list_in_range(tx, 0, 1_000) if file.state not in END_STATES]
            policy = PolicyReader().read(tx, files)
        until = self.now + self.cooling_off if self.cooling_off else None
        rules = RuleSet(policy.rules.revision + 1, candidate, cooling_until=until)
        for file in files:
            is_open = file.state is FileState.DELETING
            erasure = None if file.erasure_id is None else policy.erasures[file.erasure_id]
            open_file = file._replace(state=FileState.SCHEDULED) if is_open else file
            decision = decide(open_file, rules, policy.holds.find(file, self.now), erasure, self.now)
            if decision.missing is not None and decision.rule is not None:
                self.unjudged[decision.rule] = self.unjudged.get(decision.rule, 0) + 1
            counted = policy.find_rules(file.revision).counts_recordings(file.rule)
            after = apply_decision(open_file, decision, rules, self.now, old_rule_counts=counted)
            before = file if is_open else policy.decide_file(file, self.now)
            self.rows.append((before, after._replace(state=FileState.DELETING) if is_open else after))
        for place, (before, after) in enumerate(self.rows):
            holds = list(policy.holds.iterate(before, self.now))
            dates = (self.date(place, 0, policy.rules), self.date(place, 1, rules))
            self.look_at(before, after, dates, holds)
        return self

    def date(self, place: int, side: int, rules: RuleSet) -> datetime | None:
        """When the rules delete a file, or never, if it belongs to the newest recordings that its rule decides."""
        row = self.rows[place][side]
        rule = rules.find_rule(row.rule)
        if row.due_at is None or rule is None or rule.keep_latest is None:
            return row.due_at
        others = [
            other
            for other in (pair[side] for pair in self.rows)
            if (other.app_id, other.stream_id, other.rule) == (row.app_id, row.stream_id, row.rule)
            and other.due_at is not None
            and other.id != row.id
            and self.counts(other)
        ]
        recordings: list[list[MediaFile]] = []
        for each in [row, *others]:
            joined = [recording for recording in recordings if any(overlap(each, other) for other in recording)]
            recordings = [recording for recording in recordings if recording not in joined]
            recordings.append([each, *chain.from_iterable(joined)])
        recordings.sort(key=lambda recording: max(each.ended_at for each in recording), reverse=True)
        return None if any(row in recording for recording in recordings[: rule.keep_latest]) else row.due_at

    def counts(self, row: MediaFile) -> bool:
        """It surely exists, and stays but for the rules."""
        is_doubtful = row.suspicion is not None or row.erasure_id is not None or row.last_outcome is Outcome.UNKNOWN
        waits = row.wait_reason is WaitReason.ADOPTION and row.wait_until is not None and row.wait_until > self.now
        return not is_doubtful and not waits and row.state is not FileState.DELETING

    def look_at(
        self, before: MediaFile, after: MediaFile, dates: tuple[datetime | None, datetime | None], holds: list[Hold]
    ) -> None:
        was, becomes = dates
        is_erased = before.erasure_id is not None
        sooner = not is_erased and becomes is not None and (was is None or becomes < was)
        spared = not is_erased and was is not None and becomes is None
        later = not is_erased and was is not None and becomes is not None and becomes > was
        self.note(before, sooner=sooner, no_longer_deleted=spared, later=later)
        self.note(before, unchanged=not sooner and not spared and not later)
        self.note(before, moved=before.rule != after.rule, kept=becomes is None)
        for state in ("failed", "held", "unconfirmed", "deleting"):
            self.note(before, **{state: before.state == state})
        ends = [hold.until for hold in holds]
        if before.suspicion is not None or before.state in (FileState.FAILED, FileState.DELETING) or None in ends:
            return
        until = max((end for end in ends if end is not None), default=self.now)
        first, then = (None if date is None else max(date, until) for date in (was, becomes))
        for name, days in (("newly_due_now", 0), ("newly_due_in_7_days", 7), ("newly_due_in_30_days", 30)):
            by = [next((day for day in range(91) if is_by(date, self.now + day * DAY)), 91) for date in (first, then)]
            self.note(before, **{name: by[1] <= days and by[1] < by[0]})
        self.note(before, spared=is_by(first, self.now) and not is_by(then, self.now))
        calls = (first and max(first, before.wait_until or first), then and max(then, after.wait_until or then))
        for counted, call in zip(self.days, calls, strict=True):
            day = next((day for day in range(len(counted)) if is_by(call, self.now + day * DAY)), None)
            if day is not None:
                counted[day] += 1
        self.note(before, due_now=is_by(calls[1], self.now))

    def note(self, file: MediaFile, **categories: bool) -> None:
        for name, holds in categories.items():
            if holds:
                self.found[name].add(file.id)


def is_by(date: datetime | None, moment: datetime) -> bool:
    return date is not None and date <= moment


def overlap(one: MediaFile, other: MediaFile) -> bool:
    """Each began before the other ended, or both ended at once."""
    crosses = begin_of(one) < other.ended_at and begin_of(other) < one.ended_at
    return crosses or one.ended_at == other.ended_at


def begin_of(file: MediaFile) -> datetime:
    return file.ended_at - timedelta(minutes=1) if file.began_at is None else file.began_at
