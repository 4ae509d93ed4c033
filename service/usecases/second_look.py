"""A second look at files that a complete listing did not show, before they count as gone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from service.core.listing import Query
from service.core.model import FileState
from service.core.wording import in_words
from service.db import files, listings, locks, revisions, runs
from service.usecases.deciding import decide_stream, lock_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from service.core.listing import SearchAnswer
    from service.db.engine import Database, Session
    from service.db.models import ListingRow

_IDS_PER_CALL: Final = 10
_BATCH: Final = 200


def ask_for_each(
    database: Database,
    listing: ListingRow,
    known_before: datetime,
    ask: Callable[[Query], tuple[datetime, SearchAnswer]],
    take_in: Callable[[datetime, SearchAnswer], object],
) -> tuple[str, ...]:
    """Ask Tencent for every file that its listing did not show, 10 a call; those that are there are taken in.

    Returns why the answers prove nothing; nothing else is asked then.
    """
    after = 0
    while True:
        with database.read() as session:
            batch = listings.list_unseen(session, listing, known_before, after, _IDS_PER_CALL)
        if not batch:
            return ()
        after = batch[-1][0]
        asked = tuple(file_id for _, file_id in batch)
        asked_at, answer = ask(Query(_IDS_PER_CALL, file_ids=asked))
        named = {file.file_id for file in answer.files}
        if answer.unnamed or not named <= set(asked) or answer.total not in (None, len(named)):
            return ("asked for files by their ids, the vendor answers with others, or with numbers that do not agree",)
        take_in(asked_at, answer)


def mark_gone(
    database: Database,
    listing: ListingRow,
    known_before: datetime,
    now: Callable[[], datetime],
    give_sign_of_life: Callable[[], None],
) -> None:
    """Write down that what neither look showed is gone, in batches, and count it in the listing.

    `give_sign_of_life` raises if somebody else has taken over: what is unseen by now may be seen by them.
    """
    after = 0
    while True:
        give_sign_of_life()
        with database.read() as session:
            batch = listings.list_unseen(session, listing, known_before, after, _BATCH)
        if not batch:
            return
        after = batch[-1][0]
        database.transact(partial(_mark, listing=listing, numbers=[number for number, _ in batch], now=now()))


def _mark(session: Session, listing: ListingRow, numbers: Sequence[int], now: datetime) -> None:
    locks.lock_policy_shared(session)
    rules = revisions.current_rules(session)
    rows = files.find_files(session, numbers).values()
    streams = {(row.app_id, row.stream_id) for row in rows}
    lock_ranks(session, rules, streams)
    session.expire_all()
    doubtful = runs.maybe_deleted_since_listed(session, numbers)
    marked = 0
    for row in listings.lock_unseen(session, listing, numbers):
        row.state = FileState.DELETED if row.id in doubtful else FileState.GONE
        row.state_reason = _explain(listing, by_us=row.id in doubtful)
        row.decided_at = now
        row.retry_at = row.claim_run_id = row.claimed_at = None
        marked += 1
    session.flush()
    for app_id, stream_id in streams:
        decide_stream(session, app_id, stream_id, rules, now)
    listings.count_up(session, listing.id, now, {"gone": marked})


def _explain(listing: ListingRow, *, by_us: bool) -> str:
    looked = f"listing {listing.id} of {in_words(listing.started_at)} and a second look did not show it"
    if by_us:
        return f"deleted: an earlier call whose answer is not known must have worked, for {looked}"
    return f"the vendor does not have it any more: {looked}"
