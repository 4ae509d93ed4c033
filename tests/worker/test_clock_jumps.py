"""A worker as a real process whose clock is set while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from service.database import Database
from service.leader.store import find_leader
from tests.chaos.fleet import Fleet, Member
from tests.processes import wait_until
from tests.world import environment

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400


@pytest.mark.parametrize(("ahead_s", "wrong_for_s"), [(DAY_S, 2.5), (DAY_S, 7), (-DAY_S, 2.5)])
def test_it_goes_on_after_its_clock_was_wrong(
    sqlite_url: str, tmp_path: Path, ahead_s: int, wrong_for_s: float
) -> None:
    """Also if nobody looked at it meanwhile: its jobs are for tomorrow then, or it sleeps until then."""
    database = Database(sqlite_url)

    def beat() -> int:
        with database.read() as tx:
            leader = find_leader(tx)
        return 0 if leader is None else leader.beat

    worker = Member("worker", "worker", environment(sqlite_url, "http://127.0.0.1:9/", CLAIM_LEASE="1s"))
    with Fleet([worker], tmp_path) as fleet:
        wait_until(lambda: "leading" in (tmp_path / "worker.log").read_text())
        fleet.set_clock(ahead_s)
        time.sleep(wrong_for_s)
        fleet.set_clock(0)
        time.sleep(1.5)
        before = beat()
        wait_until(lambda: beat() > before + 2, 15)
        assert ahead_s < 0 or "clock_set_back" in (tmp_path / "worker.log").read_text()
        fleet.stop()
        assert fleet.ended == []
    database.dispose()
