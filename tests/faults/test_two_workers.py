from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from service.core.model import Outcome, Vendor
from service.db import leases
from service.db.models import AttemptRow
from service.usecases.claiming import SWEEP_LEASE
from tests.faults.children import StartingGun, sweep_beside, sweep_until_done
from tests.faults.scene import CHILDREN, Child, Scene, open_scene
from tests.world import APP

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = "/" * 600
"""Each of these slashes takes three bytes of a URL: four such ids fill a call."""
FILES = 440


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with open_scene(database_url) as scene:
        scene.world.sandbox.calls_per_second = 20
        scene.world.add(FILES, prefix=LONG, vendor=Vendor.HUAWEI)
        scene.world.keep("1d")
        yield scene


def wait_for(pair: list[Child]) -> list[Any]:
    told = [child.told(patience_s=200) for child in pair]
    assert [child.wait() for child in pair] == [0, 0]
    return told


def assert_each_file_was_asked_for_once(scene: Scene) -> Counter[int]:
    """Returns how many files each run deleted."""
    calls = scene.world.sandbox.calls
    print(f"{len(calls)} calls, at most {scene.world.sandbox.max_calls_in_any_second(APP)} in a second")
    assert len(calls) >= 100
    assert {call.code for call in calls} == {0}
    assert scene.world.sandbox.max_calls_in_any_second(APP) <= 20
    asked = Counter(file_id for call in calls for file_id in call.file_ids)
    assert set(asked.values()) == {1}
    assert len(asked) == FILES
    assert not scene.stored_now()
    assert {file["state"] for file in scene.world.files().values()} == {"deleted"}
    with scene.world.database.read() as session:
        attempts = list(session.scalars(select(AttemptRow)))
    assert {attempt.outcome for attempt in attempts} == {Outcome.DELETED}
    assert len({attempt.media_file_id for attempt in attempts}) == len(attempts) == FILES
    return Counter(attempt.run_id for attempt in attempts)


def test_two_workers_that_take_turns_by_lease_ask_for_each_file_once(scene: Scene) -> None:
    gun = StartingGun(CHILDREN)
    wait_for([scene.start_child(sweep_until_done, gun) for _ in range(2)])

    assert_each_file_was_asked_for_once(scene)


def test_two_workers_whose_claims_compete_ask_for_each_file_once_at_one_pace(scene: Scene) -> None:
    now = scene.world.clock()
    fence = scene.world.database.transact(
        lambda session: leases.take_lease(session, SWEEP_LEASE, "both", now, timedelta(hours=1))
    )
    gun = StartingGun(CHILDREN)
    (run, claimed), (other_run, other_claimed) = wait_for(
        [scene.start_child(sweep_beside, gun, fence) for _ in range(2)]
    )

    deleted = assert_each_file_was_asked_for_once(scene)
    assert set(deleted) == {run, other_run}
    assert max(Counter(claimed + other_claimed).values()) == 1
    print(f"files by run: {dict(deleted)}")
    assert min(deleted.values()) > FILES / 8
