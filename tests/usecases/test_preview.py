"""A preview tells exactly what apply and sweep then do: held against file-by-file decisions, and the sandbox."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from service.core.cooling import is_sooner
from service.core.forecast import CATEGORIES, HORIZON_DAYS
from service.core.model import DISPUTED_EVENT, FileState, MediaFile, Suspicion, Vendor
from service.core.rules import Judgement, RuleSet, decide_by_rules, find_hold_end, judge
from service.core.rules_file import RulesError, format_rules, parse_rules
from service.db import files, revisions
from service.db.models import AttemptRow, CallRow, MediaFileRow, RunRow, RunState, Trigger
from service.db.order_models import ErasureRow, HoldRow
from service.usecases import previewing
from service.usecases.applying import PreviewNeeded, apply_rules
from service.usecases.comparing import Comparison
from service.usecases.deciding import Circumstances
from service.usecases.erasing import ErasureRequest, request_erasure
from service.usecases.policy import Candidate
from tests.world import APP, OTHER_APP, TESTER, apply_as_previewed

if TYPE_CHECKING:
    from service.core.model import Decision
    from service.core.rules import RetentionRule
    from service.db.engine import Session
    from tests.world import World

DAY = timedelta(days=1)
STREAMS = ("trial-1", "trial-2", "room-1", "room-22", "")
_WINDOWS = ("1d", "3d", "10d", "45d", "200d", "forever")


class Chance:
    """Rules and inventories drawn at random, but the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def rules(self, *, with_latest: bool = True) -> tuple[RetentionRule, ...]:
        texts = []
        for number in range(self.random.randint(1, 4)):
            conditions = self._conditions()
            keep = self.random.choice(_WINDOWS)
            lines = ["[[rules]]", f'name = "rule {number}"', f'keep = "{keep}"']
            if conditions:
                lines.append(f"match = {{ {', '.join(conditions)} }}")
            if self.random.random() < 0.2:
                lines.append('mode = "observe"')
            if with_latest and keep != "forever" and self.random.random() < 0.4:
                lines.append(f"keep_latest = {self.random.randint(1, 3)}")
            texts.append("\n".join(lines))
            if not conditions:
                break
        try:
            return parse_rules("\n\n".join(texts))
        except ValueError:  # a rule that is never reached: draw again
            return self.rules(with_latest=with_latest)

    def _conditions(self) -> list[str]:
        possible = [
            'stream = "trial-*"',
            'stream = ["room-?", "trial-2"]',
            'vendor = "Huawei"',
            f'app = "{APP}"',
            'event = "compose"',
            "adopted = false",
            "adopted = true",
            'max_size = "5MB"',
            'min_duration = "1h"',
        ]
        return self.random.sample(possible, self.random.randint(0, 2))

    def add_files(self, world: World, count: int) -> None:
        drawn = [self._file(f"f{number}", world.clock()) for number in range(count)]

        def insert(session: Session) -> None:
            for file in drawn:
                files.add_file(session, file, world.clock())

        world.database.transact(insert)
        for file in drawn:
            world.sandbox.add_file(file.app_id, file.vendor, file.file_id, stream_id=file.stream_id)

    def _file(self, name: str, now: datetime) -> MediaFile:
        chance = self.random
        age = timedelta(seconds=chance.randint(0, 120 * 86_400))
        if chance.random() < 0.2:
            age = chance.choice([DAY, 3 * DAY, 10 * DAY, 45 * DAY])  # exactly at a boundary
        return MediaFile(
            app_id=chance.choice([APP, APP, OTHER_APP]),
            vendor=chance.choice([Vendor.TENCENT, Vendor.HUAWEI]),
            file_id=name,
            stream_id=chance.choice(STREAMS),
            event=chance.choice(["record", "record", "compose"]),
            began_at=None if chance.random() < 0.5 else now - age - timedelta(hours=2),
            ended_at=now - age,
            received_at=now - age,
            size_bytes=chance.choice([None, 1, 5_000_000, 5_000_001]),
            duration_s=chance.choice([None, 60.0, 3600.0, 3600.5]),
        )

    def _list(self, row: MediaFileRow, now: datetime) -> None:
        """What a listing may have told of a file, which may be all that is known of it."""
        chance = self.random
        if chance.random() < 0.3:
            row.vendor_created_at = row.ended_at + timedelta(hours=chance.randint(-48, 96))
        if chance.random() < 0.15:
            row.stream_id, row.event = "", chance.choice(["", "", DISPUTED_EVENT])
            row.adopted_at = now
        if chance.random() < 0.2:
            row.quiet_until = now + timedelta(hours=chance.choice([-1, 0, 5, 50]))

    def trouble(self, world: World, *, in_flight: bool = False) -> None:
        """Doubts, holds, erasures, failures, retries and attempts of unknown outcome, here and there."""
        chance, now = self.random, world.clock()

        def make(session: Session) -> None:
            rows = list(files.list_files(session, files.FileFilter()))
            run = RunRow(
                trigger=Trigger.COMMAND, state=RunState.DONE, started_at=now, heartbeat_at=now, worker="by hand"
            )
            session.add(run)
            session.add(erasure := _erasure(now))
            session.flush()
            for row in rows:
                self._list(row, now)
                kind = chance.random()
                if kind < 0.08:
                    row.suspicion = chance.choice(list(Suspicion))
                elif kind < 0.12:
                    row.state = FileState.FAILED
                elif kind < 0.17:
                    row.erasure_id = erasure.id
                elif kind < 0.22:
                    _attempt(session, run, row, now)
                elif kind < 0.27:
                    until = chance.choice([None, now + 3 * DAY, now - DAY])
                    session.add(_hold(row.app_id, now, until, vendor=row.vendor, file_id=row.file_id))
                elif kind < 0.33 and in_flight:
                    row.state, row.claim_run_id, row.claimed_at = FileState.DELETING, run.id, now
                else:
                    self._let_wait(row, now)
            if chance.random() < 0.5:
                session.add(_hold(APP, now, chance.choice([None, now + 8 * DAY]), stream_pattern="room-2*"))

        world.database.transact(make)

    def _let_wait(self, row: MediaFileRow, now: datetime) -> None:
        if row.state is not FileState.SCHEDULED or self.random.random() < 0.8:
            return
        row.retry_at = now + self.random.choice([timedelta(hours=2), 3 * DAY, -DAY])
        # Rarely, the clock was ahead when it was asked for: then nobody waits.
        row.last_attempt_at = now + (DAY if self.random.random() < 0.2 else -DAY)


