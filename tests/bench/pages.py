"""Every page of the console at 10,000 files and at a million; and callbacks while people click through all of them."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING

import psycopg

from service.database import Database
from service.model import Actor, Role
from service.people.people import add_person
from service.settings import load_settings
from service.web.app import create_app
from tests.bench import house
from tests.bench.figures import Figure
from tests.bench.inventory import fill
from tests.bench.load import Load, Result, read_result, sending
from tests.bench.people import People, beside, read_seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

    from tests.bench.house import Bench

_TOKEN = "the-admin-token-of-the-benchmark-0123456789"
_SMALL, _MILLION, _TIMES = 10_000, 1_000_000, 30
_RATE, _ROUNDS, _PERSON = 100, 3, "li.wei"
_PAGES = (
    "/",
    "/files",
    "/files?state=scheduled",
    "/files?state=failed",
    "/files?state=held",
    "/files?text=nowhere",
    "/files?stream=room-1*&adopted=true",
    "/files?rule=everything",
    "/files/{last}",
    "/rules",
    "/rules/edit",
    "/holds",
    "/runs",
    "/runs/1",
    "/callbacks",
    "/callbacks?verdict=forged",
    "/callbacks/{last}",
    "/listings",
    "/audit",
    "/apps",
    "/people",
    "/report",
)
_LAID_OUT = """
UPDATE media_files SET state = 'deleted' WHERE id % 10 = 3;
UPDATE media_files SET state = 'held' WHERE id % 150 = 1;
UPDATE media_files SET state = 'failed' WHERE id % 150 = 2;
INSERT INTO runs (id, trigger, state, started_at, finished_at, worker, calls, deleted, freed_s, freed_bytes)
SELECT 1 + id / 150, 'schedule', 'done', min(received_at), max(received_at), 'w', 1, count(*) / 10,
    sum(duration_s) / 10, sum(size_bytes) / 10
FROM media_files GROUP BY 1 + id / 150;
INSERT INTO calls (id, run_id, app_id, vendor, opened_at)
SELECT 1 + id / 150, 1 + id / 150, app_id, vendor, min(received_at)
FROM media_files GROUP BY 1 + id / 150, app_id, vendor;
INSERT INTO attempts (id, call_id, run_id, media_file_id, opened_at, revision, reason, outcome, charged, ended_at)
SELECT id, 1 + id / 150, 1 + id / 150, id, received_at, 1, 'old', 'deleted', true, received_at
FROM media_files WHERE id % 10 = 3;
INSERT INTO callbacks (id, app_id, event, signature, content_hash, received_at, verdict, reason, repeats, media_file_id,
    content_type)
