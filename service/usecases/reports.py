"""What a pass did and how things stand: counted from the rows, never from memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.core.model import FileState, Outcome
from service.db import claims, figures, files, gates, plans, runs
from service.db.models import RunState
from service.usecases.breaking import describe_remedy
from service.usecases.inventory import iso

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from service.db.engine import Database, Session
    from service.db.models import RunRow
    from service.db.order_models import PlanRow


@dataclass(frozen=True, slots=True)
class Attention:
    """What waits for a person, each in a sentence with what to do."""

    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeptBack:
    """Files whose date has come and that are not deleted all the same.

    `cooling` wait until a change of rules can no longer be taken back, or for as long after their adoption (the last of
    them until `cooling_until`), `held` would go without a hold, `observed` counts by rule what rules that only observe
    would have deleted.
    """

    cooling: int
    cooling_until: datetime | None
    held: int
    observed: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """As the API and `--json` show it."""
        return {
            "cooling": self.cooling,
            "cooling_until": iso(self.cooling_until),
            "held": self.held,
            "observed": self.observed,
        }


def run_as_json(session: Session, row: RunRow) -> dict[str, Any]:
    """A run with its totals as the API and `--json` show it."""
    totals = runs.count_totals(session, row.id)
    return {
        "id": row.id,
        "trigger": row.trigger.value,
        "state": row.state.value,
        "slot_at": iso(row.slot_at),
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "worker": row.worker,
        "note": row.note,
        "calls": totals.calls,
        "outcomes": {outcome.value: totals.outcomes.get(outcome, 0) for outcome in Outcome},
        "unanswered": totals.outcomes.get(None, 0),
        "purges_failed": totals.purges_failed,
    }


def show_run(database: Database, run_id: int) -> dict[str, Any] | None:
    """One run with its totals; None if there is none of that number."""
    with database.read() as session:
        row = runs.find_run(session, run_id)
        return None if row is None else run_as_json(session, row)


def find_attention(database: Database, configured_apps: Collection[str], now: datetime) -> Attention:
    """What needs a person now: open plans, blocked apps, failed or overdue unconfirmed files, apps not configured."""
    with database.read() as session:
        due = claims.list_due_lanes(session, now)
        waiting = {app_id for app_id, _ in due if app_id in configured_apps}
        sentences = [_describe_plan(plan) for plan in plans.list_open(session)]
        # With nothing due there is nothing to try it with: `doctor` tells whether the app is let in.
        sentences += [
            _describe_gate(gate) for gate in gates.list_gates(session) if gate.blocked and gate.app_id in waiting
        ]
        if failed := files.count_by_state(session).get(FileState.FAILED, 0):
            sentences.append(
                f"{_files(failed)} given up: see `zego-retention files list --state failed`, "
                "then `zego-retention files retry ID`"
            )
        if overdue := files.count_overdue_unconfirmed(session, now):
            sentences.append(
                f"{_files(overdue)} overdue but unconfirmed: see `zego-retention files list --state unconfirmed`, "
                "then `zego-retention files confirm ID`"
            )
        for app_id, vendor in due:
            if app_id not in configured_apps:
                count = claims.count_due(session, (app_id, vendor), now)
                sentences.append(f"{_files(count)} due, but app {app_id} is not in the settings: add it")
    return Attention(tuple(sentences))


def needs_person(run: dict[str, Any], attention: Attention) -> bool:
    """The pass is over, but somebody has to act."""
    return run["state"] != RunState.DONE or bool(attention.sentences)


def count_waiting(database: Database, now: datetime) -> int:
    """Files that are due but wait for another attempt."""
    with database.read() as session:
        return claims.count_waiting(session, now)


def count_kept_back(database: Database, now: datetime) -> KeptBack:
    """What is not deleted although its date has come, as it was decided last."""
    with database.read() as session:
        cooling, until = figures.count_cooling(session, now)
        return KeptBack(cooling, until, figures.count_held(session, now), figures.count_observed(session, now))


def _describe_plan(plan: PlanRow) -> str:
    return (
        f"the breaker stopped app {plan.app_id} at {iso(plan.made_at)}: {plan.reason}; {describe_remedy(plan.run_id)}"
    )


def _describe_gate(gate: gates.Gate) -> str:
    what = f"app {gate.app_id}" if gate.vendor == gates.WHOLE_APP else f"app {gate.app_id}, vendor {gate.vendor}"
    return (
        f"{what} is blocked since {iso(gate.since)}: ZEGO answered {gate.code} {gate.message}".rstrip()
        + "; fix it, then `zego-retention doctor` tells whether it works (the next sweep tries one file)"
    )


def _files(count: int) -> str:
    return f"{count:,} file is" if count == 1 else f"{count:,} files are"
