"""A leader with what it needs to apply orders and to decide about files, without any network."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from service.audit.order import Order, OrderKind
from service.callbacks.understanding import Understanding
from service.database import Database
from service.files import store
from service.files.actions import apply_confirm, apply_erase, apply_retry
from service.files.policy import DecidingLoop, PolicyReader
from service.holds.holds import apply_hold, flag_ended_holds, place_hold
from service.leader.leader import Leader, LeadLost
from service.model import Actor, FileState, MediaFile, Vendor
from service.orders import ApplyOrders, CatchUp, read_order
from service.rules.file import parse_rules
from service.rules.store import apply_revision, put_in_force
from tests.children import Blow, Steps, be_silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from service.orders import Handler

APP = "1234567890"
OTHER_APP = "987654321"
APPS = (APP, OTHER_APP)
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TESTER = Actor("a tester", "a test")
KEEP = '[[rules]]\nname = "everything"\nkeep = "{window}"\n'

HANDLERS: dict[OrderKind, Handler] = {
    OrderKind.HOLD: apply_hold,
    OrderKind.RELEASE: apply_hold,
    OrderKind.ERASE: apply_erase,
    OrderKind.CONFIRM: apply_confirm,
    OrderKind.RETRY: apply_retry,
    OrderKind.RULES: apply_revision,
}


@dataclass
class House:
    """One process of the service; its clock stands still until it is moved."""

    database: Database
    lease: timedelta = timedelta(minutes=2)
    time: datetime = START
    ticks: float = 0.0
    handlers: dict[OrderKind, Handler] = field(default_factory=lambda: dict(HANDLERS))

    def __post_init__(self) -> None:
        self.leader = Leader(self.database, "a test", self.lease, self.now)
        self.reader = PolicyReader()
        self.apply_orders = ApplyOrders(self.leader, self.handlers, self.now, lambda: self.ticks)
        self.deciding = DecidingLoop(self.leader, self.reader, self.now)
        steps = (
            self.apply_orders.run,
            lambda: flag_ended_holds(self.leader, self.now()),
            Understanding(self.leader, self.reader, timedelta(minutes=15), self.now).run,
            self.deciding.run,
        )
        self.catch_up = CatchUp(self.leader, steps)

    def now(self) -> datetime:
        return self.time

    def move(self, **delta: float) -> None:
        self.time += timedelta(**delta)

    def lead(self) -> None:
        assert self.leader.try_to_lead()

    def add(self, *file_ids: str, age: timedelta = timedelta(days=2), **facts: Any) -> list[int]:
        """Put files into the inventory, and let them be decided."""
        known: dict[str, Any] = {"app_id": APP, "vendor": Vendor.TENCENT, "stream_id": "room", "event": "record"}
        known |= {"ended_at": self.time - age, "received_at": self.time, "decide_again": True}
        known |= facts
        files = [MediaFile(id=0, file_id=file_id, **known) for file_id in file_ids]
        numbers = self.leader.transact(lambda tx: store.add_files(tx, files))
        self.deciding.run()
        return numbers

    def change(self, number: int, **facts: Any) -> None:
        """Change a row, as the sweep or a listing would."""
        self.leader.transact(lambda tx: store.save_files(tx, [self.file(number)._replace(**facts)]))

    def apply(self, text: str, *, cooling_off: timedelta = timedelta(0)) -> int:
        """Put rules in force without a preview, and catch up; the revision."""
        rules = parse_rules(text)
        put = partial(put_in_force, actor=TESTER, rules=rules, source="a test", now=self.time, cooling_off=cooling_off)
        revision, _ = self.database.transact(put)
        self.catch_up.run()
        return revision

    def keep(self, window: str, *, cooling_off: timedelta = timedelta(0)) -> int:
        return self.apply(KEEP.format(window=window), cooling_off=cooling_off)

    def hold(self, pattern: str | None = None, **options: Any) -> tuple[int, int]:
        """Place a hold of one app without catching up; its number and that of the order."""
        options = {"reason": "a dispute", "now": self.time, "known_apps": APPS, "stream_pattern": pattern} | options
        if pattern is not None:
            options = {"app_id": APP} | options
        return place_hold(self.database, TESTER, **options)

    def order(self, number: int) -> Order:
        return read_order(self.database, number)

    def result(self, number: int) -> dict[str, Any]:
        """What came of an order, once the leader has caught up."""
        self.catch_up.run()
        order = self.order(number)
        assert order.failure is None, order.failure
        assert order.applied_at is not None
        return order.result or {}

    def file(self, number: int) -> MediaFile:
        with self.database.read() as tx:
            found = store.find_file(tx, number)
        assert found is not None
        return found

    def states(self) -> dict[str, FileState]:
        with self.database.read() as tx:
            return {file.file_id: file.state for file in store.list_in_range(tx, 0, 1_000_000)}


@contextmanager
def open_house(url: str, **options: Any) -> Iterator[House]:
    database = Database(url)
    try:
        yield House(database, **options)
    finally:
        database.dispose()


def catch_up_once(report: Connection, url: str, blow: Blow | None) -> None:
    """Lead in a process of its own, and catch up; reports how many steps that took."""
    be_silent()
    steps = Steps(blow)
    with open_house(url) as house:
        house.lead()
        steps.watch()
        house.catch_up.run()
    report.send(dict(steps.counts))


def lead_and_work(report: Connection, url: str, lease_s: float) -> None:
    """Lead in a process of its own, and change a file again and again; reports why it had to stop."""
    be_silent()
    with open_house(url, lease=timedelta(seconds=lease_s)) as house:
        house.lead()
        report.send("leads")
        try:
            while True:
                house.change(1, state_reason="changed by the first leader")
                time.sleep(0.01)
        except LeadLost as error:
            report.send(str(error))