def _erasure(now: datetime) -> ErasureRow:
    row = ErasureRow(
        requested_at=now, requested_by="x", through="a test", reason="asked", app_id=None, stream_pattern=None
    )
    row.files, row.files_count = b"", 0
    if hasattr(ErasureRow, "settled_at"):
        row.settled_at = now
    return row


def _hold(app_id: str, now: datetime, until: datetime | None, **what: Any) -> HoldRow:
    return HoldRow(
        app_id=app_id,
        reason="a case",
        until=until,
        placed_at=now,
        placed_by="x",
        through="a test",
        settled_at=now,
        **what,
    )


def _attempt(session: Session, run: RunRow, row: MediaFileRow, now: datetime) -> None:
    call = CallRow(run_id=run.id, app_id=row.app_id, vendor=row.vendor, opened_at=now)
    session.add(call)
    session.flush()
    facts = {"revision": 0, "reason": "", "outcome": "unknown", "opened_at": now}
    session.add(AttemptRow(call_id=call.id, run_id=run.id, media_file_id=row.id, **facts))


class ByHand:
    """What a preview has to say, reckoned one file after the other."""

    def __init__(self, world: World, candidate: tuple[RetentionRule, ...], cooling_off: timedelta) -> None:
        self.now, self.cooling_off = world.clock(), cooling_off
        self.unjudged: dict[str, int] = {}
        self.found: dict[str, set[int]] = {name: set() for name in CATEGORIES}
        self.in_force, self.candidate = [0] * (HORIZON_DAYS + 1), [0] * (HORIZON_DAYS + 1)
        with world.database.read() as session:
            rules = revisions.current_rules(session)
            self.rules = (rules.rules, candidate)
            self.sides = [Circumstances(session, each, self.now) for each in (rules, RuleSet(0, candidate))]
            self.rows = list(files.list_files(session, files.FileFilter()))
            self.maybe_deleted = set(session.scalars(select(AttemptRow.media_file_id)))
            for row in self.rows:
                self.look_at(row)
                for side, each in zip(self.sides, self.rules, strict=True):
                    assert (side.facts_of(row).rank or 0) == self.rank(row, each)

    def rank(self, row: MediaFileRow, rules: tuple[RetentionRule, ...]) -> int:
        """Its place among the recordings of its stream that the same rule decides, 0 where there is none to tell.

        As far as that matters: behind those that the rule keeps, it is one more than they are.
        """
        rule = rule_of(row, rules)
        if rule is None or not rule.keep_latest or not row.stream_id or row.suspicion:
            return 0
        others = [
            other
            for other in self.rows
            if other is not row
            and (other.app_id, other.stream_id) == (row.app_id, row.stream_id)
            and rule_of(other, rules) is rule
            and self.counts(other)
        ]
        recordings: list[list[MediaFileRow]] = []
        for each in [row, *others]:
            joined = [recording for recording in recordings if any(overlap(each, other) for other in recording)]
            recordings = [recording for recording in recordings if recording not in joined]
            recordings.append([each, *chain.from_iterable(joined)])
        newer = [recording for recording in recordings if max(each.ended_at for each in recording) > row.ended_at]
        return min(sum(row not in recording for recording in newer), rule.keep_latest) + 1

    def counts(self, row: MediaFileRow) -> bool:
        """It surely exists, and stays but for the rules."""
        is_doubtful = row.suspicion is not None or row.erasure_id is not None or row.id in self.maybe_deleted
        is_quiet = row.quiet_until is not None and row.quiet_until > self.now
        return not is_doubtful and not is_quiet and row.state is not FileState.DELETING

    def look_at(self, row: MediaFileRow) -> None:
        was, becomes = (side.decide(row).decision for side in self.sides)
        dates = [self.date(row, side, rules) for side, rules in zip(self.sides, self.rules, strict=True)]
        sooner = row.erasure_id is None and is_sooner(dates[1], dates[0])
        self.note(row, sooner=sooner)
        if row.state is FileState.FAILED:
            self.note(row, failed=True)
            return
        name = self.lacks_fact_for(row, self.rules[1])
        if name is not None:
            self.unjudged[name] = self.unjudged.get(name, 0) + 1
        self.note(
            row,
            moved=was.rule != becomes.rule,
            unchanged=(was.rule, was.due_at, was.observed_due_at)
            == (becomes.rule, becomes.due_at, becomes.observed_due_at),
            later=was.due_at != becomes.due_at and not sooner,
            kept=becomes.due_at is None,
        )
        is_held, until = find_hold_end(self.sides[0].facts_of(row), self.sides[0].holds_of(row), self.now)
        self.note(row, held=is_held, unconfirmed=not is_held and row.suspicion is not None)
        if row.suspicion is None and not (is_held and until is None):
            self.look_ahead(row, was, becomes, until or self.now, sooner=sooner)

    def lacks_fact_for(self, row: MediaFileRow, rules: tuple[RetentionRule, ...]) -> str | None:
        """The rule that keeps a file because something is not known of it."""
        if row.erasure_id is not None:
            return None
        facts = files.facts_of(row)
        for rule in rules:
            judgement = judge(rule.match, facts).judgement
            if judgement is Judgement.UNKNOWN:
                return rule.name
            if judgement is Judgement.MATCHES:
                return rule.name if rule.keep_latest and not row.stream_id and row.suspicion is None else None
        return None

    def look_ahead(self, row: MediaFileRow, was: Decision, becomes: Decision, until: datetime, *, sooner: bool) -> None:
        now, waits = self.now, was.cooling_until or self.now
        first, then, observed = (
            None if date is None else max(date, until) for date in (was.due_at, becomes.due_at, becomes.observed_due_at)
        )
        horizons = {"newly_due_now": 0, "newly_due_in_7_days": 7, "newly_due_in_30_days": 30}
        self.note(row, **{name: self.is_newly_due(first, then, days) for name, days in horizons.items()})
        self.note(row, rescued=self.is_newly_due(then, first, 0), observed=observed is not None and observed <= now)
        change = self.sides[0].wait_of(row, becomes)
        left = now if change is None or change.cooling_until is None else change.cooling_until
        if row.quiet_until is not None and row.erasure_id is None:
            left = max(left, row.quiet_until)
        waits_then = max(left, now + self.cooling_off) if sooner else left
        called = then and self.asked_at(row, max(then, waits_then))
        self.count(self.in_force, first and self.asked_at(row, max(first, waits)))
        self.count(self.candidate, called)
        self.note(row, due_now=called is not None and called <= now)

    def asked_at(self, row: MediaFileRow, due_at: datetime) -> datetime:
        """What is due now is asked for when its next attempt is; what is not due yet forgets about that."""
        is_ahead = row.last_attempt_at is not None and row.last_attempt_at > self.now
        if due_at > self.now or row.retry_at is None or is_ahead:
            return due_at
        return max(due_at, row.retry_at)

    def note(self, row: MediaFileRow, **categories: bool) -> None:
        for name, holds in categories.items():
            if holds:
                self.found[name].add(row.id)

    def date(self, row: MediaFileRow, side: Circumstances, rules: tuple[RetentionRule, ...]) -> datetime | None:
        return decide_by_rules(side.facts_of(row), rules, self.now).due_at

    def is_newly_due(self, before: datetime | None, after: datetime | None, days: int) -> bool:
        horizon = self.now + days * DAY
        return after is not None and after <= horizon and (before is None or before > horizon)

    def count(self, days: list[int], moment: datetime | None) -> None:
        for day in range(len(days)):
            if moment is not None and moment <= self.now + day * DAY:
                days[day] += 1
                return


