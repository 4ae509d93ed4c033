"""Callbacks in: what is stored, what enters the inventory, and what is believed; on both databases."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest

from service.core.model import Vendor, Verdict
from service.db import inbox
from service.usecases.ingest import Answer, finish_callbacks, receive_callback, replay_callback
from service.usecases.inventory import confirm_files
from service.usecases.quarantining import QuarantineLimits
from service.zego.sandbox_callbacks import Shape, encode_body, sign_fields
from tests.world import APP, CALLBACK_SECRET, TESTER

if TYPE_CHECKING:
    from service.usecases.ingest import Ingest, Receipt
    from tests.world import World

DAY = timedelta(days=1)


def verdicts(world: World) -> list[tuple[str, str]]:
    with world.database.read() as session:
        rows = list(inbox.list_callbacks(session, inbox.CallbackFilter()))
        return [(row.verdict.value, row.reason) for row in reversed(rows)]


def verdict_names(world: World) -> list[str]:
    return [name for name, _ in verdicts(world)]


def send_fields(world: World, ingest: Ingest | None = None, shape: Shape = "json", **fields: Any) -> Receipt:
    """Send a signed callback of any content."""
    world.nonces += 1
    nonce = fields.pop("signed_nonce", str(world.nonces))
    secret = fields.pop("secret", CALLBACK_SECRET)
    signed = sign_fields({"appid": APP} | fields, secret=secret, now=world.clock(), nonce=nonce)
    return receive_callback(ingest or world.service.ingest, *encode_body(signed, shape))


def recording(file_id: str = "f1", **fields: Any) -> dict[str, Any]:
    ended = fields.pop("ended", 1772280000)
    extra = fields.pop("extra_params", {"FileID": file_id, "Duration": 3.5})
    facts = {"event": "record", "stream_alias": "room", "begin_time": str(ended - 60), "end_time": str(ended)}
    return facts | {"extra_params": extra} | fields


@pytest.mark.parametrize("vendor", list(Vendor))
@pytest.mark.parametrize("shape", get_args(Shape))
def test_every_vendor_in_every_shape_becomes_the_same_file(world: World, vendor: Vendor, shape: Shape) -> None:
    file_id = "5285890813738446783" if vendor is Vendor.TENCENT else "record/app/x/2023-07-28-09-30-06.mp4"
    receipt = world.send(file_id, vendor=vendor, shape=shape, stream="Raum 7 + ünïcødé 房间", age=timedelta(hours=1))
    assert receipt.answer is Answer.STORED
    [file] = world.files().values()
    assert (file["app_id"], file["vendor"], file["file_id"]) == (APP, vendor.value, file_id)
    assert (file["stream_id"], file["event"], file["duration_s"]) == ("Raum 7 + ünïcødé 房间", "record", 3600)
    assert (file["began_at"], file["ended_at"]) == ("2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z")
    assert file["size_bytes"] == (1_000_000 if vendor is Vendor.HUAWEI else None)
    assert (file["state"], file["due_at"]) == ("kept", None), "without rules nothing is ever deleted"


def test_a_retry_of_zego_changes_nothing(world: World) -> None:
    first = send_fields(world, **recording(), signed_nonce="111111")
    before = world.files()
    again = send_fields(world, **recording(), signed_nonce="111111")
    assert again.callback_id == first.callback_id
    assert world.files() == before
    assert verdict_names(world) == ["accepted"]


def test_the_same_content_in_another_order_is_a_retry_too(world: World) -> None:
    send_fields(world, **recording(), signed_nonce="111111")
    turned = dict(reversed(recording().items()))
    send_fields(world, **turned, signed_nonce="111111")
    assert verdict_names(world) == ["accepted"]


def test_a_retry_with_a_fresh_signature_is_the_same_file(world: World) -> None:
    send_fields(world, **recording())
    before = world.files()
    world.clock.move(seconds=2)
    send_fields(world, **recording())
    assert verdict_names(world) == ["accepted", "accepted"]
    assert world.files() == before


def test_two_bodies_with_one_signature_make_both_files_unconfirmed(world: World) -> None:
    world.keep("1d")
    send_fields(world, **recording("f1"), signed_nonce="111111")
    send_fields(world, **recording("f2"), signed_nonce="111111")
    assert verdict_names(world) == ["conflict", "conflict"]
    assert world.states() == {"unconfirmed": ["f1", "f2"]}
    world.clock.move(days=3)
    world.sweep()
    assert world.states() == {"unconfirmed": ["f1", "f2"]}
    confirm_files(world.database, [world.files()["f1"]["id"]], TESTER, world.clock())
    world.sweep()
    assert world.states() == {"gone": ["f1"], "unconfirmed": ["f2"]}


def test_a_conflict_about_one_file_makes_it_unconfirmed(world: World) -> None:
    world.keep("1d")
    send_fields(world, **recording(ended=1772280000), signed_nonce="111111")
    send_fields(world, **recording(ended=1600000000), signed_nonce="111111")
    assert world.states() == {"unconfirmed": ["f1"]}
    assert world.files()["f1"]["ended_at"] == "2026-02-28T12:00:00Z", "the later end stands"


def test_a_body_that_is_not_understood_still_disputes_the_signature(world: World) -> None:
    world.keep("1d")
    send_fields(world, **recording("f1"), signed_nonce="111111")
    send_fields(world, event="snapshot", signed_nonce="111111")
    assert world.states() == {"unconfirmed": ["f1"]}


def test_a_person_who_confirmed_is_not_overruled_by_a_replay(world: World) -> None:
    world.keep("1d")
    first = send_fields(world, **recording("f1"), signed_nonce="111111")
    send_fields(world, **recording("f2"), signed_nonce="111111")
    world.clock.move(minutes=1)
    confirm_files(world.database, [world.files()["f1"]["id"]], TESTER, world.clock())
    assert first.callback_id is not None
    replay_callback(world.service.ingest, first.callback_id)
    assert world.state("f1") == "scheduled"
    send_fields(world, **recording("f3"), signed_nonce="222222")
    assert world.states() == {"scheduled": ["f1", "f3"], "unconfirmed": ["f2"]}


@pytest.mark.parametrize("skew", [timedelta(minutes=-16), timedelta(minutes=3)], ids=["too late", "ahead"])
def test_a_stale_callback_is_kept_and_its_file_is_unconfirmed(world: World, skew: timedelta) -> None:
    world.keep("1d")
    receipt = world.send("f1", age=2 * DAY, now=world.clock() + skew)
    assert receipt.answer is Answer.STORED
    assert verdict_names(world) == ["stale"]
    world.sandbox.search = False
    world.sweep()
    assert world.states() == {"unconfirmed": ["f1"]}
    assert world.stored() == {"f1"}


@pytest.mark.parametrize("skew", [timedelta(minutes=-14), timedelta(minutes=1)])
def test_a_fresh_callback_is_believed(world: World, skew: timedelta) -> None:
    world.send("f1", now=world.clock() + skew)
    assert verdict_names(world) == ["accepted"]


def test_a_fresh_callback_lifts_the_doubt_of_a_stale_one(world: World) -> None:
    world.keep("1d")
    world.send("f1", age=2 * DAY, now=world.clock() - timedelta(hours=1))
    assert world.state("f1") == "unconfirmed"
    world.send("f1", age=2 * DAY)
    assert world.state("f1") == "scheduled"


def test_a_stale_callback_cannot_hurry_a_file(world: World) -> None:
    world.keep("10d")
    world.send("f1", age=DAY)
    before = world.files()
    world.send("f1", age=30 * DAY, now=world.clock() - timedelta(hours=1))
    assert world.files() == before


def test_a_later_end_postpones_the_deletion(world: World) -> None:
    world.keep("1d")
    world.send("f1", age=2 * DAY)
    world.send("f1", age=timedelta(0))
    world.sweep()
    assert world.files()["f1"]["due_at"] == "2026-03-02T12:00:00Z"
    assert world.stored() == {"f1"}


def test_a_deleted_file_is_not_reopened_by_a_callback(world: World) -> None:
    world.keep("1d")
    world.send("f1", age=2 * DAY)
    world.sweep()
    world.send("f1", age=timedelta(0), stored=False)
    assert world.state("f1") == "deleted"


@pytest.mark.parametrize(
    ("ended", "believed"),
    [
        (1772280000, "2026-02-28T12:00:00Z"),
        (1420070399, "2026-03-01T12:00:00Z"),  # one second before 2015
        (1772366400 + 121, "2026-03-01T12:00:00Z"),  # two minutes and a second ahead
        (1772366400 + 119, "2026-03-01T12:01:59Z"),
        ("soon", "2026-03-01T12:00:00Z"),
    ],
)
def test_an_end_is_believed_within_reason(world: World, ended: Any, believed: str) -> None:
    send_fields(world, **(recording() | {"begin_time": "1400000000", "end_time": ended}))
    assert world.files()["f1"]["ended_at"] == believed


def test_a_fresh_callback_of_an_old_recording_is_deleted_by_the_next_sweep(world: World) -> None:
    world.sandbox.search = False
    world.keep("1d")
    world.send("f1", age=2 * DAY)
    world.sweep()
    assert world.state("f1") == "deleted"
    assert world.stored() == set()
    assert {call.action for call in world.sandbox.calls} == {"DeleteMedia"}


@pytest.mark.parametrize("secret", ["wrong", "callback-secret "])
def test_a_forged_callback_is_refused_and_set_aside(world: World, secret: str) -> None:
    receipt = send_fields(world, **recording(), secret=secret)
    assert receipt.answer is Answer.REFUSED
    assert verdict_names(world) == ["forged"]
    assert world.files() == {}


def test_an_unknown_app_is_refused_and_set_aside(world: World) -> None:
    receipt = send_fields(world, **recording(), appid="4242")
    assert receipt.answer is Answer.REFUSED
    assert verdict_names(world) == ["unknown_app"]


def test_repeats_in_the_quarantine_are_counted_once(world: World) -> None:
    for _ in range(3):
        send_fields(world, **recording(), secret="wrong", signed_nonce="111111")
    with world.database.read() as session:
        [row] = inbox.list_callbacks(session, inbox.CallbackFilter())
        assert row.repeats == 2


def test_the_quarantine_is_capped_and_the_oldest_stay(world: World) -> None:
    ingest = replace(world.service.ingest, quarantine=QuarantineLimits(count=3, size_bytes=10_000))
    for number in range(6):
        send_fields(world, ingest, **recording(f"f{number}"), secret="wrong")
        send_fields(world, ingest, **recording(f"f{number}"), appid=f"99{number}")
    with world.database.read() as session:
        rows = list(inbox.list_callbacks(session, inbox.CallbackFilter()))
        for verdict in (Verdict.FORGED, Verdict.UNKNOWN_APP):
            bodies = [json.loads(row.raw) for row in rows if row.verdict is verdict]
            assert sorted(json.loads(body["extra_params"])["FileID"] for body in bodies) == ["f0", "f1", "f2"]


def test_the_quarantine_is_capped_in_bytes(world: World) -> None:
    ingest = replace(world.service.ingest, quarantine=QuarantineLimits(count=100, size_bytes=1_000))
    for number in range(6):
        send_fields(world, ingest, **recording(f"f{number}"), secret="wrong")
    with world.database.read() as session:
        count, size = inbox.quarantine_usage(session, APP)
    assert 1 <= count < 6
    assert size <= 1_000


def test_a_quarantined_callback_enters_once_its_secret_is_right(world: World) -> None:
    receipt = send_fields(world, **recording(), secret="rotated", signed_nonce="111111")
    assert receipt.callback_id is None
    world.clock.move(days=2)
    fixed = replace(world.service.ingest, secrets={APP: [CALLBACK_SECRET, "rotated"]})
    assert replay_callback(fixed, 1) is Verdict.ACCEPTED, "fresh when it was received, whenever it is replayed"
    assert list(world.files()) == ["f1"]
    assert replay_callback(fixed, 1) is Verdict.ACCEPTED
    assert len(world.files()) == 1


def test_every_configured_secret_is_tried(world: World) -> None:
    rotating = replace(world.service.ingest, secrets={APP: ["new", CALLBACK_SECRET]})
    assert send_fields(world, rotating, **recording("f1")).answer is Answer.STORED
    assert send_fields(world, rotating, **recording("f2"), secret="new").answer is Answer.STORED


def test_a_merged_file_enters_the_inventory(world: World) -> None:
    send_fields(world, event="compose", code="0", file_id="m1", task_id="t", replay_url="https://media.invalid/m1")
    assert world.files()["m1"]["event"] == "compose"


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "compose", "code": "1", "file_id": "m1"},
        {"event": "snapshot"},
        {"event": "procedure", "fileId": "x", "status": "FAILED", "extra_params": ""},
    ],
)
def test_other_events_are_acknowledged_and_kept(world: World, fields: dict[str, Any]) -> None:
    assert send_fields(world, **fields).answer is Answer.STORED
    assert verdict_names(world) == ["ignored"]
    assert world.files() == {}


@pytest.mark.parametrize(
    "fields",
    [
        recording(extra_params={}),
        recording(extra_params="no json"),
        recording(extra_params={"FileID": ""}),
        recording(extra_params={"FileID": "a\x00b"}),
        recording(extra_params={"FileID": "a", "PersistentId": "b"}),
        recording(extra_params={"FileID": "x" * 1025}),
        recording(stream_alias="a\x00b"),
    ],
)
def test_what_is_not_understood_is_kept_with_the_reason(world: World, fields: dict[str, Any]) -> None:
    assert send_fields(world, **fields).answer is Answer.STORED
    [(verdict, reason)] = verdicts(world)
    assert verdict == "not_understood"
    assert reason
    assert world.files() == {}


def test_what_cannot_be_read_is_refused_and_not_stored(world: World) -> None:
    assert receive_callback(world.service.ingest, b"\xff\xfe", "").answer is Answer.UNREADABLE
    assert verdicts(world) == []


def test_an_unfinished_callback_is_finished_by_its_own_duplicate(world: World) -> None:
    receipt = send_fields(world, **recording(), signed_nonce="111111")
    forget(world, receipt)
    send_fields(world, **recording(), signed_nonce="111111")
    assert verdict_names(world) == ["accepted"]
    assert list(world.files()) == ["f1"]


def test_an_unfinished_callback_is_finished_by_the_worker(world: World) -> None:
    receipt = send_fields(world, **recording(), signed_nonce="111111")
    forget(world, receipt)
    assert finish_callbacks(world.service.ingest) == 1
    assert verdict_names(world) == ["accepted"]
    assert list(world.files()) == ["f1"]


def forget(world: World, receipt: Receipt) -> None:
    """Put the database back to where the callback was stored, but nothing came of it yet."""

    def undo(session: Any) -> None:
        assert receipt.callback_id is not None
        row = inbox.find_callback(session, receipt.callback_id)
        assert row is not None
        row.verdict, row.media_file_id, row.finished_at = Verdict.PENDING, None, None
        session.flush()
        session.connection().exec_driver_sql("DELETE FROM media_files")

    world.database.transact(undo)
    assert world.files() == {}
