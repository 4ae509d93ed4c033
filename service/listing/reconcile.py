"""Reconcile: compare the inventory with what the vendors really store, app by app and vendor by vendor.

A listing is read page by page; one that breaks off starts over next time. A file is `gone` when two complete listings
in a row, begun at least an hour apart, lack it (docs/reconcile.md).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from service.audit.order import Order
from service.database import Database, DatabaseUnavailable, Transaction
from service.files.policy import PolicyReader
from service.files.store import find_highest_id, flag_streams, save_files
from service.leader.leader import Leader, LeadLost
from service.listing import file_store, store
from service.listing.adopt import end_missing
from service.listing.asking import Asker, ListingApp, ListingRefused, ListingUnanswered, Stopped
from service.listing.markers import walk_markers
from service.listing.record import Listing, ListingState
from service.listing.request import read_request
from service.listing.taking import Intake
from service.listing.tencent import walk_windows
from service.model import FileState, NoSuchThing, Vendor
from service.units import count_of
from service.zego.messages import ListedFile

APART: Final = timedelta(hours=1)
"""How far apart two complete listings must have begun, for what both lack to be gone."""

RETRY_INTERRUPTED: Final = timedelta(minutes=15)
RETRY_INCOMPLETE: Final = timedelta(hours=6)

_CHUNK: Final = 250
"""Files written in one transaction: arriving callbacks wait for no more."""
_SHOWN: Final = 5

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reconciler:
    """Reads the vendors' listings. Only the process that leads may run it, one app and vendor at a time.

    `cooling_off` is how long adopted files are left alone. A listing that would end more than `breaker_share` of the
    present files of an app and vendor ends none.
    """

    database: Database
    leader: Leader
    reader: PolicyReader
    apps: Mapping[str, ListingApp]
    cooling_off: timedelta
    breaker_share: float
    now: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep

    def run(self, app_id: str, vendor: Vendor, stop: threading.Event, *, since: datetime | None = None) -> int:
        """Compare one app and vendor with its listing; returns the number of the listing's record.

        With `since`, only what was made after it is listed, and nothing is found missing.

        Raises:
            NoSuchThing: the app is not configured.
            LeadLost: another process leads; it ends the record of this listing.
            DatabaseUnavailable: the database failed; the next listing starts over.
        """
        if app_id not in self.apps:
            raise NoSuchThing(f"app {app_id} is not configured")
        name, now = self.leader.name, self.now()
        with self.leader.bound():
            listing = self.leader.transact(lambda tx: store.begin_listing(tx, app_id, vendor, since, name, now))
            state, note = _Comparison(self, listing, stop).run()
            self.leader.transact(lambda tx: store.finish_listing(tx, listing.id, state, note, self.now()))
        report = log.warning if state is ListingState.INCOMPLETE or note else log.info
        report("listing_ended", app=app_id, vendor=vendor.value, listing=listing.id, state=state.value, note=note)
        return listing.id

    def run_request(self, order: Order, stop: threading.Event) -> list[int]:
        """Read the listings that an order asks for, until `stop` is set; returns the numbers of their records.

        Raises:
            LeadLost: another process leads.
            DatabaseUnavailable: the database failed.
        """
        pairs, since = read_request(order)
        # (An app may have been taken out of the settings since.)
        wanted = [pair for pair in pairs if pair[0] in self.apps]
        return [self.run(*pair, stop, since=since) for pair in wanted if not stop.is_set()]

    def find_due(self, every: timedelta) -> list[tuple[str, Vendor]]:
        """The apps and vendors whose listing is to be read now: never read, long enough ago, or cut short.

        To be asked by whoever runs them, between two runs: one that counts as running was left by an error.

        Raises:
            DatabaseUnavailable: the database cannot be asked.
        """
        with self.database.read() as tx:
            newest = {(listing.app_id, listing.vendor): listing for listing in store.list_newest(tx)}
        pairs = [(app_id, vendor) for app_id in sorted(self.apps) for vendor in Vendor]
        return [pair for pair in pairs if _is_due(newest.get(pair), every, self.now())]


@dataclass(slots=True)
class _Comparison:
    """One listing under way."""

    reconciler: Reconciler
    listing: Listing
    stop: threading.Event

    def run(self) -> tuple[ListingState, str | None]:
        """Read the listing, and end what it shows to be gone; returns how it ended, and what there is to say of it."""
        listing = self.listing
        try:
            problems = self._read_listing()
            if problems:
                return ListingState.INCOMPLETE, _describe(problems)
            return ListingState.COMPLETE, None if listing.since is not None else self._end_missing()
        except Stopped:
            return ListingState.INTERRUPTED, "stopped; the next one starts over"
        except ListingUnanswered as trouble:
            return ListingState.INTERRUPTED, f"{trouble}; the next one starts over"
        except ListingRefused as refusal:
            return self._judge_refusal(refusal)
        except (DatabaseUnavailable, LeadLost):
            raise
        except Exception as error:  # one listing must not keep the others from being read
            log.exception("listing_failed", app=listing.app_id, vendor=listing.vendor.value)
            return ListingState.INCOMPLETE, f"it failed with {type(error).__name__}: report this as a defect"

    def _read_listing(self) -> tuple[str, ...]:
        """Ask for page after page, and write down what each shows; returns why the listing is not complete."""
        reconciler, listing = self.reconciler, self.listing
        app = reconciler.apps[listing.app_id]
        asker = Asker(app, listing.vendor, reconciler.leader, self.stop, reconciler.sleep, reconciler.now)
        with reconciler.database.read() as tx:
            first_callback_at = file_store.find_first_callback_at(tx, listing.app_id)
        intake = Intake(reconciler.reader, listing, reconciler.cooling_off, first_callback_at)
        is_tencent = listing.vendor is Vendor.TENCENT
        walk = walk_windows(listing.since, listing.started_at) if is_tencent else walk_markers()
        taken: frozenset[ListedFile] = frozenset()
        try:
            query = next(walk)
            while True:
                try:
                    asked_at, answer = asker.ask(query)
                finally:
                    calls, asker.calls = asker.calls, 0
                    self._count({"calls": calls})
                # What an overfull window shows, its parts show again.
                fresh = [file for file in answer.files if file not in taken]
                taken = frozenset(answer.files)
                for start in range(0, len(fresh), _CHUNK):
                    chunk = fresh[start : start + _CHUNK]
                    self._transact(lambda tx: intake.take(tx, chunk, asked_at, reconciler.now()))  # noqa: B023
                query = walk.send(answer)
        except StopIteration as end:
            problems: tuple[str, ...] = end.value
            return problems

    def _end_missing(self) -> str | None:
        """End what this complete listing and one before it lack; returns why it ends none, if so."""
        listing = self.listing
        missing_by = listing.started_at - APART
        with self.reconciler.database.read() as tx:
            counts = file_store.count_missing(tx, listing, missing_by)
            highest = find_highest_id(tx)
            row = store.find_listing(tx, listing.id)
        self._count({"missing": counts.missing})
        if not counts.missing:
            return None
        if row is None or not row.listed:
            return f"it shows no file at all, although {count_of(counts.present, 'file')} should be there: none is gone"
        share = self.reconciler.breaker_share
        is_too_many = counts.to_end > share * counts.present
        for after in range(0, highest, file_store.RANGE):
            work = partial(self._end_range, missing_by=None if is_too_many else missing_by, after=after)
            while self._transact(work) == _CHUNK:
                pass
        if is_too_many:
            return (
                f"{count_of(counts.to_end, 'file')} of {counts.present:,} would be gone, more than"
                f" ZEGO_RETENTION_BREAKER_SHARE ({share:g}) of them, so none is: see whether they are really missing at"
                f" {listing.vendor.value}; if so, raise it and run `zego-retention reconcile` again"
            )
        return None

    def _end_range(self, tx: Transaction, missing_by: datetime | None, after: int) -> Counter[str]:
        """Note what is missing among the files of one range, and end some that are missing since `missing_by`."""
        file_store.mark_missing(tx, self.listing, after)
        if missing_by is None:
            return Counter()
        files = file_store.list_to_end(tx, self.listing, missing_by, after, _CHUNK)
        unanswered = file_store.find_unanswered(tx, files)
        began_at, now = self.listing.started_at, self.reconciler.now()
        save_files(tx, [end_missing(file, began_at, now, was_asked_for=file.id in unanswered) for file in files])
        flag_streams(tx, self.listing.app_id, {file.stream_id for file in files}, only_state=FileState.KEPT)
        return Counter(gone=len(files))

    def _judge_refusal(self, refusal: ListingRefused) -> tuple[ListingState, str]:
        with self.reconciler.database.read() as tx:
            counts = file_store.count_missing(tx, self.listing, self.listing.started_at)
        if refusal.is_unused and not counts.present:
            return ListingState.UNUSED, f"{refusal} (the app does not seem to use {self.listing.vendor.value})"
        return ListingState.INCOMPLETE, str(refusal)

    def _count(self, counts: Mapping[str, int]) -> None:
        if any(counts.values()):
            self.reconciler.leader.transact(lambda tx: store.count_up(tx, self.listing.id, counts))

    def _transact(self, work: Callable[[Transaction], Counter[str]]) -> int:
        """Do some of the work in one transaction, together with its counts; returns their sum.

        Raises:
            Stopped: the process is to end, or another listing of this app and vendor has begun.
        """
        if self.stop.is_set():
            raise Stopped

        def do(tx: Transaction) -> int:
            counts = work(tx)
            if not store.count_up(tx, self.listing.id, counts):
                raise Stopped  # and nothing of it is committed
            return counts.total()

        return self.reconciler.leader.transact(do)


def _is_due(last: Listing | None, every: timedelta, now: datetime) -> bool:
    if last is None or last.state is ListingState.RUNNING:
        return True
    ended_at = last.finished_at or last.started_at
    if ended_at > now + RETRY_INTERRUPTED:  # the clock has been set back since
        return True
    if last.state is ListingState.INTERRUPTED:
        return ended_at + min(every, RETRY_INTERRUPTED) <= now
    if last.state is ListingState.INCOMPLETE:
        return ended_at + min(every, RETRY_INCOMPLETE) <= now
    return last.started_at + every <= now


def _describe(problems: tuple[str, ...]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "no file is gone by it: " + "; ".join(problems[:_SHOWN]) + more