def rule_of(row: MediaFileRow, rules: tuple[RetentionRule, ...]) -> RetentionRule | None:
    """The rule that decides a file; None if there is none, or one that cannot be judged comes first."""
    facts = files.facts_of(row)
    for rule in rules:
        judgement = judge(rule.match, facts).judgement
        if judgement is not Judgement.DIFFERS:
            return rule if judgement is Judgement.MATCHES else None
    return None


def overlap(one: MediaFileRow, other: MediaFileRow) -> bool:
    """Each began before the other ended, or both ended at once."""
    crosses = begin_of(one) < other.ended_at and begin_of(other) < one.ended_at
    return crosses or one.ended_at == other.ended_at


def begin_of(row: MediaFileRow) -> datetime:
    return row.ended_at - timedelta(minutes=1) if row.began_at is None else row.began_at


@pytest.mark.parametrize("seed", range(12))
def test_a_preview_equals_what_each_file_is_decided(world: World, seed: int) -> None:
    chance = Chance(seed)
    chance.add_files(world, 40)
    first, candidate = chance.rules(), chance.rules()
    cooling_off = chance.random.choice([timedelta(0), DAY])
    apply_as_previewed(
        world.database, Candidate(first, "a test"), world.clock, chance.random.choice([cooling_off, DAY])
    )
    world.clock.move(hours=chance.random.choice([1, 48]))
    chance.trouble(world, in_flight=True)
    if chance.random.random() < 0.4:
        leave_behind(world, chance.rules())
    by_hand = ByHand(world, candidate, cooling_off)
    wanted = by_hand.found
    preview = previewing.make_preview(world.database, Candidate(candidate, "x"), TESTER, cooling_off, world.clock())
    with world.database.read() as session:
        comparison = Comparison(session, revisions.current_rules(session), candidate, world.clock())
        comparison.run()
    assert {
        effect["rule"]: effect["unjudged"] for effect in preview["effects"] if effect["unjudged"]
    } == by_hand.unjudged
    assert set(comparison.sooner) == wanted["sooner"]
    assert preview["sooner"] == len(wanted["sooner"])
    counted = {name: change["count"] for name, change in preview["changes"].items()}
    assert counted == {name: len(wanted[name]) for name in counted}
    assert preview["forecast"] == {"in_force": by_hand.in_force, "candidate": by_hand.candidate}
    for name, shown in preview["samples"].items():
        assert {file["id"] for file in shown} <= wanted[name]
        assert bool(shown) == bool(wanted[name])


