"""Files in doubt: the sweep asks the vendor about them by itself just before they would go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor
from service.db.models import Trigger
from service.usecases.inventory import confirm_files
from service.zego.sandbox_faults import answer_code
from tests.world import APP, TESTER

if TYPE_CHECKING:
    from tests.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def searches(world: World) -> list[tuple[str, ...]]:
    return [call.file_ids for call in world.sandbox.calls if call.action == "SearchMedia"]


def doubt(world: World, file_id: str, *, vendor: Vendor = Vendor.TENCENT, age: timedelta = 2 * DAY) -> None:
    """A file whose callback was stale when it came."""
    world.send(file_id, vendor=vendor, age=age, now=world.clock() - HOUR)
    assert world.state(file_id) == "unconfirmed"


def confirm_all(world: World, *, switch: bool = True) -> None:
    """Change the CONFIRM setting of every process."""
    service = world.service
    world.service = replace(
        service,
        ingest=replace(service.ingest, confirm_all=switch),
        sweeper=replace(service.sweeper, confirm_all=switch),
    )


def test_the_sweep_asks_tencent_for_doubted_files_ten_at_a_time_and_deletes_them(world: World) -> None:
    world.keep("1d")
    for number in range(12):
        doubt(world, f"f{number:02}")
    doubt(world, "young", age=timedelta(0))
    world.sweep()
    assert [len(asked) for asked in searches(world)] == [10, 2]
    assert world.state("young") == "unconfirmed"
    file = world.files()["f00"]
    assert (file["state"], file["stream_id"], file["cooling_until"]) == ("scheduled", "", "2026-03-02T12:00:00Z")
    world.clock.move(hours=22, minutes=30)
    world.sweep()  # asks for the one that is due within an hour, too
    assert world.state("young") == "unconfirmed"
    world.clock.move(hours=1)
    world.sweep()
    assert world.state("young") == "scheduled"
    world.clock.move(hours=1)
    world.sweep()
    assert world.stored() == {"young"}


def test_what_the_vendor_does_not_show_stays_and_is_asked_for_again_after_six_hours(world: World) -> None:
    world.keep("1d")
    doubt(world, "f1")
    world.sandbox.remove_file(APP, Vendor.TENCENT, "f1")
    for hours in (0, 5, 2):
        world.clock.move(hours=hours)
        world.sweep()
        assert world.state("f1") == "unconfirmed"
    assert len(searches(world)) == 2


def test_the_vendor_s_time_counts_if_it_is_later(world: World) -> None:
    world.keep("1d")
    doubt(world, "f1")
    world.sandbox.remove_file(APP, Vendor.TENCENT, "f1")
    world.sandbox.add_file(APP, Vendor.TENCENT, "f1", created_at=world.clock() - HOUR)
    world.sweep()
    file = world.files()["f1"]
    assert (file["state"], file["due_at"]) == ("scheduled", "2026-03-02T11:00:00Z")
    assert world.stored() == {"f1"}


@pytest.mark.parametrize("code", [3, 7, 8, 100000007])
def test_a_zego_that_does_not_list_leaves_doubted_files_and_the_main_job_as_they_are(world: World, code: int) -> None:
    world.keep("1d")
    doubt(world, "doubted")
    world.send("believed", age=2 * DAY)
    world.sandbox.always(answer_code(code, action="SearchMedia"))
    world.sweep()
    assert world.states() == {"unconfirmed": ["doubted"], "deleted": ["believed"]}


def test_other_vendors_are_looked_up_in_the_last_complete_listing(world: World) -> None:
    world.keep("1d")
    doubt(world, "record/a.mp4", vendor=Vendor.HUAWEI)
    world.sweep()
    assert world.state("record/a.mp4") == "unconfirmed"
    world.send("record/b.mp4", vendor=Vendor.HUAWEI, nonce="555555", age=DAY / 2)
    world.reconcile(Vendor.HUAWEI)
    assert world.state("record/a.mp4") == "scheduled"
    # A conflict that arises after the listing: the file is known to be there, its stream is not believed any more.
    world.send("record/c.mp4", vendor=Vendor.HUAWEI, nonce="555555", stored=False)
    assert world.state("record/b.mp4") == "unconfirmed"
    calls = len(searches(world))
    world.clock.move(hours=13)
    world.sweep()
    assert len(searches(world)) == calls
    file = world.files()["record/b.mp4"]
    assert (file["state"], file["stream_id"]) == ("scheduled", "")
    assert world.state("record/c.mp4") == "unconfirmed"  # no listing has shown it
    world.clock.move(hours=25)
    world.sweep()
    assert world.state("record/b.mp4") == "deleted"


def test_with_confirm_all_every_file_waits_for_the_vendor(world: World) -> None:
    world.keep("1d")
    world.send("before", age=2 * DAY)
    confirm_all(world)
    world.send("f1", age=2 * DAY)
    world.send("f2", vendor=Vendor.WANGSU, age=2 * DAY)
    world.send("ghost", age=2 * DAY, stored=False)
    assert set(world.states()) == {"unconfirmed", "scheduled"}
    world.sweep()
    world.sweep()
    assert world.states() == {"deleted": ["before", "f1"], "unconfirmed": ["f2", "ghost"]}
    world.reconcile(Vendor.WANGSU)
    world.sweep()
    assert world.states() == {"deleted": ["before", "f1", "f2"], "unconfirmed": ["ghost"]}
    assert ("before", "f1", "ghost") in searches(world)


def test_confirm_all_lets_a_person_confirm_and_can_be_switched_off(world: World) -> None:
    confirm_all(world)
    world.keep("1d")
    for name in ("f1", "f2"):
        world.send(name, vendor=Vendor.HUAWEI, age=2 * DAY)
    doubt(world, "f3", vendor=Vendor.HUAWEI)
    confirm_files(world.database, [world.files()["f1"]["id"]], TESTER, world.clock())
    world.sweep()
    assert world.states() == {"deleted": ["f1"], "unconfirmed": ["f2", "f3"]}
    confirm_all(world, switch=False)
    world.sweep()
    assert world.states() == {"deleted": ["f1"], "scheduled": ["f2"], "unconfirmed": ["f3"]}
    confirm_all(world)  # one command had run without the setting: nothing has gone by that
    world.sweep()
    assert world.states() == {"deleted": ["f1"], "unconfirmed": ["f2", "f3"]}
    confirm_all(world, switch=False)
    world.sweep()
    world.clock.move(hours=24)
    world.sweep()
    assert world.states() == {"deleted": ["f1", "f2"], "unconfirmed": ["f3"]}


def test_confirm_all_holds_at_the_claim_whoever_took_the_callback_in(world: World) -> None:
    confirm_all(world)
    world.keep("1d")
    world.sweep()
    world.service = replace(world.service, ingest=replace(world.service.ingest, confirm_all=False))
    world.send("leaked", vendor=Vendor.HUAWEI, age=2 * DAY)
    assert world.state("leaked") == "scheduled"
    world.sweep()
    assert world.state("leaked") == "unconfirmed"


def test_a_retry_asks_nothing_of_the_listing(world: World) -> None:
    world.keep("1d")
    doubt(world, "f1")
    world.sweep(Trigger.RETRY)
    assert searches(world) == []
