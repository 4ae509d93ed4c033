"""`files explain`: what counts for a file now, what counted for an ended one, and what happens next."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.files.actions import ErasureRequest, erase_files
from service.files.explain import Explanation, explain_file
from service.model import FileState, NoSuchThing, Outcome, Suspicion, WaitReason
from tests.orders.house import APPS, START, TESTER, House, open_house

if TYPE_CHECKING:
    from collections.abc import Iterator

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
keep_latest = 1
"""


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with open_house(database_url) as house:
        house.lead()
        house.apply(LAYERS)
        yield house


def explain(house: House, number: int = 1) -> Explanation:
    return explain_file(house.database, house.reader, number, house.time)


def results(explanation: Explanation) -> list[tuple[str, str]]:
    return [(line.name, line.result.value) for line in explanation.lines]


def test_a_scheduled_file_is_explained_rule_by_rule_with_its_date(house: House) -> None:
    house.add("a", stream_id="trial-1", age=timedelta(hours=1))
    explanation = explain(house)
    assert results(explanation) == [("lessons", "does not match"), ("trials", "decides"), ("rest", "not reached")]
    assert explanation.lines[1].why == 'rule "trials" deletes files older than 1d'
    assert explanation.date == "ended 2026-03-01 11:00 UTC + 1d = 2026-03-02 11:00 UTC"
    assert explanation.revision is not None
    assert (explanation.revision.number, explanation.in_force, explanation.revision.applied_by) == (1, 1, TESTER.name)
    assert (
        explanation.next_step == "the first sweep after 2026-03-02 11:00 UTC deletes it, if the rules still say so then"
    )


def test_no_sweep_is_promised_where_none_runs_by_itself(house: House) -> None:
    house.add("a", stream_id="trial-1")
    next_step = explain_file(house.database, house.reader, 1, house.time, sweeps=False).next_step
    assert next_step.startswith("the first `zego-retention sweep` (none runs by itself: ")


def test_a_kept_file_has_no_date(house: House) -> None:
    house.add("a", stream_id="lesson-1")
    explanation = explain(house)
    assert (explanation.date, explanation.wait) == (None, None)
    assert explanation.next_step == "nothing, unless the rules change or its facts change"


def test_a_held_file_names_each_hold_and_how_to_end_it(house: House) -> None:
    (number,) = house.add("a", stream_id="trial-1")
    house.hold("trial-*", until=START + DAY)
    house.hold(file=number, reason="another dispute")
    house.hold("lesson-*")
    house.catch_up.run()
    explanation = explain(house)
    assert sorted(hold.id for hold in explanation.holds) == [1, 2]
    assert results(explanation) == [
        ("hold", "holds"),
        ("hold", "holds"),
        ("lessons", "does not match"),
        ("trials", "would decide"),
        ("rest", "not reached"),
    ]
    assert "hold 1 is released (`zego-retention holds release 1`) or ends at 2026-03-02 12:00" in explanation.next_step
    assert "hold 2 is released" in explanation.next_step


def test_a_held_file_that_an_erasure_took_says_that_it_goes_once_it_is_released(house: House) -> None:
    (number,) = house.add("a", stream_id="lesson-1")
    house.hold(file=number)
    erase_files(house.database, TESTER, ErasureRequest("asked", (1,)), START, known_apps=APPS)
    house.catch_up.run()
    explanation = explain(house)
    assert results(explanation)[:2] == [("hold", "holds"), ("erasure", "erases")]
    assert explanation.next_step == (
        "nothing, until hold 1 is released (`zego-retention holds release 1`); then erasure 1 deletes it with the next"
        " sweep"
    )
    house.change(number, suspicion=Suspicion.CONFLICT)
    assert "then erasure" not in explain(house).next_step, "it waits for a listing or a person first"


def test_an_unconfirmed_file_says_how_it_is_confirmed(house: House) -> None:
    house.add("a", stream_id="trial-1", suspicion=Suspicion.CONFLICT)
    assert results(explain(house))[0] == ("suspicion", "unconfirmed")
    assert explain(house).next_step == "nothing, until a listing shows it or `zego-retention files confirm 1`"


def test_a_file_that_only_the_setting_confirm_keeps_says_so(house: House) -> None:
    (number,) = house.add("a", stream_id="trial-1")
    house.change(number, state=FileState.UNCONFIRMED, state_reason="CONFIRM=all")
    assert explain(house).next_step == "nothing, until a listing shows it or `zego-retention files confirm 1`"


def test_the_newest_of_a_stream_is_kept_for_its_rank_and_the_next_one_is_not(house: House) -> None:
    house.add("old", age=40 * DAY)
    house.add("new", age=35 * DAY)
    house.add("newer, but unconfirmed", age=33 * DAY, suspicion=Suspicion.STALE)
    house.add("newer, but to be erased", age=32 * DAY, erasure_id=None, wait_until=START + DAY)
    house.change(4, wait_reason=WaitReason.ADOPTION)
    assert explain(house, 1).latest is None
    assert "the first sweep after" in explain(house, 1).next_step
    latest = explain(house, 2).latest
    assert latest is not None
    assert 'rule "rest" keeps the newest recording of each stream' in latest
    assert explain(house, 2).lines[-1].why == latest
    assert explain(house, 2).next_step == (
        "nothing, unless the rules change or it is no longer one of the newest of its stream"
    )


