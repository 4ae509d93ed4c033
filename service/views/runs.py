"""Runs of the sweep, with their totals, calls, attempts and plans."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from service.database import Transaction
from service.files.store import find_files
from service.model import MediaFile, Outcome, Vendor
from service.sweep import records, store
from service.sweep.records import PlanState, RunState, Trigger
from service.views.files import Attempt
from service.views.form import AT, Form, Known, eg
from service.views.listed import Column, Kind, Listed, Page, find_row, read_rows, require, take_from


class Run(Form):
    """One run of the sweep, with its totals. `outcomes` counts each file by its last outcome in this run."""

    id: int = eg(12)
    trigger: Trigger = eg("schedule")
    state: RunState = eg("stopped")
    started_at: datetime = eg(AT)
    finished_at: datetime | None = eg(AT)
    worker: str = eg("host/4711")
    note: str | None = eg("the breaker stopped app 1234567890")
    calls: int = eg(3)
    outcomes: dict[Outcome, int] = eg({"deleted": 250})
    unanswered: int = eg(0, "files whose answer is not on record")
    purges_failed: int = eg(0, "deleted files that were not purged from Wangsu's cache")


class Plan(Form):
    """What a run would have deleted of an app when the breaker stopped it; approved, a budget for just that."""

    run: int = eg(12, of="run_id")
    app_id: str = eg("1234567890")
    state: PlanState = eg("open")
    reason: str = eg("12,000 files are due that nobody approved, more than BREAKER_FILES=10,000 in one pass")
    made_at: datetime = eg(AT)
    revision: int = eg(2, "the rules that it was made under")
    highest_id: int = eg(61_000, "it covers files of the app up to this number that were due at made_at")
    files_count: int = eg(12_000)
    present_count: int = eg(50_000)
    called: int = eg(0, "how many of them were called since it was approved")
    ended_at: datetime | None = eg(None)
    ended_by: str | None = eg(None)


class RunDetail(Run):
    """One run, with the plans of the apps that the breaker stopped."""

    plans: list[Plan]


class Call(Form):
    """One call of DeleteMedia; `raw` is ZEGO's answer as it came."""

    id: int = eg(3)
    run: int = eg(12, of="run_id")
    app_id: str = eg("1234567890")
    vendor: Vendor = eg("Tencent")
    opened_at: datetime = eg(AT)
    answered_at: datetime | None = eg(AT)
    http_status: int | None = eg(200)
    code: str | None = eg("0")
    message: str | None = eg("success")
    request_id: str | None = eg("1234567890")
    cache_code: str | None = eg(None, "what Wangsu's cache reported: 1 is that it was purged")
    raw: str | None = eg('{"Code":0}')


class RunFile(Attempt):
    """One file in one call of a run, with what the file is called."""

    app_id: str = eg("1234567890")
    vendor: Vendor = eg("Tencent")
    file_id: str = eg("5285890784273533167")
    stream_id: Known = eg("trial-7")


def _describe_run(tx: Transaction, run: records.Run) -> Run:
    return Run(**_count(tx, run))


def _describe_in_full(tx: Transaction, run: records.Run) -> RunDetail:
    plans = [Plan.model_validate(plan) for plan in store.list_plans(tx, run_id=run.id)]
    return RunDetail(**_count(tx, run), plans=plans)


def _count(tx: Transaction, run: records.Run) -> dict[str, Any]:
    totals = store.count_totals(tx, run.id)
    return {
        **{name: getattr(run, name) for name in run.__dataclass_fields__},
        "calls": totals.calls,
        "outcomes": {outcome: count for outcome in Outcome if (count := totals.outcomes.get(outcome))},
        "unanswered": totals.outcomes.get(None, 0),
        "purges_failed": totals.purges_failed,
    }


def _describe_attempt(_tx: Transaction, found: tuple[records.Attempt, MediaFile]) -> RunFile:
    attempt, file = found
    names = {name: getattr(file, name) for name in ("app_id", "vendor", "file_id", "stream_id")}
    return RunFile(**dict(Attempt.model_validate(attempt)), **names)


def _list_calls(tx: Transaction, run: int, cursor: int, size: int) -> list[records.Call]:
    require(store.find_run(tx, run), "run", run, "runs list")
    return store.list_calls(tx, run, size, after=cursor)


def _list_attempts(tx: Transaction, run: int, cursor: int, size: int) -> list[tuple[records.Attempt, MediaFile]]:
    require(store.find_run(tx, run), "run", run, "runs list")
    attempts = store.list_attempts(tx, size, run_id=run, after=cursor)
    files = find_files(tx, [attempt.media_file_id for attempt in attempts])
    return [(attempt, files[attempt.media_file_id]) for attempt in attempts]


def _describe_outcomes(run: Run) -> str | None:
    parts = [f"{count:,} {outcome}" for outcome, count in run.outcomes.items()]
    return ", ".join([*parts, *([f"{run.unanswered:,} unanswered"] if run.unanswered else [])]) or None


RUNS = Listed[None, Run, RunDetail](
    "run",
    "runs list",
    Page[Run],
    read_rows(lambda tx, _, cursor, size: store.list_runs(tx, size, before=cursor or None), _describe_run),
    lambda tx, _wanted: sum(store.count_runs(tx).values()),
    find_row(store.find_run, _describe_in_full),
    (
        Column("id", lambda run: run.id, Kind.NUMBER),
        Column("started", lambda run: run.started_at, Kind.MOMENT),
        Column("trigger", lambda run: run.trigger, priority=1),
        Column("state", lambda run: run.state),
        Column("calls", lambda run: run.calls, Kind.NUMBER, 2),
        Column("files", _describe_outcomes, Kind.PROSE),
    ),
)
"""Runs, the newest first."""

CALLS = Listed[int, Call, Call](
    "call",
    "runs show",
    Page[Call],
    read_rows(_list_calls, take_from(Call)),
    lambda tx, run: store.count_totals(tx, run).calls,
    lambda _tx, _number: None,
    (
        Column("call", lambda call: call.id, Kind.NUMBER),
        Column("app", lambda call: call.app_id, priority=2),
        Column("vendor", lambda call: call.vendor, priority=1),
        Column("answered", lambda call: call.answered_at, Kind.MOMENT, 3),
        Column("http", lambda call: call.http_status, Kind.NUMBER, 4),
        Column("code", lambda call: call.code),
        Column("message", lambda call: call.message, Kind.PROSE),
    ),
)
"""The calls of a run (the filter is its number), in their order."""

RUN_FILES = Listed[int, RunFile, RunFile](
    "attempt",
    "runs show",
    Page[RunFile],
    read_rows(_list_attempts, _describe_attempt, lambda found: found[0].id),
    store.count_attempts,
    lambda _tx, _number: None,
    (
        Column("file", lambda each: each.file, Kind.NUMBER),
        Column("call", lambda each: each.call, Kind.NUMBER, 1),
        Column("stream", lambda each: each.stream_id, Kind.PROSE),
        Column("outcome", lambda each: each.outcome),
        Column("code", lambda each: each.code, priority=2),
        Column("message", lambda each: each.message, Kind.PROSE, 3),
    ),
)
"""What a run (the filter is its number) did to each file, in the order of its attempts."""
