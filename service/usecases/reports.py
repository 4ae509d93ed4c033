"""What a pass did and how things stand: counted from the rows, never from memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.core.model import Action, FileState, Outcome
from service.db import claims, files, gates, revisions, runs
from service.db.models import RunState
from service.usecases.deciding import decide_rows
from service.usecases.inventory import file_as_json, iso

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from service.core.rules import RuleSet
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow, RunRow

_DRY_RUN_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Attention:
    """What waits for a person, each in a sentence with what to do."""

    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a pass would delete now: files by rule and lane, and the first of them; nothing was written or called."""

    total: int
    by_rule: dict[str, int]
    by_lane: dict[str, int]
    files: tuple[dict[str, Any], ...]


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
    }


def show_run(database: Database, run_id: int) -> dict[str, Any] | None:
    """One run with its totals; None if there is none of that number."""
    with database.read() as session:
        row = runs.find_run(session, run_id)
        return None if row is None else run_as_json(session, row)


def find_attention(database: Database, configured_apps: Collection[str], now: datetime) -> Attention:
    """What needs a person now: blocked apps, failed files, overdue unconfirmed files, apps not configured."""
    with database.read() as session:
        due = claims.list_due_lanes(session, now)
        waiting = {app_id for app_id, _ in due if app_id in configured_apps}
        # With nothing due there is nothing to try it with: `doctor` tells whether the app is let in.
        sentences = [
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


def dry_run(database: Database, now: datetime, limit: int) -> DryRun:
    """Decide what is due now as the sweep would, and report it; the first `limit` files are described."""
    by_rule: Counter[str] = Counter()
    by_lane: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    with database.read() as session:
        rules = revisions.current_rules(session)
        for rows in _batches_to_look_at(session, rules, now):
            for row, decision, _ in decide_rows(session, rows, rules, now):
                if decision.action is not Action.DELETE:
                    continue
                by_rule[decision.rule or ""] += 1
                by_lane[f"{row.app_id} {row.vendor.value}"] += 1
                if len(shown) < limit:
                    shown.append(file_as_json(row) | {"rule": decision.rule, "due_at": iso(decision.due_at)})
            session.expunge_all()
    return DryRun(by_rule.total(), dict(by_rule), dict(by_lane), tuple(shown))


def _batches_to_look_at(session: Session, rules: RuleSet, now: datetime) -> Iterator[Sequence[MediaFileRow]]:
    """What a sweep would look at: all that is due, and what the rules in force have yet to decide."""
    for lane in claims.list_due_lanes(session, now):
        cursor = None
        while rows := claims.next_due(session, lane, now, cursor, _DRY_RUN_CHUNK, lock=False):
            cursor = (rows[-1].due_at or now, rows[-1].id)
            yield rows
    after = 0
    while rows := files.list_older_than(session, rules.revision, after, _DRY_RUN_CHUNK):
        after = rows[-1].id
        # Files that were due before are among those above, or wait for a retry.
        yield [row for row in rows if row.state is not FileState.SCHEDULED or row.due_at is None or row.due_at > now]


def _describe_gate(gate: gates.Gate) -> str:
    what = f"app {gate.app_id}" if gate.vendor == gates.WHOLE_APP else f"app {gate.app_id}, vendor {gate.vendor}"
    return (
        f"{what} is blocked since {iso(gate.since)}: ZEGO answered {gate.code} {gate.message}".rstrip()
        + "; fix it, then `zego-retention doctor` tells whether it works (the next sweep tries one file)"
    )


def _files(count: int) -> str:
    return f"{count} file is" if count == 1 else f"{count} files are"
