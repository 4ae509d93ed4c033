"""What was deleted in a period, for auditors: each file, totals, and what stood behind it (docs/console.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from service.audit.store import find_head
from service.database import Database, Transaction
from service.filters import HoldFilter, ListingFilter, ReportFilter
from service.model import Erasure
from service.sweep import report_store
from service.sweep.records import Deletion, DeletionTotal
from service.views.audit import verify_audit
from service.views.files import ERASURES, HOLDS, Hold
from service.views.form import Known, Listed, show_as
from service.views.rules import REVISIONS, RevisionWithDiff
from service.views.runs import LISTINGS

_SUMMED_AT_ONCE: Final = 20_000
_START: Final = datetime(2000, 1, 1, tzinfo=UTC)
_END: Final = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Report:
    """What was deleted in a period, and what stood behind it.

    `head` is where the audit stood when the report was begun; `is_verified`: up to there its chain is whole (None: that
    was not looked at), else `fault`. `gone` files were ended by listings, without a call. `revisions`, `holds` and
    `erasures` are those that were in force, or asked for, in the period.
    """

    since: datetime
    until: datetime
    made_at: datetime
    head: str
    is_verified: bool | None
    fault: str | None
    totals: list[DeletionTotal]
    gone: int
    revisions: list[RevisionWithDiff]
    holds: list[Hold]
    erasures: list[Erasure]

    @property
    def files(self) -> int:
        """How many files were ended."""
        return sum(total.files for total in self.totals)


show_as(Deletion, stream_id=Known, file="media_file_id", run="run_id", call="call_id")


def _list_deletions(tx: Transaction, wanted: ReportFilter, cursor: int, size: int) -> list[Deletion]:
    since, until = wanted.since or _START, wanted.until or _END
    lowest, highest = report_store.find_span(tx, since, until)
    return report_store.list_deletions(tx, since, until, (max(cursor, lowest), highest), size)


def _count_deletions(tx: Transaction, wanted: ReportFilter) -> int:
    since, until = wanted.since or _START, wanted.until or _END
    found = report_store.sum_deletions(tx, since, until, report_store.find_span(tx, since, until))
    return sum(total.files for total in found)


DELETIONS = Listed[ReportFilter, Deletion, None](
    "deletion",
    "runs show",
    Deletion,
    _list_deletions,
    _count_deletions,
    "at: deleted_at, file: media_file_id, app: app_id, vendor, file id: file_id, stream: stream_id, outcome, rule,"
    " revision, erasure: erasure_id, sweep: run_id, request id: request_id",
    "",
)
"""What was deleted in a period, in the order of time."""


def make_report(
    database: Database, since: datetime, until: datetime, now: datetime, *, verifies: bool = False
) -> Report:
    """Look at a period; with `verifies`, at the whole audit, too."""
    if verifies:
        proof = verify_audit(database)
        head, fault = proof.head, proof.fault
    else:
        with database.read() as tx:
            head, fault = str(find_head(tx)), None
    holds = HOLDS.iterate(database, HoldFilter(released=True))
    erasures = ERASURES.iterate(database, None)
    listings = LISTINGS.iterate(database, ListingFilter())
    return Report(
        since,
        until,
        now,
        head,
        (fault is None) if verifies else None,
        fault,
        _sum_up(database, since, until),
        sum(each.gone for each in listings if since <= each.started_at < until),
        list(_list_revisions(database, since, until)),
        [hold for hold in holds if (hold.placed_at or since) < until and _ended(hold, until) >= since],
        [erasure for erasure in erasures if since <= erasure.requested_at < until],
    )


def _sum_up(database: Database, since: datetime, until: datetime) -> list[DeletionTotal]:
    """The totals, counted in pieces: no transaction is open for long."""
    with database.read() as tx:
        lowest, highest = report_store.find_span(tx, since, until)
    found: dict[tuple[object, ...], DeletionTotal] = {}
    for above in range(lowest, highest, _SUMMED_AT_ONCE):
        with database.read() as tx:
            span = (above, min(above + _SUMMED_AT_ONCE, highest))
            for each in report_store.sum_deletions(tx, since, until, span):
                key = (each.outcome, each.app_id, each.rule or "", each.revision)
                had = found.get(key)
                found[key] = each if had is None else _add(had, each)
    return [found[key] for key in sorted(found, key=str)]


def _add(one: DeletionTotal, other: DeletionTotal) -> DeletionTotal:
    names: tuple[Any, ...] = ("files", "duration_s", "size_bytes")
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in names})


def _list_revisions(database: Database, since: datetime, until: datetime) -> Iterator[RevisionWithDiff]:
    for revision in REVISIONS.iterate(database, None):
        if revision.applied_at < until:
            yield revision
        if revision.applied_at <= since:
            return


def _ended(hold: Hold, never: datetime) -> datetime:
    """When a hold ended."""
    return min(hold.released_at or never, hold.until or never)
