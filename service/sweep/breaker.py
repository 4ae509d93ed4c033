"""The breaker: how many files that nobody has seen in a preview or approved a pass may ask for of one app."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from service.database import Transaction
from service.files.store import count_present
from service.sweep.claim_store import Budgets
from service.sweep.records import describe_remedy
from service.sweep.store import list_plans

_SHARE_COUNTS_BEYOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The most files of an app in one pass, and the largest share of its present files where over 1,000 are due.

    Both are above 0 (else ValueError); there is no limit that means "none".
    """

    files: int
    share: float

    def __post_init__(self) -> None:
        if not (self.files > 0 and self.share > 0):
            raise ValueError(f"the breaker's limits must be above 0, not {self.files} and a share of {self.share}")

    def needs_present(self, due: int) -> bool:
        """Whether the number of present files matters, which is expensive to count."""
        return due > min(self.files, _SHARE_COUNTS_BEYOND)

    def judge(self, due: int, present: int) -> str | None:
        """Why so many files of an app, due and approved by nobody, are too many for one pass; None: they are not."""
        # The share as it is written: in binary, 0.2 of some counts is a little less than what it looks like.
        by_share = max(_SHARE_COUNTS_BEYOND, int(Decimal(str(self.share)) * present))
        if due > self.files:
            limit = f"ZEGO_RETENTION_BREAKER_FILES={self.files:,}"
        elif due > by_share:
            limit = f"ZEGO_RETENTION_BREAKER_SHARE={self.share:g} of its {present:,} present files"
        else:
            return None
        return f"{due:,} files are due without approval, more than {limit} in one sweep"


@dataclass(frozen=True, slots=True)
class WouldStop:
    """An app that the breaker stops, and why; `plan_run` is the run whose plan is open already."""

    app_id: str
    files_count: int
    present_count: int
    reason: str
    plan_run: int | None

    @property
    def sentence(self) -> str:
        """What would happen, and what to do."""
        writes = "the sweep writes down a plan to look at and approve"
        remedy = writes if self.plan_run is None else describe_remedy(self.plan_run)
        return f"the breaker would stop app {self.app_id}: {self.reason}; {remedy}"


def count_beyond(due: Mapping[tuple[int | None, bool], int], moved: Mapping[int, int], planned: int) -> int:
    """How many due files count: those that neither a preview's nor an approval's budget covers.

    `due` are those that no erasure names and that were not asked for before, by the previewed revision that moved them
    and by whether the approved plan covers them; `moved` and `planned` are what is left of budgets.
    """
    covered = sum(count for (_, is_in_plan), count in due.items() if is_in_plan)
    beyond = sum(due.values()) - share_moved(due, moved).total()
    return max(beyond - min(planned, covered), 0)


def share_moved(due: Mapping[tuple[int | None, bool], int], moved: Mapping[int, int]) -> Counter[int]:
    """How many due files (as for `count_beyond`) budgets of previews cover, by revision: an app's part in a pass."""
    shares = Counter[int]()
    for (moved_by, _), count in due.items():
        if moved_by is not None:
            shares[moved_by] += min(count, max(moved.get(moved_by, 0) - shares[moved_by], 0))
    return shares


def ask_breaker(
    tx: Transaction,
    limits: Limits,
    app_id: str,
    revision: int,
    due: Mapping[tuple[int | None, bool], int],
    budgets: Budgets,
) -> tuple[int, WouldStop | None]:
    """How many due files of an app count (`due` as for `count_beyond`), and whether that stops it. Reads only.

    While an app's plan under the rules in force is open and something that counts is due, it stays stopped.
    """
    counted = count_beyond(due, budgets.moved, budgets.plan.budget if budgets.plan else 0)
    for plan in list_plans(tx, app_id=app_id, only_open=True):
        if plan.revision == revision and counted:
            reason = f"the plan of run {plan.run_id} with {plan.files_count:,} files waits for approval"
            return counted, WouldStop(app_id, counted, plan.present_count, reason, plan.run_id)
    present = count_present(tx, app_id) if limits.needs_present(counted) else counted
    judged = limits.judge(counted, present)
    return counted, WouldStop(app_id, counted, present, judged, None) if judged else None
