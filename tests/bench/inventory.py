"""Large inventories: changing rules, previews and lists, at 10,000 files and at very many."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import psycopg

from service.database import Database
from service.files.policy import PolicyReader
from service.files.store import MAX_LOOKED_AT, count_by_state, list_page
from service.filters import FileFilter
from service.leader.store import find_leader, lock_leader, set_progress
from service.model import Actor, FileState, MediaFile, Vendor
from service.preview.make import Candidate, make_preview
from service.rules.file import parse_rules
from service.rules.store import put_in_force
from service.sweep.claim_store import Due, list_due
from tests.bench import house
from tests.bench.figures import Figure
from tests.bench.load import Load, read_result, send, sending
from tests.world import APP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.database import Transaction
    from tests.bench.house import Bench

Look: TypeAlias = "Callable[[Transaction], object]"

_ACTOR = Actor("a benchmark", "a benchmark")
_KEEP = '[[rules]]\nname = "everything"\nkeep = "{days}d"\n'
_RATE = 50  # callbacks a second, while rules change
_MILLION = 1_000_000
CANDIDATE = """
[[rules]]
name = "trials"
match = { stream = "room-1*" }
keep = "7d"

[[rules]]
name = "lessons"
match = { stream = "room-2*", event = "record" }
keep = "20d"
keep_latest = 3

[[rules]]
name = "everything"
keep = "60d"
"""


def file_id(number: int) -> str:
    """As Tencent's look."""
    return str(5_285_890_784_000_000_000 + number)


