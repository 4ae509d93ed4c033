from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.world import APP, OTHER_APP

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World

HOLD_KEYS = [
    "id", "app_id", "file", "vendor", "file_id", "stream_pattern", "reason", "until", "placed_at", "placed_by",
    "through", "released_at", "released_by", "settled_at",
]  # fmt: skip


def test_add_says_how_many_files_are_held_and_list_shows_the_hold(run: Run, world: World) -> None:
    world.add(2, stream_id="vip-1")
    ended = run("holds", "add", "--stream", "vip-*", "--app", APP, "--reason", "a court asks", "--by", "mei")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "Hold 1 is in force: 2 files held now; files that arrive later are, too.\n"
    shown = run("holds", "list", "--json").object
    assert list(shown) == HOLD_KEYS
    assert (shown["placed_by"], shown["through"], shown["stream_pattern"]) == ("mei", "command line", "vip-*")
    [head, row] = run("holds", "list").out.splitlines()
    assert head.split() == ["id", "app", "holds", "reason", "by", "since", "until"]
    assert row.split() == ["1", APP, "stream", "vip-*", "a", "court", "asks", "mei", "now", "-"]


def test_a_hold_that_covers_nothing_says_so_beside_the_result(run: Run, world: World) -> None:
    world.add(1, stream_id="newbie-1")
    ended = run("holds", "add", "--stream", "newbie-[12]", "--app", APP, "--reason", "why")
    assert (ended.code, ended.out.startswith("Hold 1 is in force: 0 files held now")) == (0, True)
    assert ended.err.startswith("no file that could still be deleted fits it")
    assert "only * and ? are special" in ended.err
    assert run("holds", "add", "--stream", "newbie-?", "--app", APP, "--reason", "why").err == ""


def test_a_hold_on_a_file_that_is_gone_says_so_beside_the_result(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("f", age=timedelta(days=2))
    world.sweep()
    ended = run("holds", "add", "--file", 1, "--reason", "why")
    assert ended.code == 0
    assert "zego-retention files explain 1" in ended.err


def test_release_hands_the_files_back_to_the_rules(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("f", age=timedelta(days=2))
    run("holds", "add", "--file", 1, "--reason", "why", "--until", "2027-01-01")
    run("holds", "add", "--stream", "*", "--app", APP, "--reason", "why")
    assert run("holds", "release", 1).out.endswith("1 file of it stay held by others.\n")
    assert world.state("f") == "held"
    said = "Hold 2 is released; what else counts for its files (rules, erasures, other holds) decides again.\n"
    assert run("holds", "release", 2, "--by", "bo").out == said
    assert world.state("f") == "scheduled"
    assert run("holds", "list").err == "no holds\n"
    assert "released now by bo" in run("holds", "list", "--released").out
    assert [hold["released_by"] for hold in run("holds", "list", "--released", "--json").objects][1] == "bo"


def test_files_in_flight_are_named(run: Run, world: World) -> None:
    world.keep("1d")
    world.send("f", age=timedelta(days=2))
    told = []

    def hold(call: object) -> None:
        if call.stage == "arrived":  # type: ignore[attr-defined]
            told.append(run("holds", "add", "--file", 1, "--reason", "why").out)

    world.sandbox.on_request = hold
    world.sweep()
    assert "In flight, so they may still be deleted by the call under way: file 1.\n" in told[0]


def test_an_ended_hold_is_told_as_over(run: Run, world: World) -> None:
    run("holds", "add", "--stream", "*", "--app", APP, "--reason", "why", "--until", "2026-03-02")
    assert "in 12 hours" in run("holds", "list").out
    world.clock.move(days=1)
    assert "over 12 hours ago" in run("holds", "list").out


def test_what_cannot_be_meant_is_refused_in_one_line(run: Run, world: World) -> None:
    world.add(1)
    why = ("--reason", "why")
    assert run("holds", "add", *why).code == 2
    assert run("holds", "add", "--file", 1, "--stream", "*", *why).code == 2
    assert run("holds", "add", "--file", 1).code == 2
    assert run("holds", "add", "--file", 1, *why, "--until", "tomorrow").code == 2
    for arguments, said in [
        (("--file", 7), "there is no file 7"),
        (("--stream", "*", "--app", "404"), "app 404 is not in the settings"),
        (("--file", 1, "--until", "2026-02-01"), "not in the future"),
    ]:
        ended = run("holds", "add", *arguments, *why)
        assert (ended.code, ended.out) == (1, "")
        assert said in ended.err
        assert len(ended.err.splitlines()) == 1
    assert run("holds", "release", 7).code == 1
    assert run("holds", "list", "--json", "--released").objects == []


def test_the_only_app_configured_need_not_be_named_and_lists_narrow_to_one(run: Run, world: World) -> None:
    world.add(1, app_id=OTHER_APP)
    run("holds", "add", "--stream", "b", "--app", OTHER_APP, "--reason", "why")
    ended = run("holds", "add", "--stream", "a", "--reason", "why")
    assert ended.code == 0, ended.err
    assert [hold["stream_pattern"] for hold in run("holds", "list", "--app", APP, "--json").objects] == ["a"]
