"""`zego-retention runs`: the record of the passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.newest import print_newest
from service.cli.options import NUMBER, as_json, limit, one_json
from service.cli.tables import LISTED, make_facts, make_table, number, prose, word
from service.cli.wording import absolute, parse_moment, relative, span
from service.db import runs
from service.db.order_models import PlanState
from service.usecases.listing import list_runs
from service.usecases.run_details import describe_run

if TYPE_CHECKING:
    from datetime import datetime

    from service.usecases.run_details import RunDetails


@click.group("runs")
def runs_group() -> None:
    """The record of the passes: list, show."""


@runs_group.command("list")
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, limit: int | None, as_json: bool) -> int:  # noqa: FBT001
    """List passes, the newest first."""
    with invocation.opened() as service:
        return print_newest(
            invocation,
            service.database,
            lambda most: list_runs(service.database, most),
            runs.count_runs,
            _show_list,
            limit,
            as_json=as_json,
        )


def _show_list(invocation: Invocation, found: list[dict[str, Any]]) -> None:
    if not found:
        invocation.note("no runs yet")
        return
    now = invocation.now()
    columns = [number("id"), word("started"), word("trigger"), word("state"), number("calls"), prose("files")]
    rows = (
        (r["id"], relative(parse_moment(r["started_at"]), now), r["trigger"], r["state"], r["calls"], _outcomes(r))
        for r in found
    )
    invocation.show(make_table(invocation.out, columns, rows))


@runs_group.command("show")
@click.argument("run_id", metavar="ID", type=NUMBER)
@one_json
@click.pass_obj
def show_command(invocation: Invocation, run_id: int, as_json: bool) -> int:  # noqa: FBT001
    """Show one pass with its calls and what came of each file."""
    with invocation.opened() as service:
        details = describe_run(service.database, run_id, None if as_json else LISTED)
    if details is None:
        raise CommandFailed(f"there is no run {run_id}: see `zego-retention runs list`")
    if as_json:
        told = {"plans": list(details.plans), "calls_made": list(details.calls), "attempts": list(details.attempts)}
        invocation.print_json([details.run | told])
    else:
        _show_run(invocation, details)
    return ExitCode.DONE


def _show_run(invocation: Invocation, details: RunDetails) -> None:
    run, out = details.run, invocation.out
    invocation.show(make_facts(_facts(run, invocation.now())))
    for plan in details.plans:
        _show_plan(invocation, plan, [details.planned[key] for key in plan["files"] if key in details.planned])
    if details.calls:
        columns = [number("call"), word("app"), word("vendor"), word("took"), word("answer"), prose("message")]
        rows = [
            (c["id"], c["app_id"], c["vendor"], _took_ms(c["opened_at"], c["answered_at"]), _answer(c), c["message"])
            for c in details.calls
        ]
        invocation.show("", make_table(out, columns, rows))
    if details.attempts:
        columns = [number("file"), number("call"), prose("stream"), word("outcome"), word("code"), prose("message")]
        rows = [
            (a["file"], a["call"], a["stream_id"], a["outcome"] or "open", a["code"], a["message"])
            for a in details.attempts
        ]
        invocation.show("", make_table(out, columns, rows))
    more = details.attempts_total - len(details.attempts)
    if more > 0:
        invocation.note(f"{more:,} more attempts: see them with --json")


def _show_plan(invocation: Invocation, plan: dict[str, Any], files: list[dict[str, Any]]) -> None:
    now = invocation.now()
    facts = [
        ("plan for app", plan["app_id"]),
        ("state", plan["state"]),
        ("why", plan["reason"]),
        ("files", f"{plan['files_count']:,} of {plan['present_count']:,} present ones"),
    ]
    if plan["state"] == PlanState.OPEN:
        facts.append(("to approve it", f"zego-retention sweep --approve {plan['run']}"))
    if plan["settled_at"]:
        facts.append(("settled", f"{absolute(parse_moment(plan['settled_at']), now)} by {plan['settled_by']}"))
    columns = [number("file"), prose("stream"), word("vendor"), prose("rule"), word("due"), word("state now")]
    rows = [
        (f["id"], f["stream_id"], f["vendor"], f["rule"], relative(parse_moment(f["due_at"]), now), f["state"])
        for f in files
    ]
    invocation.show("", make_facts(facts), "", make_table(invocation.out, columns, rows))
    more = plan["files_count"] - len(plan["files"])
    if more > 0:
        invocation.note(f"{more:,} more files of the plan: see their numbers with --json")


def _facts(run: dict[str, Any], now: datetime) -> list[tuple[str, object]]:
    began, ended = parse_moment(run["started_at"]), parse_moment(run["finished_at"])
    return [
        ("run", run["id"]),
        ("state", run["state"]),
        *([("note", run["note"])] if run["note"] else []),
        ("trigger", run["trigger"]),
        ("started", absolute(began, now)),
        ("took", span((ended - began).total_seconds()) if began and ended else "-"),
        ("worker", run["worker"]),
        ("calls", run["calls"]),
        ("files", _outcomes(run)),
        *([("cache purges", f"{run['purges_failed']:,} failed")] if run["purges_failed"] else []),
    ]


def _outcomes(run: dict[str, Any]) -> str:
    parts = [f"{many:,} {outcome}" for outcome, many in run["outcomes"].items() if many]
    if run["unanswered"]:
        parts.append(f"{run['unanswered']:,} unanswered")
    return ", ".join(parts) or "none"


def _took_ms(opened_at: str, answered_at: str | None) -> str:
    opened, answered = parse_moment(opened_at), parse_moment(answered_at)
    return f"{(answered - opened).total_seconds() * 1000:,.0f} ms" if opened and answered else "-"


def _answer(call: dict[str, Any]) -> str:
    if call["code"] is not None:
        return f"code {call['code']}"
    return f"HTTP {call['http_status']}" if call["http_status"] else "none"
