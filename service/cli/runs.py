"""`zego-retention runs`: what sweeps have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.lists import add_list, describe_counts, show_facts, show_list
from service.cli.options import NUMBER, limit, one_json

if TYPE_CHECKING:
    from service.views.runs import RunDetail


@click.group("runs")
def runs_group() -> None:
    """What sweeps have done: list, show."""


add_list(runs_group, "views.runs:RUNS", "List runs, the newest first.")


@runs_group.command("show")
@click.argument("run", metavar="ID", type=NUMBER)
@limit
@one_json
@click.pass_obj
def show_command(invocation: Invocation, /, *, run: int, limit: int | None, as_json: bool) -> int:
    """Show one run with its plans, its calls, and what came of each file."""
    from service.views.form import to_json
    from service.views.runs import CALLS, RUN_FILES, RUNS

    with invocation.opened() as service:
        found = RUNS.show(service.database, run)
        if as_json:
            calls = [to_json(call) for call in CALLS.iterate(service.database, run, limit)]
            attempts = [to_json(file) for file in RUN_FILES.iterate(service.database, run, limit)]
            invocation.print_json([to_json(found) | {"calls_made": calls, "attempts": attempts}])
            return ExitCode.DONE
        _show_run(invocation, found)
        if found.calls:
            invocation.show("")
            show_list(invocation, service.database, CALLS, run, limit)
            invocation.show("")
            show_list(invocation, service.database, RUN_FILES, run, limit)
    return ExitCode.DONE


def _show_run(invocation: Invocation, run: RunDetail) -> None:
    files = describe_counts({**run.outcomes, "without an answer": run.unanswered})
    show_facts(invocation, run, last=[("files", files)], skip=("unanswered", "outcomes", "plans"))
    for plan in run.plans:
        approve = [("to approve", f"zego-retention sweep --approve {run.id}")] if plan.state == "open" else []
        invocation.show("", f"Plan for app {plan.app_id}")
        show_facts(invocation, plan, last=approve, skip=("run", "app_id"))
