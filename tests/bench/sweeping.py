"""The sweep beside ZEGO's limit: very many due files, and a sandbox, in its own process, that answers after 200 ms."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from service.database import Database
from service.files.store import count_by_state
from service.model import FileState, Vendor
from service.sandbox.storage import StoredFile
from tests.bench import house
from tests.bench.figures import Figure
from tests.bench.inventory import file_id, fill
from tests.faults import FaultySandbox
from tests.world import APP, CALLBACK_SECRET, SERVER_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.house import Bench

LIMIT = 1_850.0
"""Files a second of one app: 18.5 calls of 100 files."""

_LATENCY_S = 0.2
_APPS = (APP, "987654321", "555555555")
_CONFIG = """
[[apps]]
app_id = "{app_id}"
server_secret = "{secret}"
callback_secrets = ["{callback_secret}"]
api_url = "{url}"
"""


@dataclass(slots=True)
class Seen:
    """What the sandbox saw: how long calls came, from the first to the last answer, and the most in any second."""

    calls: int
    seconds: float
    most_in_a_second: int
    left: int
    by_app: dict[str, float]


def measure_sweep(bench: Bench) -> None:
    """One app, then three side by side."""
    add = partial(Figure, "sweep", bench.kind)
    rates: dict[int, float] = {}
    by_app: dict[str, float] = {}
    for apps in (_APPS[:1], _APPS):
        count = bench.pick(10_000, 100_000 if len(apps) == 1 else 150_000)
        seen, cores, wrong = _sweep(bench, count, apps)
        rates[len(apps)], by_app = count / seen.seconds, seen.by_app
        named = "one app" if len(apps) == 1 else "three apps"
        bench.report.add(
            add(f"{named}: files/s", rates[len(apps)], "/s", LIMIT * len(apps), "ZEGO's pace", at_least=0.95),
            add(f"{named}: most calls in a second, per app", seen.most_in_a_second, at_most=20),
            add(f"{named}: CPU of the worker", cores, "cores", at_most=1.0 if len(apps) == 1 else None),
            add(f"{named}: files not deleted", wrong + seen.left, at_most=0, note=f"{seen.calls} calls"),
        )
    slowest, quickest = max(by_app.values()), min(by_app.values())
    bench.report.add(
        add("three apps beside one: files/s", rates[3], "/s", rates[1], "one app", at_least=2.5),
        add("three apps: the last to end", slowest, "s", quickest, "s: the first"),
    )


def _sweep(bench: Bench, count: int, apps: tuple[str, ...]) -> tuple[Seen, float, int]:
    """Let a worker delete `count` due files; what the sandbox saw, the worker's cores, and files in another state."""
    url = bench.make_database()
    fill(url, count, apps, all_due=True)
    more = {"SWEEP_EVERY": "15m", "BREAKER_FILES": "10000000", "BREAKER_SHARE": "1"}
    with _running_sandbox(count, apps) as (sandbox, api_url):
        config = bench.folder / "apps.toml"
        config.write_text("".join(_describe(app, api_url) for app in apps[1:]), encoding="utf-8")
        variables = house.settings(url, 1, API_URL=api_url, CONFIG=str(config), **more)
        with house.running(["service", "worker"], variables) as pid:
            started, idle = time.monotonic(), house.cpu_seconds(pid)
            database = Database(url)
            while _count_states(database).get(FileState.DELETED, 0) < count:
                time.sleep(1)
                if time.monotonic() - started > 60 + 3 * count / LIMIT:
                    break
            used = house.cpu_seconds(pid) - idle
        wrong = count - _count_states(database).get(FileState.DELETED, 0)
        database.dispose()
        text, _ = sandbox.communicate("\n", timeout=60)
    bench.drop(url)
    seen = Seen(**json.loads(text))
    return seen, used / seen.seconds, wrong


def _count_states(database: Database) -> dict[FileState, int]:
    with database.read() as tx:
        return count_by_state(tx)


def _describe(app_id: str, url: str) -> str:
    return _CONFIG.format(app_id=app_id, secret=SERVER_SECRET, callback_secret=CALLBACK_SECRET, url=url)


@contextmanager
def _running_sandbox(count: int, apps: tuple[str, ...]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    arguments = [sys.executable, "-m", "tests.bench.sweeping", str(count), *apps]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=house.ROOT)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def main(count: int, apps: list[str]) -> None:
    """The sandbox's process: prints its URL, and what it saw once a line is written to it."""
    sandbox = FaultySandbox(dict.fromkeys(apps, SERVER_SECRET), lambda: datetime.now(UTC), latency_s=_LATENCY_S)
    for place, app_id in enumerate(apps):
        numbers = (number for number in range(1, count + 1) if number % len(apps) == place)
        sandbox.add_files(app_id, Vendor.TENCENT, (StoredFile(file_id(n), datetime.now(UTC)) for n in numbers))
    with sandbox:
        print(sandbox.url, flush=True)
        sys.stdin.readline()
        deleting = [call for call in sandbox.calls if call.action == "DeleteMedia"]  # (first it asks ZEGO for the time)
        ticks = {app_id: [call.tick for call in deleting if call.app_id == app_id] for app_id in apps}
        by_app = {app_id: (max(of_app) - min(of_app) + _LATENCY_S) for app_id, of_app in ticks.items()}
        every = [tick for of_app in ticks.values() for tick in of_app]
        left = sum(len(sandbox.files(app_id, Vendor.TENCENT)) for app_id in apps)
        seconds, most = max(every) - min(every) + _LATENCY_S, sandbox.max_calls_in_any_second()
        print(json.dumps(asdict(Seen(len(every), seconds, most, left, by_app))))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
