"""What must not follow from a listing: forged facts that decide, files that are gone for others, ranks that move."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.core.listing import ListedFile
from service.core.model import Vendor
from service.usecases.adopting import Adopter, Page, take_in_page
from service.usecases.erasing import ErasureRequest, request_erasure
from service.usecases.inventory import retry_files
from service.usecases.reconcile import reconcile_lane
from service.zego.sandbox_faults import Fault, answer_code
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from service.zego.sandbox import Call
    from tests.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_a_process_that_slept_marks_nothing_gone_that_others_have_seen_since(world: World) -> None:
    ids = world.add(5, vendor=Vendor.HUAWEI)
    world.clock.move(hours=1)
    world.sandbox.remove_file(APP, Vendor.HUAWEI, ids[0])
    other = replace(world.service.reconciler, name="another process")

    def sleep(call: Call) -> None:
        """In the middle of the second look, the process is gone for ten minutes; another one reads on, and anew."""
        if call.stage == "done" and call.number == 2:
            world.sandbox.on_request = None
            world.clock.move(minutes=10)
            for _ in range(2):
                reconcile_lane(other, (APP, Vendor.HUAWEI), threading.Event())

    world.sandbox.on_request = sleep
    world.reconcile(Vendor.HUAWEI)
    assert world.states() == {"gone": ids[:1], "kept": ids[1:]}


def without_ids(section: dict[str, Any]) -> None:
    for entry in section["MediaInfoSet"]:
        del entry["FileId"]


def without_entries(section: dict[str, Any]) -> None:
    section["MediaInfoSet"] = None


def with_other_ids(section: dict[str, Any]) -> None:
    for entry in section["MediaInfoSet"]:
        entry["FileId"] += "9"


@pytest.mark.parametrize("lie", [without_ids, without_entries, with_other_ids])
def test_answers_about_missing_files_that_do_not_agree_prove_nothing(world: World, lie: Any) -> None:
    world.add(8)
    world.clock.move(hours=1)

    def tell(section: dict[str, Any], asked: Any) -> None:
        if asked.file_ids:
            lie(section)
        else:  # the first look: fewer files than there are, in numbers that agree
            section["TotalCount"] = 5
            section["MediaInfoSet"] = section["MediaInfoSet"][: max(0, 5 - asked.first)]

    world.sandbox.always(Fault(acts=True, lie=tell, action="SearchMedia"))
    found = world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]
    assert (found["state"], found["gone"]) == ("incomplete", 0)
    assert "numbers that do not agree" in found["note"]


def test_of_two_ages_in_one_page_the_later_one_counts(world: World) -> None:
    now = world.clock()
    old, new = ListedFile("f1", now - 400 * DAY), ListedFile("f1", now - DAY)
    for number, files in enumerate(([new, old], [old, new])):
        listed = [replace(file, file_id=f"f{number}") for file in files]
        take_in_page(world.database, Adopter(DAY), Page((APP, Vendor.TENCENT), None, now, listed), now)
    assert {file["ended_at"] for file in world.files().values()} == {"2026-02-28T12:00:00Z"}


def test_an_erasure_of_a_pattern_lets_go_of_a_file_whose_stream_is_not_believed(world: World) -> None:
    world.send("f1", stream="mei-1", nonce="777777")
    wanted = ErasureRequest((), APP, "mei-*", "she asked")
    request_erasure(world.database, wanted, 1, TESTER, world.clock())
    world.send("f2", stream="mei-1", nonce="777777", stored=False)
    world.reconcile(Vendor.TENCENT)
    world.sweep()
    assert world.stored() == {"f1"}


def test_a_lost_callback_is_found_when_the_vendor_s_clock_was_ahead(world: World) -> None:
    world.send("first")
    world.clock.move(hours=5)
    world.sandbox.add_file(APP, Vendor.HUAWEI, "record/f.mp4", created_at=world.clock() + timedelta(minutes=3))
    assert world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]["lost"] == 0
    world.clock.move(hours=1)
    assert world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]["lost"] == 1
    assert world.files()["record/f.mp4"]["lost_on"] == "2026-03-01"


def test_confirm_all_holds_for_a_file_that_failed_and_is_retried(world: World) -> None:
    world.keep("1d")
    world.send("f1", vendor=Vendor.WANGSU, age=2 * DAY)
    world.sandbox.fail_file("f1", "AccessDenied", times=1)
    world.sweep()
    assert world.state("f1") == "failed"
    world.service = replace(world.service, sweeper=replace(world.service.sweeper, confirm_all=True))
    world.sweep()
    retry_files(world.database, [1], TESTER, world.clock())
    world.sweep()
    assert (world.state("f1"), world.stored(Vendor.WANGSU)) == ("unconfirmed", {"f1"})


def test_a_full_listing_and_one_since_a_moment_do_not_disturb_each_other(world: World) -> None:
    world.add(1, vendor=Vendor.HUAWEI)
    world.sandbox.next(answer_code(8))
    assert world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]["state"] == "incomplete"
    since = world.reconcile(Vendor.HUAWEI, since=world.clock() - DAY)[Vendor.HUAWEI]
    assert (since["id"], since["state"]) == (2, "complete")
    assert world.reconcile(Vendor.HUAWEI)[Vendor.HUAWEI]["id"] == 3