SELECT id, app_id, 'record', CAST(id AS text), 'd', received_at, 'accepted', '', 0, id, 'application/json'
FROM media_files;
INSERT INTO audit_entries (number, at, actor, through, action, subject, detail, hash)
SELECT 1000 + id / 100, received_at, 'li.wei', 'console', 'file.confirm', 'file ' || id, '{}', 'not a hash'
FROM media_files WHERE id % 100 = 0;
UPDATE audit_head SET number = (SELECT max(number) FROM audit_entries);
UPDATE leader SET applied = (SELECT number FROM audit_head)
"""


def measure_pages(bench: Bench) -> None:
    """The p95 of 30 views of each page, once the figures are counted, at few files and at many in turn.

    The report sums up what was deleted in its period, so it takes time with that.
    """
    sys.setswitchinterval(0.0001)  # as the server does: figures are counted beside the pages
    counts, found = (_SMALL, bench.pick(100_000, _MILLION)), dict[str, list[list[float]]]()
    with ExitStack() as stack:
        clients = [stack.enter_context(_showing(bench, count)) for count in counts]
        for page in _PAGES:
            looks = [
                partial(_look, client, page.format(last=count - 7))
                for client, count in zip(clients, counts, strict=True)
            ]
            for look in looks:
                look()
            found[page] = [[*each] for each in zip(*([look() for look in looks] for _ in range(_TIMES)), strict=True)]
    for page, (few, many) in found.items():
        note = f"median {median(many):.1f} ms; at few files {median(few):.1f} ms"
        beside = (quantiles(few, n=20)[-1], f"ms: at {_SMALL:,} files")
        at_most = None if page == "/report" else 2.0
        p95 = quantiles(many, n=20)[-1]
        bench.report.add(Figure("pages", bench.kind, f"p95 of {page}", p95, "ms", *beside, at_most=at_most, note=note))


def measure_clicking(bench: Bench) -> None:
    """Callbacks at a steady rate: alone, while ten people click through all pages, while a crowd signs in; in turn."""
    count, seconds, port = bench.pick(20_000, 200_000), bench.pick(10, 30), house.find_port()
    url = fill_in_proportion(bench, count)
    database = Database(url)
    add_person(database, _PERSON, Role.ADMIN, _TOKEN, Actor("a benchmark", "a benchmark"), datetime.now(UTC))
    database.dispose()
    pages = tuple(page.format(last=count - 7) for page in _PAGES)
    crowds = {
        "": None,
        "ten people click": People(port, "", _TOKEN, seconds + 3, pages=pages),
        "100 sign-ins in 10 s": People(port, _PERSON, _TOKEN, seconds + 3, sign_ins=10 * (seconds + 3)),
    }
    found: dict[str, list[Result]] = {name: [] for name in crowds}
    seen: dict[str, dict[str, float]] = {}
    first = 10_000
    with house.running(["service", "serve"], house.settings(url, port, ADMIN_TOKEN=_TOKEN), port):
        for _ in range(bench.pick(1, _ROUNDS)):
            for name, people in crowds.items():
                with nullcontext() if people is None else beside(people) as crowd:
                    time.sleep(2)  # they sign in, and what pages count in the background begins
                    with sending(Load(port, _RATE * seconds, first=first, rate=_RATE)) as sent:
                        found[name].append(read_result(sent))
                    if crowd is not None:
                        seen[name] = read_seen(crowd)
                first += _RATE * seconds
    add, idle = partial(Figure, "clicking", bench.kind), median(each.p99_ms for each in found.pop(""))
    for name, results in found.items():
        p99, answers = median(each.p99_ms for each in results), seen[name]
        note = "{answers:.0f} answers, p95 {p95_ms:.0f} ms, {failed:.0f} others".format(**answers)
        lost = _RATE * seconds * len(results) - sum(each.stored for each in results)
        bench.report.add(
            add(f"p99 of callbacks while {name}", p99, "ms", idle, "ms: idle", at_most=2.0, note=note),
            add(f"not answered 200 while {name}", lost, at_most=0),
        )
    bench.drop(url)


def fill_in_proportion(bench: Bench, count: int) -> str:
    """A database with so many files, and runs, attempts and callbacks in proportion."""
    url = bench.make_database()
    fill(url, count)
    database = Database(url)
    with database.write() as tx:
        for statement in _LAID_OUT.split(";"):
            tx.exec_driver_sql(statement if database.is_sqlite else statement.replace("%", "%%"))
    if not database.is_sqlite:
        with psycopg.connect(house.plain_url(url), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            for table in ("callbacks", "runs", "calls", "attempts"):  # their rows were numbered by hand
                connection.execute(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")  # noqa: S608
    database.dispose()
    return url


@contextmanager
def _showing(bench: Bench, count: int) -> Iterator[FlaskClient]:
    """A browser that has signed in to the console on so many files, once its figures are there."""
    url = fill_in_proportion(bench, count)
    app = create_app(load_settings(house.settings(url, 1, ADMIN_TOKEN=_TOKEN)))
    client = app.test_client()
    client.post("/sign-in", data={"name": "", "password": _TOKEN})
    began = time.monotonic()
    while "being counted" in client.get("/").text:
        time.sleep(1)
    print(f"{bench.kind}: the figures of {count:,} files were there after {time.monotonic() - began:.1f} s")
    yield client
    app.extensions["zego-retention"].close()
    bench.drop(url)


def _look(client: FlaskClient, page: str) -> float:
    """How many milliseconds a view takes."""
    began = time.monotonic()
    answer = client.get(page)
    took = 1000 * (time.monotonic() - began)
    if answer.status_code != 200:
        raise RuntimeError(f"{page} is answered {answer.status_code}")
    return took
