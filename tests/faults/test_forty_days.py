"""Forty days of callbacks and sweeps on a clock that is set by hand, beside a reckoning that knows only arithmetic."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from service.core.model import Vendor
from service.usecases.inventory import confirm_files
from tests.faults.reckoning import AFTER, BEFORE, DAY, LARGE, RULES, SMALL, Reckoning, Recording
from tests.faults.scene import Scene, open_scene
from tests.world import START, TESTER

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 40
CHANGE_ON = 20
STREAMS = ("trial-1", "lesson-1", "cam-1", "soon-1", "late-1", "hall-1", "hall-2")
QUIET = (("quiet-1", 20, LARGE), ("quiet-2", 20, LARGE), ("cam-2", 35, LARGE), ("cam-2", 10, SMALL))
"""Old recordings of streams in which little or nothing follows: the newest that is not small stays."""


class Sender:
    """Plays ZEGO for forty days: announces recordings, some of them badly, and tells the reckoning what it did."""

    def __init__(self, scene: Scene, reckoning: Reckoning) -> None:
        self.world = scene.world
        self.reckoning = reckoning
        self.random = Random(7)
        self.taken: set[tuple[str, int]] = set()
        self.sent: list[tuple[Recording, dict[str, Any]]] = []
        self.did: Counter[str] = Counter()

    def act(self) -> None:
        """Send one callback, or a few that belong together, of a kind chosen at random."""
        acts = (
            (self.announce, 9),
            (self.announce_two_formats, 1),
            (self.announce_stale, 1),
            (self.announce_conflict, 1),
            (self.announce_without_size, 1),
            (self.send_again, 2),
            (self.send_a_later_end, 2),
            (self.send_the_size, 1),
            (self.send_fresh_what_was_stale, 1),
            (self.confirm_one, 1),
        )
        act = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        self.did[act.__name__] += bool(act())

    def announce(self) -> bool:
        return self._send(self._record())

    def announce_two_formats(self) -> bool:
        first = self._record(vendor=Vendor.TENCENT)
        second = Recording(f"{first.file_id}-hls", Vendor.WANGSU, first.stream, first.began, first.ended)
        return self._send(first) and self._send(second)

    def announce_stale(self) -> bool:
        file = self._record()
        file.doubt = "stale"
        return self._send(file, now=self.world.clock() - timedelta(hours=1))

    def announce_conflict(self) -> bool:
        nonce = str(500_000 + len(self.reckoning.files))
        for file in (self._record(), self._record()):
            file.doubt = "conflict"
            self._send(file, nonce=nonce)
        return True

    def announce_without_size(self) -> bool:
        file = self._record(stream="cam-1", vendor=Vendor.HUAWEI)
        file.size = None
        return self._send(file)

    def send_again(self) -> bool:
        """The very same callback once more, whatever has become of its file."""
        file, options = self.random.choice(self.sent[-50:])
        assert self._deliver(file, options).detail.startswith("a repeat")
        return True

    def send_a_later_end(self) -> bool:
        """Another callback about a known file: the later end counts, even where the callback itself is stale."""
        known = [file for file in self.reckoning.files.values() if not file.gone and file.doubt is None]
        if not known:
            return False
        file = self.random.choice(known)
        late = self.random.random() < 0.5
        file.ended = max(file.ended, file.began + timedelta(minutes=80))
        self._deliver(file, {"now": self.world.clock() - timedelta(hours=late)} | _facts(file))
        return True

    def send_the_size(self) -> bool:
        """A fact that was missing becomes known."""
        for file in self.reckoning.files.values():
            if file.vendor is Vendor.HUAWEI and file.size is None and not file.doubt:
                file.size = SMALL
                self._deliver(file, _facts(file))
                return True
        return False

    def send_fresh_what_was_stale(self) -> bool:
        for file in self.reckoning.files.values():
            if file.doubt == "stale":
                file.doubt = None
                self._deliver(file, _facts(file))
                return True
        return False

    def confirm_one(self) -> bool:
        doubted = [file for file in self.reckoning.files.values() if file.doubt]
        if not doubted:
            return False
        file = self.random.choice(doubted)
        confirm_files(self.world.database, [self.world.files()[file.file_id]["id"]], TESTER, self.world.clock())
        file.doubt = None
        return True

    def announce_old(self, stream: str, days: int, size: int = LARGE) -> None:
        """A recording of a stream that is silent for the rest of the time."""
        began = self.world.clock() - days * DAY
        file_id = f"{stream}/{days}"
        self._send(Recording(file_id, Vendor.HUAWEI, stream, began, began + timedelta(hours=1), size))

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
        file_id = f"{stream}/{len(self.taken)}"
        return Recording(file_id, vendor, stream, began, began + timedelta(hours=1), size)

    def _send(self, file: Recording, **options: Any) -> bool:
        self.reckoning.files[file.file_id] = file
        options = {"now": self.world.clock()} | _facts(file) | options
        self.world.nonces += 1
        options.setdefault("nonce", str(self.world.nonces))
        self.world.sandbox.add_file("1234567890", file.vendor, file.file_id, stream_id=file.stream)
        self._deliver(file, options)
        self.sent.append((file, {"ended": file.ended} | options))
        return True

    def _deliver(self, file: Recording, options: dict[str, Any]) -> Any:
        ended = options.get("ended", file.ended)
        rest = {name: value for name, value in options.items() if name != "ended"}
        return self.world.send(
            file.file_id,
            age=self.world.clock() - ended,
            stored=False,
            vendor=file.vendor,
            stream=file.stream,
            began=file.began,
            **rest,
        )


def _facts(file: Recording) -> dict[str, Any]:
    """What a callback says of a file's size: only Huawei's has one, and it may be missing there too."""
    if file.vendor is not Vendor.HUAWEI:
        return {}
    if file.size is None:
        return {"extra_params": {"ObsObject": file.file_id, "Duration": 3600}}
    return {"size_bytes": file.size}


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with open_scene(database_url) as scene:
        yield scene


def assert_reality_fits(scene: Scene, reckoning: Reckoning) -> None:
    stored = scene.stored_now()
    must_be_there = {file_id for file_id, file in reckoning.files.items() if not file.gone}
    assert stored - must_be_there == set(), "not deleted"
    assert must_be_there - stored == set(), "deleted"
    files = scene.world.files()
    assert set(files) == set(reckoning.files)
    for file_id, file in reckoning.files.items():
        assert files[file_id]["state"] in reckoning.state(file, scene.world.clock()), (file, files[file_id])


@pytest.mark.timeout(300)
def test_forty_days_delete_what_was_due_and_nothing_else(scene: Scene) -> None:
    reckoning = Reckoning()
    sender = Sender(scene, reckoning)
    clock = scene.world.clock
    scene.world.apply(RULES.format(**BEFORE))
    for stream, days, size in QUIET:
        sender.announce_old(stream, days, size)
    protected = set()
    for hour in range(DAYS * 24):
        if hour == CHANGE_ON * 24:
            scene.world.apply(RULES.format(**AFTER))
            reckoning.days = dict(AFTER)
            sender.announce_old("quiet-2", 1)
        if hour % 2:
            sender.act()
        if hour % 6 == 0:
            scene.sweep()
            reckoning.sweep(clock())
        if hour % 24 == 0:
            assert_reality_fits(scene, reckoning)
            protected |= {file.file_id for file in reckoning.files.values() if reckoning.is_protected(file, clock())}
        clock.move(hours=1)

    gone = Counter(file.why for file in reckoning.files.values() if file.gone)
    print(f"{len(reckoning.files)} files; gone {dict(gone)}; kept as the newest {len(protected)}; {dict(sender.did)}")
    assert min(gone[rule] for rule in ("trial", "small", "soon", "late", "rest")) >= 5
    assert len(gone) == 5
    assert protected == {"quiet-1/20", "quiet-2/20", "cam-2/35"}
    assert reckoning.files["quiet-2/20"].gone
    assert not reckoning.files["quiet-1/20"].gone
    assert len(sender.did) == 10
