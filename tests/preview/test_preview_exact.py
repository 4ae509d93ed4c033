"""A preview shows exactly what each file is decided, and what apply and sweep then delete."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from service.files.policy import DecidingLoop, PolicyReader
from service.files.store import add_files
from service.leader.leader import Leader
from service.model import Vendor
from service.preview.apply import apply_rules
from service.preview.make import Candidate, iterate_sooner, make_forecast, make_preview
from service.rules.store import put_in_force
from tests.preview.drawn import DAY, ByHand, Chance
from tests.world import APP, OTHER_APP, START, TESTER, open_world

if TYPE_CHECKING:
    from datetime import datetime

    from service.database import Database
    from service.rules.decide import RetentionRule
    from tests.world import World

LONG = pytest.mark.long


@pytest.mark.parametrize("seed", [*range(15), *(pytest.param(seed, marks=LONG) for seed in range(15, 150))])
def test_a_preview_equals_what_each_file_is_decided(database: Database, seed: int) -> None:
    chance = Chance(seed)
    now = START
    leader = Leader(database, "a test", timedelta(minutes=1), lambda: now)
    assert leader.try_to_lead()
    leader.transact(lambda tx: add_files(tx, chance.files(40, now)))
    put(database, chance.rules(), now, chance.random.choice([timedelta(0), DAY]))
    DecidingLoop(leader, PolicyReader(), lambda: now).run()
    now += chance.random.choice([timedelta(hours=1), 2 * DAY])
    chance.trouble(database, now, in_flight=True)
    if chance.random.random() < 0.7:
        DecidingLoop(leader, PolicyReader(), lambda: now).run()
    if chance.random.random() < 0.3:  # in force, and the leader has yet to decide
        put(database, chance.rules(), now, 4 * DAY)
    candidate, cooling_off = chance.rules(), chance.random.choice([timedelta(0), DAY])
    by_hand = ByHand(now, cooling_off).compare(database, candidate)

    reader = PolicyReader()
    preview = make_preview(database, reader, Candidate(candidate, "x"), TESTER, cooling_off, now)

    shown = preview.result
    changes = shown["changes"]
    assert {name: change["count"] for name, change in changes.items()} == {
        name: len(files) for name, files in by_hand.found.items()
    }
    assert preview.sooner_count == len(by_hand.found["sooner"])
    assert [shown["forecast"][side] for side in ("in_force", "candidate")] == list(by_hand.days)
    assert make_forecast(database, reader, now)["days"] == by_hand.days[0]
    unjudged = {effect["rule"]: sum(effect["unjudged"].values()) for effect in shown["effects"]}
    assert {rule: count for rule, count in unjudged.items() if count} == by_hand.unjudged
    for name, change in changes.items():
        samples = {file["id"] for file in change["samples"]}
        assert samples <= by_hand.found[name]
        assert len(samples) == min(5, change["count"])
    pages: list[int] = []
    after = 0
    while page := list(islice(iterate_sooner(database, reader, preview, now, after), 4)):
        pages.extend(change.before.id for change in page)
        after = pages[-1]
    assert len(pages) == len(set(pages))
    assert set(pages) == by_hand.found["sooner"]


# 337: two apps, and one of a preview's files more than the budget that they share.
@pytest.mark.parametrize(
    "seed", [*range(200, 208), 337, *(pytest.param(seed, marks=LONG) for seed in range(208, 350) if seed != 337)]
)
def test_what_is_due_now_is_what_apply_and_sweep_delete(database_url: str, seed: int) -> None:
    chance = Chance(seed)
    with open_world(database_url, COOLING_OFF="0s") as world:
        files = chance.files(40, world.clock())
        world.service.leader.transact(lambda tx: add_files(tx, files))
        for file in files:
            world.sandbox.add_file(file.app_id, file.vendor, file.file_id, stream_id=file.stream_id)
        put(world.database, chance.rules(), world.clock(), timedelta(0))
        world.catch_up()
        chance.trouble(world.database, world.clock())
        world.catch_up()
        candidate = Candidate(chance.rules(), "x")
        due = ByHand(world.clock(), timedelta(0)).compare(world.database, candidate.rules).found["due_now"]
        before = stored(world)
        preview = make_preview(world.database, world.service.reader, candidate, TESTER, timedelta(0), world.clock())
        apply_rules(
            world.database,
            world.service.reader,
            candidate,
            TESTER,
            timedelta(0),
            world.clock,
            preview_id=preview.id,
            expect=preview.sooner_count,
        )
        world.catch_up()
        world.sweep()
        names = {file.id: (file.app_id, file.vendor, file.file_id) for file in world.files().values()}
        assert before - stored(world) == {names[number] for number in due} & before
        assert preview.result["changes"]["due_now"]["count"] == len(due)


def put(database: Database, rules: tuple[RetentionRule, ...], now: datetime, cooling_off: timedelta) -> None:
    database.transact(lambda tx: put_in_force(tx, TESTER, rules, "a test", now, cooling_off))


def stored(world: World) -> set[tuple[str, Vendor, str]]:
    apps = (APP, OTHER_APP)
    return {(app, vendor, name) for app in apps for vendor in Vendor for name in world.stored(vendor, app)}
