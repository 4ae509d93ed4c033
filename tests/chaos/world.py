"""One world of a run: a database, a sandbox, the service, the load, and whoever does harm; then the judge."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from service.audit.order import RUN_REQUESTS, OrderState
from service.audit.store import list_orders
from service.callbacks.spool import Spool
from service.callbacks.store import count_pending
from service.database import Database, DatabaseUnavailable
from service.files.store import list_in_range
from service.leader.store import find_leader
from service.sweep.store import list_attempts
from tests.chaos.databases import open_victim
from tests.chaos.fleet import Fleet, Member
from tests.chaos.load import Sender, make_load
from tests.chaos.people import TOKEN, People
from tests.chaos.schedule import POSTGRESQL, SQLITE, Track, make_schedule
from tests.chaos.witness import REST, Evidence, Kind, WrongClock, describe_file, find_unfinished, judge
from tests.chaos.zego import Zego
from tests.faults import FaultySandbox
from tests.world import APP, SERVER_SECRET, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.databases import Victim
    from tests.chaos.schedule import Blow
    from tests.chaos.witness import Problem

DAY_S: Final = 86_400

_PORTS: Final = {SQLITE: 20_000, POSTGRESQL: 24_000}  # of their own: both worlds may look at the same moment
_EVERYTHING: Final = 10_000_000
_EXCUSE_S: Final = 30.0
_INSIST_S: Final = 20.0
"""For how long a person tries to have an order answered."""
_LOG_LINES: Final = 60
_MAX_EXPLAINED: Final = 12


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is. The windows of rules are so short that much is deleted while things go wrong."""

    rate: float
    burst: int
    windows: dict[str, timedelta | None]
    shorter: dict[str, timedelta | None]
    cooling_off_s: int
    lease_s: int
    reconcile_s: int
    breaker_files: int
    max_settling_s: int


def _windows(soon_s: int, rest_s: int) -> dict[str, timedelta | None]:
    return {
        "keep": None,
        "day": timedelta(hours=12),
        "soon": timedelta(seconds=soon_s),
        REST: timedelta(seconds=rest_s),
    }


SHORT: Final = Scale(4, 60, _windows(2, 10), _windows(2, 4), 3, 3, 10, 50, 90)
LONG: Final = Scale(8, 250, _windows(5, 60), _windows(5, 15), 20, 6, 45, 200, 240)


@dataclass
class Result:
    """What a run did to whom, and what came of it."""

    database: str
    schedule: Sequence[Blow]
    dealt: Counter[str]
    figures: dict[str, object]
    problems: Sequence[Problem]
    more: str = ""


@dataclass
class World:
    """What is at hand during a run."""

    database: str
    victim: Victim
    zego: Zego
    fleet: Fleet
    sender: Sender
    people: People
    spool: Path
    wrong_clock: list[WrongClock] = field(default_factory=list)
    dealt: Counter[str] = field(default_factory=Counter)
    settling_s: float = 0.0

    def strike(self, blow: Blow) -> None:
        """Do one thing to the machine, and take it back when its time is over."""
        if blow.kind == "kill web":
            self._kill("web")
        elif blow.kind == "kill leader":
            member = self._find_leader()
            self.fleet.kill(member) if member else None
        elif blow.kind == "suspend leader":
            member = self._find_leader()
            self.fleet.suspend(member, blow.lasts) if member else None
        elif blow.kind == "stop the database":
            self._excuse(blow)
            self.victim.stop(blow.lasts, blow.arguments["how"])
        elif blow.kind == "hold the database":
            self._excuse(blow)
            self.victim.hold(blow.lasts)
        elif blow.kind == "fill the disk":
            self._fill(blow)
        else:
            self._set_clock(DAY_S if blow.kind == "clock a day ahead" else -DAY_S, blow.lasts)

    def _kill(self, command: str) -> None:
        running = self.fleet.list_running(command)
        if running:
            self.fleet.kill(running[int(time.monotonic() * 1000) % len(running)])

    def _find_leader(self) -> Member | None:
        """The worker that leads; any one where that cannot be seen."""
        running = self.fleet.list_running("worker")
        database = Database(self.victim.url)
        try:
            with database.read() as tx:
                row = find_leader(tx)
        except (DatabaseUnavailable, SQLAlchemyError):
            row = None
        finally:
            database.dispose()
        leading = [each for each in running if row and each.process and each.process.pid == row.pid]
        return next(iter([*leading, *running]), None)

    def _fill(self, blow: Blow) -> None:
        self._excuse(blow)
        if self.database == SQLITE or blow.arguments["spool"]:
            self.fleet.limit_files(blow.arguments["leaves_bytes"])
        try:
            self.victim.fill(blow.lasts)
        finally:
            self.fleet.limit_files(None)

    def _set_clock(self, offset_s: int, seconds: float) -> None:
        began = datetime.now(UTC)
        self.fleet.set_clock(offset_s)
        try:
            time.sleep(seconds)
        finally:
            self.fleet.set_clock(0)
            self.wrong_clock.append(WrongClock(began, datetime.now(UTC), timedelta(seconds=offset_s)))

    def _excuse(self, blow: Blow) -> None:
        self.fleet.excuse(blow.lasts + _EXCUSE_S)

    def gather(self) -> Evidence:
        """What is known by now."""
        database = Database(self.victim.url)
        try:
            with database.read() as tx:
                files = list_in_range(tx, 0, _EVERYTHING)
                attempts = list_attempts(tx)
                pending = count_pending(tx)
                orders = list_orders(tx, 0, _EVERYTHING)
            spooled = Spool(database, self.spool, 10**9).describe_waiting()
        finally:
            database.dispose()
        names = {file.id: file.file_id for file in files}
        by_file = defaultdict(list)
        for each in attempts:
            by_file[names[each.media_file_id]].append(each)
        # (A request for a run may have expired by a wrong clock: whoever asked is told so, and asks again.)
        open_orders = [
            f"order {order.number} ({order.kind}) is not applied: {order.failure or 'it waits'}"
            for order in orders
            if order.state is not OrderState.APPLIED and not (order.failure and order.kind in RUN_REQUESTS)
        ]
        return Evidence(
            recordings=dict(self.sender.recordings),
            removals=self.zego.list_removals(),
            asked=self.zego.count_asked(),
            stored=self.zego.list_stored(),
            files={file.file_id: file for file in files},
            attempts=by_file,
            holds=list(self.people.holds),
            rules=list(self.people.rules),
            confirmed=dict(self.people.confirmed),
            wrong_clock=list(self.wrong_clock),
            now=datetime.now(UTC),
            pending=pending,
            spooled=spooled,
            unapplied=open_orders,
            ended_by_themselves=list(self.fleet.ended),
        )


