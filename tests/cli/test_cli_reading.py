"""What people read in lists and explanations of files, and what opening the service leaves as it is."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING

from service.cli.invocation import Invocation, Output
from service.usecases.holding import HoldOrder, place_hold
from service.wiring import describe_waiting_keep
from tests.world import TESTER, environment

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.world import World

DAY = timedelta(days=1)


def test_the_list_is_narrowed_by_later_dates_and_by_text(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("early", stream="trial-1", age=timedelta(days=20))
    world.send("late", stream="lesson-1")

    def listed(*filters: str) -> list[str]:
        return [file["file_id"] for file in run("files", "list", "--json", *filters).objects]

    assert listed("--due-after", "2026-03-15") == ["late"]
    assert listed("--due-after", "2026-03-11T12:00:00Z") == ["late"]
    assert listed("--due-after", "2026-03-01", "--due-before", "2026-03-15") == ["early"]
    assert listed("--text", "trial") == ["early"]
    assert listed("--text", "ate") == ["late"]
    assert listed("--text", "TRIAL") == []
    assert run("files", "list", "--due-after", "tomorrow").code == 2


def test_a_list_shows_until_when_a_file_cools_off(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f", age=4 * DAY)
    world.apply('[[rules]]\nname = "short"\nkeep = "1d"\n', cooling_off=DAY)
    world.clock.move(hours=1)
    assert run("files", "list").out.splitlines()[1].endswith("in 23 hours (cooling-off)")
    assert run("files", "list", "--json").object["due_at"] == "2026-02-26T12:00:00Z"
    world.clock.move(days=1)
    assert run("files", "list").out.splitlines()[1].endswith("4 days ago")


def test_a_date_after_the_cooling_off_is_shown_as_it_is(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f")
    world.apply('[[rules]]\nname = "short"\nkeep = "5d"\n', cooling_off=DAY)
    assert run("files", "list").out.splitlines()[1].endswith("in 5 days")


def test_an_explanation_tells_every_time_in_one_form(run: Run, world: World) -> None:
    world.keep("30d")
    world.send("f", age=4 * DAY)
    world.apply('[[rules]]\nname = "short"\nkeep = "1d"\n', cooling_off=DAY)
    cooling = run("files", "explain", 1).out
    assert "applied 2026-03-01 12:00:00 UTC (now) by a tester" in cooling
    assert cooling.count("so it is not called before") == 1
    place_hold(world.database, HoldOrder(None, 1, None, "a court asks", world.clock() + DAY), TESTER, world.clock())
    told = run("files", "explain", 1).out
    until, placed = "2026-03-02 12:00:00 UTC (in a day)", "2026-03-01 12:00:00 UTC (now)"
    assert f"1 on this file until {until}, placed {placed} by a tester: a court asks" in told
    assert "would decide" in told
    world.sandbox.fail_file("f", "AccessDenied", "not yours")
    world.clock.move(days=2)
    world.sweep()
    shown = run("files", "show", 1).out
    assert "rejected at 2026-03-03 12:00:00 UTC (now): AccessDenied not yours" in shown
    for text in (cooling, told, shown, run("files", "explain", 1).out):
        assert "T12:00:00Z" not in text


def test_a_command_can_leave_keep_out_of_force_and_say_so(world: World, database_url: str) -> None:
    environ = environment(database_url, world.sandbox.url, KEEP="30d")
    invocation = Invocation(environ, world.clock, Output(io.StringIO()), Output(io.StringIO()))
    for _ in range(2):
        with invocation.opened(puts_keep_in_force=False) as service:
            assert "KEEP=30d is not in force yet" in (describe_waiting_keep(service) or "")
    with invocation.opened() as service:
        assert describe_waiting_keep(service) is None


def test_nothing_waits_where_keep_is_unset(world: World, database_url: str) -> None:
    environ = environment(database_url, world.sandbox.url)
    invocation = Invocation(environ, world.clock, Output(io.StringIO()), Output(io.StringIO()))
    with invocation.opened() as service:
        assert describe_waiting_keep(service) is None
