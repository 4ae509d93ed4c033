"""Before a pass counts what is due: files that are kept for their rank, or not confirmed, leave that index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.files.store import find_files, save_decisions
from service.model import FileState, Vendor
from service.rules.latest import describe_latest, keep_as_latest
from service.sweep import claim_store
from service.sweep.claim import NOT_CONFIRMED, Judge, find_counting_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from service.database import Transaction
    from service.files.policy import PolicyReader
    from service.leader.leader import Leader
    from service.sweep.claim_store import Due

_STREAMS: Final = 50
_FILES: Final = 200


def set_aside_ranked(leader: Leader, reader: PolicyReader, due: Due, now: Callable[[], datetime]) -> int:
    """Keep the due files of an app that are among the newest of their stream; returns how many.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    with leader.database.read() as tx:
        counting = find_counting_rules(reader.read(tx).rules)
        streams = claim_store.list_ranked_streams(tx, due, counting) if counting else []
    kept = 0
    for start in range(0, len(streams), _STREAMS):
        batch = streams[start : start + _STREAMS]
        kept += leader.transact(lambda tx: _keep_newest(tx, reader, due, batch, now()))  # noqa: B023  (called at once)
    return kept


def set_aside_unconfirmed(leader: Leader, due: Due, now: Callable[[], datetime]) -> int:
    """Let due files that nobody has confirmed wait for that (`CONFIRM=all`); returns how many.

    Raises:
        LeadLost: another process leads.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    total = 0
    for vendor in Vendor:
        while count := leader.transact(lambda tx: _refuse_unconfirmed(tx, due, vendor, now())):  # noqa: B023
            total += count
    return total


def _keep_newest(
    tx: Transaction, reader: PolicyReader, due: Due, streams: Sequence[tuple[str, str]], now: datetime
) -> int:
    policy = reader.read(tx)
    judge = Judge(tx, policy, now, confirm_all=False)
    counting = find_counting_rules(policy.rules)
    total = 0
    for rule, stream_id in streams:
        if rule not in counting:
            continue
        newest = judge.find_newest(due.app_id, stream_id, rule, counting[rule])
        reason = describe_latest(rule, counting[rule])
        kept = [
            keep_as_latest(file, reason, now)
            for file in find_files(tx, newest).values()
            if file.state is FileState.SCHEDULED and file.call_after is not None and file.call_after <= due.moment
        ]
        save_decisions(tx, kept)
        if kept:  # they may count only since their wait for an adoption is over, which no decision sees
            claim_store.flag_outranked(tx, due.app_id, stream_id, rule, newest)
        total += len(kept)
    return total


def _refuse_unconfirmed(tx: Transaction, due: Due, vendor: Vendor, now: datetime) -> int:
    files = claim_store.list_unconfirmed(tx, due, vendor, _FILES)
    refused = [file._replace(state=FileState.UNCONFIRMED, state_reason=NOT_CONFIRMED, state_at=now) for file in files]
    save_decisions(tx, refused)
    return len(files)
