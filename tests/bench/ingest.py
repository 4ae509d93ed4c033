"""Taking callbacks: throughput and latency beside a peer and beside a bare server, and what happens under stress."""

from __future__ import annotations

import http.client
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import psycopg

from tests.bench import house
from tests.bench.figures import Figure
from tests.bench.load import Load, Result, build_request, read_result, send, sending
from tests.processes import wait_until
from tests.world import CALLBACK_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.house import Bench

_ROUNDS = 3
_MANY = 64


@dataclass(slots=True)
class _Server:
    """A server under load, in rounds; all that it answered with 200 has to be found afterwards."""

    pid: int
    port: int
    count: int
    connections: int = 32
    first: int = 0
    results: list[Result] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def load(self) -> None:
        before = house.cpu_seconds(self.pid)
        first = self.first + self.count * len(self.results)
        self.results.append(send(Load(self.port, self.count, self.connections, first)))
        self.cpu_us.append((house.cpu_seconds(self.pid) - before) / self.count * 1e6)

    def middle(self, name: str) -> float:
        return float(median(getattr(result, name) for result in self.results))

    def count_stored(self) -> int:
        return sum(result.stored for result in self.results)


def measure_ingest(bench: Bench) -> None:
    """Ours and the peer in turn; ours and ours without a database, when both have all they can do; the median of three.

    Over 32 connections, as the peer takes them, ours waits for the disk most of the time: all 32 for the same commit.
    """
    url, peer_url, floor_url = bench.make_database(), bench.make_database(is_migrated=False), bench.make_database()
    port, peer_port, floor_port = (house.find_port() for _ in range(3))
    count, peer_count, floor_count = (bench.pick(*each) for each in ((6_000, 20_000), (2_000, 6_000), (8_000, 30_000)))
    with ExitStack() as stack:
        start = stack.enter_context
        pid = start(house.running(["service", "web"], house.settings(url, port), port))
        ours, busy = _Server(pid, port, count), _Server(pid, port, count, _MANY, 5 * 10**6)
        peer = _Server(start(_running_peer(peer_url, peer_port)), peer_port, peer_count)
        bare = house.running(["tests.bench.bare", str(floor_port)], house.settings(floor_url, 1), floor_port)
        floor = _Server(start(bare), floor_port, floor_count, _MANY)
        for server in (ours, peer, floor):
            send(Load(server.port, 500, first=10**7))
        for _ in range(_ROUNDS):
            for server in (ours, peer, busy, floor):
                server.load()
    add = partial(Figure, "ingest", bench.kind)
    at_least, at_most = (4.0, 0.1) if bench.kind == "sqlite" else (2.0, None)
    rate, stored = peer.middle("per_second"), ours.count_stored() + busy.count_stored()
    missing = stored + 500 - house.count_rows(url, "callbacks")
    peer_missing = peer.count_stored() + 500 - house.count_rows(peer_url, "peer_recordings")
    busiest = max(result.cpu for server in (ours, peer, busy, floor) for result in server.results)
    busy_rate, floor_rate = busy.middle("per_second"), floor.middle("per_second")
    bench.report.add(
        add("callbacks/s", ours.middle("per_second"), "/s", rate, "peer", at_least=at_least),
        add("callbacks/s, 64 connections", busy_rate, "/s", floor_rate, "ours, storing nothing", at_least=0.5),
        add("CPU of a callback", min(ours.cpu_us), "µs", min(peer.cpu_us), "peer"),
        add("p50", ours.middle("p50_ms"), "ms", peer.middle("p50_ms"), "peer"),
        add("p99", ours.middle("p99_ms"), "ms", peer.middle("p99_ms"), "peer", at_most=at_most),
        add("answered 200 and not in the store", missing, at_most=0, note=f"the peer: {peer_missing}"),
        add("not answered 200", 2 * count * _ROUNDS - stored, at_most=0),
        add("CPU of the load generator", busiest, "cores", note="the busiest round"),
    )
    _measure_serve(bench, url, rate, peer.middle("p99_ms"))
    for each in (url, peer_url, floor_url):
        bench.drop(each)


