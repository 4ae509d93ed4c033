"""`zego-retention sweep`: one pass over everything that is due, now; or what it would delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from service.cli.invocation import ExitCode, Invocation
from service.cli.lists import describe_counts, print_forms, show_rows
from service.cli.options import NUMBER, by, name_actor, one_json
from service.model import Outcome
from service.units import count_of

if TYPE_CHECKING:
    import threading

    from service.audit.order import Order
    from service.model import Actor
    from service.views.figures import DryRun, KeptBack
    from service.views.runs import RunDetail
    from service.wiring import Service

_LISTED: Final = 20
_MEANINGS: Final = {
    Outcome.DELETED: "deleted",
    Outcome.GONE: "the vendor says they were not there",
    Outcome.RETRYABLE: "not this time: asked for again later",
    Outcome.UNKNOWN: "nobody knows yet: asked for again later",
    Outcome.REJECTED: "refused for good: they need a person",
    Outcome.BLOCKED: "ZEGO refuses the app: the files wait",
}


@click.command("sweep")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be deleted now; write and call nothing.")
@click.option("--approve", "plan", metavar="RUN", type=NUMBER, help="Approve what the breaker stopped in this run.")
@by
@one_json
@click.pass_obj
def sweep_command(invocation: Invocation, /, *, is_dry: bool, plan: int | None, by: str | None, as_json: bool) -> int:
    """Delete everything that is due now, once; waits for a run in progress.

    With --approve only what the plans of that run cover. Exits 3 if something needs a person.
    """
    from service.sweep.records import RunState
    from service.sweep.reports import find_attention
    from service.views.form import to_json

    if is_dry and plan is not None:
        raise click.UsageError("give either --dry-run or --approve; `zego-retention runs show RUN` shows a plan")
    with invocation.opened() as service:
        if is_dry:
            return _look(invocation, service, as_json=as_json)
        run, is_interrupted = _sweep(invocation, service, plan, name_actor(by))
        attention = find_attention(service.database, service.app_ids, invocation.now())
        code = ExitCode.NEEDS_PERSON if attention or run.state is not RunState.DONE else ExitCode.DONE
        if as_json:
            invocation.print_json([{"run": to_json(run), "attention": attention, "exit_code": int(code)}])
        else:
            _show_run(invocation, service, run, attention)
    if is_interrupted:
        raise KeyboardInterrupt
    return code


def _sweep(invocation: Invocation, service: Service, plan: int | None, actor: Actor) -> tuple[RunDetail, bool]:
    """Have a run carried out, by whoever leads; its record, and whether a person did not wait for its end."""
    from service.cli.orders import Errand, stopped_by_signals
    from service.cli.tables import show_progress
    from service.orders.wait import read_order
    from service.sweep.approve import place_approval
    from service.sweep.records import RunState, Trigger
    from service.sweep.request import place_sweep
    from service.views.runs import RUNS

    trigger = Trigger.COMMAND if plan is None else Trigger.APPROVAL
    shown: dict[int, int] = {}

    def find_run(order: Order) -> RunDetail:
        return RUNS.show(service.database, (order.result or {})["run_id"])

    def work(order: Order, end: threading.Event) -> None:
        service.sweeper.run(trigger, end, request=order.number)

    def look(order: Order) -> bool:
        run = find_run(order)
        files = sum(run.outcomes.values())
        progress(files - shown.get(run.id, 0))
        shown[run.id] = files
        return run.state is not RunState.RUNNING

    if plan is None:
        number = place_sweep(service.database, actor, invocation.now())
    else:
        number = place_approval(service.database, actor, plan, invocation.now())
    with show_progress(invocation.err, "files asked for") as progress, stopped_by_signals() as stop:
        errand = Errand(invocation, service, work, look, stop)
        while not errand.run(number):
            # What an approval covers stays approved: a plain run deletes it as well.
            number = place_sweep(service.database, actor, invocation.now())
    order = read_order(service.database, number)
    if order.applied_at is None:
        invocation.note(f"order {number} is recorded: the next worker carries it out")
        raise KeyboardInterrupt
    run = find_run(order)
    if run.state is RunState.RUNNING:
        invocation.note(f"the worker continues with it: see `zego-retention runs show {run.id}`")
    return run, stop.is_wanted


def _look(invocation: Invocation, service: Service, *, as_json: bool) -> int:
    from service.sweep.dry_run import dry_run
    from service.views.figures import describe_dry_run

    database, now, sweeper = service.database, invocation.now(), service.sweeper
    confirm_all = sweeper.confirm_all
    found = dry_run(
        database, service.reader, service.app_ids, sweeper.limits, now, confirm_all=confirm_all, limit=_LISTED
    )
    form = describe_dry_run(database, found)
    if as_json:
        print_forms(invocation, [form])
    else:
        _show_dry_run(invocation, service, form)
    return ExitCode.DONE


def _show_dry_run(invocation: Invocation, service: Service, found: DryRun) -> None:
    from service.cli.wording import safe
    from service.views.files import FILES

    invocation.show(f"A sweep would delete {count_of(found.total, 'file')} now. Nothing was deleted.")
    if found.files:
        by_rule = {rule or "(erasure)": count for rule, count in found.by_rule.items()}
        by_vendor = {f"{each.vendor} of app {each.app_id}": each.count for each in found.by_vendor}
        invocation.show(f"By rule: {safe(describe_counts(by_rule))}", f"By vendor: {describe_counts(by_vendor)}", "")
        show_rows(invocation, FILES.columns, found.files)
        if found.total > len(found.files):
            invocation.note(f"{found.total - len(found.files):,} more")
    _show_rest(invocation, service, found.kept_back, [stop.sentence for stop in found.stops])
    if found.orders or found.callbacks:
        waiting = f"{count_of(found.orders, 'order')} and {count_of(found.callbacks, 'callback')}"
        invocation.note(f"not applied yet: {waiting}, which may change this")


def _show_run(invocation: Invocation, service: Service, run: RunDetail, attention: list[str]) -> None:
    from service.cli.tables import make_table, number, prose, word
    from service.cli.wording import safe, span
    from service.views.figures import count_kept_back

    took = "" if run.finished_at is None else f" in {span((run.finished_at - run.started_at).total_seconds())}"
    invocation.show(f"Run {run.id} is {run.state}: {count_of(run.calls, 'call')} to ZEGO{took}.")
    rows = [(each, f"{run.outcomes[each]:,}", text) for each, text in _MEANINGS.items() if each in run.outcomes]
    if rows:
        invocation.show("", make_table(invocation.out, [word("outcome"), number("files"), prose("meaning")], rows), "")
    else:
        invocation.show("No file was asked for.")
    if run.purges_failed:
        purged = count_of(run.purges_failed, "deleted file")
        invocation.show(f"{purged} could not be purged from Wangsu's cache: purge by hand in its console.")
    if run.note and not run.plans:
        invocation.show(f"It ended early, {safe(run.note)}: what is left stays due.")
    _show_rest(invocation, service, count_kept_back(service.database, invocation.now()), attention)


def _show_rest(invocation: Invocation, service: Service, kept: KeptBack, attention: list[str]) -> None:
    """Show what is not deleted although its date has come, and what needs a person."""
    from service.cli.rules import NO_RULES
    from service.cli.wording import absolute, safe
    from service.rules.store import find_current_number

    until = absolute(kept.until, invocation.now())
    parts = {
        "held": kept.held,
        "unconfirmed": kept.unconfirmed,
        "the newest of their stream": kept.ranked,
        f"waiting until {until} at the latest": sum(kept.waiting.values()),
    }
    if any(parts.values()):
        invocation.show(f"Not deleted although their date has come: {describe_counts(parts)}.")
    if attention:
        invocation.show("", "Needs a person:", *(f"- {safe(sentence)}" for sentence in attention))
    with service.database.read() as tx:
        has_rules = find_current_number(tx) > 0
    if not has_rules:
        invocation.show(NO_RULES)
