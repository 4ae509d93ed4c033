"""How things stand: totals of everything, and what a sweep would delete now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from service.audit.store import list_failed_orders
from service.callbacks.store import count_by_hour
from service.database import Database
from service.files.store import count_by_state
from service.health import store
from service.listing.store import ENDED, Listing, find_newest
from service.model import FileState, Vendor, Verdict
from service.rules.store import find_current_number
from service.sweep import claim_store, dry_run
from service.sweep.breaker import WouldStop
from service.sweep.records import AppState, RunState
from service.sweep.store import count_runs, list_deleted, list_plans
from service.views.files import File, describe_files
from service.views.form import show_as, take

_DAYS: Final = 30
_HOURS: Final = 48
_MAX_CALLBACKS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Totals:
    """How much of everything there is; `due` files may be called now, `waiting` ones wait although their date has come.

    `lost_callbacks` are by app, `listings` the newest of each app and vendor that has ended.
    """

    as_of: datetime
    files: dict[FileState, int]
    due: dict[str, int]
    oldest_due_at: datetime | None
    waiting: int
    waiting_until: datetime | None
    overdue_unconfirmed: int
    stopped_apps: list[str]
    not_called: list[AppState]
    callbacks: dict[Verdict, int]
    lost_callbacks: dict[str, int]
    runs: dict[RunState, int]
    last_sweep_at: datetime | None
    listings: list[Listing]
    revision: int
    failed_orders: int


@dataclass(frozen=True, slots=True)
class DueFiles:
    """How many files of an app and vendor would be deleted."""

    app_id: str
    vendor: Vendor
    count: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a sweep would delete now, if no `refusals` said why nothing is deleted. No rule: an erasure.

    `orders` and `callbacks` that wait may change it.
    """

    as_of: datetime
    orders: int
    callbacks: int
    total: int
    by_rule: dict[str, int]
    by_vendor: list[DueFiles]
    files: list[File]
    kept_back: dry_run.KeptBack
    stops: list[WouldStop]
    not_called: list[dry_run.NotCalled]
    refusals: list[str]


@dataclass(frozen=True, slots=True)
class Activity:
    """What happened lately: files deleted on each of the last 30 days, callbacks in each of the last 48 hours.

    `freed_s` and `freed_bytes` are what the deleted files held, as far as known.
    """

    deleted: list[tuple[date, int]]
    freed_s: float
    freed_bytes: int
    callbacks: list[tuple[datetime, int]]


show_as(WouldStop, sentence="sentence")
show_as(dry_run.NotCalled, sentence="sentence")


def count_totals(database: Database, now: datetime) -> Totals:
    """Count everything in one look at the database."""
    with database.read() as tx:
        due = store.list_due(tx, now)
        waiting, waiting_until = store.count_waiting(tx, now)
        last = store.find_last_sweep(tx, is_finished=True)
        return Totals(
            as_of=now,
            files=dict.fromkeys(FileState, 0) | count_by_state(tx),
            due={each.app_id: each.count for each in due},
            oldest_due_at=min((each.oldest for each in due), default=None),
            waiting=waiting,
            waiting_until=waiting_until,
            overdue_unconfirmed=claim_store.count_overdue(tx, FileState.UNCONFIRMED, now),
            stopped_apps=[plan.app_id for plan in list_plans(tx, only_open=True)],
            not_called=store.list_app_states(tx, now),
            callbacks=dict.fromkeys(Verdict, 0) | store.count_callbacks(tx),
            lost_callbacks=store.count_lost_callbacks(tx),
            runs=dict.fromkeys(RunState, 0) | count_runs(tx),
            last_sweep_at=None if last is None else last.finished_at,
            listings=sorted(find_newest(tx, ENDED).values(), key=lambda each: (each.app_id, each.vendor)),
            revision=find_current_number(tx),
            failed_orders=len(list_failed_orders(tx)),
        )


def count_activity(database: Database, now: datetime) -> Activity:
    """Count what happened lately; the oldest first."""
    days = [now.date() - timedelta(days=ago) for ago in reversed(range(_DAYS))]
    hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [hour - timedelta(hours=ago) for ago in reversed(range(_HOURS))]
    with database.read() as tx:
        came = count_by_hour(tx, hours[0], _MAX_CALLBACKS)
        runs = list_deleted(tx, datetime.combine(days[0], datetime.min.time(), UTC))
    by_day = Counter[date]()
    for began, count, _duration, _size in runs:
        by_day[began.date()] += count
    return Activity(
        [(day, by_day[day]) for day in days],
        sum(duration for _, _, duration, _ in runs),
        sum(size for *_, size in runs),
        [(each, came.get(f"{each:%Y-%m-%d %H}", 0)) for each in hours],
    )


def describe_dry_run(database: Database, found: dry_run.DryRun) -> DryRun:
    """A dry run with its files as they are listed."""
    by_vendor = [DueFiles(app_id, vendor, count) for (app_id, vendor), count in sorted(found.by_vendor.items())]
    with database.read() as tx:
        return take(DryRun, found, by_vendor=by_vendor, files=describe_files(tx, found.files))
