"""Reconcile: compare the inventory with what the vendors really store, app by app and vendor by vendor.

A listing is read page by page; one that breaks off starts over next time. A file is `gone` when two complete listings
in a row, begun at least an hour apart, lack it (docs/reconcile.md).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog

from service.audit.order import Order, OrderKind
from service.audit.record import place_order
from service.callbacks.store import find_authentic_at
from service.database import Database, DatabaseUnavailable, Transaction
from service.files.policy import PolicyReader, decide_files
from service.files.store import add_files, find_by_identity, find_highest_id, flag_streams, save_files
from service.leader.leader import Leader, LeadLost
from service.listing import store
from service.listing.adopt import Sighting, adopt_file, compare_file, end_missing, is_lost, trust_created
from service.listing.store import Listing, ListingState
from service.listing.walks import walk_markers, walk_windows
from service.model import Actor, FileState, MediaFile, NoSuchThing, NotPossible, Vendor
from service.rules.latest import counts_as_recording, span_of
from service.sweep.trust import judge_zego
from service.units import count_of, describe_moment
from service.zego.client import ZegoClient
from service.zego.messages import ListedFile, Query, SearchAnswer
from service.zego.refusals import advise_on_code

APART: Final = timedelta(hours=1)
"""How far apart two complete listings must have begun, for what both lack to be gone."""
RETRY_AFTER: Final = {ListingState.INTERRUPTED: timedelta(minutes=15), ListingState.INCOMPLETE: timedelta(hours=6)}
MAX_TRIES: Final = 6
"""Calls for one page, before the listing is interrupted."""

_CHUNK: Final = 250
"""Files written in one transaction: arriving callbacks wait for no more."""
_CALLS_SHARE: Final = 0.075
"""The part of the calls that ZEGO allows an app which deletions leave free."""
_MAX_WAIT_S: Final = 30.0
_SLICE_S: Final = 0.5
_SHOWN: Final = 5
_COUNTED: Final = ("listed", "adopted", "lost", "confirmed", "filled", "reopened", "missing", "gone")
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_STOPPED: Final = "stopped; the next one starts over"

_UNUSED_CODES: Final = frozenset({3, 4, 5})
"""The app does not use this vendor, if no file of it is known either."""
_FINAL_CODES: Final = frozenset({2, 7, 8, *_UNUSED_CODES, *range(100_000_000, 100_000_100)})
_ENABLE: Final = "ask ZEGO's support to enable SearchMedia for this AppID, or set ZEGO_RETENTION_RECONCILE_EVERY=off"
_ENABLED_BY_ZEGO: Final = (3, 5, 8, 100_000_007)

log = structlog.get_logger(__name__)


def place_reconcile(
    database: Database,
    actor: Actor,
    apps: Sequence[str],
    vendors: Sequence[Vendor],
    since: datetime | None,
    now: datetime,
) -> int:
    """Order that the listings of these apps and vendors are read; returns the number of the order.

    Its result is `{"listing_ids": [...]}`: the records of the listings, in the order of apps and vendors.
    """
    if not apps or not vendors:
        raise NotPossible("there is no app or vendor to reconcile")
    if since is not None and since >= now:
        raise NotPossible(f"since {describe_moment(since)} is in the future: name a moment in the past")
    app_ids, names = sorted(set(apps)), [vendor.value for vendor in Vendor if vendor in vendors]
    payload = {"apps": app_ids, "vendors": names, "since": since and since.astimezone(UTC).isoformat()}
    subject = f"app {', '.join(app_ids)}, {', '.join(names)}"
    return database.transact(
        lambda tx: place_order(tx, actor, OrderKind.RECONCILE, subject, payload, now, action="reconcile.request")
    )


@dataclass(slots=True)
class Reconciler:
    """Reads the vendors' listings. Only the process that leads may run it, one app and vendor at a time.

    `cooling_off` is how long adopted files are left alone. A listing that would end more than `breaker_share` of the
    present files of an app and vendor ends none.
    """

    database: Database
    leader: Leader
    reader: PolicyReader
    apps: Mapping[str, ZegoClient]
    cooling_off: timedelta
    breaker_share: float
    now: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep

    def run(self, app_id: str, vendor: Vendor, stop: threading.Event, *, since: datetime | None = None) -> int:
        """Compare one app and vendor with its listing; returns the number of the listing's record.

        With `since`, only what was made after it is listed, and nothing is found missing. On LeadLost or
        DatabaseUnavailable the record stays open; the next leader or listing ends it.
        """
        if app_id not in self.apps:
            raise NoSuchThing(f"app {app_id} is not configured")
        with self.leader.bound():
            begun = (app_id, vendor, since, self.leader.name, self.now())
            listing = self.leader.transact(lambda tx: store.begin_listing(tx, *begun))
            state, note = _Comparison(self, listing, stop).run()
            self.leader.transact(lambda tx: store.finish_listing(tx, listing.id, state, note, self.now()))
            with self.database.read() as tx:
                ended = store.find_listing(tx, listing.id) or listing
        counts = {name: getattr(ended, name) for name in _COUNTED if getattr(ended, name)}
        report = log.warning if state is ListingState.INCOMPLETE or note else log.info
        facts = {"app": app_id, "vendor": vendor.value, "state": state.value, "calls": ended.calls} | counts
        report("listing_ended", listing=listing.id, **facts, **({"note": note} if note else {}))
        return listing.id

    def run_request(self, order: Order, stop: threading.Event) -> list[int]:
        """Read the listings that an order asks for, until `stop` is set; returns the numbers of their records."""
        since = order.payload["since"] and datetime.fromisoformat(order.payload["since"])
        # (An app may have been taken out of the settings since.)
        wanted = [(app_id, vendor) for app_id in order.payload["apps"] for vendor in order.payload["vendors"]]
        return [
            self.run(app_id, Vendor(vendor), stop, since=since)
            for app_id, vendor in wanted
            if app_id in self.apps and not stop.is_set()
        ]

    def find_due(self, every: timedelta) -> list[tuple[str, Vendor]]:
        """The apps and vendors whose listing is to be read now: never read, long enough ago, or cut short.

        To be asked by whoever runs them, between two runs: one that counts as running was left by an error.
        """
        with self.database.read() as tx:
            newest = store.find_newest(tx, tuple(ListingState), is_whole=True)
        pairs = [(app_id, vendor) for app_id in sorted(self.apps) for vendor in Vendor]
        return [pair for pair in pairs if _is_due(newest.get(pair), every, self.now())]


def _is_due(last: Listing | None, every: timedelta, now: datetime) -> bool:
    if last is None or last.state is ListingState.RUNNING:
        return True
    ended_at = last.finished_at or last.started_at
    if ended_at > now + timedelta(minutes=15):  # the clock has been set back since
        return True
    if last.state in RETRY_AFTER:
        return ended_at + min(every, RETRY_AFTER[last.state]) <= now
    return last.started_at + every <= now


class _Ended(Exception):  # noqa: N818  (a state of the world)
    """The listing ends here, in this state and with this note."""

    def __init__(self, state: ListingState, note: str) -> None:
        super().__init__(note)
        self.state = state


@dataclass(slots=True)
class _Comparison:
    """One listing under way."""

    parts: Reconciler
    listing: Listing
    stop: threading.Event
    first_callback_at: datetime | None = None
    taken: frozenset[ListedFile] = frozenset()
    next_call_at: float = field(default_factory=time.monotonic)

    def run(self) -> tuple[ListingState, str | None]:
        """Read the listing, and end what it shows to be gone; returns how it ended, and what there is to say of it."""
        listing = self.listing
        try:
            with self.parts.database.read() as tx:
                self.first_callback_at = find_authentic_at(tx, listing.app_id)
            if listing.vendor is Vendor.TENCENT:
                problems = walk_windows(self.list_page, listing.since, listing.started_at)
            else:
                problems = walk_markers(self.list_page)
            if problems:
                more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
                return ListingState.INCOMPLETE, "no file is marked gone: " + "; ".join(problems[:_SHOWN]) + more
            return ListingState.COMPLETE, None if listing.since is not None else self.end_missing()
        except _Ended as end:
            return end.state, str(end)
        except (DatabaseUnavailable, LeadLost):
            raise
        except Exception as error:  # one listing must not keep the others from being read
            log.exception("listing_failed", app=listing.app_id, vendor=listing.vendor.value)
            return ListingState.INCOMPLETE, f"it failed with {type(error).__name__}: report this as a defect"

    def list_page(self, query: Query) -> SearchAnswer:
        """Ask for a page, and write down what it shows."""
        asked_at, answer = self.ask(query)
        # What an overfull window shows, its parts show again.
        fresh = [file for file in answer.files if file not in self.taken]
        self.taken = frozenset(answer.files)
        for start in range(0, len(fresh), _CHUNK):
            self.transact(partial(self.take, files=fresh[start : start + _CHUNK], asked_at=asked_at))
        return answer

    def ask(self, query: Query) -> tuple[datetime, SearchAnswer]:
        """Ask until a whole answer comes, at a pace of its own; returns when it was asked for, and the answer."""
        client, tries, wait_s = self.parts.apps[self.listing.app_id], 0, 0.0
        while True:
            self.pause(max(wait_s, self.next_call_at - time.monotonic()))
            self.next_call_at = time.monotonic() + 1 / (client.calls_per_second * _CALLS_SHARE)
            asked_at, answer = self.parts.now(), client.search_media(self.listing.vendor, query)
            self.count(calls=1)
            if answer.code == 0 and not answer.unreadable:
                if fault := answer.date and judge_zego(answer.date - self.parts.now()):
                    raise _Ended(ListingState.INTERRUPTED, f"{fault.text}; the next one starts over")
                return asked_at, answer
            if answer.code in _FINAL_CODES:
                raise self.judge_refusal(answer)
            said = answer.message or f"HTTP {answer.http_status}"
            if answer.code is not None:
                said = f"{answer.code} {answer.message}"
            tries += 1
            if tries == MAX_TRIES:
                raise _Ended(ListingState.INTERRUPTED, f"it was not answered: {said}; the next one starts over")
            wait_s = min(max(2.0 ** (tries - 1), answer.retry_after_s or 0), _MAX_WAIT_S)
            log.info("listing_waits", vendor=self.listing.vendor.value, answer=said, seconds=wait_s)

    def judge_refusal(self, answer: SearchAnswer) -> _Ended:
        refusal = f"ZEGO refuses to list: {answer.code} {answer.message}".rstrip()
        said = f"{refusal}; {_ENABLE if answer.code in _ENABLED_BY_ZEGO else advise_on_code(answer.code)}"
        with self.parts.database.read() as tx:
            present, _, _ = store.count_missing(tx, self.listing, self.listing.started_at)
        if answer.code in _UNUSED_CODES and not present:
            return _Ended(ListingState.UNUSED, f"{said} (the app does not seem to use {self.listing.vendor.value})")
        return _Ended(ListingState.INCOMPLETE, said)

    def pause(self, seconds: float) -> None:
        """Wait, and give signs of life meanwhile."""
        while True:
            if self.stop.is_set():
                raise _Ended(ListingState.INTERRUPTED, _STOPPED)
            self.parts.leader.renew()
            if seconds <= 0:
                return
            self.parts.sleep(min(seconds, _SLICE_S))
            seconds -= _SLICE_S

    def take(self, tx: Transaction, files: Sequence[ListedFile], asked_at: datetime) -> Counter[str]:
        """Write what some files of a page mean: adopt, confirm, fill in, reopen. Twice is once."""
        listing, now = self.listing, self.parts.now()
        sighting = Sighting(listing.id, asked_at, now + self.parts.cooling_off, now)
        # Listed twice with two ages, the later one counts.
        listed = {file.file_id: file for file in sorted(files, key=lambda file: file.created_at or _LONG_AGO)}
        known = find_by_identity(tx, listing.app_id, listing.vendor, listed)
        # Only Tencent lists by time: of the others, what was made before `since` is left out here.
        since = listing.since or _LONG_AGO
        adopted = [
            adopt_file(listing.app_id, listing.vendor, file, sighting)
            for name, file in listed.items()
            if name not in known and (trust_created(file, now) or now) >= since
        ]
        add_files(tx, decide_files(tx, self.parts.reader, adopted, now))
        lost = sum(is_lost(file, self.first_callback_at) for file in adopted)
        counts = Counter(listed=len(adopted), adopted=len(adopted), lost=lost)
        seen, changed = [], []
        for each in store.describe_known(tx, list(known.values())):
            compared = compare_file(each, listed[each.file.file_id], sighting)
            if compared is None:
                continue
            new, changes = compared
            is_first = each.file.listed_in != listing.id
            counts.update(changes, listed=int(is_first))
            if changes:
                changed.append((each.file, new))
            elif is_first:
                seen.append(each.file)
        if seen:
            store.mark_seen(tx, listing.id, seen, asked_at)
        self.save_changed(tx, changed, now)
        return counts

    def save_changed(self, tx: Transaction, changed: Sequence[tuple[MediaFile, MediaFile]], now: datetime) -> None:
        # The answer of an open call is recorded first; until then the file stays flagged.
        decidable = [new for _, new in changed if new.state is not FileState.DELETING]
        after = {new.id: new for _, new in changed}
        after |= {new.id: new for new in decide_files(tx, self.parts.reader, decidable, now)}
        save_files(tx, list(after.values()))
        # Where a file starts or ceases to count in its stream, the others may have another rank.
        streams: set[str] = set()
        for old, _ in changed:
            new = after[old.id]
            ranks = [(file.stream_id, span_of(file), counts_as_recording(file, now)) for file in (old, new)]
            if ranks[0] != ranks[1]:
                streams |= {old.stream_id, new.stream_id}
        flag_streams(tx, self.listing.app_id, streams)

    def end_missing(self) -> str | None:
        """End what this complete listing and one before it lack; returns why it ends none, if so."""
        listing, share = self.listing, self.parts.breaker_share
        missing_by = listing.started_at - APART
        with self.parts.database.read() as tx:
            present, missing, to_end = store.count_missing(tx, listing, missing_by)
            highest, row = find_highest_id(tx), store.find_listing(tx, listing.id)
        self.count(missing=missing)
        if not missing:
            return None
        if row is None or not row.listed:
            return f"it shows no file, although {count_of(present, 'file')} should be there; no file is marked gone"
        is_too_many = to_end > share * present
        for after in range(0, highest, store.RANGE):
            work = partial(self.end_range, missing_by=None if is_too_many else missing_by, after=after)
            while self.transact(work)["gone"] == _CHUNK:
                pass
        if not is_too_many:
            return None
        return (
            f"{count_of(to_end, 'file')} of {present:,} would be gone, more than ZEGO_RETENTION_BREAKER_SHARE"
            f" ({share:g}) of them, so none is: see whether they are really missing at {listing.vendor.value}; if so,"
            " raise it and run `zego-retention reconcile` again"
        )

    def end_range(self, tx: Transaction, missing_by: datetime | None, after: int) -> Counter[str]:
        """Note what is missing among the files of one range, and end some that are missing since `missing_by`."""
        listing, now = self.listing, self.parts.now()
        store.mark_missing(tx, listing, after)
        if missing_by is None:
            return Counter()
        files = store.list_to_end(tx, listing, missing_by, after, _CHUNK)
        unanswered = store.find_unanswered(tx, files)
        ended = [end_missing(file, listing.started_at, now, was_asked_for=file.id in unanswered) for file in files]
        save_files(tx, ended)
        flag_streams(tx, listing.app_id, {file.stream_id for file in files})
        return Counter(gone=len(files))

    def count(self, **counts: int) -> None:
        self.parts.leader.transact(lambda tx: store.count_up(tx, self.listing.id, counts))

    def transact(self, work: Callable[[Transaction], Counter[str]]) -> Counter[str]:
        """Do some of the work in one transaction, together with its counts; returns them."""
        if self.stop.is_set():
            raise _Ended(ListingState.INTERRUPTED, _STOPPED)

        def do(tx: Transaction) -> Counter[str]:
            counts = work(tx)
            if not store.count_up(tx, self.listing.id, counts):  # another listing of this app and vendor has begun
                raise _Ended(ListingState.INTERRUPTED, _STOPPED)  # and nothing is committed
            return counts

        return self.parts.leader.transact(do)
