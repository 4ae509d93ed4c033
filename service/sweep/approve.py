"""Approving what the breaker stopped: an order whose run deletes what the plans cover, and no more."""

from __future__ import annotations

from datetime import datetime

from service.audit.order import OrderKind
from service.audit.record import place_order
from service.database import Database, Transaction
from service.model import Actor, NoSuchThing, NotPossible
from service.rules.store import find_current_number
from service.sweep import store
from service.sweep.records import Plan, PlanState


def place_approval(database: Database, actor: Actor, run_id: int, now: datetime) -> int:
    """Approve the open plans of a run; returns the order's number, its result will be `{"run_id": …}`.

    Raises:
        NoSuchThing: there is no such run.
        NotPossible: no plan of it can be approved; the text says why.
        DatabaseUnavailable: the database refused or could not be reached.
    """
    return database.transact(lambda tx: _place(tx, actor, run_id, now))


def _place(tx: Transaction, actor: Actor, run_id: int, now: datetime) -> int:
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


def _find_approvable(tx: Transaction, run_id: int) -> list[Plan]:
    if store.find_run(tx, run_id) is None:
        raise NoSuchThing(f"there is no run {run_id}: see `zego-retention runs list`")
    plans = store.list_plans(tx, run_id=run_id)
    if not plans:
        raise NotPossible(f"the breaker stopped nothing in run {run_id}; {_describe_open(tx)}")
    opened = [plan for plan in plans if plan.state is PlanState.OPEN]
    if not opened:
        ended = ", ".join(f"{plan.app_id}: {plan.state.value} by {plan.ended_by}" for plan in plans)
        raise NotPossible(f"no plan of run {run_id} is open any more ({ended}); {_describe_open(tx)}")
    revision = find_current_number(tx)
    if any(plan.revision != revision for plan in opened):
        raise NotPossible(
            f"the plan of run {run_id} was made under rules revision {opened[0].revision}, and {revision} is in force"
            " now: `zego-retention sweep` looks at what is due now, and stops again if it is too much"
        )
    return opened


def _describe_open(tx: Transaction) -> str:
    opened = [f"that of run {plan.run_id} for app {plan.app_id}" for plan in store.list_plans(tx, only_open=True)]
    return f"open is {', '.join(opened)}" if opened else "no plan is open"