@pytest.mark.parametrize("seed", range(100, 108))
def test_what_is_due_now_is_what_apply_and_sweep_delete(world: World, seed: int) -> None:
    chance = Chance(seed)
    chance.add_files(world, 40)
    first, candidate = chance.rules(), chance.rules()
    apply_as_previewed(world.database, Candidate(first, "a test"), world.clock)
    chance.trouble(world)
    hide_what_is_in_doubt(world)
    before = everything_stored(world)
    wanted = ByHand(world, candidate, timedelta(0)).found["due_now"]
    preview = previewing.make_preview(world.database, Candidate(candidate, "x"), TESTER, timedelta(0), world.clock())
    names = {file["id"]: name for name, file in world.files().items()}
    apply_as_previewed(world.database, Candidate(candidate, "x"), world.clock)
    world.sweep()
    deleted = before - everything_stored(world)
    assert deleted == {names[number] for number in wanted}
    assert len(deleted) == preview["forecast"]["candidate"][0] == preview["changes"]["due_now"]["count"]


@pytest.mark.parametrize("newest", [0, 1])
@pytest.mark.parametrize(
    ("match", "facts"),
    [
        (['vendor = "Huawei"', 'vendor = "Tencent"'], [{"vendor": Vendor.HUAWEI}, {"vendor": Vendor.TENCENT}]),
        (['event = "compose"', 'event = "record"'], [{"event": "compose"}, {"event": "record"}]),
        (['max_size = "9B"', 'min_size = "10B"'], [{"size_bytes": 9}, {"size_bytes": 10}]),
        (['max_duration = "5s"', 'min_duration = "1m"'], [{"duration_s": 5.0}, {"duration_s": 60.0}]),
    ],
)
def test_what_another_rule_deletes_protects_nothing_and_takes_no_protection(
    world: World, match: list[str], facts: list[dict[str, Any]], newest: int
) -> None:
    """Whichever of the two is claimed first: lanes go by vendor, and within one what was due first goes first."""
    older = 1 - newest
    world.add(1, prefix="newest", age=2 * DAY, **facts[newest])
    world.add(2, prefix="older", age=5 * DAY, **facts[older])
    world.add(1, prefix="oldest", age=9 * DAY, **facts[older])
    text = (
        f'[[rules]]\nname = "first"\nmatch = {{ {match[newest]} }}\nkeep = "1d"\n\n'
        '[[rules]]\nname = "rest"\nkeep = "1d"\nkeep_latest = 1\n'
    )
    candidate = Candidate(parse_rules(text), "x")
    preview = previewing.make_preview(world.database, candidate, TESTER, timedelta(0), world.clock())
    assert preview["changes"]["due_now"]["count"] == 2
    apply_as_previewed(world.database, candidate, world.clock)
    for _ in range(3):
        world.sweep()
        assert everything_stored(world) == {"older-00000", "older-00001"}  # two formats of one recording
        world.clock.move(hours=1)


