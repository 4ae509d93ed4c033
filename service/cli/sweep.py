"""`zego-retention sweep`, `runs` and `reconcile`: one pass over what is due, and over the vendors' listings."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click

from service.audit.order import Order
from service.cli.frame import CommandFailed, ExitCode, Invocation
from service.cli.orders import carry_out
from service.cli.rules import NO_RULES
from service.cli.show import (
    absolute,
    describe_counts,
    note,
    safe,
    show,
    show_facts,
    show_list,
    show_progress,
    show_rows,
    show_table,
    shown_as_json,
)
from service.health.checks import describe_waiting
from service.listing.reconcile import place_reconcile
from service.model import Outcome, Vendor
from service.rules.store import find_current
from service.sweep.dry_run import KeptBack, count_kept_back, dry_run
from service.sweep.orders import find_attention, place_approval, place_sweep
from service.sweep.records import PlanState, RunState, Trigger
from service.sweep.store import list_app_states
from service.units import count_of, format_duration
from service.views.figures import describe_dry_run
from service.views.files import FILES
from service.views.form import Listed, to_json
from service.views.runs import CALLS, LISTINGS, PLANNED, RUN_FILES, RUNS, RunDetail
from service.views.values import describe_span
from service.wiring import Service

_LISTED: Final = 20
_LISTING: Final = "app: app_id, vendor, state, listed, adopted, missing, gone"
_MEANINGS: Final = {
    Outcome.DELETED: "deleted",
    Outcome.GONE: "the vendor says they were not there",
    Outcome.RETRYABLE: "failed for now: retried later",
    Outcome.UNKNOWN: "result unknown: asked again later",
    Outcome.REJECTED: "refused permanently: a person must act",
    Outcome.BLOCKED: "ZEGO refuses the app: the files wait",
}


def sweep(invocation: Invocation, *, is_dry: bool, plan: int | None) -> ExitCode:
    if is_dry and plan is not None:
        raise click.UsageError("give either --dry-run or --approve; `zego-retention runs show RUN` shows a plan")
    if is_dry:
        _show_dry_run(invocation)
        return ExitCode.DONE
    run, is_stopped = _sweep(invocation, plan)
    service, now = invocation.service, invocation.now()
    attention = find_attention(service.database, service.app_ids, now)
    code = ExitCode.NEEDS_PERSON if attention or run.state is not RunState.DONE else ExitCode.DONE
    if not shown_as_json(invocation, {"run": to_json(run), "attention": attention, "exit_code": int(code)}):
        _show_outcomes(run)
        with service.database.read() as tx:
            kept_back = count_kept_back(tx, service.reader, now)
            pauses = [state.describe() for state in list_app_states(tx) if state.pauses_at(now)]
        _show_rest(invocation, kept_back, attention)
        show(*(f"{safe(sentence)}. Nothing needs to be done: its files stay due." for sentence in pauses))
    if is_stopped:
        raise KeyboardInterrupt
    return code


def show_run(invocation: Invocation, *, number: int) -> None:
    database, now, limit = invocation.service.database, invocation.now(), invocation.limit
    run = RUNS.show(database, number)
    if invocation.as_json:
        parts: dict[str, Listed[int, Any, None]] = {"calls_made": CALLS, "attempts": RUN_FILES, "planned": PLANNED}
        found = {name: [*map(to_json, each.iterate(database, number, limit))] for name, each in parts.items()}
        shown_as_json(invocation, to_json(run) | found)
        return
    files = describe_counts({**run.outcomes, "without an answer": run.unanswered})
    purges = run.purges_failed or None
    show_facts(run, now, skip=("unanswered", "outcomes", "plans"), files=files, purges_failed=purges)
    for plan in run.plans:
        show("", f"Plan for app {plan.app_id}")
        approve = f"zego-retention sweep --approve {run.id}" if plan.state is PlanState.OPEN else None
        show_facts(plan, now, skip=("run", "app_id"), to_approve=approve)
    if any(plan.state is PlanState.OPEN for plan in run.plans):
        show("", "What an approval deletes, unless rules or holds keep it by then:", "")
        show_list(invocation, PLANNED, number)
    for listed in (CALLS, RUN_FILES) if run.calls else ():
        show("")
        show_list(invocation, listed, number)


def reconcile(
    invocation: Invocation, *, app_ids: Sequence[str], vendors: Sequence[Vendor], since: datetime | None
) -> ExitCode:
    service, now = invocation.service, invocation.now()

    def work(order: Order, end: threading.Event) -> dict[str, Any]:
        return {"listing_ids": service.reconciler.run_request(order, end)}

    if not service.app_ids:
        raise CommandFailed("no app is configured: `zego-retention doctor` says what to set")
    if unknown := sorted(set(app_ids) - service.app_ids):
        raise CommandFailed(f"app {unknown[0]} is not in the settings: add it, or correct --app")
    apps, chosen = sorted(app_ids or service.app_ids), vendors or tuple(Vendor)
    order, is_stopped = carry_out(
        service, place_reconcile(service.database, invocation.actor, apps, chosen, since, now), work
    )
    if is_stopped:
        note("the listings that were read are kept: see `zego-retention listings list`")
        raise KeyboardInterrupt
    found = [LISTINGS.show(service.database, each) for each in (order.result or {})["listing_ids"]]
    if not shown_as_json(invocation, found):
        show_rows(invocation, _LISTING, found)
        show("", *(f"App {each.app_id}, {each.vendor}: {safe(each.note)}." for each in found if each.note))
        if adopted := sum(listing.adopted for listing in found):
            show(f"{count_of(adopted, 'file')} adopted: {_describe_fate(service)}.")
        if lost := sum(listing.lost for listing in found):
            show(f"{count_of(lost, 'callback')} were probably lost: `zego-retention doctor` shows what to check.")
    return ExitCode.NEEDS_PERSON if any(listing.needs_person for listing in found) else ExitCode.DONE


def _sweep(invocation: Invocation, plan: int | None) -> tuple[RunDetail, bool]:
    """Have a run carried out, by whoever leads; its record, and whether a person did not wait for its end."""
    service, actor = invocation.service, invocation.actor
    trigger = Trigger.COMMAND if plan is None else Trigger.APPROVAL
    shown = Counter[int]()

    def find_run(order: Order) -> RunDetail:
        return RUNS.show(service.database, (order.result or {})["run_id"])

    def work(order: Order, end: threading.Event) -> None:
        service.run_pass(trigger, end, request=order.number)

    def look(order: Order) -> bool:
        run = find_run(order)
        files = sum(run.outcomes.values())
        progress(files - shown[run.id])
        shown[run.id] = files
        return run.state is not RunState.RUNNING

    def place() -> int:
        return place_sweep(service.database, actor, invocation.now())

    number = place() if plan is None else place_approval(service.database, actor, plan, invocation.now())
    with show_progress("files asked for") as progress:
        # What an approval covers stays approved: a plain run deletes the rest of it as well.
        order, is_stopped = carry_out(service, number, work, look, place)
    if order.applied_at is None:
        note(f"order {order.number} is recorded: a worker that starts within 15 minutes carries it out")
        raise KeyboardInterrupt
    run = find_run(order)
    if run.state is RunState.RUNNING:
        note(f"the worker continues with it: see `zego-retention runs show {run.id}`")
    return run, is_stopped


def _show_dry_run(invocation: Invocation) -> None:
    service, now, sweeper = invocation.service, invocation.now(), invocation.service.sweeper
    everything = (service.database, service.reader, service.app_ids, sweeper.limits, now)
    found = describe_dry_run(service.database, dry_run(*everything, confirm_all=sweeper.confirm_all, limit=_LISTED))
    if shown_as_json(invocation, found):
        return
    show(f"A sweep would delete {count_of(found.total, 'file')} now. Nothing was deleted.")
    if found.refusals:
        show("But no sweep deletes anything now:", *(f"- {safe(text)}" for text in found.refusals), "")
    if found.files:
        by_rule = {rule or "(erasure)": count for rule, count in found.by_rule.items()}
        by_vendor = {f"{each.vendor} of app {each.app_id}": each.count for each in found.by_vendor}
        show(f"By rule: {safe(describe_counts(by_rule))}", f"By vendor: {describe_counts(by_vendor)}", "")
        show_rows(invocation, FILES.table, found.files, FILES.drop_first, is_list=True)
        if found.total > len(found.files):
            note(f"{found.total - len(found.files):,} more")
    _show_rest(invocation, found.kept_back, [stop.sentence for stop in found.stops])
    if found.not_called:
        show("", "Not called now:", *(f"- {safe(each.sentence)}" for each in found.not_called))
    if found.orders or found.callbacks:
        waiting = f"{count_of(found.orders, 'order')} and {count_of(found.callbacks, 'callback')}"
        note(f"not applied yet: {waiting}, which may change this")


def _show_outcomes(run: RunDetail) -> None:
    took = "" if run.finished_at is None else f" in {describe_span((run.finished_at - run.started_at).total_seconds())}"
    show(f"Run {run.id} is {run.state}: {count_of(run.calls, 'call')} to ZEGO{took}.")
    rows = [(each, f"{run.outcomes[each]:,}", text) for each, text in _MEANINGS.items() if each in run.outcomes]
    if rows:
        show("")
        show_table(("outcome", "files", "meaning"), rows)
        show("")
    else:
        show("No deletion was requested.")
    if run.purges_failed:
        purged = count_of(run.purges_failed, "deleted file")
        show(f"{purged} could not be purged from Wangsu's cache: purge by hand in its console.")
    if run.state is RunState.INTERRUPTED:
        show("It was stopped by a signal. The remaining files stay due.")
    elif run.state is RunState.LOST:
        show(f"It is lost: {safe(run.note or '')}.")


def _show_rest(invocation: Invocation, kept: KeptBack, attention: list[str]) -> None:
    """Show what is not deleted although its date has come, and what needs a person."""
    parts = {"held": kept.held, "unconfirmed": kept.unconfirmed, "the newest of their stream": kept.ranked}
    if kept.until is not None:
        parts[f"waiting until {absolute(kept.until, invocation.now())} at the latest"] = sum(kept.waiting.values())
    if any(parts.values()):
        show(f"Not deleted although their date has come: {describe_counts(parts)}.")
    if attention:
        show("", "Needs a person:", *(f"- {safe(sentence)}" for sentence in attention))
    with invocation.service.database.read() as tx:
        has_rules = find_current(tx) is not None
        waiting = describe_waiting(tx)
    if not has_rules:
        show(NO_RULES)
    if waiting is not None:
        show(f"{waiting[0]}: {waiting[1]}.")


def _describe_fate(service: Service) -> str:
    """What becomes of adopted files."""
    with service.database.read() as tx:
        revision = find_current(tx)
    if revision is not None and not revision.by_person:
        return "kept until a person applies rules, for example with `zego-retention rules apply --keep`"
    cooling_off = service.settings.cooling_off
    wait = f", and none is deleted within {format_duration(cooling_off)}" if cooling_off else ""
    return f"the rules decide them like any other{wait}"
