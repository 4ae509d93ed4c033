"""What people order of the sweep: a run over everything due, or one that deletes what the breaker stopped."""

from __future__ import annotations

from datetime import datetime

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.database import Database, Transaction
from service.model import Actor, NoSuchThing, NotPossible
from service.rules.store import find_current_number
from service.sweep import store
from service.sweep.records import Plan, PlanState


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
        plans = _find_approvable(tx, run_id)
        apps = [plan.app_id for plan in plans]
        return place_order(
            tx,
            actor,
            OrderKind.APPROVE,
            f"run {run_id}, app {', '.join(apps)}",
            {"run_id": run_id, "by": actor.name},
            now,
            action="plan.approve",
            app_id=apps[0] if len(apps) == 1 else None,
            detail={
                "run_id": run_id,
                "revision": plans[0].revision,
                "files_count": {plan.app_id: plan.files_count for plan in plans},
            },
        )

    return database.transact(place)


def _find_approvable(tx: Transaction, run_id: int) -> list[Plan]:
    if store.find_run(tx, run_id) is None:
        raise NoSuchThing(f"there is no run {run_id}: see `zego-retention runs list`")
    plans = store.list_plans(tx, run_id=run_id)
    opened = [plan for plan in plans if plan.state is PlanState.OPEN]
    if not opened:
        others = [f"that of run {plan.run_id} for app {plan.app_id}" for plan in store.list_plans(tx, only_open=True)]
        what_is_open = f"open is {', '.join(others)}" if others else "no plan is open"
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
