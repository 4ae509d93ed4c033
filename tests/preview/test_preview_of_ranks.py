"""`keep_latest` in previews: what counts as a recording of a rule, and that preview, explanation and sweep agree."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from service.files.explain import explain_file
from service.model import FileState, Vendor
from service.preview.apply import apply_rules
from service.preview.make import Candidate, iterate_sooner, make_preview
from service.rules.file import parse_rules
from tests.world import TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
NEWEST = '[[rules]]\nname = "rest"\nkeep = "1d"\nkeep_latest = 1\n'


def rule_first(match: str, keep: str = "1d") -> str:
    return f'[[rules]]\nname = "first"\nmatch = {{ {match} }}\nkeep = "{keep}"\n\n{NEWEST}'


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url, COOLING_OFF="0s") as world:
        yield world


def everything(world: World) -> set[str]:
    return {name for vendor in Vendor for name in world.stored(vendor)}


def preview(world: World, text: str, cooling_off: timedelta = timedelta(0)) -> Any:
    candidate = Candidate(parse_rules(text), "x")
    return make_preview(world.database, world.service.reader, candidate, TESTER, cooling_off, world.clock())


def apply(world: World, text: str) -> None:
    made, candidate = preview(world, text), Candidate(parse_rules(text), "x")
    given = (world.database, world.service.reader, candidate, TESTER, timedelta(0), world.clock)
    apply_rules(*given, preview_id=made.id, expect=made.sooner_count)
    world.catch_up()


@pytest.mark.parametrize(
    ("text", "newest", "others", "left"),
    [
        # What another rule deletes protects nothing and takes no protection.
        (rule_first('vendor = "Huawei"'), {"vendor": Vendor.HUAWEI}, {}, {"old-00000"}),
        (rule_first('event = "compose"'), {"event": "compose"}, {}, {"old-00000"}),
        (rule_first('max_size = "9B"'), {"size_bytes": 9}, {"size_bytes": 10}, {"old-00000"}),
        (rule_first('stream = "room"', "forever"), {"stream_id": "hall"}, {"stream_id": "hall"}, {"new-00000"}),
        # A rule that cannot be judged for a file decides it not.
        (
            '[[rules]]\nname = "short"\nmatch = { max_duration = "2h" }\nkeep = "1d"\nkeep_latest = 1\n',
            {},
            {"duration_s": 60.0},
            {"new-00000", "old-00000"},
        ),
        # Neither does what may not exist, or may be gone, count; itself it may be kept for its rank.
        (NEWEST, {"suspicion": "stale"}, {}, {"new-00000", "old-00000"}),
        (NEWEST, {"last_outcome": "unknown"}, {}, {"new-00000", "old-00000"}),
        (NEWEST, {"stream_id": ""}, {}, {"new-00000", "old-00000"}),
        (NEWEST, {"state": FileState.FAILED}, {}, {"new-00000"}),
        (NEWEST, {}, {}, {"new-00000"}),
        ('[[rules]]\nname = "rest"\nkeep = "1d"\nkeep_latest = 2\n', {}, {}, {"new-00000", "old-00000"}),
    ],
)
def test_preview_explanation_and_sweep_agree_on_the_newest(
    world: World, text: str, newest: dict[str, Any], others: dict[str, Any], left: set[str]
) -> None:
    world.add(1, prefix="new", age=2 * DAY, **newest)
    world.add(1, prefix="old", age=5 * DAY, **others)
    world.add(2, prefix="oldest", age=9 * DAY, **others)
    made = preview(world, text)
    assert made.result["changes"]["due_now"]["count"] == 4 - len(left)
    apply(world, text)
    for name, file in world.files().items():
        explained = explain_file(world.database, world.service.reader, file.id, world.clock())
        is_kept = explained.latest is not None or explained.decided.state is not FileState.SCHEDULED
        assert is_kept is (name in left)
    for _ in range(2):
        world.sweep()
        assert everything(world) == left
        world.clock.move(hours=1)


def test_a_rule_that_decides_a_newer_recording_by_now_keeps_the_older_one_no_more(world: World) -> None:
    """Name, window and number of the rule are the same: only what else it decides has changed."""
    world.add(1, prefix="new", age=2 * DAY, event="compose")
    world.add(1, prefix="old", age=5 * DAY)
    apply(world, rule_first('event = "compose"', "forever"))
    world.sweep()
    assert world.files()["old-00000"].state is FileState.KEPT
    made = preview(world, NEWEST)
    assert made.result["changes"]["due_now"]["count"] == 1
    assert (made.sooner_count, made.result["changes"]["no_longer_deleted"]["count"]) == (1, 0)
    apply(world, NEWEST)
    world.sweep()
    assert everything(world) == {"new-00000"}


def test_what_only_its_rank_kept_becomes_due_sooner_without_it_and_waits(world: World) -> None:
    world.add(1, prefix="new", age=90 * DAY)
    apply(world, NEWEST)
    without = '[[rules]]\nname = "rest"\nkeep = "1d"\n'
    assert preview(world, NEWEST).sooner_count == 0
    made = preview(world, without, 2 * DAY)
    changes = made.result["changes"]
    assert (made.sooner_count, changes["newly_due_now"]["count"], changes["due_now"]["count"]) == (1, 1, 0)
    assert made.result["forecast"]["in_force"] == [0] * 91
    assert made.result["forecast"]["candidate"][:3] == [0, 0, 1]
    [sample] = changes["sooner"]["samples"]
    assert (sample["due_before"], sample["due_after"]) == (None, "2025-12-02T12:00:00Z")


def test_pages_of_files_due_sooner_know_the_ranks_of_the_pages_before(world: World) -> None:
    for number in range(5):
        world.add(1, prefix=f"take-{number}", age=(number + 2) * DAY)
    made, now = preview(world, NEWEST), world.clock()
    pages, last = [], 0
    while page := list(islice(iterate_sooner(world.database, world.service.reader, made, now, last), 2)):
        last = page[-1].before.id
        pages.append([change.before.id for change in page])
    assert pages == [[2, 3], [4, 5]]