@pytest.mark.parametrize("seed", range(200, 204))
def test_what_keeps_the_newest_is_previewed_as_it_is_swept(world: World, seed: int) -> None:
    chance = Chance(seed)
    chance.add_files(world, 40)
    candidate = parse_rules(f'[[rules]]\nname = "all"\nkeep = "3d"\nkeep_latest = {chance.random.randint(1, 3)}\n')
    before = everything_stored(world)
    preview = previewing.make_preview(world.database, Candidate(candidate, "x"), TESTER, timedelta(0), world.clock())
    apply_as_previewed(world.database, Candidate(candidate, "x"), world.clock)
    world.sweep()
    deleted = before - everything_stored(world)
    assert deleted
    assert len(deleted) == preview["forecast"]["candidate"][0]


def leave_behind(world: World, rules: tuple[RetentionRule, ...]) -> None:
    """A revision that came into force, and then a crash: the files are still as the one before decided them."""
    now = world.clock()

    def add(session: Session) -> None:
        number = revisions.current_number(session) + 1
        revision = revisions.Revision(number, now, "x", None, "x", format_rules(rules), now + 4 * DAY)
        revisions.add_revision(session, revision)

    world.database.transact(add)


def hide_what_is_in_doubt(world: World) -> None:
    """A sweep asks the listing about files in doubt: one that it confirms may take the place of another's newest."""
    with world.database.read() as session:
        for row in session.scalars(select(MediaFileRow).where(MediaFileRow.suspicion.is_not(None))):
            world.sandbox.remove_file(row.app_id, row.vendor, row.file_id)


