"""`zego-retention sweep`: one pass now, or what it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from service.cli.invocation import CommandFailed, ExitCode, Invocation
from service.cli.options import NUMBER, actor, by, one_json
from service.cli.stopping import stopped_by_signals
from service.cli.tables import make_table, number, prose, show_progress, word
from service.cli.wording import absolute, describe_wait, parse_moment, relative, safe, span
from service.core.model import Outcome
from service.core.wording import count
from service.db.models import RunState, Trigger
from service.db.revisions import current_revision
from service.usecases.breaking import approve_plans, show_plans
from service.usecases.dry_runs import dry_run
from service.usecases.ingest import finish_callbacks
from service.usecases.pauses import describe_gate, list_pauses
from service.usecases.reports import count_kept_back, count_waiting, find_attention, needs_person, show_run
from service.usecases.sweep import run_pass
from service.wiring import describe_waiting_keep

if TYPE_CHECKING:
    from datetime import datetime

    from service.core.model import Actor
    from service.usecases.dry_runs import DryRun
    from service.usecases.reports import KeptBack
    from service.wiring import Service

_SHOWN: Final = 20
_NO_RULES: Final = (
    "No rules are in force, so nothing is ever deleted: set KEEP (for example 30d), or"
    " `zego-retention rules apply FILE`."
)

_MEANINGS: Final = {
    Outcome.DELETED: "deleted",
    Outcome.GONE: "the vendor says they were not there",
    Outcome.RETRYABLE: "not this time: asked for again later",
    Outcome.UNKNOWN: "nobody knows yet: asked for again later",
    Outcome.REJECTED: "refused for good: given up",
    Outcome.BLOCKED: "ZEGO does not let the app in; the files wait",
}


@click.command("sweep", short_help="Delete everything that is due now.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be deleted now; write and call nothing.")
@click.option("--approve", "run_id", metavar="RUN", type=NUMBER, help="Approve what the breaker stopped in this run.")
@by
@one_json
@click.pass_obj
def sweep_command(
    invocation: Invocation,
    is_dry: bool,  # noqa: FBT001
    run_id: int | None,
    by: str | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Delete everything that is due now, in one pass; waits for a pass in progress.

    With --approve only what the plan of that run names and what is still due now.
    """
    if is_dry and run_id is not None:
        raise click.UsageError(
            "--dry-run and --approve exclude each other: `zego-retention runs show RUN` shows a plan"
        )
    if by is not None and run_id is None:
        raise click.UsageError("--by says who approves: it needs --approve")
    with invocation.opened(puts_keep_in_force=not is_dry) as service:
        if is_dry:
            return _look(invocation, service, as_json=as_json)
        if run_id is not None:
            _approve(invocation, service, run_id, actor(by))
        return _sweep(invocation, service, run_id, as_json=as_json)


def _approve(invocation: Invocation, service: Service, run_id: int, approver: Actor) -> None:
    files = sum(plan["files_count"] for plan in show_plans(service.database, run_id, 0))
    with show_progress(invocation.err, "files approved", files) as progress:
        apps = approve_plans(service.database, run_id, approver, invocation.now(), progress)
    invocation.note(f"approved the plan of run {run_id} for app {', '.join(apps)}")


def _look(invocation: Invocation, service: Service, *, as_json: bool) -> int:
    found = dry_run(service.database, invocation.now(), _SHOWN, service.sweeper.limits)
    if as_json:
        told = {"total": found.total, "by_rule": found.by_rule, "by_lane": found.by_lane, "files": list(found.files)}
        more = {"stops": [stop.as_json() for stop in found.stops], "kept_back": found.kept_back.as_json()}
        invocation.print_json([told | more])
    else:
        no_rules = None if _has_rules(service) else describe_waiting_keep(service) or _NO_RULES
        _show_dry_run(invocation, found, no_rules)
    return ExitCode.DONE


def _show_dry_run(invocation: Invocation, found: DryRun, no_rules: str | None) -> None:
    if no_rules:
        invocation.show(no_rules)
    if found.total:
        _show_due(invocation, found)
    elif not (found.stops or no_rules):
        invocation.show("Nothing is due: a sweep would delete no file now.")
    invocation.show(*(f"Needs a person: {safe(stop.sentence)}." for stop in found.stops))
    _show_kept_back(invocation, found.kept_back)


