"""What reads the whole inventory, beside callbacks at a steady rate: forecasts of many viewers, and Prometheus."""

from __future__ import annotations

import http.client
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from statistics import median
from threading import Event, Thread
from typing import TYPE_CHECKING

from service.audit.tokens import make_token
from service.database import Database
from service.model import Actor, Role
from tests.bench import house
from tests.bench.figures import Figure
from tests.bench.inventory import fill
from tests.bench.load import Load, read_result, send, sending
from tests.bench.pages import fill_in_proportion
from tests.bench.people import People, beside, read_seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.house import Bench

_RATE = 50
_ASKERS = 16
_SCRAPE_EVERY_S = 6  # ten a minute


def measure_forecasts(bench: Bench) -> None:
    """Callbacks, alone and while sixteen viewers ask for the forecast, again as soon as it is answered."""
    count, seconds, port, url = 100_000, bench.pick(20, 90), house.find_port(), bench.make_database()
    fill(url, count)
    database, actor = Database(url), Actor("a benchmark", "a benchmark")
    _, token = make_token(database, "a viewer", Role.VIEWER, None, actor, datetime.now(UTC))
    database.dispose()
    viewers = People(port, "", "", seconds + 3, people=_ASKERS, pages=("/api/v1/forecast",), think_s=0, token=token)
    with house.running(["service", "serve"], house.settings(url, port), port):
        idle = send(Load(port, _RATE * seconds, first=10_000, rate=_RATE))
        with beside(viewers) as asking, sending(Load(port, _RATE * seconds, first=100_000, rate=_RATE)) as sent:
            busy, seen = read_result(sent), read_seen(asking)
    add, name = partial(Figure, "forecasts", bench.kind), f"{_ASKERS} forecasts of {count:,} files at once"
    idly = f"idle {idle.p99_ms:.0f} and {idle.max_ms:.0f} ms"
    note = "{answers:.0f} answers, p95 {p95_ms:.0f} ms, {failed:.0f} others".format(**seen)
    bench.report.add(
        add(f"p99, above idle, while {name}", busy.p99_ms - idle.p99_ms, "ms", note=idly, at_most=100),
        add("longest callback meanwhile", busy.max_ms, "ms", note=note, at_most=1000),
        add("callbacks not answered 200", 2 * _RATE * seconds - busy.stored - idle.stored, at_most=0),
    )
    bench.drop(url)


def measure_scrapes(bench: Bench) -> None:
    """Scrapes of `/metrics`, ten a minute: how long each takes, and callbacks beside them."""
    count, seconds, port = bench.pick(100_000, 1_000_000), bench.pick(20, 60), house.find_port()
    url = fill_in_proportion(bench, count)
    first = 10 * count
    with house.running(["service", "serve"], house.settings(url, port), port):
        idle, once = send(Load(port, _RATE * seconds, first=first, rate=_RATE)), _scrape(port)
        with _scraping(port) as times:
            busy = send(Load(port, _RATE * seconds, first=2 * first, rate=_RATE))
    add, note = partial(Figure, "scrapes", bench.kind), f"{len(times)} of them, median {median(times):.0f} ms"
    idly = f"idle {idle.p99_ms:.0f} and {idle.max_ms:.0f} ms"
    bench.report.add(
        add("first scrape of a process", once, "ms", note="it waits until all is counted"),
        add(f"longest scrape of {count:,} files", max(times), "ms", note=note, at_most=300),
        add("p99 of callbacks meanwhile, above idle", busy.p99_ms - idle.p99_ms, "ms", note=idly, at_most=100),
        add("longest callback meanwhile", busy.max_ms, "ms", at_most=1000),
        add("callbacks not answered 200", 2 * _RATE * seconds - busy.stored - idle.stored, at_most=0),
    )
    bench.drop(url)


@contextmanager
def _scraping(port: int) -> Iterator[list[float]]:
    """Scrape every few seconds, as Prometheus does; milliseconds of each."""
    over, times = Event(), list[float]()

    def scrape() -> None:
        while not over.wait(_SCRAPE_EVERY_S):
            times.append(_scrape(port))

    thread = Thread(target=scrape)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def _scrape(port: int) -> float:
    """How many milliseconds one takes; endless, if figures are missing."""
    connection, began = http.client.HTTPConnection("127.0.0.1", port, timeout=60), time.monotonic()
    connection.request("GET", "/metrics")
    is_whole = b"zego_retention_files{" in connection.getresponse().read()
    connection.close()
    return 1000 * (time.monotonic() - began) if is_whole else float("inf")