def everything_stored(world: World) -> set[str]:
    return {name for app_id in (APP, OTHER_APP) for vendor in Vendor for name in world.stored(vendor, app_id)}


def test_a_preview_changes_nothing_and_is_stored(world: World) -> None:
    world.keep("30d")
    world.add(3, size_bytes=1_000_000, duration_s=1800.0)
    before = world.files()
    candidate = Candidate(parse_rules('[[rules]]\nname = "new"\nkeep = "1d"\n'), "rules.toml")
    made = previewing.make_preview(world.database, candidate, TESTER, DAY, world.clock())
    assert world.files() == before
    assert previewing.show_preview(world.database, made["id"]) == made
    assert previewing.show_preview(world.database, made["id"] + 1) is None
    assert (made["base_revision"], made["source"], made["sooner"], made["files"]) == (1, "rules.toml", 3, 3)
    newly = made["changes"]["newly_due_now"]
    assert (newly["count"], newly["hours"], newly["bytes"]) == (3, 1.5, 3_000_000)
    assert newly["by_rule"] == [{"name": "new", "count": 3, "hours": 1.5, "bytes": 3_000_000}]
    assert [part["name"] for part in newly["by_app"]] == [APP]
    assert made["effects"] == [{"rule": "new", "kept": 0, "later": 0, "due": 3, "unjudged": 0}]
    assert made["forecast"]["candidate"][:2] == [0, 3]
    assert made["forecast"]["in_force"][28] == 3
    sample = made["samples"]["newly_due_now"][0]
    assert (sample["rule_before"], sample["rule_after"]) == ("everything", "new")


def test_a_forecast_sums_up_and_looks_ahead(world: World) -> None:
    world.add(2, size_bytes=10)
    world.keep("10d")
    found = previewing.forecast(world.database, DAY, world.clock())
    assert found["forecast"][8] == 2
    assert found["by_state"] == [{"name": "scheduled", "count": 2, "hours": 0.0, "bytes": 20}]
    assert found["by_rule"][0]["name"] == "everything"


