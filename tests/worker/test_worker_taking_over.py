"""A worker whose first work as the leader fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.database import DatabaseUnavailable
from service.worker import Worker
from tests.world import open_world

if TYPE_CHECKING:
    from service.database import Database


def rename(database: Database, before: str, after: str) -> None:
    with database.write() as tx:
        tx.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))


def test_taking_over_is_tried_again_until_it_is_done(database_url: str) -> None:
    """Else this process would lead, and renew its lease, and never call ZEGO."""
    with open_world(database_url) as world:
        world.keep("1d")
        world.add(1)
        world.service.leader.release()
        worker = Worker(world.service)
        rename(world.database, "listings", "listings_away")
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                worker.tick()
        assert world.service.leader.leads
        assert not world.service.leader.is_ready
        rename(world.database, "listings_away", "listings")
        worker.tick()
        assert world.service.leader.is_ready