def _show_due(invocation: Invocation, found: DryRun) -> None:
    out, now = invocation.out, invocation.now()
    invocation.show(f"A sweep would delete {count(found.total, 'file')} now. Nothing was deleted.", "")
    invocation.show(make_table(out, [prose("rule"), number("files")], found.by_rule.items()), "")
    invocation.show(make_table(out, [prose("app and vendor"), number("files")], found.by_lane.items()), "")
    columns = [number("id"), prose("stream"), word("vendor"), prose("rule"), word("due")]
    rows = (
        (file["id"], file["stream_id"], file["vendor"], file["rule"], relative(parse_moment(file["due_at"]), now))
        for file in found.files
    )
    invocation.show(make_table(out, columns, rows))
    if found.total > len(found.files):
        invocation.note(f"{found.total - len(found.files):,} more")


def _show_kept_back(invocation: Invocation, kept: KeptBack) -> None:
    """What is not deleted although its date has come, one line each."""
    if kept.cooling:
        until = absolute(kept.cooling_until, invocation.now())
        wait = "waits" if kept.cooling == 1 else "wait"
        invocation.show(
            f"{count(kept.cooling, 'more file')} {wait} for a cooling-off (of a change of rules, or of their adoption),"
            f" the last until {until}."
        )
    if kept.held:
        invocation.show(f"{count(kept.held, 'more file')} would go, but for a hold.")
    for rule, many in kept.observed.items():
        invocation.show(f'Rule "{safe(rule)}" only observes: it would have deleted {count(many, "file")}.')


def _sweep(invocation: Invocation, service: Service, approved_run: int | None, *, as_json: bool) -> int:
    with stopped_by_signals() as stop:
        while not stop.is_set() and finish_callbacks(service.ingest):
            pass
        run_id = run_pass(
            service.sweeper,
            Trigger.COMMAND if approved_run is None else Trigger.APPROVAL,
            approved_run=approved_run,
            stop=stop,
            on_wait=lambda holder: invocation.note(describe_wait("pass", holder, service.settings.claim_lease)),
        )
    run = None if run_id is None else show_run(service.database, run_id)
    if run is None:
        raise CommandFailed("interrupted before the pass began; nothing was deleted")
    now = invocation.now()
    attention = find_attention(service.database, service.app_ids, now)
    waiting = count_waiting(service.database, now)
    kept = count_kept_back(service.database, now)
    code = ExitCode.NEEDS_PERSON if needs_person(run, attention) else ExitCode.DONE
    if as_json:
        told = {"run": run, "waiting": waiting, "attention": list(attention.sentences), "exit_code": int(code)}
        invocation.print_json([told | {"kept_back": kept.as_json()}])
    else:
        _show_pass(invocation, run, waiting, kept)
        if attention.sentences:
            invocation.show("", "Needs a person:", *(f"- {safe(sentence)}" for sentence in attention.sentences))
        _show_state(invocation, service, now)
    return code


def _show_pass(invocation: Invocation, run: dict[str, Any], waiting: int, kept: KeptBack) -> None:
    rows = [(outcome.value, run["outcomes"][outcome.value], text) for outcome, text in _MEANINGS.items()]
    seen = [row for row in rows if row[1]]
    began, ended = parse_moment(run["started_at"]), parse_moment(run["finished_at"])
    took = span((ended - began).total_seconds()) if began and ended else "-"
    invocation.show(f"Run {run['id']} is {run['state']}: {count(run['calls'], 'call')} to ZEGO in {took}.")
    if seen:
        invocation.show("", make_table(invocation.out, [word("outcome"), number("files"), prose("meaning")], seen), "")
    else:
        invocation.show("No file was asked for.")
    if run["purges_failed"]:
        invocation.show(
            f"{count(run['purges_failed'], 'file')} deleted, but not purged from Wangsu's cache: purge by hand in its"
            f" console; `zego-retention runs show {run['id']} --json` names them."
        )
    if waiting:
        invocation.show(f"{count(waiting, 'file')} will be asked for again when the time has come.")
    _show_kept_back(invocation, kept)
    # (What the breaker stopped is told by what needs a person.)
    if run["note"] and run["state"] != RunState.STOPPED:
        invocation.show(f"The pass ended early: {safe(run['note'])}. The rest stays due; sweep again.")


def _show_state(invocation: Invocation, service: Service, now: datetime) -> None:
    """What stands in the way of deleting, without anybody having to act on it at once."""
    for gate in list_pauses(service.database, service.app_ids, now):
        invocation.show(f"{safe(describe_gate(gate))}.")
    if not _has_rules(service):
        invocation.show(_NO_RULES)


def _has_rules(service: Service) -> bool:
    with service.database.read() as session:
        return current_revision(session) is not None
