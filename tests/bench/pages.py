"""Every page of the console at 10,000 files and at a million: server time of each, in one process."""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import TYPE_CHECKING

from service.database import Database
from service.settings import load_settings
from service.web.app import create_app
from tests.bench import house
from tests.bench.figures import Figure
from tests.bench.inventory import fill

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.bench.house import Bench

_TOKEN = "the-admin-token-of-the-benchmark-0123456789"
_SMALL, _MILLION, _TIMES = 10_000, 1_000_000, 30
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
UPDATE media_files SET state = 'held' WHERE id % 1000 = 1;
UPDATE media_files SET state = 'failed' WHERE id % 5000 = 2;
INSERT INTO runs (id, trigger, state, started_at, finished_at, worker)
SELECT 1 + id / 10000, 'schedule', 'done', min(received_at), max(received_at), 'w'
FROM media_files GROUP BY 1 + id / 10000;
INSERT INTO calls (id, run_id, app_id, vendor, opened_at)
SELECT id, 1 + id / 10000, app_id, vendor, received_at FROM media_files WHERE id % 1000 = 3;
INSERT INTO attempts (id, call_id, run_id, media_file_id, opened_at, revision, reason, outcome, charged, ended_at)
SELECT id, id - id % 1000 + 3, 1 + id / 10000, id, received_at, 1, 'old', 'deleted', true, received_at
FROM media_files WHERE id % 10 = 3;
INSERT INTO callbacks (id, app_id, event, signature, content_hash, received_at, verdict, reason, repeats, media_file_id,
    content_type)
SELECT id, app_id, 'record', CAST(id AS text), 'd', received_at, 'accepted', '', 0, id, 'application/json'
FROM media_files
"""


def measure_pages(bench: Bench) -> None:
    """The p95 of 30 views of each page, once the figures are counted; beside the same at few files."""
    found = {count: _measure(bench, count) for count in (_SMALL, bench.pick(100_000, _MILLION))}
    few, many = found.values()
    for page, (middle, most, first) in many.items():
        note = f"median {middle:.0f} ms, first {first:.0f} ms; at few files {few[page][0]:.0f}, {few[page][2]:.0f} ms"
        beside = (few[page][1], f"ms: at {_SMALL:,} files")
        bench.report.add(Figure("pages", bench.kind, f"p95 of {page}", most, "ms", *beside, at_most=2.0, note=note))


def _measure(bench: Bench, count: int) -> dict[str, tuple[float, float, float]]:
    url = bench.make_database()
    fill(url, count)
    database = Database(url)
    with database.write() as tx:
        for statement in _LAID_OUT.split(";"):
            tx.exec_driver_sql(statement if database.is_sqlite else statement.replace("%", "%%"))
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    database.dispose()
    app = create_app(load_settings(house.settings(url, 1, ADMIN_TOKEN=_TOKEN)))
    client = app.test_client()
    client.post("/sign-in", data={"name": "", "password": _TOKEN})
    began = time.monotonic()
    while "being counted" in client.get("/").text:
        time.sleep(1)
    print(f"{bench.kind}: the figures of {count:,} files were there after {time.monotonic() - began:.1f} s")
    measured = {page: _look(client, page.format(last=count - 7)) for page in _PAGES}
    app.extensions["zego-retention"].close()
    bench.drop(url)
    return measured


def _look(client: FlaskClient, page: str) -> tuple[float, float, float]:
    """Median, p95 and the first of some views, in milliseconds."""
    took = []
    for _ in range(_TIMES + 1):
        began = time.monotonic()
        answer = client.get(page)
        took.append(1000 * (time.monotonic() - began))
        if answer.status_code != 200:
            raise RuntimeError(f"{page} is answered {answer.status_code}")
    return median(took[1:]), quantiles(took[1:], n=20)[-1], took[0]
