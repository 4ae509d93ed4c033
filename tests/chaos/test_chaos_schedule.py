from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from tests.chaos.load import make_load
from tests.chaos.schedule import POSTGRESQL, SQLITE, Track, count_kinds, make_schedule

ONLY = {SQLITE: "hold the database", POSTGRESQL: "stop the database"}
EVERYWHERE = {
    "kill web",
    "kill leader",
    "suspend leader",
    "fill the disk",
    "clock a day ahead",
    "clock a day behind",
    "drop before",
    "drop after",
    "stall",
    "502",
    "cut JSON",
    "code 6",
    "omit from the answer",
    "listing is short",
    "hold",
    "release",
    "shorten the rules",
    "take the rules back",
}


@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize("seed", range(20))
def test_a_long_run_does_everything_and_one_thing_of_a_track_at_a_time(seed: int, database: str) -> None:
    schedule = make_schedule(seed, 900, database)
    assert count_kinds(schedule).keys() >= EVERYWHERE | {ONLY[database]}
    assert max(blow.ends for blow in schedule) <= 900
    for track in (Track.MACHINE, Track.ZEGO):
        blows = [blow for blow in schedule if blow.track is track]
        assert all(one.ends < other.at for one, other in itertools.pairwise(blows))


def test_a_short_run_does_most_of_it() -> None:
    assert len(EVERYWHERE - count_kinds(make_schedule(7, 40, SQLITE)).keys()) <= 1


def test_the_same_seed_is_the_same_run_in_every_process() -> None:
    code = "from tests.chaos.schedule import *; print([str(each) for each in make_schedule(11, 900, 'sqlite')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == str([str(each) for each in make_schedule(11, 900, SQLITE)])
    assert make_load(11, 900, 8, 10) == make_load(11, 900, 8, 10)
    assert make_load(11, 900, 8, 10) != make_load(12, 900, 8, 10)