def _measure_serve(bench: Bench, url: str, rate: float, peer_p99: float) -> None:
    """With a leader that understands what comes: latency at the peer's own rate, and how far the inventory lags."""
    port, count = house.find_port(), bench.pick(5_000, 20_000)
    add = partial(Figure, "ingest", bench.kind)
    with house.running(["service", "serve"], house.settings(url, port, KEEP="30d"), port):
        house.wait_for_rows(url, "media_files", house.count_rows(url, "callbacks"))
        slow = send(Load(port, round(rate * bench.pick(5, 15)), first=2 * 10**7, rate=rate))
        before = house.count_rows(url, "callbacks")
        house.wait_for_rows(url, "media_files", before)
        fast = send(Load(port, count, first=3 * 10**7))
        lag = house.wait_for_rows(url, "media_files", before + fast.stored) - fast.ended
    bench.report.add(
        add("p99 at the peer's rate, with serve", slow.p99_ms, "ms", peer_p99, "peer", at_most=1.0),
        add("callbacks/s, with serve", fast.per_second, "/s", rate, "peer"),
        add(f"{count:,} callbacks: all in the inventory after", lag, "s", at_most=10),
        add("not answered 200, with serve", count - fast.stored, at_most=0),
    )


def measure_burst(bench: Bench) -> None:
    """Many connections at once, a database that is held by others, and clients that never finish what they send."""
    url, port = bench.make_database(), house.find_port()
    count, held_s = bench.pick(5_000, 20_000), bench.pick(12, 30)
    add = partial(Figure, "burst", bench.kind)
    with house.running(["service", "serve"], house.settings(url, port, KEEP="30d"), port):
        with _probing(port) as seen:
            burst = send(Load(port, count, connections=200))
        missing = burst.stored - house.count_rows(url, "callbacks")
        bench.report.add(
            add(f"{count:,} over 200 connections: not answered 200", count - burst.stored, at_most=0),
            add("answered 200 and not in the store", missing, at_most=0),
            add("callbacks/s", burst.per_second, "/s", note=f"p99 {burst.p99_ms:.0f} ms"),
            add("/healthz meanwhile, longest", max(seen), "s", at_most=1),
        )
        house.wait_for_rows(url, "media_files", count)
        waiting = Load(port, 40 * held_s, connections=200, first=10**7, rate=40)
        with _probing(port) as seen, sending(waiting) as sent:
            time.sleep(3)
            with _holding(bench.kind, url):
                time.sleep(held_s)
            result = read_result(sent)
        with suppress(AssertionError):  # (the spool holds what came meanwhile)
            wait_until(lambda: house.count_rows(url, "callbacks") >= count + result.stored, 30)
        missing = count + result.stored - house.count_rows(url, "callbacks")
        bench.report.add(
            add(f"database held for {held_s} s: /healthz, longest", max(seen), "s", at_most=1),
            add("answered 200 and not in the store", max(missing, 0), at_most=0, note=f"{result.statuses}"),
        )
        with _half_sent(port, 500):
            result = send(Load(port, 500, first=2 * 10**7))
        bench.report.add(
            add("500 half-sent requests: others not answered 200", 500 - result.stored, at_most=0),
            add("p99 of the others", result.p99_ms, "ms"),
        )
    bench.drop(url)


@contextmanager
def _running_peer(url: str, port: int) -> Iterator[int]:
    variables = {"PEER_DATABASE_URL": url, "PEER_SECRET": CALLBACK_SECRET, "PYTHONPATH": str(house.ROOT)}
    make = "from tests.bench.peer import Base, engine; Base.metadata.create_all(engine)"
    subprocess.run([sys.executable, "-c", make], env=variables, check=True)
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "16", "--log-level", "warning"]
    arguments = ["gunicorn", *options, "--bind", f"127.0.0.1:{port}", "tests.bench.peer:app"]
    with house.running(arguments, variables, port) as pid:
        yield pid


@contextmanager
def _probing(port: int) -> Iterator[list[float]]:
    """Ask for /healthz again and again; how long each answer took. No answer within 30 s counts as 30 s."""
    seen, is_over = [0.0], threading.Event()

    def probe() -> None:
        while not is_over.wait(0.05):
            started = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/healthz")
                is_well = connection.getresponse().status == 200
            except OSError:
                is_well = False
            connection.close()
            seen.append(time.monotonic() - started if is_well else 30.0)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


@contextmanager
def _holding(kind: str, url: str) -> Iterator[None]:
    """Hold what callbacks need, as another process of a careless person would."""
    if kind == "postgresql":
        with psycopg.connect(house.plain_url(url)) as connection:
            connection.execute("LOCK TABLE callbacks IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()
        return
    file = sqlite3.connect(house.sqlite_path(url), isolation_level=None, timeout=30)
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        file.execute("ROLLBACK")
        file.close()


@contextmanager
def _half_sent(port: int, count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            with suppress(OSError):
                connection.sendall(build_request(number, datetime.now(UTC))[:400])
        yield
