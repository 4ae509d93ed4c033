"""An inbox and a leader on one database: what the tests of callbacks hold in their hands."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from service.callbacks import store
from service.callbacks.receive import Inbox, Refused
from service.callbacks.understanding import Understanding
from service.callbacks.writer import NotStored, Writer
from service.files.policy import PolicyReader
from service.files.store import add_files, list_in_range, save_files
from service.filters import CallbackFilter
from service.leader.leader import Leader
from service.model import Actor, FileState, MediaFile, Vendor
from service.rules.file import parse_rules
from service.rules.store import put_in_force
from service.sandbox.callbacks import Shape, encode_body, sign_fields
from service.zego.callback import Unreadable
from tests import world
from tests.world import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.callbacks.receive import QuarantineLimits
    from service.callbacks.understand import StoredCallback
    from service.database import Database

APP = "1234567890"
OTHER_APP = "987654321"
SECRET = "callback-secret"
START = world.START
TESTER = Actor("a tester", "a test")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Answer(StrEnum):
    """How an inbox takes a callback."""

    STORED = "stored"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    NOT_STORED = "not_stored"


def receive(inbox: Inbox, body: bytes, content_type: str) -> Answer:
    """How an inbox takes a callback."""
    try:
        inbox.receive(body, content_type)
    except Unreadable:
        return Answer.UNREADABLE
    except Refused:
        return Answer.REFUSED
    except NotStored:
        return Answer.NOT_STORED
    return Answer.STORED


@dataclass
class Scene:
    """An inbox, and a leader that understands it."""

    database: Database
    writer: Writer
    inbox: Inbox
    leader: Leader
    understanding: Understanding
    clock: Clock
    secrets: dict[str, list[str]]
    nonces: int = 100_000

    def receive(self, fields: dict[str, Any], *, shape: Shape = "json", **signing: Any) -> Answer:
        """Send a callback of these fields, signed unless said otherwise; it is not understood yet."""
        return receive(self.inbox, *self.body(fields, shape=shape, **signing))

    def body(self, fields: dict[str, Any], *, shape: Shape = "json", **signing: Any) -> tuple[bytes, str]:
        """Body and content type of a signed callback; each has another nonce unless it is given."""
        self.nonces += 1
        facts: dict[str, Any] = {"secret": SECRET, "now": self.clock(), "nonce": str(self.nonces)} | signing
        return encode_body(sign_fields({"appid": APP} | fields, **facts), shape)

    def send(self, fields: dict[str, Any], **signing: Any) -> StoredCallback:
        """Send a callback and understand what is pending; the newest callback."""
        assert self.receive(fields, **signing) is Answer.STORED
        self.understanding.run()
        return self.callbacks()[-1]

    def callbacks(self) -> list[StoredCallback]:
        with self.database.read() as tx:
            return list(store.list_callbacks(tx, CallbackFilter()))[::-1]

    def verdicts(self) -> list[str]:
        return [callback.verdict.value for callback in self.callbacks()]

    def files(self) -> dict[str, MediaFile]:
        with self.database.read() as tx:
            return {file.file_id: file for file in list_in_range(tx, 0, 1_000_000)}

    def file(self, file_id: str = "f1") -> MediaFile:
        return self.files()[file_id]

    def states(self) -> dict[str, str]:
        return {file_id: file.state.value for file_id, file in self.files().items()}

    def apply(self, rules: str) -> None:
        """Put rules in force; only files that come afterwards are decided under them."""
        parsed = parse_rules(rules)
        self.database.transact(
            lambda tx: put_in_force(tx, TESTER, parsed, "a test", self.clock(), cooling_off=timedelta(0))
        )

    def keep(self, window: str, more: str = "") -> None:
        self.apply(f'[[rules]]\nname = "everything"\nkeep = "{window}"\n{more}\n')

    def add(self, *files: MediaFile) -> None:
        """Put files straight into the inventory."""
        self.leader.transact(lambda tx: add_files(tx, list(files)))

    def double(self, file_id: str, times: int) -> None:
        """Copy a file, and its copies, so many times; each with another number and id."""
        first = self.file(file_id).id
        for step in range(times):
            facts = ", ".join(name for name in MediaFile._fields if name not in ("id", "file_id"))
            # Names of columns and numbers only.
            copy = f"SELECT id + {2**step}, file_id || '-{step}', {facts} FROM media_files WHERE id >= {first}"  # noqa: S608
            self.leader.transact(lambda tx: tx.execute(text(f"INSERT INTO media_files (id, file_id, {facts}) {copy}")))  # noqa: B023

    def change(self, file_id: str, **facts: Any) -> None:
        """Give a file other facts."""
        changed = self.file(file_id)._replace(**facts)
        self.leader.transact(lambda tx: save_files(tx, [changed]))


@contextmanager
def open_scene(
    database: Database, *, secrets: dict[str, list[str]] | None = None, limits: QuarantineLimits | None = None
) -> Iterator[Scene]:
    """An inbox and a leader on a migrated database."""
    clock = Clock()
    known = {APP: [SECRET], OTHER_APP: ["other-secret"]} if secrets is None else secrets
    writer = Writer(database)
    inbox = Inbox(database, writer, known, clock, *([] if limits is None else [limits]))
    leader = Leader(database, "a test", timedelta(minutes=2), clock)
    assert leader.try_to_lead()
    understanding = Understanding(leader, PolicyReader(), timedelta(minutes=15), clock)
    try:
        yield Scene(database, writer, inbox, leader, understanding, clock, known)
    finally:
        writer.stop()


def recording(file_id: str = "f1", *, age: timedelta = HOUR, vendor: Vendor = Vendor.TENCENT, **fields: Any) -> Any:
    """The fields of a `record` callback of a file that ended `age` before the start of the scene, an hour long."""
    ended = START - age
    key = {Vendor.TENCENT: "FileID", Vendor.WANGSU: "PersistentId", Vendor.HUAWEI: "ObsObject"}[vendor]
    facts = {
        "event": "record",
        "stream_alias": "room",
        "begin_time": str(int((ended - HOUR).timestamp())),
        "end_time": str(int(ended.timestamp())),
        "extra_params": {key: file_id, "Duration": 3600},
    }
    return facts | fields


def adopted(file_id: str = "f1", **facts: Any) -> MediaFile:
    """A file that only a listing shows."""
    known: dict[str, Any] = {"ended_at": START - DAY, "vendor_created_at": START - DAY, "adopted_at": START - HOUR}
    known |= {"received_at": START - HOUR, "state": FileState.KEPT} | facts
    return MediaFile(0, known.pop("app_id", APP), Vendor.TENCENT, file_id, known.pop("stream_id", ""), "", **known)
