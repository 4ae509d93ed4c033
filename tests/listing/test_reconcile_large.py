"""Large accounts, lost and repeated callbacks, killed processes: the inventory equals what the vendors store."""

from __future__ import annotations

import math
import random
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.database import Database
from service.files.store import list_in_range
from service.listing.store import list_listings
from service.model import FileState, Vendor
from service.sandbox import Sandbox
from service.sandbox.storage import StoredFile, newest_first
from service.settings import load_settings
from service.wiring import Service
from tests.children import Blow, Step, Steps, be_silent, start_child
from tests.faults import shuffled
from tests.world import APP, SERVER_SECRET, START, Clock, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from service.sandbox.storage import Order
    from tests.world import World

DAY = timedelta(days=1)
SMALL = {Vendor.TENCENT: 6_000, Vendor.HUAWEI: 1_000, Vendor.WANGSU: 1_500}
LARGE = {Vendor.TENCENT: 30_000, Vendor.HUAWEI: 25_000, Vendor.WANGSU: 25_000}


def make_files(vendor: Vendor, count: int, chance: random.Random) -> list[StoredFile]:
    """Files of two years; of Tencent, 40 % in one hour."""
    hour = START - 200 * DAY
    found = []
    for number in range(count):
        at = START - timedelta(seconds=chance.randint(600, 730 * 86_400))
        if vendor is Vendor.TENCENT and number % 5 < 2:
            at = hour + timedelta(seconds=chance.randrange(3_600))
        file_id = f"5285890784{number:09}" if vendor is Vendor.TENCENT else f"record/{vendor}/{number:06}.mp4"
        found.append(StoredFile(file_id, at, 1_000 + number, f"room-{number % 400}"))
    return found


def read_inventory(world: World) -> set[tuple[Any, ...]]:
    """What is there as far as is known."""
    ended = (FileState.GONE, FileState.DELETED)
    files = [file for file in world.files().values() if file.state not in ended]
    return {(file.vendor, file.file_id, file.size_bytes, file.vendor_created_at) for file in files}


def read_sandbox(sandbox: Sandbox) -> set[tuple[Any, ...]]:
    """What is there."""
    return {
        (vendor, file.file_id, file.size_bytes, file.created_at)
        for vendor in Vendor
        for file in sandbox.files(APP, vendor).values()
    }


@pytest.mark.parametrize(
    ("counts", "order"),
    [(SMALL, shuffled), pytest.param(LARGE, newest_first, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_after_lost_and_repeated_callbacks_the_inventory_equals_what_is_stored(
    world: World, counts: dict[Vendor, int], order: Order
) -> None:
    world.keep("900d")
    world.sandbox.listing_order = order
    chance = random.Random(7)
    files = {vendor: make_files(vendor, count, chance) for vendor, count in counts.items()}
    for vendor, found in files.items():
        world.sandbox.add_files(APP, vendor, found)
    recent = [(vendor, file) for vendor, found in files.items() for file in chance.sample(found, 100)]
    heard = [each for each in recent if chance.random() >= 0.1]  # one of ten callbacks is lost
    heard += chance.sample(heard, 50)  # and some come twice
    chance.shuffle(heard)
    for vendor, file in heard:
        facts: dict[str, Any] = {
            "vendor": vendor,
            "stream": file.stream_id,
            "size_bytes": file.size_bytes,
            "stored": False,
        }
        world.announce(file.file_id, age=START - file.created_at, **facts)
    world.catch_up()
    world.reconcile()
    assert read_inventory(world) == read_sandbox(world.sandbox)
    with world.database.read() as tx:
        records = {each.vendor: each for each in list_listings(tx)}
    announced = {file.file_id for _, file in heard}
    assert sum(each.adopted for each in records.values()) == sum(counts.values()) - len(announced)
    assert {name for name, file in world.files().items() if file.event} == announced
    for vendor, found in files.items():
        assert (records[vendor].listed, records[vendor].state) == (len(found), "complete")
        least = math.ceil(len(found) / (4_999 if vendor is Vendor.TENCENT else 1_000))
        assert records[vendor].calls <= least * (2 if vendor is Vendor.TENCENT else 1), records[vendor].calls
    removed = [(vendor, file.file_id) for vendor, found in files.items() for file in chance.sample(found, 50)]
    for vendor, file_id in removed:
        world.sandbox.remove_file(APP, vendor, file_id)
    for _ in range(2):
        world.clock.move(hours=2)
        world.reconcile()
    assert read_inventory(world) == read_sandbox(world.sandbox)
    assert {file.file_id for file in world.files().values() if file.state is FileState.GONE} == {
        file_id for _, file_id in removed
    }


# Killed


@dataclass
class Fixed:
    """A clock that stands still, in whatever process."""

    time: datetime

    def __call__(self) -> datetime:
        return self.time


def reconcile_once(report: Connection, database_url: str, api_url: str, at: datetime, blow: Blow | None) -> None:
    """Lead, and read all listings of the app; reports how many commits that took."""
    be_silent()
    steps = Steps(blow)
    steps.watch()
    settings = load_settings(environment(database_url, api_url))
    service = Service(settings, now=Fixed(at), sleep=lambda _: None, calls_per_second=2_000)
    assert service.leader.try_to_lead()
    service.take_over()
    for vendor in Vendor:
        service.reconciler.run(APP, vendor, threading.Event())
    report.send(steps.counts[Step.COMMIT])
    service.close()


@pytest.fixture
def sandbox() -> Iterator[tuple[Sandbox, Clock]]:
    clock = Clock()
    with Sandbox({APP: SERVER_SECRET}, clock, calls_per_second=1_000_000) as opened:
        yield opened, clock


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_killed_at_any_commit_it_starts_over_and_counts_once(
    database_url: str, sandbox: tuple[Sandbox, Clock], kills: int
) -> None:
    chance, (zego, clock) = random.Random(kills), sandbox
    for vendor in Vendor:
        zego.add_files(APP, vendor, make_files(vendor, 1_500, chance))

    def reconcile(blow: Blow | None = None) -> int | None:
        child = start_child(reconcile_once, database_url, zego.url, clock(), blow)
        code = child.wait()
        assert (code == 0) or blow is not None
        commits: int | None = child.receive()
        return commits

    for _ in range(kills):
        assert reconcile(Blow(chance.choice([Step.COMMIT, Step.COMMITTED]), chance.randint(3, 25))) is None
    assert reconcile() is not None
    removed = {(vendor, file_id) for vendor in Vendor for file_id in chance.sample(sorted(zego.files(APP, vendor)), 60)}
    for vendor, file_id in removed:
        zego.remove_file(APP, vendor, file_id)
    clock.move(hours=2)
    commits = reconcile()
    assert commits is not None
    for _ in range(kills):
        clock.move(hours=2)
        reconcile(Blow(chance.choice([Step.COMMIT, Step.COMMITTED]), chance.randint(3, commits)))
    clock.move(hours=2)
    assert reconcile() is not None
    database = Database(database_url)
    with database.read() as tx:
        files = list_in_range(tx, 0, 10_000)
        records = list_listings(tx)
    database.dispose()
    assert len(files) == 4_500
    assert {(file.vendor, file.file_id) for file in files if file.state is FileState.GONE} == removed
    assert sum(each.adopted for each in records) == 4_500
    assert sum(each.gone for each in records) == len(removed)
    assert {each.state for each in records} <= {"complete", "interrupted"}
