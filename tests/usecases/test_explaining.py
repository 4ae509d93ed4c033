"""Why: each state explained with what counts for it, and an ended file with what counted then."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from service.core.breaker import Trip
from service.core.file_sets import FileSet
from service.core.model import FileState
from service.db import gates, plans, runs
from service.db.models import MediaFileRow, Trigger
from service.usecases.erasing import ErasureRequest, request_erasure
from service.usecases.explaining import explain_file, explanation_as_json
from service.usecases.holding import HoldOrder, place_hold
from service.usecases.inventory import NotPossible
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from service.db.engine import Session
    from tests.world import World

DAY = timedelta(days=1)
LAYERS = """
[[rules]]
name = "lessons"
match = { stream = "lesson-*" }
keep = "forever"

[[rules]]
name = "trials"
match = { stream = "trial-*" }
keep = "1d"

[[rules]]
name = "rest"
keep = "30d"
"""


def explain(world: World, number: int = 1) -> dict[str, Any]:
    return explanation_as_json(explain_file(world.database, number, world.clock()))


def lines(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["name"], line["result"], line["why"]) for line in told["rules"]]


def test_a_scheduled_file_is_told_rule_by_rule_with_its_arithmetic(world: World) -> None:
    world.apply(LAYERS)
    world.send("f", stream="trial-1", age=timedelta(hours=1))
    told = explain(world)
    assert lines(told) == [
        ("lessons", "does not match", 'stream "trial-1" does not fit "lesson-*"'),
        ("trials", "decides", 'rule "trials" keeps it for 1d'),
        ("rest", "not reached", 'rule "trials" comes first'),
    ]
    arithmetic = "ended 2026-03-01 11:00:00 UTC + 1d = 2026-03-02 11:00:00 UTC"
    assert (told["decision"]["arithmetic"], told["decision"]["due_at"]) == (arithmetic, "2026-03-02T11:00:00Z")
    assert (told["as_of"], told["revision"], told["revision_in_force"]) == (None, 1, 1)
    assert (told["applied"]["by"], told["applied"]["at"]) == ("a tester", "2026-03-01T12:00:00Z")
    next_step = "deleted by the first sweep after 2026-03-02 11:00:00 UTC, if the rules still let it go then"
    assert told["next_step"] == next_step


def test_a_kept_file_has_no_date(world: World) -> None:
    world.apply(LAYERS)
    world.send("f", stream="lesson-1")
    told = explain(world)
    assert (told["decision"]["arithmetic"], told["decision"]["due_at"]) == (None, None)
    assert told["next_step"] == "nothing, unless the rules change"


def test_a_rule_that_only_observes_tells_what_it_would_do(world: World) -> None:
    world.apply('[[rules]]\nname = "trial run"\nkeep = "1d"\nmode = "observe"\n')
    world.send("f", age=2 * DAY)
    told = explain(world)
    assert told["decision"]["observed_due_at"] == "2026-02-28T12:00:00Z"
    assert "would have been let go then, but the rule only observes" in told["decision"]["arithmetic"]
    assert told["next_step"] == "nothing: the rule only observes; it would have been let go on 2026-02-28 12:00:00 UTC"


def test_a_held_file_names_each_hold_and_how_to_end_it(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    until = world.clock() + DAY
    place_hold(world.database, HoldOrder(APP, None, "room", "a court asks", until), TESTER, world.clock())
    place_hold(world.database, HoldOrder(None, 1, None, "the police, too"), TESTER, world.clock())
    told = explain(world)
    assert [(hold["id"], hold["file"], hold["placed_by"]) for hold in told["holds"]] == [
        (1, None, "a tester"),
        (2, 1, "a tester"),
    ]
    results = [("hold", "holds"), ("hold", "holds"), ("everything", "would decide")]
    assert [(name, result) for name, result, _ in lines(told)] == results
    assert told["decision"]["due_at"] == "2026-02-28T12:00:00Z"
    assert told["next_step"] == (
        "nothing, until hold 1 is released (`zego-retention holds release 1`) or ends at 2026-03-02 12:00:00 UTC"
        " and hold 2 is released (`zego-retention holds release 2`)"
    )


def test_a_doubtful_file_says_how_to_confirm_it(world: World) -> None:
    world.keep("1d")
    world.send("f", now=world.clock() - timedelta(hours=1))
    told = explain(world)
    assert [line[:2] for line in lines(told)] == [("suspicion", "unconfirmed"), ("everything", "would decide")]
    assert told["next_step"] == "nothing, until a listing shows it or `zego-retention files confirm 1`"


def test_an_erased_file_names_the_request(world: World) -> None:
    world.keep("forever")
    world.send("f")
    request_erasure(world.database, ErasureRequest((1,), None, None, "she asked"), 1, TESTER, world.clock())
    told = explain(world)
    assert (told["erasure"]["id"], told["erasure"]["reason"]) == (1, "she asked")
    assert told["decision"]["arithmetic"] == "due at once, when erasure 1 was requested: 2026-03-01 12:00:00 UTC"
    assert told["decision"]["approval"] == "erasure 1"
    world.sweep()
    world.keep("2d")
    ended = explain(world)
    assert lines(ended) == [("erasure", "erases", "erasure 1 of 2026-03-01 12:00 UTC: she asked")]
    assert ended["erasure"]["id"] == 1


def test_a_cooling_file_names_the_change_that_made_it_wait(world: World) -> None:
    world.keep("30d")
    world.send("f", age=2 * DAY)
    world.apply('[[rules]]\nname = "short"\nkeep = "1d"\n', cooling_off=DAY)
    told = explain(world)
    assert told["cooling"] == "revision 2 moved its date earlier, so it is not called before 2026-03-02 12:00:00 UTC"
    assert told["next_step"] == (
        "deleted by the first sweep after 2026-03-02 12:00:00 UTC, if the rules still let it go then (cooling-off)"
    )
    world.clock.move(days=2)
    assert explain(world)["cooling"] is None


def test_a_change_that_was_taken_back_makes_nobody_wait(world: World) -> None:
    world.keep("30d")
    world.send("f", age=31 * DAY)
    world.apply('[[rules]]\nname = "short"\nkeep = "1d"\n', cooling_off=DAY)
    assert explain(world)["cooling"] is not None
    world.keep("30d")
    told = explain(world)
    assert (told["cooling"], told["decision"]["approval"]) == (None, None)
    world.sweep()
    assert world.state("f") == "deleted"


def test_a_closed_gate_stands_in_the_way_of_a_due_file(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    world.database.transact(lambda session: gates.block(session, APP, None, world.clock(), "5", "no permission"))
    assert explain(world)["next_step"].endswith(f"; but app {APP} is blocked: 5 no permission")


def test_an_open_plan_of_the_breaker_that_names_a_file_stands_in_its_way(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    world.send("g", age=2 * DAY)

    def trip(session: Session) -> None:
        run = runs.start_run(session, Trigger.COMMAND, None, "by hand", world.clock())
        assert run is not None
        plans.add_plan(session, run.id, APP, FileSet([1]), Trip(1, 1, "too many"), world.clock())

    world.database.transact(trip)
    assert "the breaker stopped run 1, whose plan names it" in explain(world, 1)["next_step"]
    assert "`zego-retention sweep --approve 1`" in explain(world, 1)["next_step"]
    assert "breaker" not in explain(world, 2)["next_step"]


def test_a_file_that_waits_says_when_it_is_asked_for_again(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    world.sandbox.fail_file("f", "InternalError", "later")
    world.sweep()
    told = explain(world)
    assert told["next_step"].startswith("asked for again after 2026-03-01 12:0")
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["retryable"]


def test_a_file_that_was_given_up_says_what_takes_it_up_again(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    world.sandbox.fail_file("f", "AccessDenied", "no")
    world.sweep()
    assert explain(world)["next_step"] == "nothing, until `zego-retention files retry 1`"


def test_a_claimed_file_waits_for_its_outcome(world: World) -> None:
    world.keep("1d")
    world.send("f", age=2 * DAY)
    told = []
    world.sandbox.on_request = lambda _: told.append(explain(world))
    world.sweep()
    assert {each["next_step"] for each in told} == {"the outcome of the call under way"}


@pytest.mark.parametrize("end", ["deleted", "gone"])
def test_an_ended_file_is_told_by_the_decision_and_the_rules_of_then(world: World, end: str) -> None:
    world.keep("30d")
    world.apply(LAYERS)
    world.send("f", stream="trial-1", age=2 * DAY, stored=end == "deleted")
    world.sweep()
    world.clock.move(days=3)
    world.keep("forever")
    place_hold(world.database, HoldOrder(APP, None, "*", "too late"), TESTER, world.clock())
    told = explain(world)
    assert told["file"]["state"] == end
    assert (told["as_of"], told["revision"], told["revision_in_force"]) == ("2026-03-01T12:00:00Z", 2, 3)
    assert lines(told) == [
        ("lessons", "does not match", 'stream "trial-1" does not fit "lesson-*"'),
        ("trials", "decides", 'rule "trials" keeps it for 1d'),
        ("rest", "not reached", 'rule "trials" comes first'),
    ]
    decision = told["decision"]
    assert (decision["rule"], decision["due_at"]) == ("trials", "2026-02-28T12:00:00Z")
    assert decision["arithmetic"] == "ended 2026-02-27 12:00:00 UTC + 1d = 2026-02-28 12:00:00 UTC"
    assert (told["holds"], told["cooling"]) == ([], None)
    assert told["next_step"].startswith("nothing")


def test_a_file_that_a_newer_revision_let_go_is_told_by_that_one(world: World) -> None:
    """What a file was decided under when it was scheduled is not what counts: the decision before the call is."""
    world.send("f", age=2 * DAY)
    world.keep("1d")
    world.apply('[[rules]]\nname = "newer"\nkeep = "2d"\n')
    world.sweep()
    told = explain(world)
    assert (told["revision"], told["decision"]["rule"]) == (2, "newer")


def test_an_ended_file_without_an_attempt_tells_what_is_on_record(world: World) -> None:
    world.keep("1d")
    world.send("f")
    gone = update(MediaFileRow).values(state=FileState.GONE, state_reason="listed no more")
    world.database.transact(lambda session: session.execute(gone))
    told = explain(world)
    assert (told["rules"], told["decision"]["reason"]) == ([], "listed no more")


def test_there_is_nothing_to_explain_of_no_file(world: World) -> None:
    with pytest.raises(NotPossible, match="there is no file 7"):
        explain(world, 7)
