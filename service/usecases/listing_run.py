"""One listing under way: reading it, looking again at what is missing, and how it ends (docs/reconcile.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from service.core.marker_walk import MarkerWalk
from service.core.model import Vendor
from service.core.time_walk import TimeWalk
from service.core.wording import count, in_words
from service.db import leases, listings
from service.db.engine import DatabaseUnavailable
from service.db.models import ListingState
from service.usecases.adopting import Adopter, Page, take_in_page
from service.usecases.searching import PART_REFUSED, ListingRefused, ListingUnanswered, Searcher, Stopped
from service.usecases.second_look import ask_for_each, mark_gone

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from service.core.listing import Query, SearchAnswer
    from service.core.model import Lane
    from service.core.walk import Walk
    from service.db.engine import Database, Session
    from service.db.models import ListingRow
    from service.usecases.calling import App

_SETTLED: Final = timedelta(minutes=10)
"""A file announced this shortly before a listing began need not be in it yet."""

_FEW: Final = 20
_STREAMS: Final = 500
_LARGEST_SHARE: Final = 0.5
_ALIKE: Final = 0.9

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What reconciling needs: a database, a way to ZEGO for every app, how long adopted files are left alone, a clock.

    `patience` is how long a process may be silent and still count as alive; `after_listing` is called with the app of
    each listing that ended: callbacks that waited for it are tried again.
    """

    database: Database
    apps: Mapping[str, App]
    cooling_off: timedelta
    patience: timedelta
    now: Callable[[], datetime]
    name: str
    after_listing: Callable[[str], object]