def run(seed: int, seconds: int, database: str) -> Result:
    """Everything, from an empty database to the verdict; whatever happens, nothing is left of it."""
    scale = SHORT if seconds < 300 else LONG
    schedule = make_schedule(seed, seconds, database)
    with ExitStack() as stack:
        # Short, as sockets have to fit into a path.
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        world = _build(stack, seed, seconds, database, scale, folder)
        try:
            world.fleet.wait_until_ready()
            world.people.begin()
            _do_everything(world, schedule)
            settled_at = _settle(world, scale)
        except BaseException:
            print(world.fleet.read_logs(_LOG_LINES), file=sys.stderr)
            raise
        world.fleet.stop()
        evidence = world.gather()
        evidence.chain_fault = _verify_audit(world)
        evidence.now = settled_at
        problems = judge(evidence)
        figures = _count(world, evidence)
        more = _explain(world, evidence, problems) if problems else ""
        return Result(database, schedule, world.dealt, figures, problems, more)


def _build(stack: ExitStack, seed: int, seconds: int, database: str, scale: Scale, folder: Path) -> World:
    sandbox = stack.enter_context(FaultySandbox({APP: SERVER_SECRET}, lambda: datetime.now(UTC)))
    victim = stack.enter_context(open_victim(database, folder))
    settings = {
        "ADMIN_TOKEN": TOKEN,
        "SPOOL_DIR": str(folder / "spool"),
        "LOG_FORMAT": "json",
        "SWEEP_EVERY": "2s",
        "RETRY_FIRST": "1s",
        "RETRY_LAST": "5s",
        "COOLING_OFF": f"{scale.cooling_off_s}s",
        "CLAIM_LEASE": f"{scale.lease_s}s",
        "RECONCILE_EVERY": f"{scale.reconcile_s}s",
        "BREAKER_FILES": str(scale.breaker_files),
        "BREAKER_SHARE": "1",
    }
    members = [
        Member(
            f"web-{number}", "web", environment(victim.url, sandbox.url, LISTEN=f"127.0.0.1:{port}", **settings), port
        )
        for number, port in enumerate(_find_ports(database, 1 if database == SQLITE else 2), 1)
    ]
    members += [
        Member(f"worker-{number}", "worker", environment(victim.url, sandbox.url, **settings))
        for number in range(1, 2 if database == SQLITE else 3)
    ]
    fleet = stack.enter_context(Fleet(members, folder))
    zego = Zego(sandbox, random.Random(f"zego {seed}"))
    sender = Sender(make_load(seed, seconds, scale.rate, scale.burst), fleet.ports, sandbox)
    cooling_off = timedelta(seconds=scale.cooling_off_s)
    people = People(
        fleet.ports, scale.windows, scale.shorter, cooling_off, lambda file_id: _may_confirm(sender, file_id)
    )
    return World(database, victim, zego, fleet, sender, people, folder / "spool")