def fill(url: str, count: int, apps: Sequence[str] = (APP,), *, all_due: bool = False) -> None:
    """Put files, decided under a rule that keeps them for 30 days, straight into the tables of a migrated database.

    They ended one after the other, within an hour, in the last 40 days (`all_due`: long ago); 20 share a stream.
    """
    now, database = datetime.now(UTC).replace(microsecond=0), Database(url)

    def prepare(tx: Transaction) -> None:
        lock_leader(tx)
        put_in_force(tx, _ACTOR, parse_rules(_KEEP.format(days=30)), "a benchmark", now, timedelta(0))
        set_progress(tx, decided_revision=1, walked_revision=1, applied=1)

    database.transact(prepare)
    database.dispose()
    rows = _make_rows(now, count, apps, all_due=all_due)
    columns = ", ".join(MediaFile._fields)
    if database.is_sqlite:
        with sqlite3.connect(house.sqlite_path(url), isolation_level=None) as file:
            file.execute("BEGIN")
            marks = ", ".join("?" * len(MediaFile._fields))
            file.executemany(f"INSERT INTO media_files ({columns}) VALUES ({marks})", map(_as_sqlite, rows))  # noqa: S608
            file.execute("COMMIT")
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.close()
        return
    with psycopg.connect(house.plain_url(url), autocommit=True) as connection:
        with connection.cursor().copy(f"COPY media_files ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _make_rows(now: datetime, count: int, apps: Sequence[str], *, all_due: bool) -> Iterator[tuple[object, ...]]:
    for number in range(1, count + 1):
        age_s = 60 * 86_400 if all_due else 40 * 86_400 * (1 - number / count) + number * 7919 % 3600
        ended_at = now - timedelta(seconds=round(age_s))
        file = MediaFile(
            id=number,
            app_id=apps[number % len(apps)],
            vendor=Vendor.TENCENT,
            file_id=file_id(number),
            stream_id=f"room-{number % max(count // 20, 1)}",
            event="record",
            ended_at=ended_at,
            received_at=ended_at,
            began_at=ended_at - timedelta(hours=1),
            duration_s=3600.0,
            size_bytes=10**8,
            replay_url=f"https://media.invalid/{file_id(number)}.mp4",
            state=FileState.SCHEDULED,
            state_reason='rule "everything" deletes files older than 30d',
            state_at=ended_at,
            rule="everything",
            due_at=ended_at + timedelta(days=30),
            call_after=ended_at + timedelta(days=30),
            revision=1,
        )
        yield (*file[:2], file.vendor.value, *file[3:19], file.state.value, *file[20:])


def _as_sqlite(row: tuple[object, ...]) -> list[object]:
    return [f"{each:%Y-%m-%d %H:%M:%S.%f}" if isinstance(each, datetime) else each for each in row]


def measure_rules(bench: Bench) -> None:
    """A new rule set for every file, while callbacks arrive, beside one bare UPDATE that leaves the same rows."""
    count, add = bench.pick(100_000, _MILLION), partial(Figure, "rules", bench.kind)
    filled = bench.make_database()
    fill(filled, count)
    bare_url, url, port = bench.make_database(template=filled), bench.make_database(template=filled), house.find_port()
    bare_s = _update_bare(bench.kind, bare_url)
    bench.drop(bare_url)
    with house.running(["service", "serve"], house.settings(url, port), port):
        send(Load(port, 500))
        house.wait_for_rows(url, "media_files", count + 500)
        idle = send(Load(port, _RATE * 5, first=1_000, rate=_RATE))
        seconds = bench.pick(15, 90)
        with sending(Load(port, _RATE * seconds, first=10_000, rate=_RATE)) as sent:
            time.sleep(2)  # it makes its requests first
            took_s, cpu_s = _change_rules(url)
            busy = read_result(sent)
    is_whole = took_s < seconds - 2
    bench.report.add(
        add(f"a new rule set for {count:,} files", took_s, "s", bare_s, "s: one bare UPDATE", at_most=3.0),
        add("CPU of the worker for it", cpu_s, "s"),
        add("p99 of callbacks meanwhile, above idle", busy.p99_ms - idle.p99_ms, "ms", at_most=100),
        add("longest callback meanwhile", busy.max_ms, "ms", note="" if is_whole else "the load ended before"),
        add("callbacks not answered 200", _RATE * (seconds + 5) - busy.stored - idle.stored, at_most=0),
        add("files without the right date", _count_wrong(url, count), at_most=0),
    )
    bench.drop(url)
    bench.drop(filled)


def _change_rules(url: str) -> tuple[float, float]:
    """Put a rule set in force that keeps everything longer; seconds, and CPU seconds of the leader, until it shows."""
    database, now = Database(url), datetime.now(UTC)
    with database.read() as tx:
        leader = find_leader(tx)
    if leader is None or not leader.pid:
        raise RuntimeError("nobody leads")
    started, cpu = time.monotonic(), house.cpu_seconds(leader.pid)
    rules = parse_rules(_KEEP.format(days=60))
    database.transact(lambda tx: put_in_force(tx, _ACTOR, rules, "a benchmark", now, timedelta(0)))
    decided = 0
    while decided < 2:
        time.sleep(0.05)
        with database.read() as tx:
            row = find_leader(tx)
            decided = 0 if row is None else row.decided_revision
    took = time.monotonic() - started
    database.dispose()
    return took, house.cpu_seconds(leader.pid) - cpu


def _update_bare(kind: str, url: str) -> float:
    """The same change to the same columns in one statement; seconds until it is durable."""
    later = "strftime('%Y-%m-%d %H:%M:%S.000000', {}, '+30 days')" if kind == "sqlite" else "{} + interval '30 days'"
    statement = (
        f"UPDATE media_files SET due_at = {later.format('due_at')}, call_after = {later.format('call_after')}, "  # noqa: S608
        "state_reason = 'rule \"everything\" deletes files older than 60d', revision = 2"
    )
    if kind == "sqlite":
        with sqlite3.connect(house.sqlite_path(url), isolation_level=None) as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA cache_size = -32000")
            started = time.monotonic()
            file.execute(statement)
            took = time.monotonic() - started
        file.close()
        return took
    with psycopg.connect(house.plain_url(url), autocommit=True) as connection:
        started = time.monotonic()
        connection.execute(statement)
        return time.monotonic() - started


def _count_wrong(url: str, count: int) -> int:
    """Of the files that were there before, how many the new rules did not reach."""
    database = Database(url)
    with database.read() as tx:
        right = tx.exec_driver_sql(
            f"SELECT count(*) FROM media_files WHERE id <= {count} AND revision = 2 AND call_after = due_at"  # noqa: S608
            " AND state = 'scheduled' AND state_reason = 'rule \"everything\" deletes files older than 60d'"
        ).scalar_one()
    database.dispose()
    return count - int(right)


def measure_preview(bench: Bench) -> None:
    """A preview of three rules that look at streams, one of them at ranks."""
    count, url = bench.pick(100_000, _MILLION), bench.make_database()
    fill(url, count)
    database, now, candidate = Database(url), datetime.now(UTC), Candidate(parse_rules(CANDIDATE), "a benchmark")
    started, cpu = time.monotonic(), time.process_time()
    make_preview(database, PolicyReader(), candidate, _ACTOR, timedelta(hours=24), now)
    took, used = time.monotonic() - started, time.process_time() - cpu
    note = f"CPU {used * _MILLION / count:.1f} s"
    bench.report.add(
        Figure("preview", bench.kind, "a million files", took * _MILLION / count, "s", at_most=30.0, note=note)
    )
    database.dispose()
    bench.drop(url)


def _run_command(arguments: Sequence[str], variables: dict[str, str]) -> tuple[float, float]:
    """One command of ours, or other arguments of Python; its seconds, and its CPU seconds."""
    words = [sys.executable, *(arguments if arguments[0].startswith("-") else ["-m", "service", *arguments])]
    started = time.monotonic()
    process = subprocess.Popen(words, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}: {errors.decode()[-500:]}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime


def measure_lists(bench: Bench) -> None:
    """The next call's files, pages at depth and counts: at 10,000 files and at very many, in turn."""
    few, many, add = 10_000, bench.pick(100_000, _MILLION), partial(Figure, "lists", bench.kind)
    urls = [bench.make_database(), bench.make_database()]
    for url, count in zip(urls, (few, many), strict=True):
        fill(url, count)
    databases = [Database(url) for url in urls]
    looks = zip(_list_looks(few), _list_looks(many), strict=True)
    for (what, look_at_few), (_, look_at_many) in looks:
        small, large = _time_in_turn((databases[0], look_at_few), (databases[1], look_at_many))
        name, beside = f"{what}, {many:,} files", f"ms: {few:,} files"
        if what == "counts by state":
            bench.report.add(add(name, large, "ms", at_most=150, note=f"{small:.1f} ms at {few:,}"))
        else:
            bench.report.add(add(name, large, "ms", small, beside, at_most=1.5))
    for database, url in zip(databases, urls, strict=True):
        database.dispose()
        bench.drop(url)


def _list_looks(count: int) -> list[tuple[str, Look]]:
    now, deep = datetime.now(UTC), count * 9 // 10

    def page(after: int, wanted: FileFilter) -> Look:
        return lambda tx: list_page(tx, wanted, 100, after=after)

    return [
        ("next batch to call", lambda tx: list_due(tx, Due(APP, now, count), Vendor.TENCENT, 100)),
        ("first page", page(0, FileFilter())),
        ("a page at 90 %", page(deep, FileFilter())),
        ("a page of a state at 90 %", page(deep, FileFilter(state=FileState.SCHEDULED))),
        ("a page of an app at 90 %", page(deep, FileFilter(app_id=APP))),
        ("a page of a stream", page(0, FileFilter(app_id=APP, stream="room-7"))),
        # As many are looked at in both: as many as are looked at for one page.
        ("a page of few that fit", page(max(deep // 2 - MAX_LOOKED_AT, 0), FileFilter(text="room-77"))),
        ("counts by state", count_by_state),
    ]


def _time_in_turn(*looks: tuple[Database, Look]) -> list[float]:
    """The lower quartile of each, in ms; one after the other, so that other work on the machine meets all alike."""
    times: list[list[float]] = [[] for _ in looks]
    for _ in range(31):
        for place, (database, look) in enumerate(looks):
            with database.read() as tx:
                started = time.perf_counter()
                look(tx)
                times[place].append(1000 * (time.perf_counter() - started))
    return [sorted(each)[len(each) // 4] for each in times]


def measure_start(bench: Bench) -> None:
    """CPU time of commands that come and go, beside that of importing Flask."""
    url, add = bench.make_database(), partial(Figure, "start", bench.kind)
    fill(url, 100)
    variables = house.settings(url, 1)
    commands = (["-c", "import flask"], ["--help"], ["files", "list"])
    flask, our_help, our_list = (
        median(_run_command(words if words[0] == "-c" else ["-m", "service", *words], variables)[1] for _ in range(7))
        for words in commands
    )
    bench.report.add(
        add("CPU of --help", our_help, "s", flask, "s: import flask", at_most=2.5),
        add("CPU of files list", our_list, "s", flask, "s: import flask", at_most=5.0),
    )
    bench.drop(url)
