"""What a preview and a forecast show."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from service.files.actions import ErasureRequest, erase_files
from service.files.store import add_files
from service.holds.holds import place_hold
from service.model import NoSuchThing, NotPossible
from service.preview.forecast import day_of
from service.preview.make import KEPT_FOR, Candidate, find_preview, iterate_sooner, make_forecast, make_preview
from service.preview.store import Preview, list_previews
from service.rules.file import parse_rules
from service.rules.store import Shown, put_in_force
from tests.world import APP, OTHER_APP, START, TESTER, World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

DAY = timedelta(days=1)
NEW = '[[rules]]\nname = "new"\nkeep = "1d"\n'


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        yield world


def preview(world: World, text: str, cooling_off: timedelta = DAY, **options: Any) -> Preview:
    candidate = Candidate(parse_rules(text), "rules.toml")
    return make_preview(world.database, world.service.reader, candidate, TESTER, cooling_off, world.clock(), **options)


def counts(made: Preview) -> dict[str, int]:
    """The categories that hold any file."""
    return {name: change["count"] for name, change in made.result["changes"].items() if change["count"]}


def hold(world: World, stream: str, until: datetime | None) -> None:
    now = world.clock()
    asked: dict[str, Any] = {"known_apps": [APP], "app_id": APP, "stream_pattern": stream, "until": until}
    place_hold(world.database, TESTER, reason="a case", now=now, **asked)
    world.catch_up()


def test_a_preview_changes_nothing_and_is_stored(world: World) -> None:
    world.keep("30d")
    world.add(2, size_bytes=1_000_000, duration_s=1800.0)
    world.add(1, prefix="unknown", app_id=OTHER_APP)
    before = world.files()
    progress: list[int] = []
    made = preview(world, NEW, progress=progress.append)
    assert world.files() == before
    assert sum(progress) == 3
    assert find_preview(world.database, made.id) == made
    with pytest.raises(NoSuchThing, match="there is no preview 2"):
        find_preview(world.database, made.id + 1)
    assert (made.base_revision, made.source, made.sooner_count) == (1, "rules.toml", 3)
    newly = made.result["changes"]["newly_due_now"]
    assert (newly["count"], newly["share"], newly["hours"], newly["bytes"]) == (3, 1.0, 1.0, 2_000_000)
    assert (newly["unknown_durations"], newly["unknown_sizes"]) == (1, 1)
    assert [(part["name"], part["count"]) for part in newly["by_app"]] == [(APP, 2), (OTHER_APP, 1)]
    assert [(part["name"], part["count"]) for part in newly["by_rule"]] == [("new", 3)]
    assert made.result["effects"] == [{"rule": "new", "kept": 0, "later": 0, "due": 3, "unjudged": {}}]
    assert made.result["forecast"]["candidate"][:2] == [0, 3]
    assert made.result["forecast"]["in_force"][28] == 3
    sample = newly["samples"][0]
    assert (sample["rule_before"], sample["rule_after"]) == ("everything", "new")
    assert made.result["emptied_apps"] == sorted([APP, OTHER_APP])


@pytest.mark.parametrize(
    ("in_force", "keep", "age", "is_emptied"),
    [
        ("30d", "1s", timedelta(0), True),  # due within a second
        ("30d", "1d", timedelta(0), True),
        ("30d", "2d", timedelta(0), False),
        ("1d", "12h", timedelta(0), False),  # was so before
        ("30d", "forever", DAY, False),
    ],
)
def test_an_app_is_emptied_if_nothing_that_can_be_deleted_is_kept_for_longer_than_a_day(
    world: World, in_force: str, keep: str, age: timedelta, is_emptied: bool
) -> None:
    world.keep(in_force)
    world.add(1, prefix="old", age=2 * DAY)
    world.add(1, prefix="new", age=age)
    made = preview(world, f'[[rules]]\nname = "new"\nkeep = "{keep}"\n')
    assert made.result["emptied_apps"] == [APP] * is_emptied


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (
            "1d",
            {"sooner": 1, "newly_due_now": 1, "newly_due_in_7_days": 1, "newly_due_in_30_days": 1, "moved": 1},
        ),
        ("8d", {"sooner": 1, "newly_due_in_7_days": 1, "newly_due_in_30_days": 1, "moved": 1}),
        ("10d", {"sooner": 1, "newly_due_in_30_days": 1, "moved": 1}),
        ("45d", {"unchanged": 1, "moved": 1}),
        ("60d", {"later": 1, "moved": 1}),
        ("forever", {"no_longer_deleted": 1, "kept": 1, "moved": 1}),
    ],
)
def test_each_kind_of_change_has_its_category(world: World, keep: str, expected: dict[str, int]) -> None:
    world.keep("45d")
    world.add(1)
    assert counts(preview(world, f'[[rules]]\nname = "new"\nkeep = "{keep}"\n')) == expected


def test_what_becomes_due_sooner_counts_in_every_longer_horizon(world: World) -> None:
    world.keep("25d")
    world.add(1)
    expected = {"sooner": 1, "moved": 1, "newly_due_in_7_days": 1, "newly_due_in_30_days": 1}
    assert counts(preview(world, '[[rules]]\nname = "new"\nkeep = "8d"\n')) == expected


def test_what_is_due_today_and_not_any_more_is_spared(world: World) -> None:
    world.keep("1d")
    world.add(1)
    made = preview(world, '[[rules]]\nname = "new"\nkeep = "9d"\n')
    assert counts(made) == {"later": 1, "spared": 1, "moved": 1}
    assert [part["name"] for part in made.result["changes"]["spared"]["by_rule"]] == ["everything"]
    assert made.result["forecast"]["in_force"][0] == made.result["forecast"]["candidate"][7] == 1


def test_what_else_keeps_a_file_is_shown_and_no_deletion_is_promised(world: World) -> None:
    world.add(1, prefix="held", stream_id="case")
    world.add(1, prefix="soon", stream_id="soon")
    world.add(1, prefix="doubt", suspicion="stale")
    world.add(1, prefix="failed", state="failed")
    hold(world, "case", None)
    hold(world, "soon", world.clock() + 5 * DAY)
    made = preview(world, NEW, timedelta(0))
    expected = {"sooner": 4, "moved": 4, "held": 2, "unconfirmed": 1, "failed": 1}
    assert counts(made) == expected | {"newly_due_in_7_days": 1, "newly_due_in_30_days": 1}
    assert made.result["forecast"]["candidate"] == [0] * 5 + [1] + [0] * 85


def test_rules_that_decide_nothing_or_name_other_apps_are_pointed_out(world: World) -> None:
    world.add(2, stream_id="room-1")
    text = f'[[rules]]\nname = "none"\nmatch = {{ stream = "trial-*", app = ["77", "{APP}"] }}\nkeep = "1d"\n\n{NEW}'
    made = preview(world, text, known_apps=[APP, OTHER_APP])
    assert made.result["effects"][0] == {"rule": "none", "kept": 0, "later": 0, "due": 0, "unjudged": {}}
    assert made.result["unknown_apps"] == [{"rule": "none", "app": "77"}]
    assert preview(world, text).result["unknown_apps"] == []


def test_files_that_a_rule_keeps_for_lack_of_a_fact_are_shown_with_it(world: World) -> None:
    world.add(2, prefix="found", stream_id="", event="")
    world.add(1, prefix="trial", stream_id="trial-1")
    text = '[[rules]]\nname = "small"\nmatch = { stream = "trial-*", max_size = "5MB" }\nkeep = "1d"\n'
    made = preview(world, text)
    assert made.result["effects"] == [
        {"rule": "small", "kept": 3, "later": 0, "due": 0, "unjudged": {"stream": 2, "size": 1}}
    ]
    assert made.result["emptied_apps"] == []


def test_what_waits_for_another_attempt_counts_on_the_day_of_its_retry(world: World) -> None:
    world.keep("1d")
    [file_id] = world.add(1)
    world.sandbox.fail_file(file_id, "Locked", "for now")
    world.sweep()
    wait_until = world.files()[file_id].wait_until
    assert wait_until is not None
    for made in (preview(world, NEW), preview(world, '[[rules]]\nname = "shorter"\nkeep = "12h"\n', timedelta(0))):
        assert "due_now" not in counts(made)
        assert made.result["forecast"]["in_force"][:2] == made.result["forecast"]["candidate"][:2] == [0, 1]
    world.clock.time = wait_until
    assert counts(preview(world, NEW))["due_now"] == 1


def test_a_hold_that_has_ended_by_itself_keeps_nothing_even_if_nobody_has_looked_since(world: World) -> None:
    world.add(1, age=3 * DAY)
    world.keep("1d")
    hold(world, "room", world.clock() + 5 * DAY)
    assert world.state("file-00000") == "held"
    world.clock.move(days=6)
    assert make_forecast(world.database, world.service.reader, world.clock())["days"][0] == 1
    assert counts(preview(world, NEW)) == {"unchanged": 1, "moved": 1, "due_now": 1}


def test_an_erasure_that_a_clock_ahead_dated_is_no_change(world: World) -> None:
    world.add(1, age=3 * DAY)
    world.clock.move(days=2)
    erase_files(world.database, TESTER, ErasureRequest(reason="asked for", files=(1,)), world.clock())
    world.catch_up()
    world.clock.move(days=-1)
    made = preview(world, NEW)
    assert (made.sooner_count, counts(made)["unchanged"]) == (0, 1)


def test_totals_hold_the_largest_sizes(world: World) -> None:
    sizes = [2**63 - 1, 2**63 - 1, 5]
    for place, size in enumerate(sizes):
        world.add(1, prefix=f"f{place}", size_bytes=size)
    assert preview(world, NEW).result["changes"]["newly_due_now"]["bytes"] == sum(sizes)


def test_a_forecast_sums_up_and_looks_ahead(world: World) -> None:
    world.add(2, size_bytes=10)
    world.add(1, prefix="other", app_id=OTHER_APP, age=20 * DAY)
    world.keep("10d")
    found = make_forecast(world.database, world.service.reader, world.clock())
    assert (found["revision"], found["as_of"], found["count"], found["bytes"]) == (1, "2026-03-01T12:00:00Z", 3, 20)
    assert found["days"] == [1] + [0] * 7 + [2] + [0] * 82
    assert [(part["name"], part["count"]) for part in found["by_state"]] == [("scheduled", 3)]
    assert [(part["name"], part["count"]) for part in found["by_app"]] == [(APP, 2), (OTHER_APP, 1)]
    assert found["by_rule"][0]["name"] == "everything"
    assert found["by_vendor"][0]["unknown_sizes"] == 1


def test_files_that_an_older_revision_decided_are_forecast_as_they_will_be(world: World) -> None:
    world.keep("30d")
    world.add(3)
    rules, now = parse_rules(NEW), world.clock()
    world.database.transact(lambda tx: put_in_force(tx, TESTER, rules, "a test", now, 5 * DAY))
    assert {file.rule for file in world.files().values()} == {"everything"}
    found = make_forecast(world.database, world.service.reader, world.clock())
    assert (found["days"][0], found["days"][5]) == (0, 3)


def test_files_due_sooner_are_listed_page_by_page_while_the_rules_stay(world: World) -> None:
    world.keep("30d")
    for prefix, stream in (("a", "a"), ("b", ""), ("c", "B")):  # databases differ in which of a and B comes first
        world.add(3, prefix=prefix, stream_id=stream)
    made = preview(world, NEW)
    world.add(1, prefix="later")
    reader, now = world.service.reader, world.clock()
    found = [0]
    while page := list(islice(iterate_sooner(world.database, reader, made, now, found[-1]), 4)):
        found += [change.before.id for change in page]
    assert sorted(found) == list(range(10))
    with pytest.raises(NoSuchThing):
        iterate_sooner(world.database, reader, made, now, 99)
    world.keep("20d")
    with pytest.raises(NotPossible, match="was compared with revision 1, and revision 2 is in force"):
        iterate_sooner(world.database, reader, made, now, 0)


def test_previews_that_are_too_old_are_forgotten_and_no_number_is_given_twice(world: World) -> None:
    applied, other = preview(world, NEW), preview(world, NEW)
    shown, now = Shown(applied.id, 0, 0), world.clock()
    world.database.transact(lambda tx: put_in_force(tx, TESTER, applied.rules, "x", now, DAY, preview=shown))
    world.clock.time += KEPT_FOR + timedelta(seconds=1)
    assert (applied.id, other.id, preview(world, NEW).id) == (1, 2, 3)
    with world.database.read() as tx:
        assert [each.id for each in list_previews(tx)] == [3, 1]


def test_rules_that_come_into_force_meanwhile_end_a_preview(world: World) -> None:
    world.keep("30d")
    world.add(1)
    [file] = world.files().values()
    files = [file._replace(id=0, file_id=f"x{number}") for number in range(2_001)]
    world.service.leader.transact(lambda tx: add_files(tx, files))
    with pytest.raises(NotPossible, match="revision 2 came into force meanwhile: try it again"):
        preview(world, NEW, progress=lambda _: world.keep("20d") if world.clock() == START else None)


@pytest.mark.parametrize(
    ("seconds", "day"), [(-1, 0), (0, 0), (1, 1), (86_400, 1), (86_401, 2), (90 * 86_400, 90), (999 * 86_400, 91)]
)
def test_days_count_from_the_moment(seconds: int, day: int) -> None:
    assert day_of(START + timedelta(seconds=seconds), START) == day