def _may_confirm(sender: Sender, file_id: str) -> bool:
    """Whether people know that a recording is as announced: of one in conflict they do not."""
    recording = sender.recordings.get(file_id)
    if recording is None or recording.kind is Kind.CONFLICT:
        return False
    return recording.kind is not Kind.STALE or int(file_id.removesuffix(".mp4")[-2:]) % 2 == 0


def _find_ports(database: str, count: int) -> list[int]:
    """Free ports below those of outgoing connections: nobody may take one while its process is started again."""
    first = _PORTS[database]
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(first, first + 4_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports[:count]


def _do_everything(world: World, schedule: Sequence[Blow]) -> None:
    """The load, and each track of what is done, side by side; returns when all have come to their end."""
    works: dict[Track, Callable[[Blow], object]] = {
        Track.MACHINE: world.strike,
        Track.ZEGO: lambda blow: _deal(world.zego, blow),
        Track.PEOPLE: lambda blow: world.people.act(blow.kind, blow.arguments),
    }
    threads = [threading.Thread(target=world.sender.run, name="load", daemon=True)]
    began = time.monotonic()
    for track, work in works.items():
        blows = [blow for blow in schedule if blow.track is track]
        threads.append(threading.Thread(target=_follow, args=(world, blows, work, began), name=track, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _follow(world: World, blows: Sequence[Blow], work: Callable[[Blow], object], began: float) -> None:
    for blow in blows:
        time.sleep(max(0.0, began + blow.at - time.monotonic()))
        try:
            while work(blow) is False and time.monotonic() < began + blow.at + _INSIST_S:
                time.sleep(1)
            world.dealt[blow.kind] += 1
        except Exception as error:  # noqa: BLE001  (the run goes on; it is reported as a fault of the harness)
            world.fleet.ended.append(f"the harness could not do {blow.kind}: {error!r}")


def _deal(zego: Zego, blow: Blow) -> None:
    zego.begin(blow.kind, blow.arguments)
    time.sleep(blow.lasts)
    zego.end()


def _settle(world: World, scale: Scale) -> datetime:
    """Nothing goes wrong any more: wait until all is done that can be; the moment by which that was looked at."""
    world.zego.end_all()
    began = time.monotonic()
    world.people.finish(scale.max_settling_s)
    while True:
        world.people.look_after()
        evidence = world.gather()
        world.settling_s = time.monotonic() - began
        if world.settling_s > scale.max_settling_s or not find_unfinished(evidence):
            return evidence.now
        time.sleep(1)


def _explain(world: World, evidence: Evidence, problems: Sequence[Problem]) -> str:
    """What a person needs to find out what happened."""
    lines = [f"promise: {each}" for each in (*world.people.holds, *world.people.rules)]
    lines += [
        f"wrong clock, {ahead} ahead, from {since:%T.%f} to {until:%T.%f}" for since, until, ahead in world.wrong_clock
    ]
    files = dict.fromkeys(each.file_id for each in problems if each.file_id is not None)
    for file_id in list(files)[:_MAX_EXPLAINED]:
        lines += describe_file(evidence, file_id)
    return "\n".join([*lines, world.fleet.read_logs(_LOG_LINES)])


def _verify_audit(world: World) -> str | None:
    """What `audit verify` says against it."""
    variables = dict(world.fleet.members[0].variables)
    command = [sys.executable, "-m", "service", "audit", "verify"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr


def _count(world: World, evidence: Evidence) -> dict[str, object]:
    recordings = evidence.recordings.values()
    states = Counter(file.state.value for file in evidence.files.values())
    outcomes = Counter(str(each.outcome) for found in evidence.attempts.values() for each in found)
    return {
        "recordings announced": len(recordings),
        "answered 2xx": sum(each.find_answered() is not None for each in recordings),
        "requests by status": dict(sorted(world.sender.statuses.items())),
        "deleted at the sandbox": len(evidence.removals),
        "still there": len(evidence.stored),
        "files by state": dict(sorted(states.items())),
        "attempts by outcome": dict(sorted(outcomes.items())),
        "calls of the sandbox": len(world.zego.sandbox.calls),
        "started again": dict(sorted(world.fleet.restarts.items())),
        "wait for longer because the clock ran ahead": sum(map(evidence.waits_by_wrong_clock, evidence.files.values())),
        "orders of people": dict(sorted(world.people.done.items())),
        "seconds until all was done": round(world.settling_s, 1),
    }
