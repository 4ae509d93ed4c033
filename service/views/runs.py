"""Runs of the sweep, with their totals, calls, attempts and plans; and the listings of vendors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from service.database import Transaction
from service.files.store import find_files
from service.filters import ListingFilter
from service.listing import store as listing_store
from service.listing.store import Listing
from service.model import Outcome, Vendor
from service.sweep import records, store
from service.sweep.claim_store import count_planned, list_planned
from service.views.files import FILES, File, describe_files
from service.views.form import Known, Listed, show_as, take


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the sweep, with its totals. `outcomes` counts each file by its last outcome in this run."""

    id: int
    trigger: records.Trigger
    state: records.RunState
    started_at: datetime
    finished_at: datetime | None
    worker: str
    note: str | None
    calls: int
    outcomes: dict[Outcome, int]
    unanswered: int
    purges_failed: int

    @property
    def files(self) -> str | None:
        """What came of its files, in one line."""
        parts = [f"{count:,} {outcome}" for outcome, count in self.outcomes.items()]
        return ", ".join([*parts, *([f"{self.unanswered:,} unanswered"] if self.unanswered else [])]) or None


@dataclass(frozen=True, slots=True)
class RunDetail(Run):
    """One run, with the plans of the apps that the breaker stopped."""

    plans: list[records.Plan]


@dataclass(frozen=True, slots=True)
class RunFile(records.Attempt):
    """One file in one call of a run, with what the file is called."""

    app_id: str
    vendor: Vendor
    file_id: str
    stream_id: str


show_as(records.Plan, run="run_id")
show_as(records.Call, run="run_id")
show_as(records.Attempt, run="run_id", call="call_id", file="media_file_id")
show_as(Listing, needs_person="needs_person")
show_as(RunFile, stream_id=Known)


def _find_run(tx: Transaction, number: int) -> RunDetail | None:
    run = store.find_run(tx, number)
    return None if run is None else take(RunDetail, run, plans=store.list_plans(tx, run_id=number))


def _list_calls(tx: Transaction, run: int, cursor: int, size: int) -> list[records.Call]:
    RUNS.require(tx, run)
    return store.list_calls(tx, run, size, after=cursor)


def _list_attempts(tx: Transaction, run: int, cursor: int, size: int) -> Iterator[RunFile]:
    RUNS.require(tx, run)
    attempts = store.list_attempts(tx, size, run_id=run, after=cursor)
    files = find_files(tx, [attempt.media_file_id for attempt in attempts])
    for attempt in attempts:
        file = files[attempt.media_file_id]
        names = {name: getattr(file, name) for name in ("app_id", "vendor", "file_id", "stream_id")}
        yield take(RunFile, attempt, **names)


def _list_planned(tx: Transaction, run: int, cursor: int, size: int) -> list[File]:
    return describe_files(tx, list_planned(tx, _open_plans(tx, run), cursor, size))


def _open_plans(tx: Transaction, run: int) -> list[records.Plan]:
    return [plan for plan in RUNS.require(tx, run).plans if plan.state is records.PlanState.OPEN]


RUNS = Listed[None, Run, RunDetail](
    "run",
    "runs list",
    Run,
    lambda tx, _, cursor, size: store.list_runs(tx, size, before=cursor or None),
    lambda tx, _: sum(store.count_runs(tx).values()),
    "id, started: started_at, trigger, state, calls, files",
    "calls, trigger",
    _find_run,
)
"""Runs, the newest first."""

CALLS = Listed[int, records.Call, None](
    "call",
    "runs show",
    records.Call,
    _list_calls,
    store.count_calls,
    "call: id, app: app_id, vendor, answered: answered_at, http: http_status, code, message",
    "http, answered, app, vendor",
)
"""The calls of a run (the filter is its number), in their order."""

RUN_FILES = Listed[int, RunFile, None](
    "attempt",
    "runs show",
    RunFile,
    _list_attempts,
    store.count_attempts,
    "file: media_file_id, call: call_id, stream: stream_id, outcome, code, message",
    "message, code, call",
)
"""What a run (the filter is its number) did to each file, in the order of its attempts."""

PLANNED = Listed[int, File, None](
    "file",
    "runs show",
    File,
    _list_planned,
    lambda tx, run: count_planned(tx, _open_plans(tx, run)),
    FILES.table,
    FILES.drop_first,
)
"""The files that an approval of the open plans of a run (the filter is its number) covers, by number."""

LISTINGS = Listed[ListingFilter, Listing, Listing](
    "listing",
    "listings list",
    Listing,
    lambda tx, wanted, cursor, size: listing_store.list_listings(
        tx, size, before=cursor or None, app_id=wanted.app_id, vendor=wanted.vendor
    ),
    lambda tx, wanted: listing_store.count_listings(tx, wanted.app_id, wanted.vendor),
    "id, started: started_at, app: app_id, vendor, state, listed, adopted, missing, gone, note",
    "note, missing, app",
    listing_store.find_listing,
)
"""Listings, the newest first."""
