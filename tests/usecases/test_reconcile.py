"""After a reconcile, the inventory equals what the vendors store; nothing is gone that was not looked for twice."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import FileState, Vendor
from service.db import files, leases, runs
from service.db.models import Trigger
from service.usecases.inventory import confirm_files
from service.usecases.listing_reports import count_lost_callbacks, find_due_lanes, show_listing
from service.usecases.reconcile import reconcile_lane
from service.zego.sandbox_faults import (
    answer_code,
    answer_html,
    answer_late,
    cut_answer,
    drop_after,
    hide_ids,
    list_fewer,
    repeat_marker,
    understate_total,
)
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from service.db.engine import Session
    from service.zego.sandbox_faults import Fault
    from tests.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ALL = tuple(Vendor)


def put(world: World, vendor: Vendor, file_id: str, *, age: timedelta = DAY, **facts: object) -> None:
    """A file that the vendor stores and that no callback announces."""
    world.sandbox.add_file(APP, vendor, file_id, created_at=world.clock() - age, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("vendor", ALL)
def test_an_unknown_file_is_adopted_with_what_the_listing_tells(world: World, vendor: Vendor) -> None:
    put(world, vendor, "f1", size_bytes=2_000, duration_s=61, expires_at=world.clock() + 90 * DAY, name="lesson")
    found = world.reconcile(vendor)[vendor]
    file = world.files()["f1"]
    assert (found["state"], found["listed"], found["adopted"], found["gone"]) == ("complete", 1, 1, 0)
    assert (file["stream_id"], file["event"], file["size_bytes"]) == ("", "", 2_000)
    assert file["vendor_created_at"] == file["ended_at"] == "2026-02-28T12:00:00Z"
    assert file["received_at"] == file["adopted_at"] == "2026-03-01T12:00:00Z"
    if vendor is Vendor.TENCENT:
        assert (file["duration_s"], file["name"], file["vendor_expires_at"]) == (61, "lesson", "2026-05-30T12:00:00Z")


def test_reconciling_again_changes_nothing(world: World) -> None:
    for vendor in ALL:
        put(world, vendor, f"{vendor.value}-1")
    world.reconcile()
    before = world.files()
    world.clock.move(hours=24)
    found = world.reconcile()
    after = world.files()
    assert {name: after[name] | {"listed_at": None} for name in after} == {
        name: before[name] | {"listed_at": None} for name in before
    }
    for vendor in ALL:
        counts = {
            name: found[vendor][name] for name in ("listed", "adopted", "filled", "confirmed", "reopened", "gone")
        }
        assert counts == {"listed": 1, "adopted": 0, "filled": 0, "confirmed": 0, "reopened": 0, "gone": 0}


def test_adopted_files_wait_for_the_cooling_off_whatever_their_age(world: World) -> None:
    world.keep("1d")
    put(world, Vendor.HUAWEI, "old", age=100 * DAY)
    world.reconcile(Vendor.HUAWEI)
    world.sweep()
    file = world.files()["old"]
    assert (file["state"], file["due_at"], file["cooling_until"]) == (
        "scheduled",
        "2025-11-22T12:00:00Z",
        "2026-03-02T12:00:00Z",
    )
    assert world.stored(Vendor.HUAWEI) == {"old"}
    world.clock.move(hours=24)
    world.sweep()
    assert world.stored(Vendor.HUAWEI) == set()


def test_years_of_recordings_stop_at_the_breaker(world: World) -> None:
    world.keep("1d")
    for number in range(1_200):
        put(world, Vendor.WANGSU, f"old-{number}", age=400 * DAY)
    world.reconcile(Vendor.WANGSU)
    world.clock.move(hours=25)
    world.sweep()
    assert len(world.stored(Vendor.WANGSU)) == 1_200


def test_rules_that_ask_for_a_stream_keep_adopted_files_unless_a_rule_is_made_for_them(world: World) -> None:
    by_stream = '[[rules]]\nname = "trial"\nmatch = { stream = "trial-*" }\nkeep = "1d"\n'
    rest = '\n[[rules]]\nname = "rest"\nkeep = "2d"\n'
    put(world, Vendor.TENCENT, "f1", age=10 * DAY)
    world.apply(by_stream + rest)
    world.reconcile(Vendor.TENCENT)
    assert world.files()["f1"]["state_reason"] == 'rule "trial" cannot be judged: its stream is not known'
    world.apply('[[rules]]\nname = "listed"\nmatch = { adopted = true }\nkeep = "3d"\n\n' + by_stream + rest)
    file = world.files()["f1"]
    assert (file["state"], file["rule"], file["due_at"]) == ("scheduled", "listed", "2026-02-22T12:00:00Z")


def test_the_later_of_callback_and_listing_counts(world: World) -> None:
    world.keep("3d")
    world.send("late", age=2 * DAY, stored=False)
    put(world, Vendor.TENCENT, "late", age=DAY)
    world.send("early", age=2 * DAY, stored=False)
    put(world, Vendor.TENCENT, "early", age=4 * DAY)
    world.reconcile(Vendor.TENCENT)
    files = world.files()
    assert files["late"]["due_at"] == "2026-03-03T12:00:00Z"
    assert files["early"]["due_at"] == "2026-03-02T12:00:00Z"
    assert files["late"]["ended_at"] == "2026-02-27T12:00:00Z"  # ranks go by what the callback said


@pytest.mark.parametrize("vendor", ALL)
def test_what_neither_look_shows_is_gone(world: World, vendor: Vendor) -> None:
    world.add(3, vendor=vendor)
    world.clock.move(hours=1)
    world.sandbox.remove_file(APP, vendor, "file-00001")
    found = world.reconcile(vendor)[vendor]
    assert world.states() == {"kept": ["file-00000", "file-00002"], "gone": ["file-00001"]}
    assert (found["missing"], found["gone"], found["state"]) == (1, 1, "complete")
    assert "and a second look did not show it" in world.files()["file-00001"]["state_reason"]


@pytest.mark.parametrize("vendor", ALL)
def test_a_file_that_was_announced_just_now_need_not_be_listed_yet(world: World, vendor: Vendor) -> None:
    world.add(2, vendor=vendor)
    world.clock.move(minutes=9)
    world.sandbox.remove_file(APP, vendor, "file-00001")
    assert world.reconcile(vendor)[vendor]["gone"] == 0


def test_a_call_whose_answer_was_lost_gets_the_credit(world: World) -> None:
    world.keep("1d")
    world.add(1)
    world.sandbox.next(drop_after())
    world.sweep()
    assert world.state("file-00000") == "scheduled"
    world.clock.move(minutes=30)
    world.sandbox.add_file(APP, Vendor.TENCENT, "another")
    world.reconcile(Vendor.TENCENT)
    file = world.files()["file-00000"]
    assert file["state"] == "deleted"
    assert "an earlier call whose answer is not known must have worked" in file["state_reason"]


def test_an_ended_file_that_is_listed_an_hour_later_is_reopened_and_left_alone_first(world: World) -> None:
    world.keep("1d")
    world.add(1)
    world.sweep()
    assert world.state("file-00000") == "deleted"
    put(world, Vendor.TENCENT, "file-00000", age=3 * DAY)
    world.clock.move(minutes=59)
    assert world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]["reopened"] == 0
    world.clock.move(minutes=2)
    assert world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]["reopened"] == 1
    file = world.files()["file-00000"]
    assert (file["state"], file["cooling_until"]) == ("scheduled", "2026-03-02T13:01:00Z")
    world.clock.move(hours=25)
    world.sweep()
    assert world.stored() == set()


def test_with_since_only_later_files_are_adopted_and_nothing_is_gone(world: World) -> None:
    world.add(1, vendor=Vendor.HUAWEI)
    for vendor in ALL:
        put(world, vendor, f"new-{vendor.value}", age=DAY)
        put(world, vendor, f"old-{vendor.value}", age=9 * DAY)
    world.clock.move(hours=1)
    world.sandbox.remove_file(APP, Vendor.HUAWEI, "file-00000")
    found = world.reconcile(since=world.clock() - 3 * DAY)
    assert sorted(world.files()) == ["file-00000", "new-Huawei", "new-Tencent", "new-Ws"]
    assert {listing["gone"] for listing in found.values()} == {0}
    assert {listing["state"] for listing in found.values()} == {"complete"}


# What must not make a file gone


@pytest.mark.parametrize("vendor", ALL)
def test_a_listing_that_breaks_off_marks_nothing_gone_and_is_gone_on_with(world: World, vendor: Vendor) -> None:
    world.add(2, vendor=vendor)
    world.clock.move(hours=1)
    world.sandbox.remove_file(APP, vendor, "file-00001")
    for _ in range(6):
        world.sandbox.next(cut_answer())
    found = world.reconcile(vendor, patiently=False)[vendor]
    assert (found["state"], found["gone"]) == ("interrupted", 0)
    assert "was not answered" in found["note"]
    again = world.reconcile(vendor)[vendor]
    assert (again["id"], again["state"], again["gone"]) == (found["id"], "complete", 1)


def test_a_refusal_in_the_second_look_marks_nothing_gone(world: World) -> None:
    world.add(2)
    world.clock.move(hours=1)
    world.sandbox.remove_file(APP, Vendor.TENCENT, "file-00001")
    calls = len(world.sandbox.calls)
    world.sandbox.on_request = lambda call: (
        world.sandbox.always(answer_code(7)) if call.number > calls + 1 and call.stage == "arrived" else None
    )
    found = world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]
    assert (found["state"], found["gone"], found["missing"]) == ("incomplete", 0, 1)
    assert "ZEGO refuses to list: 7" in found["note"]
    assert world.state("file-00001") == "kept"


@pytest.mark.parametrize("left", [0, 9])
def test_a_listing_without_most_of_what_is_known_is_believed_the_second_time_only(world: World, left: int) -> None:
    ids = world.add(20, vendor=Vendor.HUAWEI)
    world.clock.move(hours=1)
    for file_id in ids[left:]:
        world.sandbox.remove_file(APP, Vendor.HUAWEI, file_id)
    found = world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]
    assert (found["state"], found["gone"]) == ("incomplete", 0)
    assert f"the listing shows only {left} of 20 files that are known" in found["note"]
    world.clock.move(hours=6)
    found = world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]
    assert (found["state"], found["gone"]) == ("complete", 20 - left)


def test_trouble_that_passes_is_waited_out(world: World) -> None:
    put(world, Vendor.TENCENT, "f1")
    world.sandbox.next(answer_html(502), answer_code(6), answer_code(1000), answer_html(429, retry_after="1"))
    found = world.reconcile(Vendor.TENCENT, patiently=False)[Vendor.TENCENT]
    assert (found["state"], found["calls"], found["adopted"]) == ("complete", 5, 1)


@pytest.mark.parametrize("code", [3, 4, 5])
def test_a_vendor_that_is_not_used_is_on_record_once_and_no_trouble(world: World, code: int) -> None:
    for _ in range(2):
        world.sandbox.next(answer_code(code, "no such vendor"))
        found = world.reconcile(Vendor.WANGSU)[Vendor.WANGSU]
        assert (found["id"], found["state"]) == (1, "unused")
        world.clock.move(hours=24)


def test_a_refused_vendor_whose_files_are_known_is_trouble(world: World) -> None:
    world.add(1, vendor=Vendor.WANGSU)
    world.sandbox.next(answer_code(4))
    found = world.reconcile(Vendor.WANGSU)[Vendor.WANGSU]
    assert found["state"] == "incomplete"


# Lost callbacks


def test_a_file_made_after_the_first_callback_is_a_lost_one_on_its_day(world: World) -> None:
    world.send("first")
    world.clock.move(days=3)
    put(world, Vendor.TENCENT, "before", age=3 * DAY + 2 * HOUR)
    put(world, Vendor.TENCENT, "barely", age=3 * DAY + HOUR)
    put(world, Vendor.TENCENT, "after", age=DAY)
    put(world, Vendor.HUAWEI, "record/after.mp4", age=DAY)
    found = world.reconcile()
    assert found[Vendor.TENCENT]["lost"] == 2
    assert count_lost_callbacks(world.database, world.clock()) == []  # they may be on their way
    world.clock.move(minutes=5)
    assert count_lost_callbacks(world.database, world.clock()) == [
        {"app_id": APP, "day": "2026-03-03", "count": 2},
        {"app_id": APP, "day": "2026-03-01", "count": 1},
    ]


def test_a_late_callback_is_not_lost_and_tells_what_the_listing_does_not(world: World) -> None:
    world.keep("30d")
    world.send("first")
    world.clock.move(days=1)
    put(world, Vendor.TENCENT, "f1", age=HOUR)
    world.reconcile(Vendor.TENCENT)
    world.send("f1", age=2 * HOUR, stream="lesson-1", stored=False)
    world.clock.move(hours=1)
    file = world.files()["f1"]
    assert (file["stream_id"], file["event"], file["lost_on"]) == ("lesson-1", "record", None)
    assert file["ended_at"] == "2026-03-02T10:00:00Z"
    assert file["due_at"] == "2026-04-01T11:00:00Z"  # the later of the two
    assert count_lost_callbacks(world.database, world.clock()) == []


def test_without_any_callback_nothing_is_lost(world: World) -> None:
    put(world, Vendor.TENCENT, "f1")
    assert world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]["lost"] == 0


# Doubts


def test_a_listing_confirms_what_was_stale_but_not_what_its_callback_said(world: World) -> None:
    world.keep("30d")
    world.send("f1", age=DAY, stream="lesson-1", vendor=Vendor.HUAWEI, now=world.clock() - HOUR)
    assert world.state("f1") == "unconfirmed"
    found = world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]
    file = world.files()["f1"]
    assert (found["confirmed"], file["state"]) == (1, "scheduled")
    assert (file["stream_id"], file["event"], file["size_bytes"]) == ("", "?", 1_000)  # (the listing tells the size)
    world.send("f1", age=DAY, stream="lesson-1", vendor=Vendor.HUAWEI, stored=False)
    file = world.files()["f1"]
    assert (file["stream_id"], file["event"]) == ("lesson-1", "record")


def test_what_a_believed_callback_said_stays_when_another_is_in_conflict_about_it(world: World) -> None:
    world.keep("30d")
    world.send("f1", stream="lesson-1")
    world.send("f2", nonce="777777")
    world.send("f1", stream="trial-1", nonce="777777", stored=False)
    assert world.state("f1") == "unconfirmed"
    world.reconcile(Vendor.TENCENT)
    file = world.files()["f1"]
    assert (file["state"], file["stream_id"], file["event"]) == ("scheduled", "lesson-1", "record")


def test_no_rule_for_adopted_files_takes_one_whose_callbacks_are_in_conflict(world: World) -> None:
    rules = '[[rules]]\nname = "listed"\nmatch = { adopted = true }\nkeep = "1d"\n'
    world.apply(rules + '\n[[rules]]\nname = "lessons"\nmatch = { stream = "lesson-*" }\nkeep = "forever"\n')
    for name in ("f1", "f2"):
        world.send(name, age=5 * DAY, stream="lesson-1", nonce="777777")
    world.reconcile(Vendor.TENCENT)
    assert world.states() == {"kept": ["f1", "f2"]}


def test_a_forged_length_does_not_choose_the_rule(world: World) -> None:
    world.apply('[[rules]]\nname = "short"\nmatch = { max_duration = "60s" }\nkeep = "1d"\n')
    world.sandbox.add_file(APP, Vendor.TENCENT, "f1", created_at=world.clock() - 5 * DAY, duration_s=3600)
    for name in ("f1", "f2"):
        world.send(name, age=5 * DAY, duration_s=1.0, nonce="777777", stored=False)
    world.reconcile(Vendor.TENCENT)
    assert (world.state("f1"), world.files()["f1"]["duration_s"]) == ("kept", 3600)


def test_a_conflict_about_a_file_that_is_gone_is_remembered_when_it_is_back(world: World) -> None:
    world.keep("1d")
    world.send("f1", age=5 * DAY, stream="trial-1", nonce="777777")
    world.sweep()
    assert world.state("f1") == "deleted"
    world.send("f2", age=5 * DAY, stream="lesson-1", nonce="777777", stored=False)
    put(world, Vendor.TENCENT, "f1", age=5 * DAY)
    world.clock.move(hours=2)
    world.reconcile(Vendor.TENCENT)
    assert (world.files()["f1"]["stream_id"], world.files()["f1"]["event"]) == ("", "?")


def test_a_stale_callback_that_is_late_is_not_a_lost_one(world: World) -> None:
    world.send("first")
    world.clock.move(days=1)
    put(world, Vendor.TENCENT, "f1", age=HOUR)
    world.reconcile(Vendor.TENCENT)
    world.send("f1", age=2 * HOUR, now=world.clock() - HOUR, stored=False)
    assert world.files()["f1"]["lost_on"] is None


def test_a_listing_confirms_what_is_in_conflict_but_not_its_stream(world: World) -> None:
    world.keep("30d")
    world.send("f1", stream="trial-1", nonce="777777")
    world.send("f2", stream="trial-1", nonce="777777")
    assert world.states() == {"unconfirmed": ["f1", "f2"]}
    world.reconcile(Vendor.TENCENT)
    for file in world.files().values():
        assert (file["state"], file["stream_id"], file["event"]) == ("scheduled", "", "?")


def test_what_a_person_confirmed_keeps_its_facts(world: World) -> None:
    world.keep("30d")
    world.send("f1", stream="trial-1", nonce="777777")
    world.send("f2", stream="trial-1", nonce="777777")
    confirm_files(world.database, [world.files()["f1"]["id"]], TESTER, world.clock())
    world.reconcile(Vendor.TENCENT)
    assert world.files()["f1"]["stream_id"] == "trial-1"


# Listings that lie


@pytest.mark.parametrize(
    ("vendor", "lie", "once", "says"),
    [
        (Vendor.TENCENT, list_fewer(800), True, "that the first look did not show came up in the second"),
        (Vendor.WANGSU, list_fewer(800), True, "that the first look did not show came up in the second"),
        (Vendor.HUAWEI, list_fewer(3), False, "the listing shows only 3 of 1,005 files that are known"),
        (Vendor.TENCENT, understate_total(2), False, "counted"),
        (Vendor.WANGSU, repeat_marker("same"), False, "leads back to a marker"),
        (Vendor.HUAWEI, repeat_marker("back"), False, "leads back to a marker"),
        (Vendor.HUAWEI, repeat_marker("onward"), False, "empty page"),
        (Vendor.HUAWEI, hide_ids("file-00003"), False, "without a name"),
        (Vendor.TENCENT, hide_ids("file-00003"), False, "without a file id"),
    ],
)
def test_a_listing_that_lies_marks_nothing_gone_and_says_why(
    world: World, vendor: Vendor, lie: Fault, once: bool, says: str
) -> None:
    world.add(1_005, vendor=vendor)
    world.clock.move(hours=1)
    world.sandbox.remove_file(APP, vendor, "file-00004")
    if once:
        world.sandbox.next(lie)
    else:
        world.sandbox.always(lie)
    found = world.reconcile(vendor)[vendor]
    assert (found["state"], found["gone"]) == ("incomplete", 0)
    assert says in found["note"]
    assert set(world.states()) == {"kept"}


# Beside deletions


def test_it_waits_while_a_living_pass_has_files_of_the_app_in_hand(world: World) -> None:
    world.add(1)
    put(world, Vendor.TENCENT, "f1")

    def claim(session: Session) -> None:
        run = runs.start_run(session, Trigger.COMMAND, None, "a pass", world.clock())
        assert run is not None
        [row] = files.list_files(session, files.FileFilter())
        row.state, row.claim_run_id = FileState.DELETING, run.id

    world.database.transact(claim)
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    number = reconcile_lane(world.service.reconciler, (APP, Vendor.TENCENT), stop)
    assert number is not None
    assert not world.sandbox.calls
    assert show_listing(world.database, number)["state"] == "interrupted"  # type: ignore[index]
    world.clock.move(minutes=3)  # the pass has given no sign of life for too long
    assert world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]["state"] == "complete"


def test_two_processes_do_not_list_one_lane_at_once(world: World) -> None:
    put(world, Vendor.TENCENT, "f1")
    lane = (APP, Vendor.TENCENT)

    def take(session: Session) -> None:
        leases.take_lease(session, f"reconcile/{APP}/Tencent", "another", world.clock(), timedelta(minutes=2))

    world.database.transact(take)
    assert reconcile_lane(world.service.reconciler, lane, threading.Event()) is None
    assert find_due_lanes(world.database, [APP], DAY, world.clock())
    world.clock.move(minutes=3)
    assert reconcile_lane(world.service.reconciler, lane, threading.Event()) == 1


def test_listings_are_due_once_a_period_and_sooner_where_they_were_cut_short(world: World) -> None:
    def due() -> set[str]:
        return {vendor for _, vendor in find_due_lanes(world.database, [APP], DAY, world.clock())}

    assert due() == {"Tencent", "Ws", "Huawei"}
    world.sandbox.next(*[cut_answer()] * 6)
    world.reconcile(Vendor.WANGSU, patiently=False)
    world.sandbox.next(answer_code(8))
    world.reconcile(Vendor.HUAWEI)
    world.reconcile(Vendor.TENCENT)
    world.reconcile(Vendor.TENCENT, since=world.clock() - DAY)
    assert due() == set()
    world.clock.move(minutes=15)
    assert due() == {"Ws"}
    world.clock.move(hours=6)
    assert due() == {"Ws", "Huawei"}
    world.clock.move(hours=18)
    assert due() == {"Ws", "Huawei", "Tencent"}


def test_a_page_that_is_read_again_counts_once(world: World) -> None:
    for number in range(1_200):
        put(world, Vendor.TENCENT, f"f{number:04}", age=DAY + timedelta(seconds=number))
    world.sandbox.next(answer_late(0), *[cut_answer()] * 6)
    first = world.reconcile(Vendor.TENCENT, patiently=False)[Vendor.TENCENT]
    assert (first["state"], first["listed"], first["calls"]) == ("interrupted", 1_000, 7)
    found = world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]
    assert (found["id"], found["state"], found["calls"]) == (first["id"], "complete", 9)
    assert (found["listed"], found["adopted"]) == (1_200, 1_200)
