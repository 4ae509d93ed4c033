"""The breaker: how many files that nobody has seen in a preview or approved a pass may ask for of one app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from service.database import Transaction
from service.files.store import count_present
from service.rules.store import list_moved_budgets
from service.sweep import claim_store, store
from service.sweep.records import Plan, PlanState

_SHARE_COUNTS_BEYOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The most files of an app in one pass, and the largest share of its present files where over 1,000 are due.

    Raises:
        ValueError: one of them is not above 0; there is no limit that means "none".
    """

    files: int
    share: float

    def __post_init__(self) -> None:
        if not (self.files > 0 and self.share > 0):
            raise ValueError(
                f"the breaker's limits must be above 0, not {self.files} files and a share of {self.share}"
            )

    def allow(self, present: int) -> int:
        """How many files a pass may ask for at most, of an app with so many present ones."""
        # The share as it is written: in binary, 0.2 of some counts is a little less than what it looks like.
        return min(self.files, max(_SHARE_COUNTS_BEYOND, int(Decimal(str(self.share)) * present)))

    def needs_present(self, due: int) -> bool:
        """Whether the number of present files matters, which is expensive to count."""
        return due > min(self.files, _SHARE_COUNTS_BEYOND)

    def judge(self, due: int, present: int) -> str | None:
        """Why so many files of an app, due and approved by nobody, are too many for one pass; None: they are not."""
        if due <= self.allow(present):
            return None
        limit = (
            f"BREAKER_FILES={self.files:,}"
            if due > self.files
            else f"BREAKER_SHARE={self.share:g} of its {present:,} present files"
        )
        return f"{due:,} files are due that nobody approved, more than {limit} in one pass"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the breaker lets a pass ask for of one app: `room` files that count; `reason` is set if it stops the app.

    `plan_run` is the run whose open plan stops it, where there is one already.
    """

    due: int
    present: int
    reason: str | None = None
    plan_run: int | None = None

    @property
    def room(self) -> int:
        """How many files that count may be called."""
        return 0 if self.reason else self.due


def count_beyond_budgets(base: Mapping[int | None, int], budgets: Mapping[int, int], approved: int) -> int:
    """How many due files count: those that neither a preview's nor an approval's budget covers.

    `base` are the due files that no erasure names and that were not asked for before, by the previewed revision that
    moved them; `budgets` is what is left of each; `approved` of them are covered by an approval.
    """
    beyond = sum(count - min(count, budgets.get(moved_by or 0, 0)) for moved_by, count in base.items())
    return max(beyond - approved, 0)


def ask_breaker(tx: Transaction, limits: Limits, due: claim_store.Due, revision: int) -> Admission:
    """Count what a pass would ask for of one app, and judge it. Reads only.

    While an app's plan under the rules in force is open and something that counts is due, it stays stopped.
    """
    base = claim_store.count_base(tx, due)
    plan = store.find_approved_plan(tx, due.app_id, revision)
    approved = 0 if plan is None else min(plan.budget, claim_store.count_covered(tx, due, plan))
    counted = count_beyond_budgets(base, list_moved_budgets(tx), approved)
    return judge_count(tx, limits, due.app_id, counted, revision)


def judge_count(tx: Transaction, limits: Limits, app_id: str, counted: int, revision: int) -> Admission:
    """What the breaker says of so many due files that count."""
    plan = store.find_open_plan(tx, app_id)
    if plan is not None and plan.revision == revision and counted:
        reason = f"the plan of run {plan.run_id} with {plan.files_count:,} files waits for approval"
        return Admission(counted, plan.present_count, reason, plan.run_id)
    present = count_present(tx, app_id) if limits.needs_present(counted) else counted
    return Admission(counted, present, limits.judge(counted, present))


def keep_plans(
    tx: Transaction, run_id: int, due: claim_store.Due, admission: Admission, revision: int, now: datetime
) -> int | None:
    """Write down a plan for an app that is stopped, and end its open plan if that stops it no more.

    Returns the run whose plan waits for approval.
    """
    if admission.plan_run is None:
        store.expire_plan(tx, due.app_id, f"run {run_id}", now)
        if admission.reason:
            facts = (due.moment, revision, due.highest_id, admission.due, admission.present, admission.reason)
            store.add_plan(tx, Plan(run_id, due.app_id, *facts, PlanState.OPEN, None, None, 0))
            return run_id
    return admission.plan_run


def describe_remedy(plan_run: int) -> str:
    """What to do about an open plan."""
    return f"see `zego-retention runs show {plan_run}`, then `zego-retention sweep --approve {plan_run}`"
