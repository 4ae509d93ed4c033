from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.db import leases
from service.db.engine import Database
from service.db.migrate import upgrade_database

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TWO_MINUTES = timedelta(minutes=2)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade_database(database)
    yield database
    database.dispose()


def take(database: Database, holder: str, now: datetime) -> int | None:
    return database.transact(lambda session: leases.take_lease(session, "sweep", holder, now, TWO_MINUTES))


def test_one_holder_at_a_time_and_a_new_fence_for_each(database: Database) -> None:
    assert take(database, "a", NOW) == 1
    assert take(database, "b", NOW + timedelta(seconds=119)) is None
    assert take(database, "b", NOW + TWO_MINUTES) == 2


def test_a_renewed_lease_lasts_and_a_lost_one_is_not_renewed(database: Database) -> None:
    def renew(fence: int, now: datetime) -> bool:
        return database.transact(lambda session: leases.renew_lease(session, "sweep", fence, now, TWO_MINUTES))

    take(database, "a", NOW)
    assert renew(1, NOW + timedelta(minutes=1))
    assert take(database, "b", NOW + TWO_MINUTES) is None
    assert take(database, "b", NOW + timedelta(minutes=3)) == 2
    assert not renew(1, NOW + timedelta(minutes=3))


def test_a_released_lease_is_free_at_once_but_only_its_holder_releases_it(database: Database) -> None:
    take(database, "a", NOW)
    database.transact(lambda session: leases.release_lease(session, "sweep", 7, NOW))
    assert take(database, "b", NOW) is None
    database.transact(lambda session: leases.release_lease(session, "sweep", 1, NOW))
    assert take(database, "b", NOW) == 2


def test_a_lease_from_before_the_clock_jumped_back_holds_up_nobody(database: Database) -> None:
    assert take(database, "a", NOW + timedelta(days=365)) == 1
    assert take(database, "b", NOW) == 2
