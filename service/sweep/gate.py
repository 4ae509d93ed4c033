"""The gate before every pass, and before each call of it: nothing is deleted by a clock, rules or a schema in doubt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.database import Database, Transaction, UnfitDatabase
from service.database.migrate import pending_migrations
from service.leader.leader import Leader
from service.leader.store import find_leader, set_progress
from service.model import Vendor
from service.rules.store import find_fault_of_rules
from service.sweep.store import find_newest_moment
from service.sweep.trust import Cause, Refusal, Sighting, judge_jump, judge_record, judge_zego
from service.units import count_of
from service.zego.client import ZegoClient
from service.zego.messages import Answer, Query

_LOOK_AGAIN_S: Final = 60.0
_SPOOLED: Final = "callbacks wait in the spool, and are stored first; `zego-retention doctor` says how many"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Gate:
    """Says whether a pass may delete; one for each process that sweeps.

    ZEGO's clock is known from the `Date` of its last answer; before the first one, and while it refuses, a page of one
    file is asked for, which changes nothing. A clock that nobody sets (`steady`, in seconds) says how old that is.
    """

    database: Database
    leader: Leader
    apps: Mapping[str, ZegoClient]
    now: Callable[[], datetime]
    steady: Callable[[], float]
    has_spooled: Callable[[], bool] = lambda: False
    """Whether callbacks wait in the spool: one of them may contradict what is known of a file."""

    refusals: dict[str, str] = field(default_factory=dict)
    """Why nothing was deleted when that was asked last, by cause."""

    _zego: dict[str, Sighting] = field(default_factory=dict)  # by the address of its API
    _without_time: set[str] = field(default_factory=set)
    _looked_at: float = 0.0
    _began: Sighting | None = None
    _stored: tuple[dict[str, str], float | None] | None = None

    def open(self) -> list[str]:
        """Begin a pass; returns why it may not delete anything: empty if it may."""
        self._began = Sighting(self.now(), self.steady())
        if self.steady() - self._looked_at > _LOOK_AGAIN_S:
            doubted = {client.api_url: app_id for app_id, client in self.apps.items() if self._judge_zego(app_id)}
            for app_id in doubted.values():
                self.look_at_clock(app_id)
        if not (found := _judge_schema(self.database)):
            with self.database.read() as tx:
                found = _judge_content(tx, self.now())
        if self.has_spooled():
            found.append(Refusal(Cause.SPOOL, _SPOOLED))
        self.refuse([*found, *filter(None, map(self._judge_zego, self.apps))])
        return list(self.refusals.values())

    def find_fault(self, app_id: str) -> Refusal | None:
        """Why no call may be made any more in this pass: our clock was set, or is off ZEGO's."""
        ahead = timedelta(0) if self._began is None else self._began.find_ahead(self.now(), self.steady())
        return self._judge_zego(app_id) or judge_jump(ahead)

    def refuse(self, found: Collection[Refusal]) -> None:
        """Write down for `doctor`, metrics and log why nothing is deleted, and how far ZEGO's clock is ahead."""
        for cause, text in found:
            if cause not in self.refusals:
                log.error("deletion_refused", cause=cause.value, reason=text)
        if self.refusals and not found:
            log.info("deletion_allowed_again")
        self.refusals = {cause.value: text for cause, text in found}
        ahead = [seen.find_ahead(self.now(), self.steady()).total_seconds() for seen in self._zego.values()]
        facts = self.refusals, max(map(round, ahead), key=abs, default=None)
        if facts != self._stored:
            self.leader.transact(lambda tx: set_progress(tx, refusals=facts[0], zego_ahead_s=facts[1]))
            self._stored = facts

    def note_time(self, app_id: str, answer: Answer) -> bool:
        """Note the time that came with an answer, if ZEGO itself gave it: an error page may be a cached one."""
        if answer.date is None or answer.code is None:
            return False
        self._zego[self.apps[app_id].api_url] = Sighting(answer.date, self.steady())
        return True

    def is_blind(self, app_id: str) -> bool:
        """Whether ZEGO's clock is unknown."""
        return self.apps[app_id].api_url not in self._zego

    def look_at_clock(self, app_id: str) -> None:
        """Ask ZEGO for a page of one file: for the time that it sends, whatever it answers."""
        self._looked_at = self.steady()
        answer = self.apps[app_id].search_media(Vendor.TENCENT, Query(size=1))
        if not self.note_time(app_id, answer) and self.apps[app_id].api_url not in self._without_time:
            self._without_time.add(self.apps[app_id].api_url)
            log.warning("zego_sent_no_time", app=app_id, detail=answer.message)

    def _judge_zego(self, app_id: str) -> Refusal | None:
        seen = self._zego.get(self.apps[app_id].api_url)
        return judge_zego(None if seen is None else seen.find_ahead(self.now(), self.steady()))


def list_refusals(tx: Transaction, now: datetime) -> dict[str, str]:
    """Why nothing is deleted, by cause: as the worker wrote it down, and as it is seen from here."""
    leader = find_leader(tx)
    found = {cause.value: text for cause, text in _judge_content(tx, now)}
    return found | ((leader and leader.refusals) or {})


def _judge_content(tx: Transaction, now: datetime) -> list[Refusal]:
    fault = find_fault_of_rules(tx)
    found = judge_record(now, find_newest_moment(tx)), fault and Refusal(Cause.RULES, fault)
    return [each for each in found if each]


def _judge_schema(database: Database) -> list[Refusal]:
    """Another release may have migrated the database since this process has started."""
    try:
        pending = pending_migrations(database)
    except UnfitDatabase as error:
        return [Refusal(Cause.SCHEMA, str(error))]
    steps = count_of(len(pending), "migration")
    text = f"database {database.name}: {steps} pending; run `zego-retention migrate`"
    return [Refusal(Cause.SCHEMA, text)] if pending else []