def test_totals_and_previews_hold_the_largest_sizes(world: World) -> None:
    sizes = [2**63 - 1, 2**63 - 1, 2**63 - 2, 5]
    for place, size in enumerate(sizes):
        world.add(1, prefix=f"f{place}", size_bytes=size, stream_id=f"s{place}")
    world.keep("10d")
    found = previewing.forecast(world.database, DAY, world.clock())
    assert found["by_state"] == [{"name": "scheduled", "count": 4, "hours": 0.0, "bytes": sum(sizes)}]
    candidate = Candidate(parse_rules('[[rules]]\nname = "new"\nkeep = "1d"\n'), "x")
    made = previewing.make_preview(world.database, candidate, TESTER, DAY, world.clock())
    assert made["changes"]["newly_due_now"]["bytes"] == sum(sizes)


def test_files_that_an_older_revision_decided_are_forecast_as_they_will_be(world: World) -> None:
    world.add(3)
    world.keep("30d")

    def crash_after(session: Session) -> None:
        text = '[[rules]]\nname = "short"\nkeep = "1d"\n'
        revisions.add_revision(
            session, revisions.Revision(2, world.clock(), "x", None, "x", text, world.clock() + 5 * DAY)
        )

    world.database.transact(crash_after)
    found = previewing.forecast(world.database, DAY, world.clock())
    assert found["forecast"][0] == 0
    assert found["forecast"][5] == 3


def test_an_observing_rule_deletes_nothing_and_is_told(world: World) -> None:
    world.add(4)
    text = '[[rules]]\nname = "look"\nkeep = "1d"\nmode = "observe"\n\n[[rules]]\nname = "all"\nkeep = "1d"\n'
    with pytest.raises(RulesError, match="never reached"):
        parse_rules(text)
    candidate = Candidate(parse_rules(text.split("\n\n", 1)[0]), "x")
    made = previewing.make_preview(world.database, candidate, TESTER, DAY, world.clock())
    assert (made["sooner"], made["changes"]["observed"]["count"], made["changes"]["kept"]["count"]) == (0, 4, 4)
    apply_as_previewed(world.database, candidate, world.clock)
    world.sweep()
    assert len(world.stored()) == 4


def test_files_without_a_stream_are_not_counted_with_those_of_one(world: World) -> None:
    world.add(1, prefix="known", stream_id="trial-1", size_bytes=1)
    world.add(2, prefix="merged", stream_id="", size_bytes=1)
    text = '[[rules]]\nname = "small"\nmatch = { stream = "trial-*", max_size = "5MB" }\nkeep = "1d"\n'
    candidate = Candidate(parse_rules(text + '\n[[rules]]\nname = "rest"\nkeep = "9d"\n'), "a test")
    changes = previewing.make_preview(world.database, candidate, TESTER, timedelta(0), world.clock())["changes"]
    assert (changes["due_now"]["count"], changes["kept"]["count"]) == (1, 2)


@pytest.mark.parametrize(
    "condition", ["adopted = false", 'event = "record"', 'vendor = "Tencent"', 'stream = "room-*", app = "{app}"']
)
def test_what_is_asked_of_single_files_does_not_keep_their_streams_from_being_counted(
    world: World, condition: str
) -> None:
    world.keep("365d")
    for number in range(5):
        world.send(f"f{number}", age=(number + 2) * DAY, stream="room-1")
    match = f"match = {{{{ {condition} }}}}".format(app=APP)
    rules = parse_rules(f'[[rules]]\nname = "counted"\n{match}\nkeep = "1d"\nkeep_latest = 1\n')
    made = previewing.make_preview(world.database, Candidate(rules, "x"), TESTER, timedelta(0), world.clock())
    assert (made["sooner"], made["changes"]["due_now"]["count"], made["changes"]["kept"]["count"]) == (4, 4, 1)
    with pytest.raises(PreviewNeeded):
        apply_rules(world.database, Candidate(rules, "x"), TESTER, timedelta(0), world.clock)


