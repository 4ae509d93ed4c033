"""Cases that once went wrong, or nearly: each with what must hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Vendor, Verdict
from service.db import claims, gates, inbox, leases
from service.db.models import Trigger
from service.usecases.claiming import SWEEP_LEASE, Admission, Pass, claim_chunk, open_call
from service.usecases.erasing import ErasureRequest, request_erasure
from service.usecases.ingest import finish_callbacks
from service.usecases.inventory import confirm_files, list_failed, retry_files
from service.usecases.schedule import has_open_retries
from service.usecases.sweep import run_pass
from service.zego import sandbox_faults as faults
from tests.usecases.test_ingest import forget, recording, send_fields, verdict_names
from tests.world import APP, OTHER_APP, TESTER

if TYPE_CHECKING:
    from service.db.engine import Session
    from tests.world import World

DAY = timedelta(days=1)
LANE = (APP, Vendor.TENCENT)
KEEP_LATEST = '[[rules]]\nname = "all"\nkeep = "1d"\nkeep_latest = 1\n'


def start(world: World, trigger: Trigger = Trigger.COMMAND) -> Pass:
    """Begin a pass by hand, as far as its lease and its run."""
    from service.db import runs  # noqa: PLC0415  (only here is a run made by hand)

    sweeper = world.service.sweeper

    def begin(session: Session) -> Pass:
        fence = leases.take_lease(session, SWEEP_LEASE, "by hand", world.clock(), sweeper.lease)
        run = runs.start_run(session, trigger, None, "by hand", world.clock())
        assert fence is not None
        assert run is not None
        return Pass(run.id, fence)

    return world.database.transact(begin)


def claim_all(world: World, sweep: Pass) -> Any:
    return world.database.transact(
        lambda session: claim_chunk(session, sweep, LANE, Admission(400), None, 400, world.clock(), only_retries=False)
    ).files


def test_merged_files_without_a_stream_are_not_one_stream(world: World) -> None:
    world.apply(KEEP_LATEST)
    for room in ("a", "b"):
        send_fields(world, event="compose", code="0", file_id=room, task_id="t")
    world.clock.move(days=3)
    world.sweep()
    assert world.states() == {"kept": ["a", "b"]}
    assert "rank is not known" in world.files()["a"]["state_reason"]


def test_formats_without_a_begin_count_as_one_recording(world: World) -> None:
    world.apply(KEEP_LATEST)
    send_fields(world, **(recording("mp4", ended=1772280000) | {"begin_time": "0"}))
    send_fields(world, **(recording("flv", ended=1772279999) | {"begin_time": "0"}))
    world.clock.move(days=3)
    world.sweep()
    assert world.states() == {"kept": ["mp4", "flv"]}


def test_thousands_of_leading_zeros_are_read(world: World) -> None:
    send_fields(world, **recording(extra_params={"ObsObject": "f", "FileSize": "0" * 5_000 + "7"}))
    assert verdict_names(world) == ["accepted"]
    assert world.files()["f"]["size_bytes"] == 7


def test_a_callback_that_was_authentic_is_finished_whatever_the_secrets_are_now(world: World) -> None:
    forget(world, send_fields(world, **recording()))
    rotated = replace(world.service.ingest, secrets={})
    assert finish_callbacks(rotated) == 1
    assert verdict_names(world) == ["accepted"]


def test_a_person_cannot_settle_a_conflict_that_comes_later(world: World) -> None:
    world.keep("1d")
    old = world.clock() - timedelta(hours=1)
    world.send("a", age=2 * DAY, now=old, nonce="777")
    world.clock.move(minutes=2)
    confirm_files(world.database, [world.files()["a"]["id"]], TESTER, world.clock())
    assert world.state("a") == "scheduled"
    world.clock.move(minutes=-1)  # the other one was received before, but is stored only now
    world.send("b", age=2 * DAY, now=old, nonce="777")
    assert world.states() == {"unconfirmed": ["a", "b"]}


def test_apps_that_share_a_secret_share_its_signatures(world: World) -> None:
    world.keep("1d")
    ingest = replace(world.service.ingest, secrets={APP: ["shared"], OTHER_APP: ["shared"]})
    send_fields(world, ingest, **recording("honest"), secret="shared", signed_nonce="111111")
    send_fields(world, ingest, **recording("forged"), appid=OTHER_APP, secret="shared", signed_nonce="111111")
    assert world.states() == {"unconfirmed": ["honest", "forged"]}


def test_many_bodies_with_one_signature_are_all_in_conflict(world: World) -> None:
    for number in range(5):
        send_fields(world, **recording(f"f{number}"), signed_nonce="111111")
    assert verdict_names(world) == ["conflict"] * 5
    assert len(world.states()["unconfirmed"]) == 5


def test_a_claimed_file_is_kept_when_it_becomes_the_newest(world: World) -> None:
    world.apply(KEEP_LATEST)
    world.send("older", age=4 * DAY)
    world.send("newer", age=2 * DAY, nonce="111111")
    sweep = start(world)
    claimed = claim_all(world, sweep)
    assert [file.file_id for file in claimed] == ["older"]
    call = world.database.transact(lambda session: open_call(session, sweep, LANE, claimed, world.clock()))
    assert call is not None
    send_fields(world, **recording("other", stream_alias="elsewhere"), signed_nonce="111111")
    assert world.state("newer") == "unconfirmed"
    assert world.state("older") == "kept"
    with world.database.read() as session:
        assert claims.count_claimed(session, sweep.run_id, [file.key for file in claimed]) == 0


def test_files_of_a_pass_that_died_are_given_back_without_waiting_for_the_next_slot(world: World) -> None:
    world.add(3)
    world.keep("1d")
    assert claim_all(world, start(world, Trigger.RETRY))
    lease = world.service.settings.claim_lease
    assert not has_open_retries(world.database, [APP], lease, world.clock())
    world.clock.move(seconds=lease.total_seconds())
    assert has_open_retries(world.database, [APP], lease, world.clock())
    run_pass(world.service.sweeper, Trigger.RETRY)
    assert len(world.states()["scheduled"]) == 3
    assert not has_open_retries(world.database, [APP], lease, world.clock())


def test_what_failed_under_a_clock_far_ahead_is_not_put_off_for_as_long(world: World) -> None:
    world.keep("1d")
    ids = world.add(2)
    world.sandbox.fail_file(ids[0], "InternalError", "busy", times=1)
    world.clock.move(days=365)
    world.sandbox.next(faults.answer_html(502))
    world.sweep()
    world.sandbox.end_faults()
    world.clock.move(days=-364)
    world.sweep()
    world.clock.move(minutes=5)
    world.sweep()
    assert len(world.states().get("deleted", [])) >= 1
    world.clock.move(hours=1)
    world.sweep()
    assert world.states() == {"deleted": ids}


def test_a_block_counts_even_where_a_pause_was_decided_just_before(world: World) -> None:
    world.keep("1d")
    world.add(150)
    world.sandbox.always(
        faults.Fault(acts=False, http_status=502, more_files_than=60, delay_s=0.5),
        faults.Fault(acts=False, code=7, message="auth", delay_s=1),
    )
    world.sweep()
    with world.database.read() as session:
        [gate] = gates.list_gates(session)
    assert gate.blocked


@pytest.mark.parametrize("fault", ["an unlisted code", "a page"])
def test_one_file_that_fails_every_call_with_it_does_not_hold_up_the_others(world: World, fault: str) -> None:
    world.keep("1d")
    ids = world.add(150)
    if fault == "a page":
        world.sandbox.always(faults.Fault(acts=False, http_status=502, file_id=ids[7]))
    else:
        world.sandbox.poison(ids[7], 1001)
    for _ in range(80):
        world.sweep()
        world.clock.move(hours=7)
        if len(world.states().get("deleted", [])) == 149:
            break
    assert len(world.states()["deleted"]) == 149
    assert world.state(ids[7]) == "scheduled"


@pytest.mark.parametrize("code", [2, 1000])
def test_a_hundred_bad_files_do_not_hold_up_the_good_ones(world: World, code: int) -> None:
    world.keep("1d")
    for file_id in world.add(100, prefix="bad", age=5 * DAY):
        world.sandbox.poison(file_id, code)
    good = world.add(120, prefix="good", age=2 * DAY)
    world.sandbox.next(*[faults.answer_html(502)] * 3)
    for _ in range(25):
        world.clock.move(hours=7)
        world.sweep()
        if set(good) <= set(world.states().get("deleted", [])):
            break
    assert set(good) <= set(world.states()["deleted"])


def test_an_answer_is_recorded_once_even_if_its_commit_seemed_to_fail(world: World) -> None:
    from service.core.outcomes import read_answer  # noqa: PLC0415
    from service.usecases.recording import record_call  # noqa: PLC0415

    [file_id] = world.add(1)
    world.keep("1d")
    world.sandbox.fail_file(file_id, "InternalError", "busy")
    sweep = start(world)
    claimed = claim_all(world, sweep)
    call = world.database.transact(lambda session: open_call(session, sweep, LANE, claimed, world.clock()))
    assert call is not None
    answer = world.service.clients[APP].delete_media(Vendor.TENCENT, [file_id])
    reading = read_answer([file_id], answer)
    for _ in range(2):
        world.database.transact(
            lambda session: record_call(
                session, world.service.sweeper.recorder, sweep, LANE, call, answer, reading, world.clock()
            )
        )
    assert world.files()[file_id]["attempts"] == 1


def test_what_another_rule_deletes_or_fails_to_changes_no_rank(world: World) -> None:
    world.apply(f'[[rules]]\nname = "clips"\nmatch = {{ event = "compose" }}\nkeep = "1d"\n\n{KEEP_LATEST}')
    world.add(1, prefix="old", age=3 * DAY)
    [merged] = world.add(1, prefix="merged", age=2 * DAY, event="compose")
    world.sandbox.fail_file(merged, "AccessDenied", "locked")
    world.sweep()
    world.sweep()
    states = world.states()
    assert states["failed"] == [merged]
    assert states["kept"] == ["old-00000"]


def test_erasing_the_newest_takes_back_what_was_claimed_behind_it(world: World) -> None:
    world.apply(KEEP_LATEST)
    world.send("older", age=5 * DAY)
    world.send("newer", age=3 * DAY)
    assert [file.file_id for file in claim_all(world, start(world))] == ["older"]
    request = ErasureRequest((world.files()["newer"]["id"],), None, None, "asked to")
    request_erasure(world.database, request, 1, TESTER, world.clock())
    assert world.state("older") == "kept"


def test_retrying_files_of_thousands_of_streams_needs_few_locks(world: World) -> None:
    world.apply(KEEP_LATEST)
    count = 3_000
    for stream in range(3):
        world.add(count // 3, prefix=f"s{stream}", age=2 * DAY)

    def spread(session: Session) -> None:
        session.connection().exec_driver_sql("UPDATE media_files SET state = 'failed', stream_id = 'stream-' || id")

    world.database.transact(spread)
    assert len(retry_files(world.database, list_failed(world.database), TESTER, world.clock())) == count


def test_a_callback_that_stays_unfinished_holds_up_no_other(world: World) -> None:
    for number in range(3):
        forget(world, send_fields(world, **recording(f"f{number}")))
    with world.database.read() as session:
        first = inbox.list_unfinished(session, 0, 1)
        assert inbox.list_unfinished(session, first[0], 10) == [first[0] + 1, first[0] + 2]
    assert finish_callbacks(world.service.ingest) == 3
    assert set(verdict_names(world)) == {Verdict.ACCEPTED.value}
