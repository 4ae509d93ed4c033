"""A whole small world for tests: one service on a fresh database, a strict ZEGO on loopback, a clock set by hand."""

from __future__ import annotations

import json
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from service.core.model import Actor, FileState, MediaFile, Vendor
from service.core.rules_file import parse_rules
from service.db import files
from service.db.engine import Database
from service.db.migrate import upgrade_database
from service.db.models import MediaFileRow, Trigger
from service.settings import load_settings
from service.usecases.applying import Applied, NotAsPreviewed, PreviewNeeded, apply_rules
from service.usecases.ingest import Receipt, receive_callback
from service.usecases.inventory import file_as_json
from service.usecases.listing_reports import show_listing
from service.usecases.policy import Candidate
from service.usecases.previewing import make_preview
from service.usecases.reconcile import reconcile_lane
from service.usecases.sweep import run_pass
from service.wiring import Service, open_service
from service.zego.sandbox import Sandbox
from service.zego.sandbox_callbacks import callback_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = "1234567890"
OTHER_APP = "987654321"
SERVER_SECRET = "9193cc662a4c0ec135ec71fb57194b38"
CALLBACK_SECRET = "callback-secret"
SECOND_APP = """
[[apps]]
app_id = "{app_id}"
server_secret = "{secret}"
callback_secrets = ["the-other-secret"]
api_url = "{api_url}"
"""
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TESTER = Actor("a tester", "a test")


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    time: datetime = START

    def __call__(self) -> datetime:
        return self.time

    def move(self, **delta: float) -> None:
        self.time += timedelta(**delta)


