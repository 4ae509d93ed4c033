"""Measures a preview over a large inventory on SQLite and PostgreSQL, beside two plain counts over the same table.

Not a test. From the project's folder: `python -m tests.measure_preview [FILES] [ROUNDS] [sqlite|postgresql]`.
Needs about 1 GB below the temporary folder, which it gives back; talks to nothing but its own databases.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import text

from service.core.rules_file import format_rules, parse_rules
from service.db import revisions
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.usecases.policy import Candidate
from service.usecases.previewing import make_preview
from tests.conftest import start_postgres
from tests.world import TESTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAMS = 40_000
NOW = datetime(2026, 3, 1, tzinfo=UTC)
COUNTS = {
    "count by app, vendor, event, stream": (
        "SELECT app_id, vendor, event, stream_id, count(*) FROM media_files GROUP BY app_id, vendor, event, stream_id"
    ),
    "count by state": "SELECT state, count(*) FROM media_files GROUP BY state",
    # What applying does under its lock, before it looks at the streams that it finds.
    "look for what was decided lately": (
        "SELECT DISTINCT app_id, stream_id FROM media_files WHERE decided_at > '2100-01-01' LIMIT 5001"
    ),
}
KINDS = ("trial", "lesson", "exam", "room", "demo", "show", "team", "hall", "class", "other")


def write_rules(shift: int) -> str:
    """Twelve rules: nine on streams, one on sizes, one on durations, one that keeps the newest."""
    rules = [
        (f"{kind} streams", f'stream = "{kind}-*"', f"{10 * place + shift}d", "")
        for place, kind in enumerate(KINDS[:8], 1)
    ]
    rules.append(("classes", 'stream = ["class-*-a*", "class-*"]', f"{70 + shift}d", "keep_latest = 2"))
    rules.append(("huge", 'vendor = "Huawei", min_size = "1GB"', f"{5 + shift}d", ""))
    rules.append(("short", 'event = "record", max_duration = "10m"', f"{8 + shift}d", ""))
    rules.append(("rest", "", f"{60 + shift}d", ""))
    texts = []
    for name, match, keep, more in rules:
        lines = ["[[rules]]", f'name = "{name}"', f'keep = "{keep}"', f"match = {{ {match} }}" if match else "", more]
        texts.append("\n".join(line for line in lines if line))
    return "\n\n".join(texts)


def fill(database: Database, count: int) -> None:
    """Put rules in force, and files into an empty inventory, as callbacks leave them: decided under revision 1."""
    upgrade_database(database)
    first = format_rules(parse_rules(write_rules(1)))
    with database.write() as session:
        revisions.add_revision(session, revisions.Revision(1, NOW, "x", "x", "x", first))
        session.execute(text(_insert_files(count, is_sqlite=database.is_sqlite)))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE media_files"))


def _insert_files(count: int, *, is_sqlite: bool) -> str:
    """The statement that makes files up where they are stored: sending a million rows would take minutes."""

    def ago(seconds: str) -> str:
        if is_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%S', '2026-03-01', '-' || ({seconds}) || ' seconds') || '.000000'"
        return f"timestamptz '2026-03-01 00:00:00+00' - ({seconds}) * interval '1 second'"

    kinds = " ".join(f"WHEN {place} THEN '{kind}'" for place, kind in enumerate(KINDS))
    identity = "printf('%032d', n)" if is_sqlite else "lpad(n::text, 32, '0')"
    columns = {
        "app_id": "CASE stream % 2 WHEN 0 THEN '1234567890' ELSE '987654321' END",
        "vendor": "CASE stream % 3 WHEN 0 THEN 'Tencent' WHEN 1 THEN 'Ws' ELSE 'Huawei' END",
        "file_id": identity,
        "stream_id": f"CASE stream % 10 {kinds} END || '-' || (10000000 + stream)",
        "event": "CASE stream % 7 WHEN 0 THEN 'compose' ELSE 'record' END",
        "began_at": ago("age + 3600"),
        "ended_at": ago("age"),
        "received_at": ago("age"),
        "duration_s": "(n * 31) % 5400 + 0.5",
        "size_bytes": "CASE stream % 3 WHEN 2 THEN (n * 1299709) % 3000000000 END",
        "replay_url": f"'https://example.com/' || {identity}",
        "state": "'scheduled'",
        "state_reason": "'rule \"rest\" keeps it for 61d'",
        "rule": "'rest'",
        "due_at": ago("age - 61 * 86400"),
        "revision": "1",
        "decided_at": ago("age"),
        "attempts": "0",
    }
    series = (
        f"(WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count}) "  # noqa: S608
        "SELECT n FROM series)"
        if is_sqlite
        else f"(SELECT n::bigint FROM generate_series(1, {count}) AS n)"  # noqa: S608
    )
    drawn = f"(SELECT n, (n * 7919) % {STREAMS} AS stream, (n * 104729) % {120 * 86_400} AS age FROM {series} AS s)"  # noqa: S608
    return f"INSERT INTO media_files ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {drawn} AS d"  # noqa: S608


def measure(database: Database, rounds: int) -> None:
    """Take turns, so that whatever else the machine does falls on all of them alike."""
    candidate = Candidate(parse_rules(write_rules(-2)), "x")
    tasks: dict[str, Callable[[], object]] = {
        "preview": partial(make_preview, database, candidate, TESTER, timedelta(days=1), NOW)
    }
    tasks |= {name: partial(_run, database, query) for name, query in COUNTS.items()}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started)
    for name, taken in times.items():
        ratios = [ours / theirs for ours, theirs in zip(times["preview"], taken, strict=True)]
        print(
            f"{name:40} min {min(taken):7.3f} s  median {statistics.median(taken):7.3f} s  the preview takes "
            f"{min(times['preview']) / min(taken):.1f} times as long (minima), {statistics.median(ratios):.1f} (median)"
        )


def _run(database: Database, query: str) -> int:
    with database.read() as session:
        return len(session.execute(text(query)).all())


@contextmanager
def open_database(kind: str) -> Iterator[Database]:
    """A fresh database of a kind, which goes at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        if kind == "sqlite":
            database = Database(f"sqlite:///{folder}/measure.db")
            yield database
            database.dispose()
            return
        data = Path(tempfile.gettempdir()) / f"measure-{uuid.uuid4().hex[:12]}"
        server = start_postgres(data, Path(folder))
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE measure")
            database = Database(server.get_uri("measure", driver="psycopg"))
            yield database
            database.dispose()
        finally:
            server.cleanup()


def main(files: str = "1000000", rounds: str = "5", *kinds: str) -> None:
    for kind in kinds or ("sqlite", "postgresql"):
        with open_database(kind) as database:
            started = time.perf_counter()
            fill(database, int(files))
            print(f"{kind}: {int(files):,} files, written in {time.perf_counter() - started:.0f} s")
            measure(database, int(rounds))


if __name__ == "__main__":
    main(*sys.argv[1:])
