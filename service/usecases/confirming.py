"""Confirming files that are in doubt: asked of the vendor just before their time, or with CONFIRM=all of every file.

docs/reconcile.md, "Confirmation".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from service.core.listing import Query
from service.core.model import Suspicion, Vendor
from service.core.reconciling import BY_LISTING, drop_doubted
from service.db import files, gates, leases, listings, locks, revisions
from service.usecases.adopting import NOT_DECIDED, Adopter, Page, drop_facts, find_quiet_end, take_in_page
from service.usecases.deciding import decide_again, decide_stream, demand_confirmation, lock_ranks
from service.usecases.searching import ListingRefused, ListingUnanswered, Searcher, Stopped

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from service.core.model import Lane
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow
    from service.usecases.calling import App

_IDS_PER_CALL: Final = 10
_BATCH: Final = 200
_AHEAD: Final = timedelta(hours=1)
"""How long before its time a doubted file is asked for: a pass deletes only what was confirmed before it."""

_MOST_CALLS: Final = 500
_ASKED_AGAIN_AFTER: Final = timedelta(hours=6)
_CONFIRM_MARK: Final = "setting/confirm"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmer:
    """What confirming needs; `patience` is how long a pass may be silent and still go first."""

    database: Database
    apps: Mapping[str, App]
    cooling_off: timedelta
    patience: timedelta
    now: Callable[[], datetime]


def confirm_due(confirmer: Confirmer, stop: threading.Event) -> None:
    """Look for unconfirmed files whose time is near: in the last complete listing, and at Tencent by asking for them.

    Whatever stands in the way leaves them unconfirmed; it is tried again with a later pass.
    """
    with confirmer.database.read() as session:
        lanes = listings.list_lanes_to_confirm(session, confirmer.now() + _AHEAD)
    for lane in lanes:
        _confirm_listed(confirmer, lane)
        if lane[1] is Vendor.TENCENT and lane[0] in confirmer.apps and not _is_closed(confirmer, lane):
            try:
                _ask_about(confirmer, lane, stop)
            except (ListingRefused, ListingUnanswered) as trouble:
                log.warning("confirmation_failed", app=lane[0], vendor=lane[1].value, detail=str(trouble))
            except Stopped:
                return


def settle_confirmation(
    database: Database, cooling_off: timedelta, *, confirm_all: bool, now: Callable[[], datetime]
) -> int:
    """Make what is in the inventory follow the CONFIRM setting, in batches; returns how many files changed.

    With `confirm_all`, every file waits until a listing or a person confirms it; without, none waits only for that, but
    what has waited so far is left alone for the cooling-off.
    """
    wanted = "all" if confirm_all else "off"
    with database.read() as session:
        mark = leases.find_lease(session, _CONFIRM_MARK)
    if (mark.holder if mark else "off") == wanted:
        return 0
    total = after = 0
    while True:
        with database.read() as session:
            looked_for = None if confirm_all else Suspicion.UNLISTED
            numbers = listings.list_to_settle(session, looked_for, after, _BATCH)
        if not numbers:
            break
        after = numbers[-1]
        quiet_until = find_quiet_end(cooling_off, now())
        change = partial(_settle, numbers=numbers, confirm_all=confirm_all, now=now(), quiet_until=quiet_until)
        total += database.transact(change)
    database.transact(lambda session: leases.leave_mark(session, _CONFIRM_MARK, wanted, now()))
    log.info("confirmation_settled", confirm=wanted, files=total)
    return total


def _settle(
    session: Session, numbers: Sequence[int], now: datetime, quiet_until: datetime | None, *, confirm_all: bool
) -> int:
    def settle(row: MediaFileRow) -> bool:
        if confirm_all:
            return demand_confirmation(row)
        if row.suspicion is not Suspicion.UNLISTED:
            return False
        # Somebody may have run one command without the setting: nothing goes before that can be noticed.
        row.suspicion, row.quiet_until = None, quiet_until
        return True

    return _change(session, numbers, settle, now)


def _confirm(session: Session, numbers: Sequence[int], now: datetime, quiet_until: datetime | None) -> int:
    def confirm(row: MediaFileRow) -> bool:
        if row.suspicion is None:
            return False
        doubted, note = drop_doubted(listings.describe_known(session, row), None, row.vendor_created_at)
        if note is not None:
            drop_facts(session, row, doubted, note)
            row.quiet_until = quiet_until
        row.suspicion, row.confirmed_at, row.confirmed_by = None, now, BY_LISTING
        return True

    return _change(session, numbers, confirm, now)


def _change(session: Session, numbers: Sequence[int], change: Callable[[MediaFileRow], bool], now: datetime) -> int:
    """Change undecided files and decide them again; `change` says whether it changed one. Returns how many it did."""
    locks.lock_policy_shared(session)
    rules = revisions.current_rules(session)
    streams = {(row.app_id, row.stream_id) for row in files.find_files(session, numbers).values()}
    lock_ranks(session, rules, streams)
    session.expire_all()
    rows = files.find_files(session, numbers, lock=True).values()
    changed = [row for row in rows if row.state not in NOT_DECIDED and change(row)]
    session.flush()
    decide_again(session, changed, rules, now)
    for app_id, stream_id in streams | {(row.app_id, row.stream_id) for row in changed}:
        decide_stream(session, app_id, stream_id, rules, now)
    return len(changed)


def _confirm_listed(confirmer: Confirmer, lane: Lane) -> None:
    """Confirm what the last complete listing showed: the doubt arose after that."""
    with confirmer.database.read() as session:
        last = listings.last_complete(session, lane)
    after = 0
    while last is not None:
        with confirmer.database.read() as session:
            numbers = listings.list_seen_in(session, lane, last, confirmer.now() + _AHEAD, after, _BATCH)
        if not numbers:
            return
        after = numbers[-1]
        now = confirmer.now()
        quiet_until = find_quiet_end(confirmer.cooling_off, now)
        confirmer.database.transact(partial(_confirm, numbers=numbers, now=now, quiet_until=quiet_until))


def _is_closed(confirmer: Confirmer, lane: Lane) -> bool:
    """ZEGO lets nobody in for now: asking would only hold up what it does let in."""
    with confirmer.database.read() as session:
        gate = gates.find_gate(session, *lane)
    return gate is not None and gate.is_closed(confirmer.now())


def _ask_about(confirmer: Confirmer, lane: Lane, stop: threading.Event) -> None:
    app = confirmer.apps[lane[0]]
    searcher = Searcher(
        confirmer.database, lane[0], app.lister, app.interval, confirmer.patience, confirmer.now, stop, most_tries=1
    )
    adopter = Adopter(confirmer.cooling_off)
    after = 0
    # (Retries and the next pass wait for this: whatever is left is asked for then.)
    for _ in range(_MOST_CALLS):
        now = confirmer.now()
        with confirmer.database.read() as session:
            batch = listings.list_to_confirm(
                session, lane, now + _AHEAD, (now - _ASKED_AGAIN_AFTER, now), after, _IDS_PER_CALL
            )
        if not batch:
            return
        after = batch[-1][0]
        asked = {file_id: number for number, file_id in batch}
        answer = searcher.ask(lane, Query(_IDS_PER_CALL, file_ids=tuple(asked)))
        found = {file.file_id: file for file in answer.files if file.file_id in asked}
        take_in_page(confirmer.database, adopter, Page(lane, None, now, list(found.values())), confirmer.now())
        missing = [number for file_id, number in asked.items() if file_id not in found]
        if missing:
            confirmer.database.transact(partial(listings.note_asked, numbers=missing, at=now))
