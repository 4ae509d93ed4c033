"""Merged files, renditions, and callbacks of another product; on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Vendor, Verdict
from service.db import files, inbox
from service.usecases.explaining import explain_file
from service.usecases.ingest import Answer, receive_callback, replay_callback
from service.usecases.inventory import confirm_files
from service.usecases.replaying import retry_set_aside
from service.zego.sandbox_callbacks import (
    cloud_recording_fields,
    encode_body,
    merge_fields,
    sign_fields,
    transcoding_fields,
)
from tests.usecases.listed import adopt
from tests.usecases.test_ingest import recording, send_fields, verdict_names, verdicts
from tests.world import APP, CALLBACK_SECRET, OTHER_APP, TESTER

if TYPE_CHECKING:
    from service.usecases.ingest import Receipt
    from tests.world import World

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
URL = "https://media.invalid/merged/1.mp4"


def send(world: World, fields: dict[str, Any], *, now: timedelta = timedelta(0), **signed: Any) -> Receipt:
    world.nonces += 1
    facts = {"secret": CALLBACK_SECRET, "nonce": str(world.nonces)} | signed
    body = encode_body(sign_fields(fields, now=world.clock() + now, **facts))
    return receive_callback(world.service.ingest, *body)


def merge(url: str = URL, **more: Any) -> dict[str, Any]:
    return merge_fields(APP, url) | more


def lost_on(world: World, file_id: str) -> str | None:
    with world.database.read() as session:
        [day] = [row.lost_on for row in files.list_files(session, files.FileFilter()) if row.file_id == file_id]
        return day


# Merged files


def test_a_merged_file_of_huawei_is_found_by_its_url(world: World) -> None:
    world.keep("10d")
    adopt(world, "merged", url=URL, age=DAY)
    adopt(world, "another", url=f"{URL}2")
    adopt(world, "elsewhere", url=URL, app_id=OTHER_APP)
    assert send(world, merge()).answer is Answer.STORED
    assert verdict_names(world) == ["accepted"]
    file = world.files()["merged"]
    assert (file["event"], file["vendor"], file["state"]) == ("compose", "Huawei", "scheduled")
    assert [world.files()[name]["event"] for name in ("another", "elsewhere")] == ["", ""]


@pytest.mark.parametrize(
    ("listed", "called"),
    [(URL, URL.replace("https", "http")), (URL.replace("https", "http"), URL), (URL, f"{URL}?auth=1&x=y")],
)
def test_scheme_and_query_may_differ(world: World, listed: str, called: str) -> None:
    adopt(world, "merged", url=listed)
    send(world, merge(called))
    assert verdict_names(world) == ["accepted"]
    assert world.files()["merged"]["replay_url"] == listed


def test_the_exact_url_goes_before_one_like_it(world: World) -> None:
    adopt(world, "plain", url=URL)
    adopt(world, "asked", url=f"{URL}?v=2")
    send(world, merge(f"{URL}?v=2"))
    assert verdict_names(world) == ["accepted"]
    assert [world.files()[name]["event"] for name in ("plain", "asked")] == ["", "compose"]


@pytest.mark.parametrize("others", [["a", "b"], []])
def test_none_or_several_set_the_callback_aside_with_the_reason(world: World, others: list[str]) -> None:
    for name in others:
        adopt(world, name, url=URL)
    assert send(world, merge()).answer is Answer.STORED
    [(verdict, reason)] = verdicts(world)
    assert verdict == "set_aside"
    assert ("several listed files" in reason) == bool(others)
    assert reason.startswith("the merged file has no id in its callback")
    assert reason.endswith("it is looked for again after the next listing of Huawei")
    assert {file["event"] for file in world.files().values()} <= {""}


def test_only_files_of_huawei_that_a_listing_showed_can_be_meant(world: World) -> None:
    adopt(world, "wangsu", vendor=Vendor.WANGSU, url=URL)
    world.add(1, vendor=Vendor.HUAWEI, replay_url=f"{URL}2")
    send(world, merge())
    send(world, merge(f"{URL}2"))
    assert verdict_names(world) == ["set_aside", "set_aside"]


def test_what_was_set_aside_is_found_after_a_listing_once(world: World) -> None:
    send(world, merge())
    send(world, merge(f"{URL}2"))
    assert retry_set_aside(world.service.ingest) == 0
    assert verdict_names(world) == ["set_aside", "set_aside"]
    adopt(world, "merged", url=URL)
    assert retry_set_aside(world.service.ingest, [OTHER_APP]) == 0
    assert retry_set_aside(world.service.ingest, [APP]) == 1
    before = world.files()
    assert verdict_names(world) == ["accepted", "set_aside"]
    assert retry_set_aside(world.service.ingest) == 0
    assert world.files() == before


def test_a_stale_one_that_was_set_aside_stays_stale(world: World) -> None:
    send(world, merge(), now=-HOUR)
    [(verdict, reason)] = verdicts(world)
    assert verdict == "set_aside"
    assert "too old when it arrived; the merged file" in reason
    adopt(world, "merged", url=URL)
    before = world.files()["merged"] | {"lost_on": None}
    assert retry_set_aside(world.service.ingest) == 1
    assert verdict_names(world) == ["stale"]
    assert world.files()["merged"] == before, "it teaches a listed file nothing, and puts it in no doubt"


def test_conflicting_ones_wait_for_a_listing_as_well_and_put_their_files_in_doubt(world: World) -> None:
    world.keep("10d")
    send(world, merge(), nonce="777")
    send(world, merge(f"{URL}2"), nonce="777")
    assert verdict_names(world) == ["conflict", "conflict"]
    adopt(world, "first", url=URL)
    adopt(world, "second", url=f"{URL}2")
    assert retry_set_aside(world.service.ingest) == 2
    assert verdict_names(world) == ["conflict", "conflict"]
    assert world.states() == {"unconfirmed": ["first", "second"]}
    world.clock.move(hours=1)
    confirm_files(world.database, [file["id"] for file in world.files().values()], TESTER, world.clock())
    assert retry_set_aside(world.service.ingest) == 0
    for _ in range(2):
        world.clock.move(hours=1)
        assert replay_callback(world.service.ingest, 1) is Verdict.CONFLICT
    assert list(world.states()) == ["scheduled"], "who vouched for it has seen the conflict"


def test_who_vouched_for_a_file_before_it_was_found_has_not_seen_that_conflict(world: World) -> None:
    send(world, merge(), nonce="777")
    send(world, merge(f"{URL}2"), nonce="777")
    adopt(world, "first", url=URL)
    for stream in ("a", "b"):
        world.send("first", vendor=Vendor.HUAWEI, stream=stream, stored=False, nonce="888")
    world.clock.move(hours=1)
    confirm_files(world.database, [world.files()["first"]["id"]], TESTER, world.clock())
    assert world.state("first") == "kept"
    assert retry_set_aside(world.service.ingest) == 1
    assert world.state("first") == "unconfirmed"


def test_a_file_that_was_found_stays_found(world: World) -> None:
    adopt(world, "merged", url=URL)
    send(world, merge())
    adopt(world, "twin", url=URL)
    before = world.files()
    assert replay_callback(world.service.ingest, 1) is Verdict.ACCEPTED
    assert world.files() == before


def test_a_merge_that_failed_is_ignored(world: World) -> None:
    adopt(world, "merged", url=URL)
    send(world, merge(code="60000"))
    assert verdict_names(world) == ["ignored"]


# Files that a listing showed first


@pytest.mark.parametrize("vendor", list(Vendor))
def test_a_late_callback_tells_of_a_listed_file_what_no_listing_tells(world: World, vendor: Vendor) -> None:
    world.keep("10d")
    adopt(world, "f1", vendor=vendor, age=DAY, duration_s=7.5)
    world.send("f1", vendor=vendor, age=2 * DAY, stored=False, stream="room-7")
    file = world.files()["f1"]
    assert (file["stream_id"], file["event"], file["duration_s"]) == ("room-7", "record", 7.5)
    assert (file["began_at"], file["ended_at"]) == ("2026-02-27T11:00:00Z", "2026-02-27T12:00:00Z")
    assert file["due_at"] == "2026-03-10T12:00:00Z", "age goes on counting from the vendor's own time"
    arithmetic = explain_file(world.database, file["id"], world.clock()).decision["arithmetic"]
    assert arithmetic == "made, says the vendor, 2026-02-28 12:00:00 UTC + 10d = 2026-03-10 12:00:00 UTC"
    assert lost_on(world, "f1") is None


def test_a_later_end_still_wins(world: World) -> None:
    world.keep("10d")
    adopt(world, "f1", vendor=Vendor.TENCENT, age=DAY)
    world.send("f1", age=HOUR, stored=False)
    assert world.files()["f1"]["due_at"] == "2026-03-11T11:00:00Z"


def test_a_stale_callback_tells_nothing_of_a_listed_file(world: World) -> None:
    adopt(world, "f1", vendor=Vendor.TENCENT, age=DAY)
    before = world.files()["f1"] | {"lost_on": None}  # its callback did come
    world.send("f1", age=2 * DAY, now=world.clock() - HOUR, stored=False)
    assert verdict_names(world) == ["stale"]
    assert world.files()["f1"] == before


def test_a_second_callback_about_a_listed_file_does_not_tell_it_anew(world: World) -> None:
    adopt(world, "f1", vendor=Vendor.TENCENT, age=DAY)
    world.send("f1", age=2 * DAY, stored=False, stream="room-7")
    before = world.files()
    world.send("f1", age=3 * DAY, stored=False, stream="trial-1")
    assert replay_callback(world.service.ingest, 2) is Verdict.ACCEPTED
    assert world.files() == before


def test_what_a_callback_told_of_a_listed_file_is_not_told_anew_once_that_one_is_disputed(world: World) -> None:
    adopt(world, "f1", vendor=Vendor.TENCENT)
    world.send("f1", stream="room-7", stored=False, nonce="777")
    world.send("f1", stream="trial-1", stored=False, nonce="777")
    world.send("f1", stream="trial-2", stored=False)
    assert verdict_names(world) == ["conflict", "conflict", "accepted"]
    assert (world.files()["f1"]["stream_id"], world.state("f1")) == ("room-7", "unconfirmed")


def test_a_second_callback_that_names_a_stream_does_not_rename_a_merged_file(world: World) -> None:
    adopt(world, "m1", url=URL)
    send(world, merge())
    world.send("m1", vendor=Vendor.HUAWEI, stored=False, stream="trial-1")
    file = world.files()["m1"]
    assert (file["event"], file["stream_id"]) == ("compose", "")


def test_a_listed_file_counts_in_its_stream_from_its_callback_on(world: World) -> None:
    world.apply('[[rules]]\nname = "latest"\nkeep = "1h"\nkeep_latest = 1\n')
    world.send("old", age=3 * HOUR, stream="room-7")
    assert world.state("old") == "kept"
    adopt(world, "new", vendor=Vendor.TENCENT, age=HOUR)
    world.send("new", age=HOUR, stream="room-7", stored=False)
    assert world.states() == {"scheduled": ["old"], "kept": ["new"]}


def test_with_confirmation_of_all_files_wait_for_the_listing_but_their_facts_are_believed(world: World) -> None:
    world.keep("10d")
    careful = replace(world.service.ingest, confirm_all=True)
    world.send("stale", age=DAY, now=world.clock() - HOUR)
    send_fields(world, careful, **recording("stale", stream_alias="room-9"))
    send_fields(world, careful, **recording("fresh"))
    assert verdict_names(world) == ["stale", "accepted", "accepted"]
    assert world.states() == {"unconfirmed": ["stale", "fresh"]}
    assert world.files()["stale"]["stream_id"] == "room-9"
    assert "CONFIRM=all" in world.files()["fresh"]["state_reason"]


def test_with_confirmation_of_all_a_file_that_was_listed_already_does_not_wait(world: World) -> None:
    world.keep("10d")
    adopt(world, "merged", url=URL)
    send_fields(world, replace(world.service.ingest, confirm_all=True), **merge())
    assert world.states() == {"scheduled": ["merged"]}


# Renditions


def renditions(world: World, file_id: str = "f1") -> list[tuple[int, str]]:
    return [(each["height"], each["at"]) for each in world.files()[file_id]["renditions"]]


def test_renditions_are_noted_on_their_source_file_and_decide_nothing(world: World) -> None:
    world.keep("10d")
    world.send("f1", age=DAY)
    before = world.files()["f1"]
    assert before["renditions"] == []
    receipt = send(world, transcoding_fields(APP, "f1"))
    assert receipt.answer is Answer.STORED
    assert verdict_names(world) == ["accepted", "accepted"]
    assert world.files()["f1"] == before | {
        "renditions": [
            {
                "height": height,
                "size_bytes": height * 1000,
                "duration_s": 3600.5,
                "replay_url": f"https://media.invalid/f1/{height}.mp4",
                "at": "2026-03-01T12:00:00Z",
            }
            for height in (360, 720)
        ]
    }
    with world.database.read() as session:
        row = inbox.find_callback(session, receipt.callback_id or 0)
        assert row is not None
        assert row.media_file_id == before["id"]


def test_renditions_are_noted_once(world: World) -> None:
    world.send("f1")
    send(world, transcoding_fields(APP, "f1", [360]))
    world.clock.move(hours=1)
    send(world, transcoding_fields(APP, "f1", [360, 720]))
    assert replay_callback(world.service.ingest, 2) is Verdict.ACCEPTED
    assert renditions(world) == [(360, "2026-03-01T12:00:00Z"), (720, "2026-03-01T13:00:00Z")]


def test_renditions_of_an_unknown_file_wait_for_it_and_never_make_one(world: World) -> None:
    send(world, transcoding_fields(APP, "f1"))
    [(verdict, reason)] = verdicts(world)
    assert (verdict, world.files()) == ("set_aside", {})
    assert reason == "its source file f1 is not known; it is looked for again after the next listing of Tencent"
    assert retry_set_aside(world.service.ingest) == 0
    adopt(world, "f1", vendor=Vendor.TENCENT)
    assert retry_set_aside(world.service.ingest) == 1
    assert verdict_names(world) == ["accepted"]
    assert len(renditions(world)) == 2
    assert lost_on(world, "f1") is not None, "its own callback is still missing"


def test_renditions_do_not_count_as_the_callback_of_a_listed_file(world: World) -> None:
    adopt(world, "f1", vendor=Vendor.TENCENT)
    send(world, transcoding_fields(APP, "f1"))
    world.send("f1", stream="room-7", stored=False)
    assert (world.files()["f1"]["stream_id"], lost_on(world, "f1")) == ("room-7", None)


def test_a_stale_note_changes_nothing(world: World) -> None:
    world.keep("10d")
    world.send("f1")
    before = world.files()
    send(world, transcoding_fields(APP, "f1"), now=-HOUR)
    assert verdict_names(world) == ["accepted", "stale"]
    assert world.files() == before


@pytest.mark.parametrize("turned", [False, True])
def test_a_note_in_conflict_teaches_nothing_and_doubts_its_file_as_any_conflict_does(
    world: World,
    turned: bool,
) -> None:
    world.keep("10d")
    world.send("f1")
    bodies = [transcoding_fields(APP, "f1"), recording("f2", appid=APP)]
    for fields in reversed(bodies) if turned else bodies:
        send(world, fields, nonce="777")
    assert verdict_names(world) == ["accepted", "conflict", "conflict"]
    assert world.states() == {"unconfirmed": ["f1", "f2"]}
    assert (renditions(world) == []) == turned


def test_transcoding_that_failed_is_ignored(world: World) -> None:
    send(world, transcoding_fields(APP, "f1") | {"status": "FAILED", "extra_params": ""})
    assert verdict_names(world) == ["ignored"]


# Another product


def test_a_callback_of_cloud_recording_is_acknowledged_and_names_the_console_field(world: World) -> None:
    assert send(world, cloud_recording_fields(APP)).answer is Answer.STORED
    [(verdict, reason)] = verdicts(world)
    assert verdict == "misdirected"
    assert "Cloud Recording's callback" in reason
    assert "Project → Server callback → Recording file" in reason
    assert world.files() == {}


def test_a_callback_of_cloud_recording_that_cannot_be_verified_is_refused(world: World) -> None:
    assert send(world, cloud_recording_fields(APP), secret="wrong").answer is Answer.REFUSED
    assert send(world, cloud_recording_fields("4242")).answer is Answer.REFUSED
    unsigned = encode_body(cloud_recording_fields(APP))
    assert receive_callback(world.service.ingest, *unsigned).answer is Answer.UNREADABLE
    assert verdict_names(world) == ["forged", "unknown_app"]


# What is left of old ones


def test_a_callback_whose_bytes_were_dropped_is_not_judged_again(world: World) -> None:
    world.send("f1")

    def prune(session: Any) -> None:
        row = inbox.find_callback(session, 1)
        assert row is not None
        row.raw, row.pruned_at = b"", world.clock()

    world.database.transact(prune)
    before = verdicts(world)
    assert replay_callback(world.service.ingest, 1) is None
    assert verdicts(world) == before
