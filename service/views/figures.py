"""How things stand: totals of everything, and what a sweep would delete now."""

from __future__ import annotations

from datetime import datetime

from service.audit.store import list_failed_orders
from service.database import Database
from service.files.store import count_by_state
from service.health import store
from service.model import FileState, Vendor, Verdict, WaitReason
from service.rules.store import find_current_number
from service.sweep import claim_store, dry_run
from service.sweep.records import RunState
from service.sweep.store import count_runs, list_plans
from service.views.files import File, describe_files
from service.views.form import AT, Form, eg
from service.views.listings import Listing


class AppState(Form):
    """Why an app, or one vendor of it, is not called at the moment; blocked: until a person acts."""

    app_id: str = eg("1234567890")
    vendor: Vendor | None = eg(None)
    blocked: bool = eg(True)
    since: datetime = eg(AT)
    until: datetime | None = eg(None)
    failures: int = eg(1)
    code: str = eg("100000010")
    message: str = eg("signature is wrong")


class Totals(Form):
    """How much of everything there is."""

    as_of: datetime = eg(AT)
    files: dict[FileState, int] = eg({"kept": 10, "scheduled": 40, "deleted": 3})
    due: dict[str, int] = eg({"1234567890": 2}, "files that a sweep may call now, by app")
    oldest_due_at: datetime | None = eg(AT, "since when the first of them could have been called")
    waiting: int = eg(5, "files whose date has come, but that wait for a cooling-off or because they were adopted")
    waiting_until: datetime | None = eg("2026-03-02T12:00:00Z")
    overdue_unconfirmed: int = eg(0)
    stopped_apps: list[str] = eg([], "apps with an open plan")
    not_called: list[AppState]
    callbacks: dict[Verdict, int] = eg({"accepted": 53})
    lost_callbacks: dict[str, int] = eg({"1234567890": 2}, "by app")
    runs: dict[RunState, int] = eg({"done": 12})
    last_sweep_at: datetime | None = eg(AT)
    listings: list[Listing] = eg([], "the newest one of each app and vendor that has ended")
    revision: int = eg(2, "the rules in force; 0: none yet")
    failed_orders: int = eg(0)


class WouldStop(Form):
    """An app that the breaker would stop; `plan_run` is the run whose plan is open already."""

    app_id: str = eg("1234567890")
    files_count: int = eg(12_000)
    present_count: int = eg(50_000)
    reason: str = eg("12,000 files are due that nobody approved, more than BREAKER_FILES=10,000 in one pass")
    plan_run: int | None = eg(None)
    sentence: str = eg("the breaker would stop app 1234567890: …")


class DueFiles(Form):
    """How many files of an app and vendor would be deleted."""

    app_id: str = eg("1234567890")
    vendor: Vendor = eg("Tencent")
    count: int = eg(250)


class KeptBack(Form):
    """Files whose date has come and that are not deleted all the same, by why; `ranked`: the newest of their stream."""

    held: int = eg(0)
    unconfirmed: int = eg(0)
    ranked: int = eg(1)
    waiting: dict[WaitReason, int] = eg({"cooling_off": 5})
    until: datetime | None = eg("2026-03-02T12:00:00Z")


class DryRun(Form):
    """What a sweep would delete now; `orders` and `callbacks` that wait may change it. No rule: an erasure."""

    as_of: datetime = eg(AT)
    orders: int = eg(0)
    callbacks: int = eg(0)
    total: int = eg(250)
    by_rule: dict[str, int] = eg({"trial rooms": 250})
    by_vendor: list[DueFiles]
    files: list[File]
    kept_back: KeptBack
    stops: list[WouldStop]


def count_totals(database: Database, now: datetime) -> Totals:
    """Count everything in one look at the database."""
    with database.read() as tx:
        due = store.list_due(tx, now)
        waiting, waiting_until = store.count_waiting(tx, now)
        last = store.find_last_sweep(tx, is_finished=True)
        listings = sorted(store.list_listings(tx).values(), key=lambda each: (each.app_id, each.vendor))
        return Totals(
            as_of=now,
            files=dict.fromkeys(FileState, 0) | count_by_state(tx),
            due={each.app_id: each.count for each in due},
            oldest_due_at=min((each.oldest for each in due), default=None),
            waiting=waiting,
            waiting_until=waiting_until,
            overdue_unconfirmed=claim_store.count_overdue(tx, FileState.UNCONFIRMED, now),
            stopped_apps=[plan.app_id for plan in list_plans(tx, only_open=True)],
            not_called=[AppState.model_validate(state) for state in store.list_app_states(tx, now)],
            callbacks=dict.fromkeys(Verdict, 0) | store.count_callbacks(tx),
            lost_callbacks=store.count_lost_callbacks(tx),
            runs=dict.fromkeys(RunState, 0) | count_runs(tx),
            last_sweep_at=None if last is None else last.finished_at,
            listings=[Listing.model_validate(listing) for listing in listings],
            revision=find_current_number(tx),
            failed_orders=len(list_failed_orders(tx)),
        )


def count_kept_back(database: Database, now: datetime) -> KeptBack:
    """Files whose date has come and that no sweep deletes now, by why."""
    found = dry_run.KeptBack()
    with database.read() as tx:
        for state, reason, count, until in claim_store.count_kept_back(tx, now):
            found.add(state, reason, until, count)
    return KeptBack.model_validate(found)


def describe_dry_run(database: Database, found: dry_run.DryRun) -> DryRun:
    """The form of a dry run."""
    with database.read() as tx:
        files = describe_files(tx, found.files)
    return DryRun(
        as_of=found.as_of,
        orders=found.orders,
        callbacks=found.callbacks,
        total=found.total,
        by_rule=dict(found.by_rule),
        by_vendor=[DueFiles(app_id=a, vendor=v, count=count) for (a, v), count in sorted(found.by_vendor.items())],
        files=files,
        kept_back=KeptBack.model_validate(found.kept_back),
        stops=[WouldStop.model_validate(stop) for stop in found.stops],
    )
