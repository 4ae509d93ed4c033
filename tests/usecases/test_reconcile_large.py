"""Large accounts: what a reconcile finds, and in how few calls; callbacks that get lost, repeated and out of order."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.core.model import Vendor
from service.usecases.calling import App
from service.usecases.listing_reports import count_lost_callbacks
from service.zego.sandbox import StoredFile
from tests.world import APP

if TYPE_CHECKING:
    from datetime import datetime

    from service.zego.sandbox import Call
    from tests.world import World

DAY = timedelta(days=1)
PAGE = 1_000


def tencent_files(now: datetime, chance: random.Random) -> tuple[list[StoredFile], datetime]:
    """30,000 files of two years: 12,000 of them in one hour, 6,000 of these in one second (given as well)."""
    hour = (now - 200 * DAY).replace(microsecond=0)
    crowded = hour + timedelta(minutes=30)
    made = [now - timedelta(seconds=chance.randint(60, 730 * 86_400)) for _ in range(18_000)]
    made += [hour + timedelta(seconds=chance.choice([*range(1_800), *range(1_802, 3_600)])) for _ in range(6_000)]
    made += [crowded] * 6_000
    files = [
        StoredFile(f"52858907842{number:08}", at, 1_000 + number, name=f"room-{chance.randint(1, 4_000)}")
        for number, at in enumerate(made)
    ]
    return files, crowded


def looks_into(call: Call, second: datetime) -> bool:
    """A call about the crowded second, or about the one before it, whose window may hold both."""
    asked = dict(part.split("=", 1) for part in call.page.split("&"))
    start, end = int(asked["StartTime"]), int(asked["EndTime"])
    return end - start <= 1 and second.timestamp() - 1 <= start <= second.timestamp()


def test_a_large_account_is_listed_exactly_with_few_calls(world: World) -> None:
    chance, now = random.Random(7), world.clock()
    files, crowded = tencent_files(now, chance)
    world.sandbox.add_files(APP, Vendor.TENCENT, files)
    for vendor in (Vendor.WANGSU, Vendor.HUAWEI):
        world.sandbox.add_files(
            APP,
            vendor,
            (
                StoredFile(f"record/{vendor}/{number:06}.mp4", now - timedelta(minutes=number + 1), number)
                for number in range(25_000)
            ),
        )
    found = world.reconcile()
    assert {listing["state"] for listing in found.values()} == {"complete"}
    inventory = world.facts("vendor", "file_id", "size_bytes", "vendor_created_at")
    stored = {
        (vendor, file.file_id, file.size_bytes, file.created_at.replace(microsecond=0))
        for vendor in Vendor
        for file in world.sandbox.files(APP, vendor).values()
    }
    assert inventory == stored
    assert [found[vendor]["adopted"] for vendor in Vendor] == [30_000, 25_000, 25_000]
    for vendor in (Vendor.WANGSU, Vendor.HUAWEI):
        assert found[vendor]["calls"] == math.ceil(25_000 / PAGE)
    calls = [call for call in world.sandbox.calls if call.vendor == Vendor.TENCENT]
    needed = [call for call in calls if not looks_into(call, crowded)]
    assert len(needed) <= 1.5 * math.ceil(24_000 / PAGE), (len(needed), len(calls))


@pytest.mark.parametrize("seed", range(2))
def test_every_lost_callback_is_counted_and_none_is_invented(world: World, seed: int) -> None:
    chance = random.Random(seed)
    world.keep("900d")
    world.send("the-first")
    world.clock.move(hours=2)
    deliveries, lost = [], set()
    for number in range(240):
        vendor = chance.choice(list(Vendor))
        made = world.clock() - timedelta(minutes=chance.randint(1, 110))
        world.sandbox.add_file(APP, vendor, f"f{number:03}", created_at=made, stream_id=f"room-{number % 7}")
        if chance.random() < 0.1:
            lost.add(f"f{number:03}")
        else:
            times = chance.choice([1, 1, 1, 2, 3])
            deliveries += [(f"f{number:03}", vendor, world.clock() - made, number % 7)] * times
    chance.shuffle(deliveries)
    for file_id, vendor, age, room in deliveries:
        world.send(file_id, vendor=vendor, age=age, stream=f"room-{room}", stored=False)
    world.clock.move(hours=1)
    removed = set()
    for vendor in Vendor:
        for file_id in sorted(world.stored(vendor)):
            if chance.random() < 0.05 and file_id != "the-first":
                world.sandbox.remove_file(APP, vendor, file_id)
                removed.add(file_id)
    found = world.reconcile()
    assert {listing["state"] for listing in found.values()} == {"complete"}
    files = world.files()
    alive = {file_id for file_id, file in files.items() if file["state"] not in ("gone", "deleted")}
    assert alive == {file_id for vendor in Vendor for file_id in world.stored(vendor)}
    assert {file_id for file_id, file in files.items() if file["state"] == "gone"} == removed - lost
    world.clock.move(minutes=5)
    assert {file_id for file_id, file in files.items() if file["lost_on"]} == lost - removed
    assert sum(each["count"] for each in count_lost_callbacks(world.database, world.clock())) == len(lost - removed)


def test_a_second_that_names_do_not_tell_apart_is_named_and_its_known_streams_are_listed(world: World) -> None:
    made = world.clock() - DAY
    streams = ["room-1", "room-2"]
    world.sandbox.calls_per_second = 1_000_000
    world.sandbox.add_files(
        APP,
        Vendor.TENCENT,
        (StoredFile(f"f{number:05}", made, stream_id=streams[number % 2], name="课" * 10) for number in range(5_600)),
    )
    for number, stream in enumerate(streams):
        world.send(f"known-{number}", stream=stream)
    service = world.service
    apps = {APP: App(service.clients[APP], service.clients[APP], 100_000)}
    world.service = replace(service, reconciler=replace(service.reconciler, apps=apps))
    found = world.reconcile(Vendor.TENCENT)[Vendor.TENCENT]
    assert (found["state"], found["adopted"], found["gone"]) == ("incomplete", 5_600, 0)
    assert "more than 5,000 files were made in the second 2026-02-28T12:00:00Z" in found["note"]
