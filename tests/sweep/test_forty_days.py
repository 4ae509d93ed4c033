"""Forty days of callbacks and sweeps on a clock that is set by hand: what was deleted, and what was not."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from service.files.actions import confirm_files
from service.model import Vendor
from service.sweep.records import Trigger
from tests.sweep.forty_days import AFTER, BEFORE, DAY, LARGE, RULES, SMALL, Arithmetic, Recording
from tests.world import APP, START, TESTER, World, open_world

STREAMS = ("trial-1", "lesson-1", "cam-1", "soon-1", "late-1", "hall-1", "hall-2")
SILENT = (("silent-1", 20, LARGE), ("silent-2", 20, LARGE), ("cam-2", 35, LARGE), ("cam-2", 10, SMALL))
"""Old recordings of streams in which little or nothing follows: the newest that is not small stays."""


class Sender:
    """Plays ZEGO: announces recordings, some of them badly, and does the arithmetic beside it."""

    def __init__(self, world: World, expected: Arithmetic) -> None:
        self.world, self.expected, self.random = world, expected, Random(7)
        self.taken: set[tuple[str, int]] = set()
        self.sent: list[tuple[Recording, dict[str, Any]]] = []
        self.did: Counter[str] = Counter()

    def act(self) -> None:
        """Send one callback, or a few that belong together, of a kind chosen at random."""
        acts = {
            self.announce: 9,
            self.announce_two_formats: 1,
            self.announce_stale: 1,
            self.announce_conflict: 1,
            self.announce_without_size: 1,
            self.send_again: 2,
            self.send_a_later_end: 2,
            self.send_the_size: 1,
            self.confirm_one: 1,
        }
        act = self.random.choices(list(acts), list(acts.values()))[0]
        self.did[act.__name__] += bool(act())

    def announce(self) -> bool:
        return self._send(self._record())

    def announce_two_formats(self) -> bool:
        first = self._record(vendor=Vendor.TENCENT)
        second = Recording(f"{first.file_id}-hls", Vendor.WANGSU, first.stream, first.began, first.ended)
        return self._send(first) and self._send(second)

    def announce_stale(self) -> bool:
        file = self._record()
        file.suspicion = "stale"
        return self._send(file, now=self.world.clock() - timedelta(hours=1))

    def announce_conflict(self) -> bool:
        nonce = str(500_000 + len(self.expected.files))
        for file in (self._record(), self._record()):
            file.suspicion = "conflict"
            self._send(file, nonce=nonce)
        return True

    def announce_without_size(self) -> bool:
        file = self._record(stream="cam-1", vendor=Vendor.HUAWEI)
        file.size = None
        return self._send(file)

    def send_again(self) -> bool:
        """The very same callback once more, whatever has become of its file."""
        self._deliver(*self.random.choice(self.sent[-50:]))
        return True

    def send_a_later_end(self) -> bool:
        """Another callback about a known file: the later end counts."""
        known = [file for file in self.expected.files.values() if not file.is_deleted and file.suspicion is None]
        if not known:
            return False
        file = self.random.choice(known)
        file.ended = max(file.ended, file.began + timedelta(minutes=80))
        self._deliver(file, {"now": self.world.clock()} | _facts(file))
        return True

    def send_the_size(self) -> bool:
        """A fact that was missing becomes known."""
        for file in self.expected.files.values():
            if file.vendor is Vendor.HUAWEI and file.size is None and not file.suspicion:
                file.size = SMALL
                self._deliver(file, _facts(file))
                return True
        return False

    def confirm_one(self) -> bool:
        suspected = [file for file in self.expected.files.values() if file.suspicion]
        if not suspected:
            return False
        file = self.random.choice(suspected)
        number = self.world.files()[file.file_id].id
        confirm_files(self.world.database, TESTER, [number], self.world.clock())
        self.world.catch_up()
        file.suspicion = None
        return True

    def announce_old(self, stream: str, days: int, size: int = LARGE) -> None:
        """A recording of a stream that is silent for the rest of the time."""
        began = self.world.clock() - days * DAY
        file = Recording(f"{stream}/{days}", Vendor.HUAWEI, stream, began, began + timedelta(hours=1), size)
        self._send(file)

    def _record(self, stream: str | None = None, vendor: Vendor | None = None) -> Recording:
        """An hour of recording at a time of its own within its stream, up to thirteen days ago."""
        now = self.world.clock()
        stream = stream or self.random.choice(STREAMS)
        vendor = vendor or self.random.choice(list(Vendor))
        slot = int((now - START) / timedelta(hours=2)) - self.random.choice((1, 1, 1, 30, 150))
        while (stream, slot) in self.taken:
            slot -= 1
        self.taken.add((stream, slot))
        began = START + slot * timedelta(hours=2)
        size = self.random.choice((SMALL, LARGE)) if vendor is Vendor.HUAWEI else None
        return Recording(f"{stream}/{len(self.taken)}", vendor, stream, began, began + timedelta(hours=1), size)

    def _send(self, file: Recording, **options: Any) -> bool:
        self.expected.files[file.file_id] = file
        self.world.nonces += 1
        options = {"now": self.world.clock(), "nonce": str(self.world.nonces)} | _facts(file) | options
        self.world.sandbox.add_file(APP, file.vendor, file.file_id, stream_id=file.stream)
        self._deliver(file, options)
        self.sent.append((file, {"ended": file.ended} | options))
        return True

    def _deliver(self, file: Recording, options: dict[str, Any]) -> None:
        rest = {name: value for name, value in options.items() if name != "ended"}
        age = self.world.clock() - options.get("ended", file.ended)
        place = {"vendor": file.vendor, "stream": file.stream, "began": file.began}
        self.world.send(file.file_id, age=age, stored=False, **place, **rest)


def _facts(file: Recording) -> dict[str, Any]:
    """What a callback says of a file's size: only Huawei's has one, and it may be missing there too."""
    if file.vendor is not Vendor.HUAWEI:
        return {}
    if file.size is None:
        seconds = (file.ended - file.began).total_seconds()
        return {"extra_params": {"ObsObject": file.file_id, "Duration": seconds}}
    return {"size_bytes": file.size}


def assert_reality_fits(world: World, expected: Arithmetic) -> None:
    stored = {file_id for vendor in Vendor for file_id in world.stored(vendor)}
    must_be_there = {file_id for file_id, file in expected.files.items() if not file.is_deleted}
    assert stored - must_be_there == set(), "not deleted"
    assert must_be_there - stored == set(), "deleted"
    files = world.files()
    assert set(files) == set(expected.files)
    for file_id, file in expected.files.items():
        assert files[file_id].state.value in expected.find_states(file, world.clock()), (file, files[file_id])


def live(world: World, days: int, change_on: int) -> tuple[Arithmetic, set[str], Counter[str]]:
    """Send, sweep and compare for so many days; what was expected, what was kept as the newest, what was sent."""
    expected = Arithmetic()
    sender = Sender(world, expected)
    kept: set[str] = set()
    world.apply(RULES.format(**BEFORE))
    for stream, age, size in SILENT:
        sender.announce_old(stream, age, size)
    for hour in range(days * 24):
        if hour == change_on * 24:
            world.apply(RULES.format(**AFTER))
            expected.days = dict(AFTER)
            sender.announce_old("silent-2", 1)
        if hour % 2:
            sender.act()
        if hour % 6 == 0:
            world.sweep(Trigger.SCHEDULE)
            expected.sweep(world.clock())
        if hour % 24 == 0:
            assert_reality_fits(world, expected)
            files = expected.files.values()
            kept |= {file.file_id for file in files if expected.is_kept_as_newest(file, world.clock())}
        world.clock.move(hours=1)
    return expected, kept, sender.did


def test_twelve_days_delete_what_was_due_and_nothing_else(sqlite_url: str) -> None:
    with open_world(sqlite_url) as world:
        expected, kept, _ = live(world, 12, 6)
    why = Counter(file.why for file in expected.files.values() if file.is_deleted)
    assert {"trial", "small", "soon", "late"} <= set(why)
    assert "cam-2/35" in kept


@pytest.mark.long
@pytest.mark.timeout(600)
def test_forty_days_delete_what_was_due_and_nothing_else(database_url: str) -> None:
    with open_world(database_url) as world:
        expected, kept, did = live(world, 40, 20)
    why = Counter(file.why for file in expected.files.values() if file.is_deleted)
    print(f"{len(expected.files)} files; deleted {dict(why)}; kept as the newest {len(kept)}; {dict(did)}")
    assert min(why[rule] for rule in ("trial", "small", "soon", "late", "rest")) >= 5
    assert kept == {"silent-1/20", "silent-2/20", "cam-2/35"}
    assert expected.files["silent-2/20"].is_deleted
    assert not expected.files["silent-1/20"].is_deleted
    assert len(did) == 9
