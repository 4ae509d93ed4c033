"""Whatever inventory, rules and trouble: a dry run names just the files that the sweep after it asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.files.store import add_files
from service.model import END_STATES
from service.rules.store import put_in_force
from service.sweep.dry_run import dry_run
from service.views.runs import RUN_FILES
from tests.preview.drawn import Chance
from tests.world import TESTER, World, open_world

if TYPE_CHECKING:
    from service.rules.decide import RetentionRule

WORLDS = 3


def name_due(world: World) -> set[tuple[str, str]]:
    service, sweeper = world.service, world.service.sweeper
    given = (world.database, service.reader, service.app_ids, sweeper.limits, world.clock())
    found = dry_run(*given, confirm_all=sweeper.confirm_all, limit=10_000)
    assert found.total == len(found.files)
    return {(file.app_id, file.file_id) for file in found.files}


def sweep(world: World) -> set[tuple[str, str]]:
    """Sweep; the files that were asked for."""
    page = RUN_FILES.page(world.database, world.sweep(), 500)
    assert page.next_cursor is None
    return {(each.app_id, each.file_id) for each in page.items}


def put_in(world: World, rules: tuple[RetentionRule, ...], cooling_off: timedelta) -> None:
    world.database.transact(lambda tx: put_in_force(tx, TESTER, rules, "a test", world.clock(), cooling_off))
    world.catch_up()


@pytest.mark.parametrize("settings", [{}, {"CONFIRM": "all"}, {"BREAKER_FILES": "6"}], ids=str)
def test_a_sweep_asks_for_just_the_files_that_the_dry_run_before_it_named(
    database_url: str, settings: dict[str, str]
) -> None:
    with open_world(database_url, **settings) as world:
        for seed in range(WORLDS):
            chance, now = Chance(seed), world.clock()
            files = [file._replace(file_id=f"{seed}-{file.file_id}") for file in chance.files(40, now)]
            world.service.leader.transact(lambda tx: add_files(tx, files))  # noqa: B023  (called at once)
            for file in files:
                if file.state not in END_STATES:
                    whose = (file.app_id, file.vendor, file.file_id)
                    world.sandbox.add_file(*whose, stream_id=file.stream_id, created_at=file.ended_at)
            chance.trouble(world.database, now)
            put_in(world, chance.rules(), timedelta(days=chance.random.choice([0, 0, 1])))
            for _ in range(2):
                named = name_due(world)
                assert sweep(world) == named, seed
                world.clock.move(days=2)
