"""A whole small world for tests: one service on a fresh database, a strict ZEGO on loopback, a clock set by hand."""

from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.callbacks.receive import Refused
from service.files.store import add_files, list_in_range
from service.model import Actor, FileState, MediaFile, Vendor
from service.rules.file import parse_rules
from service.rules.store import put_in_force
from service.sandbox.callbacks import callback_body
from service.settings import load_settings
from service.sweep.records import Trigger
from service.wiring import Service
from service.zego.messages import Answer, Transport
from tests.faults import FaultySandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database

APP = "1234567890"
OTHER_APP = "987654321"
SERVER_SECRET = "9193cc662a4c0ec135ec71fb57194b38"
CALLBACK_SECRET = "callback-secret"
OTHER_SECRET = "the-other-secret"
SECOND_APP = """
[[apps]]
app_id = "{app_id}"
server_secret = "{secret}"
callback_secrets = ["{callback_secret}"]
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

    def seconds(self) -> float:
        """As a clock that nobody sets: time passes as it is moved."""
        return self.time.timestamp()


@dataclass
class World:
    """What a test holds in its hands; the service leads and is ready."""

    service: Service
    sandbox: FaultySandbox
    clock: Clock
    nonces: int = field(default=100_000)

    @property
    def database(self) -> Database:
        return self.service.database

    def announce(self, file_id: str, *, age: timedelta = timedelta(0), stored: bool = True, **options: Any) -> None:
        """Let ZEGO announce a recording that ended `age` ago; `stored` puts the file into the sandbox as well.

        It is in the inbox afterwards, and not understood yet.
        """
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
            secret=options.pop("secret", CALLBACK_SECRET if app_id == APP else OTHER_SECRET),
            file_id=file_id,
            stream=stream,
            began=began,
            ended=ended,
            now=options.pop("now", self.clock()),
            nonce=options.pop("nonce", str(self.nonces)),
            **options,
        )
        with suppress(Refused):
            self.service.inbox.receive(body, content_type)

    def send(self, file_id: str, **options: Any) -> MediaFile:
        """Announce a recording and let the leader understand it; the file."""
        self.announce(file_id, **options)
        self.catch_up()
        return self.files()[file_id]

    def add(self, count: int, *, prefix: str = "file", age: timedelta = timedelta(days=2), **facts: Any) -> list[str]:
        """Put files straight into inventory and sandbox, and let them be decided."""
        vendor, app_id = facts.pop("vendor", Vendor.TENCENT), facts.pop("app_id", APP)
        ended_at = facts.pop("ended_at", self.clock() - age)
        facts = {"stream_id": "room", "event": "record", "received_at": self.clock(), **facts}
        ids = [f"{prefix}-{number:05}" for number in range(count)]
        files = [
            MediaFile(
                id=0, app_id=app_id, vendor=vendor, file_id=file_id, ended_at=ended_at, decide_again=True, **facts
            )
            for file_id in ids
        ]
        self.service.leader.transact(lambda tx: add_files(tx, files))
        for file_id in ids:
            self.sandbox.add_file(app_id, vendor, file_id, stream_id=facts["stream_id"], created_at=ended_at)
        self.catch_up()
        return ids

    def apply(self, text: str, *, cooling_off: timedelta = timedelta(0)) -> int:
        """Put rules in force without a preview, and let all files be decided; the revision."""
        rules, now = parse_rules(text), self.clock()
        revision, _ = self.database.transact(lambda tx: put_in_force(tx, TESTER, rules, "a test", now, cooling_off))
        self.catch_up()
        return revision

    def keep(self, window: str) -> int:
        """Keep everything for so long."""
        return self.apply(f'[[rules]]\nname = "everything"\nkeep = "{window}"\n')

    def catch_up(self) -> None:
        """Let the leader apply orders, understand callbacks and decide about files."""
        self.service.catch_up.run()

    def sweep(self, trigger: Trigger = Trigger.COMMAND) -> int:
        """One run; its number."""
        run = self.service.sweeper.run(trigger, threading.Event())
        assert run is not None, self.service.sweeper.gate.refusals
        return run

    def reconcile(self, *vendors: Vendor, app_id: str = APP, since: datetime | None = None) -> list[int]:
        """Compare an app with its listings; the numbers of their records."""
        stop = threading.Event()
        return [self.service.reconciler.run(app_id, vendor, stop, since=since) for vendor in vendors or tuple(Vendor)]

    def files(self) -> dict[str, MediaFile]:
        """Every file of the inventory, by file id."""
        with self.database.read() as tx:
            return {file.file_id: file for file in list_in_range(tx, 0, 1_000_000)}

    def state(self, file_id: str) -> FileState:
        return self.files()[file_id].state

    def states(self) -> dict[FileState, list[str]]:
        """File ids by state."""
        found: dict[FileState, list[str]] = {}
        for file_id, file in self.files().items():
            found.setdefault(file.state, []).append(file_id)
        return found

    def stored(self, vendor: Vendor = Vendor.TENCENT, app_id: str = APP) -> set[str]:
        """What the sandbox still holds."""
        return set(self.sandbox.files(app_id, vendor))


def environment(database_url: str, api_url: str, **settings: str) -> dict[str, str]:
    """Settings for one app, as environment variables."""
    plain = {
        "DATABASE_URL": database_url,
        "APP_ID": APP,
        "SERVER_SECRET": SERVER_SECRET,
        "CALLBACK_SECRET": CALLBACK_SECRET,
        "API_URL": api_url,
        "RECONCILE_EVERY": "off",
        # (That of SQLite is in the test's own folder; PostgreSQL's would not be.)
        **({} if database_url.startswith("sqlite") else {"SPOOL_DIR": "off"}),
    }
    return {f"ZEGO_RETENTION_{name}": value for name, value in (plain | settings).items()}


@contextmanager
def open_world(database_url: str, **settings: str) -> Iterator[World]:
    """Open a world with two apps on a migrated, empty database; calls leave at a pace that keeps no test waiting."""
    clock = Clock()
    with (
        FaultySandbox({APP: SERVER_SECRET, OTHER_APP: SERVER_SECRET}, clock, calls_per_second=1_000_000) as sandbox,
        tempfile.NamedTemporaryFile("w", suffix=".toml") as config,
    ):
        api_url = settings.get("API_URL", sandbox.url)
        config.write(
            SECOND_APP.format(app_id=OTHER_APP, secret=SERVER_SECRET, callback_secret=OTHER_SECRET, api_url=api_url)
        )
        config.flush()
        variables = environment(database_url, sandbox.url, **settings) | {"ZEGO_RETENTION_CONFIG": config.name}
        service = Service(
            load_settings(variables), now=clock, sleep=_do_not_sleep, steady=clock.seconds, calls_per_second=2_000
        )
        for app_id in service.clients:  # as if ZEGO had answered before
            service.sweeper.gate.note_time(app_id, Answer(Transport.ANSWERED, code=0, date=clock()))
        try:
            assert service.leader.try_to_lead()
            service.take_over()
            yield World(service, sandbox, clock)
        finally:
            service.close()


def _do_not_sleep(_seconds: float) -> None:
    """No test waits for a pause that is not its subject."""
