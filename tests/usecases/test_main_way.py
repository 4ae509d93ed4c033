from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor

if TYPE_CHECKING:
    from tests.world import World


@pytest.mark.parametrize("vendor", list(Vendor))
def test_an_old_recording_is_deleted_and_its_outcome_recorded(world: World, vendor: Vendor) -> None:
    world.keep("1d")
    world.send("old", age=timedelta(days=2), vendor=vendor)
    world.send("new", age=timedelta(hours=2), vendor=vendor)
    assert world.state("old") == "scheduled"

    world.sweep()

    old, new = world.files()["old"], world.files()["new"]
    assert old["state"] == "deleted"
    assert old["last_outcome"]["outcome"] == "deleted"
    assert old["last_outcome"]["request_id"]
    assert new["state"] == "scheduled"
    assert world.stored(vendor) == {"new"}