@pytest.mark.parametrize("why", ["suspicion", "setting", "hold"])
def test_what_comes_before_the_rank_is_what_is_said(house: House, why: str) -> None:
    (number,) = house.add("a", age=40 * DAY, suspicion=Suspicion.STALE if why == "suspicion" else None)
    if why == "setting":
        house.change(number, state=FileState.UNCONFIRMED, state_reason="CONFIRM=all")
    elif why == "hold":
        house.hold(file=number)
        house.catch_up.run()
    explanation, listed = explain(house), house.file(number)
    assert (explanation.decided.state, explanation.decided.state_reason) == (listed.state, listed.state_reason)
    assert listed.state is (FileState.HELD if why == "hold" else FileState.UNCONFIRMED)
    assert explanation.latest is None
    assert explanation.next_step.startswith("nothing, until ")


def test_a_wait_is_explained(house: House) -> None:
    (number,) = house.add("a", stream_id="trial-1", wait_until=START + DAY, wait_reason=WaitReason.ADOPTION)
    house.change(number, adopted_at=START)
    wait = explain(house).wait
    assert wait == ("a listing first showed it on 2026-03-01 12:00 UTC, so it waits until 2026-03-02 12:00 UTC")
    assert "after 2026-03-02 12:00 UTC" in explain(house).next_step


def test_an_explanation_is_of_what_is_in_force_also_before_the_file_was_decided_again(house: House) -> None:
    house.add("a", stream_id="trial-1")
    house.hold("trial-*")
    assert house.file(1).state is FileState.SCHEDULED
    assert (explain(house).decided.state, explain(house).file.state) == (FileState.HELD, FileState.SCHEDULED)


def test_an_erasure_comes_before_the_rules(house: House) -> None:
    house.add("a", stream_id="lesson-1")
    _, order = erase_files(house.database, TESTER, ErasureRequest("asked", (1,)), START, known_apps=APPS)
    house.result(order)
    explanation = explain(house)
    assert results(explanation)[0] == ("erasure", "erases")
    assert explanation.erasure is not None
    assert explanation.date == "due since its erasure was requested: 2026-03-01 12:00 UTC"


@pytest.mark.parametrize(
    ("state", "next_step"),
    [
        (FileState.DELETING, "the outcome of the call under way"),
        (FileState.FAILED, "nothing, until `zego-retention files retry 1`"),
    ],
)
def test_what_happens_next_to_a_claimed_and_a_failed_file(house: House, state: FileState, next_step: str) -> None:
    (number,) = house.add("a", stream_id="trial-1")
    house.change(number, state=state)
    assert explain(house).next_step == next_step
    assert results(explain(house))[1] == ("trials", "decides")


def test_an_ended_file_is_explained_by_the_rules_of_then(house: House) -> None:
    (number,) = house.add("a", stream_id="trial-1")
    house.change(number, state=FileState.DELETED, last_outcome=Outcome.DELETED, state_reason="deleted: by trials")
    house.keep("forever")
    explanation = explain(house)
    assert results(explanation) == [("lessons", "did not match"), ("trials", "decided"), ("rest", "not reached")]
    assert explanation.lines[1].why == "deleted: by trials"
    assert explanation.revision is not None
    assert (explanation.revision.number, explanation.in_force) == (1, 2)
    assert explanation.next_step == "nothing: it is deleted"


def test_the_reason_of_a_file_that_was_gone_is_that_of_its_rule(house: House) -> None:
    (number,) = house.add("a", stream_id="trial-1")
    house.change(number, state=FileState.GONE, last_outcome=Outcome.GONE, state_reason="it was not there")
    assert explain(house).lines[1].why == 'rule "trials" deletes files older than 1d'


def test_a_file_that_was_erased_names_the_erasure_and_its_reason(house: House) -> None:
    (number,) = house.add("a", stream_id="lesson-1")
    _, order = erase_files(house.database, TESTER, ErasureRequest("ticket 4711", (number,)), START, known_apps=APPS)
    house.result(order)
    house.change(number, state=FileState.GONE, last_outcome=Outcome.GONE, state_reason="it was not there")
    explanation = explain(house)
    assert [(line.result.value, line.why) for line in explanation.lines] == [
        ("erased", "erasure 1 of 2026-03-01 12:00 UTC: ticket 4711")
    ]
    assert explanation.revision is None, "no rules decided it"
    assert explanation.erasure is not None
    assert explanation.date == "due since its erasure was requested: 2026-03-01 12:00 UTC"


def test_a_file_that_listings_did_not_show_any_more_was_decided_by_no_rule(house: House) -> None:
    (number,) = house.add("a", stream_id="trial-1")
    house.change(number, state=FileState.GONE, state_reason="two complete listings in a row lack it")
    explanation = explain(house)
    assert (explanation.lines, explanation.date) == ((), None)
    assert explanation.next_step == "nothing: the vendor does not have it"


def test_there_is_nothing_to_explain_of_a_file_that_does_not_exist(house: House) -> None:
    with pytest.raises(NoSuchThing, match="there is no file 7"):
        explain(house, 7)