class Hasty(threading.Event):
    """Never set, and never waited for longer than the pace of the calls asks."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(min(timeout or 0, 0.06))


@dataclass
class World:
    """What a test holds in its hands."""

    service: Service
    sandbox: Sandbox
    clock: Clock
    nonces: int = field(default=100_000)

    @property
    def database(self) -> Database:
        return self.service.database

    def send(self, file_id: str, *, age: timedelta = timedelta(0), stored: bool = True, **options: Any) -> Receipt:
        """Let ZEGO announce a recording that ended `age` ago; `stored` puts the file into the sandbox as well."""
        vendor = Vendor(options.pop("vendor", Vendor.TENCENT))
        app_id = options.pop("app_id", APP)
        ended = self.clock() - age
        stream = options.pop("stream", "room")
        began = options.pop("began", ended - timedelta(hours=1))
        if stored:
            self.sandbox.add_file(app_id, vendor, file_id, stream_id=stream, created_at=ended)
        self.nonces += 1
        body, content_type = callback_body(
            vendor,
            app_id=app_id,
            secret=options.pop("secret", CALLBACK_SECRET),
            file_id=file_id,
            stream=stream,
            began=began,
            ended=ended,
            now=options.pop("now", self.clock()),
            nonce=options.pop("nonce", str(self.nonces)),
            **options,
        )
        return receive_callback(self.service.ingest, body, content_type)

    def add(self, count: int, *, prefix: str = "file", age: timedelta = timedelta(days=2), **facts: Any) -> list[str]:
        """Put files straight into inventory and sandbox, where how they were announced does not matter."""
        vendor, app_id = facts.pop("vendor", Vendor.TENCENT), facts.pop("app_id", APP)
        ids = [f"{prefix}-{number:05}" for number in range(count)]
        now = self.clock()

        def insert(session: Any) -> None:
            for file_id in ids:
                facts_of_one = {"stream_id": "room", "event": "record", "began_at": None, "ended_at": now - age} | facts
                file = MediaFile(app_id=app_id, vendor=vendor, file_id=file_id, received_at=now, **facts_of_one)
                files.add_file(session, file, now)

        self.database.transact(insert)
        for file_id in ids:
            self.sandbox.add_file(
                app_id, vendor, file_id, stream_id=facts.get("stream_id", "room"), created_at=now - age
            )
        return ids

    def apply(self, text: str, *, cooling_off: timedelta = timedelta(0)) -> Applied:
        """Put rules in force as a person would who agrees with whatever the preview shows."""
        candidate = Candidate(parse_rules(text), "a test")
        return apply_as_previewed(self.database, candidate, self.clock, cooling_off)

    def preview(self, candidate: Candidate, cooling_off: timedelta) -> int:
        """The number of a new preview."""
        number: int = make_preview(self.database, candidate, TESTER, cooling_off, self.clock())["id"]
        return number

    def keep(self, window: str) -> None:
        self.apply(f'[[rules]]\nname = "everything"\nkeep = "{window}"\n')

    def sweep(self, trigger: Trigger = Trigger.COMMAND) -> int:
        run_id = run_pass(self.service.sweeper, trigger)
        assert run_id is not None
        return run_id

    def reconcile(
        self, *vendors: Vendor, app_id: str = APP, since: datetime | None = None, patiently: bool = True
    ) -> dict[Vendor, dict[str, Any]]:
        """Compare an app with its listings; what came of it as JSON, by vendor. Impatient tests wait for no trouble."""
        stop = threading.Event() if patiently else Hasty()
        found = {}
        for vendor in vendors or Vendor:
            number = reconcile_lane(self.service.reconciler, (app_id, vendor), stop, since=since)
            assert number is not None
            listing = show_listing(self.database, number)
            assert listing is not None
            found[vendor] = listing
        return found

    def files(self) -> dict[str, dict[str, Any]]:
        """Every file of the inventory as JSON, by file id."""
        with self.database.read() as session:
            return {row.file_id: file_as_json(row) for row in files.list_files(session, files.FileFilter())}

    def facts(self, *columns: str) -> set[tuple[Any, ...]]:
        """Some columns of every file of the inventory."""
        with self.database.read() as session:
            return {tuple(row) for row in session.execute(select(*(getattr(MediaFileRow, name) for name in columns)))}

    def state(self, file_id: str) -> str:
        state: str = self.files()[file_id]["state"]
        return state

    def states(self) -> dict[str, list[str]]:
        """File ids by state."""
        found: dict[str, list[str]] = {}
        for file_id, file in self.files().items():
            found.setdefault(file["state"], []).append(file_id)
        return found

    def stored(self, vendor: Vendor = Vendor.TENCENT, app_id: str = APP) -> set[str]:
        """What the sandbox still holds."""
        return set(self.sandbox.files(app_id, vendor))


def apply_as_previewed(
    database: Database, candidate: Candidate, now: Callable[[], datetime], cooling_off: timedelta = timedelta(0)
) -> Applied:
    """Apply a candidate with its preview; with a new one where callbacks that arrive meanwhile ask for it."""
    preview_id = None
    for _ in range(20):
        try:
            return apply_rules(database, candidate, TESTER, cooling_off, now, preview_id=preview_id)
        except (PreviewNeeded, NotAsPreviewed) as refusal:
            preview_id = refusal.preview["id"]
    raise AssertionError("the rules could not be applied")


def environment(database_url: str, api_url: str, **settings: str) -> dict[str, str]:
    """Settings for one or two apps, as environment variables."""
    prefix = "ZEGO_RETENTION_"
    plain = {
        "DATABASE_URL": database_url,
        "APP_ID": APP,
        "SERVER_SECRET": SERVER_SECRET,
        "CALLBACK_SECRET": CALLBACK_SECRET,
        "API_URL": api_url,
        "RECONCILE_EVERY": "off",
    }
    return {prefix + name: value for name, value in (plain | settings).items()}


@contextmanager
def open_world(database_url: str, **settings: str) -> Iterator[World]:
    """Open a world on an empty database."""
    clock = Clock()
    database = Database(database_url)
    upgrade_database(database)
    database.dispose()
    with (
        Sandbox({APP: SERVER_SECRET, OTHER_APP: SERVER_SECRET}, clock, calls_per_second=20) as sandbox,
        tempfile.NamedTemporaryFile("w", suffix=".toml") as config,
    ):
        api_url = settings.get("API_URL", sandbox.url)
        config.write(SECOND_APP.format(app_id=OTHER_APP, secret=SERVER_SECRET, api_url=api_url))
        config.flush()
        variables = environment(database_url, sandbox.url, **settings) | {"ZEGO_RETENTION_CONFIG": config.name}
        service = open_service(load_settings(variables), now=clock)
        try:
            yield World(service, sandbox, clock)
        finally:
            service.close()


LIVE = {
    FileState.KEPT,
    FileState.SCHEDULED,
    FileState.HELD,
    FileState.UNCONFIRMED,
    FileState.DELETING,
    FileState.FAILED,
}


def as_text(value: object) -> str:
    return json.dumps(value, indent=1, default=str)