@dataclass(slots=True)
class Comparison:
    """One listing under way."""

    reconciler: Reconciler
    lane: Lane
    listing: ListingRow
    lease: str
    fence: int
    stop: threading.Event
    on_progress: Callable[[int], None] | None

    @property
    def known_before(self) -> datetime:
        """What was in the inventory by then should be in the listing."""
        return self.listing.started_at - _SETTLED

    def run(self) -> None:
        """Read the listing, look again at what is missing, and write down how it ended."""
        was_unused = self.listing.note is not None
        try:
            state, note = self._compare()
        except Stopped:
            state, note = ListingState.INTERRUPTED, "stopped; the next one goes on with it"
        except ListingUnanswered as trouble:
            state, note = ListingState.INTERRUPTED, f"{trouble}; the next one goes on with it"
        except ListingRefused as refusal:
            state, note = self._judge_refusal(refusal)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # one lane must not keep the others from being read
            log.exception("listing_failed", app=self.lane[0], vendor=self.lane[1].value)
            state, note = ListingState.INCOMPLETE, f"it failed with {type(error).__name__}: report this as a defect"
        self._finish(state, note)
        if state is ListingState.UNUSED and not was_unused:
            log.info("vendor_not_used", app=self.lane[0], vendor=self.lane[1].value, detail=note)
        elif state is not ListingState.UNUSED:
            tell = log.info if state in (ListingState.COMPLETE, ListingState.INTERRUPTED) else log.warning
            tell(
                "listing_ended", app=self.lane[0], vendor=self.lane[1].value, listing=self.listing.id, state=state.value
            )

    def _compare(self) -> tuple[ListingState, str | None]:
        is_second, walk = self._load()
        if not is_second:
            self._read(walk, self._adopter(), is_second=False)
            if walk.problems:
                return ListingState.INCOMPLETE, _describe(walk.problems)
            if self.listing.since is not None:
                since = in_words(self.listing.since)
                return ListingState.COMPLETE, f"of what was made since {since}: nothing is marked gone"
        problems = self._look_again(walk if is_second else None)
        if problems:
            return ListingState.INCOMPLETE, _describe(problems)
        return ListingState.COMPLETE, None

    def _look_again(self, walk: Walk | None) -> tuple[str, ...]:
        """A second look at what a complete listing did not show; what neither shows is gone."""
        if walk is None:
            missing = self._note_missing()
            if not missing:
                return ()
            if reason := self._disbelieve(missing):
                return (reason,)
        adopter = replace(self._adopter(), expected_before=self.known_before)
        if self.lane[1] is Vendor.TENCENT:
            take_in = partial(self._take_in, adopter)
            problems = ask_for_each(self.reconciler.database, self.listing, self.known_before, self._ask, take_in)
        else:
            walk = walk or MarkerWalk()
            self._read(walk, adopter, is_second=True)
            problems = walk.problems
        if problems:
            return tuple(f"second look: {problem}" for problem in problems)
        with self.reconciler.database.read() as session:
            row = listings.find_listing(session, self.listing.id)
        if row is None or row.contradicted:
            found = row.contradicted if row else 0
            return (f"{count(found, 'file')} that the first look did not show came up in the second",)
        mark_gone(
            self.reconciler.database, self.listing, self.known_before, self.reconciler.now, self._give_sign_of_life
        )
        return ()

    def _read(self, walk: Walk, adopter: Adopter, *, is_second: bool) -> None:
        while (query := walk.next_query()) is not None:
            try:
                asked_at, answer = self._ask(query)
            except ListingRefused as refusal:
                # A question for a part of a second: the walk knows what to do without it.
                is_for_a_part = query.prefix or (query.start is not None and query.start == query.end)
                if refusal.code not in PART_REFUSED or not is_for_a_part:
                    raise
                walk.take((), total=None, next_marker=None)
            else:
                self._take_in(adopter, asked_at, answer)
                walk.take(answer.files, total=answer.total, next_marker=answer.next_marker, unnamed=answer.unnamed)
            self._save(walk, is_second=is_second)

    def _ask(self, query: Query) -> tuple[datetime, SearchAnswer]:
        app = self.reconciler.apps[self.lane[0]]
        searcher = Searcher(
            self.reconciler.database,
            self.lane[0],
            app.lister,
            app.interval,
            self.reconciler.patience,
            self.reconciler.now,
            self.stop,
            self._note_call,
            self._give_sign_of_life,
        )
        asked_at = self.reconciler.now()
        return asked_at, searcher.ask(self.lane, query)

    def _note_call(self) -> None:
        """Count a call before it is sent, and see that nobody else has taken over."""
        self._give_sign_of_life(calls=1)

    def _give_sign_of_life(self, calls: int = 0) -> None:
        def note(session: Session) -> bool:
            now = self.reconciler.now()
            listings.count_up(session, self.listing.id, now, {"calls": calls})
            return leases.renew_lease(session, self.lease, self.fence, now, self.reconciler.patience)

        if not self.reconciler.database.transact(note):
            raise Stopped

    def _take_in(self, adopter: Adopter, asked_at: datetime, answer: SearchAnswer) -> None:
        page = Page(self.lane, self.listing.id, asked_at, answer.files)
        counts = take_in_page(self.reconciler.database, adopter, page, self.reconciler.now())
        if self.on_progress:
            self.on_progress(counts["listed"])

    def _adopter(self) -> Adopter:
        with self.reconciler.database.read() as session:
            first = listings.first_callback_at(session, self.lane[0])
        return Adopter(self.reconciler.cooling_off, first, self.listing.since)

    def _load(self) -> tuple[bool, Walk]:
        """Where to go on: whether with the second look, and the walk through the listing."""
        load: Callable[[Any], Walk] = MarkerWalk.load
        begin: Callable[[], Walk] = MarkerWalk
        if self.lane[1] is Vendor.TENCENT:
            streams = self._list_streams()
            load = partial(TimeWalk.load, streams=streams)
            until = self.listing.started_at.replace(microsecond=0)
            begin = partial(TimeWalk, self.listing.since, until, streams=streams)
        if self.listing.cursor is not None:
            try:
                cursor = json.loads(self.listing.cursor)
                return bool(cursor["second"]), load(cursor["walk"])
            except (ValueError, KeyError, TypeError, AttributeError):
                log.warning("listing_begins_anew", app=self.lane[0], vendor=self.lane[1].value)
        return False, begin()

    def _list_streams(self) -> list[str]:
        """Streams to ask for where names do not tell the files of one second apart."""
        with self.reconciler.database.read() as session:
            return listings.list_some_streams(session, self.lane[0], _STREAMS)

    def _save(self, walk: Walk, *, is_second: bool) -> None:
        cursor = json.dumps({"second": is_second, "walk": walk.dump()})

        def save(session: Session) -> None:
            row = listings.find_listing(session, self.listing.id)
            if row is not None:
                row.cursor = cursor

        self.reconciler.database.transact(save)

    def _note_missing(self) -> int:
        """Count what the listing did not show, and write it down."""
        with self.reconciler.database.read() as session:
            missing = listings.count_unseen(session, self.listing, self.known_before)

        def note(session: Session) -> None:
            row = listings.find_listing(session, self.listing.id)
            if row is not None:
                row.missing = missing

        self.reconciler.database.transact(note)
        return missing

    def _disbelieve(self, missing: int) -> str | None:
        """Why a complete listing is not believed for once: most of what is known would be gone.

        If the next one shows the same, it is believed.
        """
        with self.reconciler.database.read() as session:
            expected = listings.count_expected(session, self.listing, self.known_before)
            before = listings.find_before(session, self.listing)
        if expected < _FEW or missing <= _LARGEST_SHARE * expected:
            return None
        if before is not None and before.state is ListingState.INCOMPLETE and before.missing >= _ALIKE * missing:
            return None
        return (
            f"the listing shows only {expected - missing:,} of {count(expected, 'file')} that are known: see whether "
            "that can be; the next listing that shows the same is believed"
        )

    def _judge_refusal(self, refusal: ListingRefused) -> tuple[ListingState, str]:
        with self.reconciler.database.read() as session:
            is_known = listings.has_alive(session, self.lane)
        if refusal.is_unused and not is_known:
            return ListingState.UNUSED, f"{refusal}: the app does not seem to use {self.lane[1]}"
        return ListingState.INCOMPLETE, str(refusal)

    def _finish(self, state: ListingState, note: str | None) -> None:
        def finish(session: Session) -> None:
            row = listings.find_listing(session, self.listing.id)
            if row is not None and leases.holds_lease(session, self.lease, self.fence):
                row.state, row.note, row.finished_at = state, note, self.reconciler.now()
                row.heartbeat_at = row.finished_at
                row.cursor = row.cursor if state is ListingState.INTERRUPTED else None

        self.reconciler.database.transact(finish)


def _describe(problems: tuple[str, ...]) -> str:
    shown = 5
    more = f"; and {len(problems) - shown} more" if len(problems) > shown else ""
    return "nothing is marked gone: " + "; ".join(problems[:shown]) + more
