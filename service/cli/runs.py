"""`zego-retention runs`: what sweeps have done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.options import NUMBER, as_json, limit, one_json
from service.units import count_of

if TYPE_CHECKING:
    from service.views.runs import Plan, Run


@click.group("runs")
def runs_group() -> None:
    """What sweeps have done: list, show."""


@runs_group.command("list")
@limit
@as_json
@click.pass_obj
def list_command(invocation: Invocation, /, *, limit: int | None, as_json: bool) -> int:
    """List runs, the newest first."""
    from service.cli.lists import print_list
    from service.views.runs import RUNS

    return print_list(invocation, RUNS, None, limit, as_json=as_json)


@runs_group.command("show")
@click.argument("run", metavar="ID", type=NUMBER)
@limit
@one_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, run: int, limit: int | None, as_json: bool) -> int:
    """Show one run with its plans, its calls, and what came of each file."""
    from service.cli.lists import show_facts, show_list
    from service.views.form import to_json
    from service.views.runs import CALLS, RUN_FILES, RUNS

    with invocation.opened() as service:
        found = RUNS.show(service.database, run)
        if as_json:
            lists: dict[str, Any] = {
                "calls_made": [to_json(call) for call in CALLS.iterate(service.database, run, limit)],
                "attempts": [to_json(file) for file in RUN_FILES.iterate(service.database, run, limit)],
            }
            invocation.print_json([to_json(found) | lists])
            return ExitCode.DONE
        show_facts(invocation, found, skip=("unanswered", "purges_failed", "outcomes"), last=_describe_files(found))
        for plan in found.plans:
            _show_plan(invocation, plan)
        if found.calls:
            invocation.show("")
            show_list(invocation, service.database, CALLS, run, limit)
            invocation.show("")
            show_list(invocation, service.database, RUN_FILES, run, limit)
    return ExitCode.DONE


def _describe_files(run: Run) -> list[tuple[str, object]]:
    from service.cli.lists import describe_counts

    files = describe_counts(run.outcomes | ({"without an answer": run.unanswered} if run.unanswered else {}))
    purges = f"{count_of(run.purges_failed, 'file')} not purged from Wangsu's cache: purge them in its console"
    return [("files", files), *([("cache", purges)] if run.purges_failed else [])]


def _show_plan(invocation: Invocation, plan: Plan) -> None:
    from service.cli.lists import show_facts
    from service.sweep.records import PlanState

    first: list[tuple[str, object]] = [
        ("plan for app", plan.app_id),
        ("files", f"{plan.files_count:,} of {plan.present_count:,}"),
    ]
    if plan.state is PlanState.OPEN:
        first.append(("to approve it", f"zego-retention sweep --approve {plan.run}"))
    invocation.show("")
    show_facts(invocation, plan, first=first, skip=("run", "app_id", "files_count", "present_count"))
