"""A database with facts put straight into its tables, and a doctor who looks at it."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, insert, select

from service.audit.record import record_entry
from service.audit.store import orders
from service.callbacks.store import callbacks
from service.files.store import add_files, media_files
from service.health.check import Check, Status
from service.health.doctor import examine
from service.health.metrics import Metrics
from service.leader import store as leader_store
from service.leader.leader import identify_process
from service.listing.store import listings
from service.model import Actor, FileState, MediaFile, Vendor, Verdict
from service.notify import store as notify_store
from service.notify.changes import Kind, Message, State
from service.rules.file import catch_all
from service.rules.store import put_in_force
from service.settings import Settings, load_settings
from service.sweep.store import app_states, attempts, calls, plans, runs
from service.zego.messages import SearchAnswer, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database
    from service.zego.client import ZegoClient
    from service.zego.messages import Query

APP = "1234567890"
NOW = datetime(2026, 3, 1, 12, 7, tzinfo=UTC)
TESTER = Actor("a tester", "a test")


@dataclass
class Zego:
    """Answers SearchMedia as told, by vendor or alike."""

    answer: SearchAnswer = field(default_factory=lambda: said(0))
    by_vendor: dict[Vendor, SearchAnswer] = field(default_factory=dict)

    def search_media(self, vendor: Vendor, query: Query) -> SearchAnswer:
        assert query.size == 1
        return self.by_vendor.get(vendor, self.answer)


def said(code: int | None, message: str = "", *, date: datetime | None = NOW, http_status: int = 200) -> SearchAnswer:
    return SearchAnswer(Transport.ANSWERED, http_status=http_status, code=code, message=message, date=date)


@dataclass
class Scene:
    """What a test holds in its hands."""

    database: Database
    zego: Zego = field(default_factory=Zego)
    variables: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def settings(self) -> Settings:
        plain = {
            "DATABASE_URL": self.database.url.render_as_string(hide_password=False),
            "APP_ID": APP,
            "SERVER_SECRET": "hush",
            "CALLBACK_SECRET": "hush",
        }
        return load_settings({f"ZEGO_RETENTION_{name}": value for name, value in (plain | self.variables).items()})

    def examine(self) -> list[Check]:
        clients = cast("dict[str, ZegoClient]", {APP: self.zego})
        return list(examine(self.settings, self.database, clients, lambda: NOW))

    def troubles(self) -> list[Check]:
        """What is not ok."""
        return [check for check in self.examine() if check.status is not Status.OK]

    def trouble(self) -> Check:
        """The one thing that is not ok."""
        [only] = self.troubles()
        return only

    def make_well(self) -> None:
        """A worker that leads, rules that a person applied, a sweep and listings in time; a callback has come."""
        self.add_callbacks(Verdict.ACCEPTED, age=timedelta(days=20))
        self.keep("30d")
        self.lead()
        self.add_run(started_at=NOW - timedelta(minutes=7))
        for vendor in Vendor:
            self.add_listing(vendor)

    def keep(
        self,
        window: str,
        actor: Actor = TESTER,
        *,
        by_person: bool = True,
        cooling_off: timedelta = timedelta(0),
        revision: int = 1,
    ) -> None:
        rules = catch_all(window)

        def work(tx: Any) -> None:
            put_in_force(tx, actor, rules, "a test", NOW, cooling_off, by_person=by_person)
            tx.execute(orders.update().values(applied_at=NOW))
            leader_store.lock_leader(tx)
            leader_store.set_progress(tx, decided_revision=revision)

        self.database.transact(work)

    def lead(
        self, holder: str = "host/1", *, age: timedelta = timedelta(0), process: dict[str, Any] | None = None
    ) -> None:
        """Let a worker lead that gave its last sign of life `age` ago."""

        def work(tx: Any) -> None:
            token = leader_store.lock_leader(tx).token + 1
            leader_store.take_lead(tx, token, holder, process or identify_process(), NOW - age)

        self.database.transact(work)

    def add_files(self, count: int = 1, **facts: Any) -> None:
        plain: dict[str, Any] = {
            "id": 0,
            "app_id": APP,
            "vendor": Vendor.TENCENT,
            "stream_id": "room",
            "event": "record",
            "ended_at": NOW - timedelta(days=31),
            "received_at": NOW - timedelta(days=31),
            "rule": "everything",
        }
        files = [MediaFile(**(plain | facts), file_id=f"file-{next(self._numbers)}") for _ in range(count)]
        self.database.transact(lambda tx: add_files(tx, files))

    def add_due(self, count: int = 1, *, since: timedelta = timedelta(hours=1), **facts: Any) -> None:
        due_at = NOW - since
        self.add_files(count, state=FileState.SCHEDULED, **({"due_at": due_at, "call_after": due_at} | facts))

    def add_callbacks(
        self,
        verdict: Verdict,
        count: int = 1,
        *,
        age: timedelta = timedelta(hours=1),
        app_id: str = APP,
        reason: str = "",
    ) -> None:
        self.add_callbacks_of([age] * count, verdict, app_id=app_id, reason=reason)

    def add_callbacks_of(
        self, ages: list[timedelta], verdict: Verdict = Verdict.ACCEPTED, *, app_id: str = APP, reason: str = ""
    ) -> None:
        """Callbacks that were received so long ago, in this order."""
        rows = [
            {
                "app_id": app_id,
                "signature": f"{verdict}-{next(self._numbers)}",
                "content_hash": "0",
                "received_at": NOW - age,
                "raw": b"{}",
                "content_type": "application/json",
                "event": "",
                "verdict": verdict,
                "reason": reason,
                "repeats": 0,
            }
            for age in ages
        ]
        if rows:
            self.database.transact(lambda tx: tx.execute(insert(callbacks), rows))

    def add_run(self, **facts: Any) -> None:
        plain = {"trigger": "schedule", "state": "done", "started_at": NOW, "finished_at": NOW, "worker": "host/1"}
        self.add(runs, **(plain | facts))

    def add_listing(self, vendor: Vendor = Vendor.TENCENT, **facts: Any) -> None:
        counts = ("calls", "listed", "adopted", "lost", "confirmed", "filled", "reopened", "missing", "gone")
        plain = {"app_id": APP, "vendor": vendor, "state": "complete", "started_at": NOW, "finished_at": NOW}
        self.add(listings, **(plain | {"worker": "host/1"} | dict.fromkeys(counts, 0) | facts))

    def add_plan(self) -> None:
        numbers = {"revision": 1, "highest_id": 9, "files_count": 9, "present_count": 10, "called": 0}
        self.add(plans, run_id=1, app_id=APP, made_at=NOW, reason="9 of 10 files", state="open", **numbers)

    def add_open_call(self) -> int:
        """A call of one file that waits for its answer; its number."""
        self.add_files()
        number = next(self._numbers) + 1
        self.add_run(id=number, state="running", finished_at=None)
        self.add(calls, id=number, run_id=number, app_id=APP, vendor="Tencent", opened_at=NOW)
        attempt = {"call_id": number, "run_id": number, "opened_at": NOW, "revision": 1, "reason": "a test"}
        self.add(attempts, **attempt, media_file_id=select(func.max(media_files.c.id)).scalar_subquery())
        return number

    def end_call(self, number: int, outcomes: dict[str, int] | None = None, **answer: Any) -> None:
        """Let a call be answered: a 502, unless another code is given."""

        def work(tx: Any) -> None:
            values = {"answered_at": NOW, "http_status": 502} | answer
            tx.execute(calls.update().where(calls.c.id == number).values(values))
            of_call = attempts.c.call_id == number
            first = tx.execute(select(attempts).where(of_call)).mappings().one()
            tx.execute(attempts.delete().where(of_call))
            for outcome, count in (outcomes or {"unknown": 1}).items():
                row = {name: value for name, value in first.items() if name != "id"}
                tx.execute(insert(attempts), [row | {"outcome": outcome, "ended_at": NOW} for _ in range(count)])

        self.database.transact(work)

    def add_ended_call(self, **ended: Any) -> None:
        self.end_call(self.add_open_call(), **ended)

    def queue_message(self) -> None:
        """Let a message wait for a channel that fails, beside one that works."""
        state = State()
        state.queue([Message(Kind.PROBLEM, "a")], ["slack", "mailto"])
        state.channels["slack"].note_failure("it answered 500", NOW)

        def work(tx: Any) -> None:
            notify_store.claim(tx, "host/1", NOW)
            notify_store.save(tx, "host/1", state, NOW)

        self.database.transact(work)

    def add_app_state(self, **facts: Any) -> None:
        plain = {"app_id": APP, "vendor": "", "blocked": True, "since": NOW, "failures": 1, "code": "5", "message": "x"}
        self.add(app_states, **(plain | facts))

    def add_order(self, *, failure: str | None, age: timedelta = timedelta(0)) -> None:
        def work(tx: Any) -> None:
            number = record_entry(tx, TESTER, "hold.place", "hold 1", {}, NOW - age)
            row = {"number": number, "kind": "hold", "app_id": APP, "payload": {}, "failure": failure}
            tx.execute(insert(orders).values(row))

        self.database.transact(work)

    def add(self, table: Any, **facts: Any) -> None:
        self.database.transact(lambda tx: tx.execute(insert(table).values(facts)))


class Page:
    """The metrics of a process, and a clock for what it remembers."""

    def __init__(self, scene: Scene, max_wait_s: float = 30) -> None:
        self.time = 0.0
        self.metrics = Metrics(scene.settings, scene.database, lambda: NOW, lambda: self.time, max_wait_s)

    def text(self) -> str:
        return self.metrics.expose().decode()

    def figures(self) -> dict[str, float]:
        """Every sample by its name and labels, as it is written."""
        return {
            name: float(value) for name, value in re.findall(r"^zego_retention_(\S+) (\S+)$", self.text(), re.MULTILINE)
        }