def test_sizes_count_alike_whether_an_event_is_disputed_or_told(world: World) -> None:
    """What an event leaves open must not be taken for what a size leaves open."""
    world.keep("365d")
    world.add(2, prefix="told", event="record", size_bytes=9)
    world.add(1, prefix="disputed", event=DISPUTED_EVENT, size_bytes=9)
    text = '[[rules]]\nname = "small"\nmatch = { event = "record", max_size = "9B" }\nkeep = "1d"\n'
    candidate = Candidate(parse_rules(text), "x")
    made = previewing.make_preview(world.database, candidate, TESTER, timedelta(0), world.clock())
    assert (made["sooner"], made["changes"]["kept"]["count"]) == (2, 1)


def test_files_that_a_rule_keeps_for_lack_of_a_fact_are_told(world: World) -> None:
    world.add(2, prefix="found", stream_id="", event="")
    world.add(1, prefix="known", stream_id="room-1")
    world.add(1, prefix="trial", stream_id="trial-1")
    text = (
        '[[rules]]\nname = "trials"\nmatch = { stream = "trial-*", event = "record" }\nkeep = "1d"\n\n'
        '[[rules]]\nname = "rest"\nkeep = "1d"\nkeep_latest = 1\n'
    )
    trials, rest = parse_rules(text)

    def effects(*rules: RetentionRule) -> list[tuple[int, int]]:
        made = previewing.make_preview(world.database, Candidate(rules, "x"), TESTER, DAY, world.clock())
        return [(effect["kept"], effect["unjudged"]) for effect in made["effects"]]

    assert effects(trials, rest) == [(2, 2), (1, 0)]
    assert effects(rest) == [(4, 2)]
    assert effects(replace(rest, keep=None, keep_latest=None)) == [(4, 0)]


def test_what_waits_for_another_attempt_is_due_when_it_is_asked_for_again(world: World) -> None:
    world.keep("1d")
    [file_id] = world.add(1)
    world.sandbox.fail_file(file_id, "Locked", "for now")
    world.apply('[[rules]]\nname = "all"\nkeep = "1d"\n')
    world.sweep()
    with world.database.read() as session:
        retry_at = session.scalar(select(MediaFileRow.retry_at))
    assert retry_at is not None
    waiting = retry_at - world.clock()
    assert timedelta(0) < waiting < DAY
    same, longer = (Candidate(parse_rules(f'[[rules]]\nname = "x"\nkeep = "{keep}"\n'), "x") for keep in ("1d", "3d"))
    made = previewing.make_preview(world.database, same, TESTER, timedelta(0), world.clock())
    assert made["changes"]["due_now"]["count"] == 0
    assert made["forecast"]["in_force"][:2] == made["forecast"]["candidate"][:2] == [0, 1]
    world.clock.move(seconds=waiting.total_seconds())
    made = previewing.make_preview(world.database, same, TESTER, timedelta(0), world.clock())
    assert made["changes"]["due_now"]["count"] == 1
    made = previewing.make_preview(world.database, longer, TESTER, timedelta(0), world.clock())
    assert made["changes"]["due_now"]["count"] == 0


def test_an_erasure_that_was_requested_under_a_clock_ahead_is_due_now(world: World) -> None:
    world.keep("forever")
    world.send("f")
    request = ErasureRequest((1,), None, None, "asked to")
    request_erasure(world.database, request, 1, TESTER, world.clock() + DAY)
    candidate = Candidate(parse_rules('[[rules]]\nname = "all"\nkeep = "100d"\n'), "a test")
    preview = previewing.make_preview(world.database, candidate, TESTER, DAY, world.clock())
    assert preview["changes"]["due_now"]["count"] == 1
    assert (preview["forecast"]["in_force"][0], preview["forecast"]["candidate"][0]) == (1, 1)
