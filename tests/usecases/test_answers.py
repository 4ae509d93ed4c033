"""Each row of docs/outcomes.md, from ZEGO's answer to what stands in the inventory, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Vendor
from service.db import gates
from service.db.models import Trigger
from service.zego import sandbox_faults as faults
from tests.world import APP, OTHER_APP, TESTER, open_world

if TYPE_CHECKING:
    from tests.world import World


def due(world: World, count: int = 3, **facts: Any) -> list[str]:
    world.keep("1d")
    return world.add(count, **facts)


def only(world: World, file_id: str) -> dict[str, Any]:
    return world.files()[file_id]


def retry_later(world: World) -> None:
    world.clock.move(minutes=2)
    world.sweep(Trigger.RETRY)


def calls(world: World) -> int:
    return len(world.sandbox.calls)


def test_a_file_that_is_not_there_is_gone(world: World) -> None:
    [file_id] = due(world, 1)
    world.sandbox.remove_file(APP, Vendor.TENCENT, file_id)
    world.sweep()
    assert (only(world, file_id)["state"], only(world, file_id)["attempts"]) == ("gone", 1)


def test_gone_after_an_answer_that_was_never_seen_is_deleted(world: World) -> None:
    [file_id] = due(world, 1)
    world.sandbox.next(faults.drop_after())
    world.sweep()
    assert only(world, file_id)["last_outcome"]["outcome"] == "unknown"
    assert only(world, file_id)["state"] == "scheduled"
    retry_later(world)
    assert only(world, file_id)["state"] == "deleted"
    assert "earlier attempt" in only(world, file_id)["last_outcome"]["message"]


def test_a_final_error_fails_the_file_at_once(world: World) -> None:
    ids = due(world)
    world.sandbox.fail_file(ids[0], "AccessDenied", "no")
    world.sweep()
    failed = only(world, ids[0])
    assert (failed["state"], failed["last_outcome"]["outcome"], failed["attempts"]) == ("failed", "rejected", 1)
    assert world.states()["deleted"] == ids[1:]


def test_another_error_backs_the_file_off_alone(world: World) -> None:
    ids = due(world)
    world.sandbox.fail_file(ids[0], "FailedOperation.Locked", "locked", times=1)
    world.sweep()
    waiting = only(world, ids[0])
    assert (waiting["state"], waiting["last_outcome"]["outcome"], waiting["attempts"]) == ("scheduled", "retryable", 1)
    assert world.states()["deleted"] == ids[1:]
    before = calls(world)
    world.sweep()
    assert calls(world) == before, "a file that waits for its retry is not asked for by the next sweep"
    retry_later(world)
    assert only(world, ids[0])["state"] == "deleted"


def test_a_file_in_neither_list_is_unknown_and_asked_again(world: World) -> None:
    ids = due(world)
    world.sandbox.omit_file(ids[0], times=1)
    world.sweep()
    assert only(world, ids[0])["last_outcome"]["outcome"] == "unknown"
    assert only(world, ids[0])["attempts"] == 1
    retry_later(world)
    assert only(world, ids[0])["state"] == "deleted"


def test_a_file_that_never_succeeds_fails_when_its_time_is_over(world: World) -> None:
    [file_id] = due(world, 1)
    world.sandbox.fail_file(file_id, "FailedOperation.Locked", "locked")
    for _ in range(7 * 4 + 12):
        world.sweep(Trigger.RETRY if world.clock.time.hour else Trigger.COMMAND)
        world.clock.move(hours=6)
        if world.state(file_id) == "failed":
            break
    failed = only(world, file_id)
    assert failed["state"] == "failed"
    assert "given up after" in failed["state_reason"]
    assert "FailedOperation.Locked" in failed["state_reason"]


@pytest.mark.parametrize("code", [2, 1000, 41003])
def test_one_bad_id_never_stops_the_good_ones(world: World, code: int) -> None:
    ids = due(world, 60)
    world.sandbox.poison(ids[17], code)
    world.sweep()
    states = world.states()
    assert len(states["deleted"]) == 59
    bad = only(world, ids[17])
    outcome, state = {2: ("rejected", "failed"), 1000: ("retryable", "scheduled"), 41003: ("gone", "gone")}[code]
    assert (bad["last_outcome"]["outcome"], bad["state"], bad["attempts"]) == (outcome, state, 1)


def test_a_url_that_is_too_long_for_a_front_end_is_halved(world: World) -> None:
    ids = due(world, 40)
    world.sandbox.always(faults.Fault(acts=False, http_status=414, more_files_than=10))
    world.sweep()
    assert world.states() == {"deleted": ids}


@pytest.mark.parametrize("code", [1000, 2])
def test_where_everything_fails_alike_no_file_is_charged_and_the_app_waits(world: World, code: int) -> None:
    ids = due(world, 100)
    world.sandbox.always(faults.answer_code(code))
    world.sweep()
    assert world.states() == {"scheduled": ids}
    assert {file["attempts"] for file in world.files().values()} == {0}
    assert calls(world) <= 12
    world.sandbox.end_faults()
    retry_later(world)
    assert world.states() == {"deleted": ids}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (faults.answer_html(502), "unknown"),
        (faults.answer_html(200), "unknown"),
        (faults.cut_answer(), "unknown"),
        (faults.drop_before(), "unknown"),
        (faults.drop_after(), "unknown"),
        (faults.answer_code(777), "unknown"),
    ],
    ids=["502", "html", "cut", "dropped before", "dropped after", "strange code"],
)
def test_a_bad_night_charges_no_file(world: World, fault: faults.Fault, outcome: str) -> None:
    ids = due(world)
    world.sandbox.next(fault)
    world.sweep()
    assert world.states() == {"scheduled": ids}
    assert {(f["attempts"], f["last_outcome"]["outcome"]) for f in world.files().values()} == {(0, outcome)}
    before = calls(world)
    world.sweep()
    assert calls(world) == before, "the app backs off as a whole"
    retry_later(world)
    assert world.states() == {"deleted": ids}
    with world.database.read() as session:
        assert gates.list_gates(session) == []


@pytest.mark.parametrize("fault", [faults.answer_code(6), faults.answer_html(429, retry_after="2")], ids=["6", "429"])
def test_throttling_slows_down_and_goes_on_within_the_pass(world: World, fault: faults.Fault) -> None:
    ids = due(world)
    world.sandbox.next(fault)
    world.sweep()
    # The clock of the world stands still, so the pause is still on: it is over once the clock has moved.
    assert {(f["attempts"], f["last_outcome"]["outcome"]) for f in world.files().values()} == {(0, "retryable")}
    retry_later(world)
    assert world.states() == {"deleted": ids}


def test_a_refused_connection_is_retryable(database_url: str) -> None:
    with open_world(database_url, API_URL="http://127.0.0.1:9/") as world:
        ids = due(world)
        world.sweep()
        assert {(f["attempts"], f["last_outcome"]["outcome"]) for f in world.files().values()} == {(0, "retryable")}
        assert world.states() == {"scheduled": ids}


@pytest.mark.parametrize("code", [3, 5, 7, 8, 100_000_003])
def test_a_blocked_app_stops_and_is_probed_with_one_file_a_sweep(world: World, code: int) -> None:
    ids = due(world, 5)
    world.sandbox.always(faults.answer_code(code))
    world.sweep()
    assert world.states() == {"scheduled": ids}
    assert {(f["attempts"], f["last_outcome"]["outcome"]) for f in world.files().values()} == {(0, "blocked")}
    before = calls(world)
    world.clock.move(hours=1)
    world.sweep(Trigger.RETRY)
    assert calls(world) == before, "retries do not probe a blocked app"
    world.sweep()
    assert [len(call.file_ids) for call in world.sandbox.calls[before:]] == [1]
    world.sandbox.end_faults()
    world.sweep()
    assert world.states() == {"deleted": ids}


def test_a_blocked_app_does_not_stop_another(world: World) -> None:
    mine = due(world, 2)
    others = world.add(2, prefix="other", app_id=OTHER_APP)
    world.sandbox.always(faults.answer_code(7, app_id=APP))
    world.sweep()
    assert world.states() == {"scheduled": mine, "deleted": others}


def test_a_wrong_vendor_stops_that_vendor_only(world: World) -> None:
    wrong = due(world, 2)
    right = world.add(2, prefix="ws", vendor=Vendor.WANGSU)
    world.sandbox.always(faults.answer_code(4, vendor=Vendor.TENCENT))
    world.sweep()
    assert world.states() == {"scheduled": wrong, "deleted": right}
    world.sandbox.end_faults()
    world.sweep()
    assert world.states() == {"deleted": wrong + right}


@pytest.mark.parametrize("as_text", [True, False])
def test_data_is_read_as_string_and_as_object(world: World, as_text: bool) -> None:
    ids = due(world)
    world.sandbox.data_as_text = as_text
    world.sandbox.fail_file(ids[0], "AccessDenied", "no")
    world.sweep()
    assert world.states() == {"failed": [ids[0]], "deleted": ids[1:]}


def test_a_retry_by_a_person_starts_over(world: World) -> None:
    from service.usecases.inventory import retry_files  # noqa: PLC0415

    [file_id] = due(world, 1)
    world.sandbox.fail_file(file_id, "AccessDenied", "no", times=1)
    world.sweep()
    failed = only(world, file_id)
    retry_files(world.database, [failed["id"]], TESTER, world.clock())
    again = only(world, file_id)
    assert (again["state"], again["attempts"]) == ("scheduled", 0)
    world.sweep()
    assert only(world, file_id)["state"] == "deleted"


def test_a_pass_asks_for_no_more_than_it_should(world: World) -> None:
    ids = due(world, 250)
    later = world.add(3, prefix="later", age=timedelta(hours=1))
    world.sweep()
    asked = [file_id for call in world.sandbox.calls for file_id in call.file_ids]
    assert sorted(asked) == ids
    assert sorted(world.stored()) == later
