"""People and the sweep: what they order of it, and what of it needs a person."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.database import Database, Transaction
from service.files.store import count_by_state
from service.model import Actor, FileState, NoSuchThing, NotPossible
from service.rules.store import find_current_number
from service.sweep import claim_store, store
from service.sweep.gate import list_refusals
from service.sweep.records import Plan, PlanState, RunState, describe_unknown
from service.units import count_of


def place_sweep(database: Database, actor: Actor, now: datetime) -> int:
    """Ask for a sweep over everything that is due; returns the order's number, its result will be `{"run_id": …}`."""
    return database.transact(
        lambda tx: place_order(tx, actor, OrderKind.SWEEP, "a sweep", {}, now, action="sweep.request")
    )


def place_approval(database: Database, actor: Actor, run_id: int, now: datetime) -> int:
    """Approve the open plans of a run; returns the order's number, its result will be `{"run_id": …}`.

    The run that follows deletes what the plans cover, and no more. Raises `NoSuchThing` if there is no such run, and
    `NotPossible` if no plan of it can be approved.
    """

    def place(tx: Transaction) -> int:
        plans = find_approvable(tx, run_id)
        apps = [plan.app_id for plan in plans]
        subject, payload = f"run {run_id}, app {', '.join(apps)}", {"run_id": run_id, "by": actor.name}
        counts = {plan.app_id: plan.files_count for plan in plans}
        detail = {"run_id": run_id, "revision": plans[0].revision, "files_count": counts}
        app_id = apps[0] if len(apps) == 1 else None
        placed = (tx, actor, OrderKind.APPROVE, subject, payload, now)
        return place_order(*placed, action="plan.approve", app_id=app_id, detail=detail)

    return database.transact(place)


def find_approvable(tx: Transaction, run_id: int) -> list[Plan]:
    """The plans of a run that an approval would cover, all of them; NotPossible says why there is none."""
    run = store.find_run(tx, run_id)
    if run is None:
        raise NoSuchThing(f"there is no run {run_id}: see `zego-retention runs list`")
    plans = store.list_plans(tx, run_id=run_id)
    opened = [plan for plan in plans if plan.state is PlanState.OPEN]
    if not opened:
        open_now = store.list_plans(tx, only_open=True)
        others = [f"run {plan.run_id} (app {plan.app_id})" for plan in open_now]
        what_is_open = f"a plan is open of {', '.join(others)}" if others else "no plan is open"
        before = [plan.run_id for plan in open_now if plan.run_id < run_id]
        if not plans and before and run.state is RunState.STOPPED:
            raise NotPossible(
                f"run {run_id} was stopped by the plan of run {before[0]}: approve that with"
                f" `zego-retention sweep --approve {before[0]}`"
            )
        if not plans:
            raise NotPossible(f"the breaker stopped nothing in run {run_id}; {what_is_open}")
        ended = ", ".join(f"{plan.app_id}: {plan.state.value} by {plan.ended_by}" for plan in plans)
        raise NotPossible(f"no plan of run {run_id} is open any more ({ended}); {what_is_open}")
    revision = find_current_number(tx)
    if any(plan.revision != revision for plan in opened):
        raise NotPossible(
            f"the plan of run {run_id} was made under rules revision {opened[0].revision}, and {revision} is in force"
            " now: `zego-retention sweep` looks at what is due now, and stops again if it is too much"
        )
    return opened


def find_attention(database: Database, app_ids: Collection[str], now: datetime) -> list[str]:
    """What waits for a person, each in a sentence with what to do; `app_ids` are those configured."""
    with database.read() as tx:
        due = claim_store.count_due(tx, now)
        failed = count_by_state(tx).get(FileState.FAILED, 0)
        overdue = claim_store.count_overdue(tx, FileState.UNCONFIRMED, now)
        sentences = [f"nothing is deleted: {text}" for text in list_refusals(tx, now).values()]
        sentences += [plan.describe() for plan in store.list_plans(tx, only_open=True)]
        # With nothing due there is nothing to try it with: `doctor` shows whether ZEGO accepts calls.
        states = [state for state in store.list_app_states(tx) if state.blocked]
        sentences += [state.describe() for state in states if state.app_id in due and state.app_id in app_ids]
    look_at = "see `zego-retention files list --state {}`, then `zego-retention files {} ID`"
    if failed:
        sentences.append(f"{_are(failed)} given up: {look_at.format('failed', 'retry')}")
    if overdue:
        sentences.append(f"{_are(overdue)} overdue but unconfirmed: {look_at.format('unconfirmed', 'confirm')}")
    unknown = sorted(due.keys() - set(app_ids))
    return sentences + [f"{_are(due[app])} due, but {describe_unknown(app)}" for app in unknown]


def _are(count: int) -> str:
    return f"{count_of(count, 'file')} {'is' if count == 1 else 'are'}"
