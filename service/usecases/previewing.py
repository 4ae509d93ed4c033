"""Previews: what a candidate would do, told before it does it, and stored so that applying it is bound to it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from service.core.durations import format_duration, parse_duration
from service.core.file_sets import FileSet
from service.core.forecast import CATEGORIES, Amount, Reckoning, list_amounts
from service.core.rules import RuleSet
from service.core.rules_file import format_rules
from service.db import files, inventory_scan, previews, revisions
from service.db.order_models import PreviewRow
from service.usecases.comparing import Comparison
from service.usecases.deciding import Circumstances
from service.usecases.inventory import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from service.core.model import Actor
    from service.core.rules import RetentionRule
    from service.db.engine import Database, Session
    from service.db.models import MediaFileRow
    from service.usecases.policy import Candidate

KEPT_FOR: Final = timedelta(days=30)
"""How long a preview can be applied, and how long one is remembered that was not."""
_NONE: Final = "0s"


def make_preview(
    database: Database,
    candidate: Candidate,
    actor: Actor,
    cooling_off: timedelta,
    now: datetime,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Hold a candidate against the rules in force over the whole inventory, and store what came out; its JSON form.

    Exact; changes no file and no rule. `progress` hears how many files more were looked at.
    """
    with database.read() as session:
        in_force = revisions.current_rules(session)
        comparison = Comparison(session, in_force, candidate.rules, now)
        comparison.run(progress)
        result = _reckon(session, comparison, in_force, candidate.rules, cooling_off, now)
    sooner = FileSet(comparison.sooner)
    row = PreviewRow(
        as_of=now,
        made_by=actor.name,
        through=actor.through,
        base_revision=in_force.revision,
        source=candidate.source,
        rules=format_rules(candidate.rules),
        sooner=sooner.encode(),
        sooner_count=len(sooner),
        result=json.dumps(result),
    )
    database.transact(lambda session: _store(session, row, now))
    return preview_as_json(row)


def show_preview(database: Database, preview_id: int) -> dict[str, Any] | None:
    """One stored preview; None if there is none of that number."""
    with database.read() as session:
        row = previews.find_preview(session, preview_id)
        return None if row is None else preview_as_json(row)


def preview_as_json(row: PreviewRow) -> dict[str, Any]:
    """A preview as the API and `--json` show it (docs/api.md, "A preview")."""
    return {
        "id": row.id,
        "as_of": iso(row.as_of),
        "made_by": row.made_by,
        "through": row.through,
        "base_revision": row.base_revision,
        "source": row.source,
        "rules": row.rules,
        "sooner": row.sooner_count,
        **json.loads(row.result),
    }


def cooling_off_of(preview: PreviewRow) -> timedelta:
    """The cooling-off that a preview told."""
    told: str = json.loads(preview.result)["cooling_off"]
    return timedelta(0) if told == _NONE else parse_duration(told)


def forecast(database: Database, cooling_off: timedelta, now: datetime) -> dict[str, Any]:
    """How much there is, by state, rule, app and vendor, and how many files go on each of the next 90 days."""
    with database.read() as session:
        in_force = revisions.current_rules(session)
        comparison = Comparison(session, in_force, in_force.rules, now)
        comparison.run()
        sums = inventory_scan.sum_up(session)
    reckoning = Reckoning(now, cooling_off)
    reckoning.add_all(comparison.portions())
    parts: dict[str, dict[str | None, Amount]] = {"by_state": {}, "by_rule": {}, "by_app": {}, "by_vendor": {}}
    for state, rule, app_id, vendor, amount in sums:
        for part, name in zip(parts, (state.value, rule, app_id, vendor.value), strict=True):
            parts[part].setdefault(name, Amount()).add(amount)
    return {
        "as_of": iso(now),
        "revision": in_force.revision,
        **{part: list_amounts(amounts) for part, amounts in parts.items()},
        "observed": reckoning.categories["observed"].as_json(),
        "forecast": reckoning.before,
    }


def find_sooner(
    session: Session,
    in_force: RuleSet,
    candidate: Sequence[RetentionRule],
    as_of: datetime,
    progress: Callable[[int], None] | None = None,
    *,
    streams: Collection[tuple[str, str]] | None = None,
) -> FileSet:
    """The files that a candidate makes due sooner than the rules in force; with `streams`, those of these streams."""
    comparison = Comparison(session, in_force, candidate, as_of)
    comparison.run(progress, streams)
    return FileSet(comparison.sooner)


def count_to_look_at(database: Database) -> int:
    """How many files a preview looks at."""
    with database.read() as session:
        return inventory_scan.count_present(session)


def _store(session: Session, row: PreviewRow, now: datetime) -> None:
    previews.forget_previews(session, now - KEPT_FOR)
    previews.add_preview(session, row)


def _reckon(
    session: Session,
    comparison: Comparison,
    in_force: RuleSet,
    candidate: Sequence[RetentionRule],
    cooling_off: timedelta,
    now: datetime,
) -> dict[str, Any]:
    reckoning = Reckoning(now, cooling_off)
    reckoning.add_all(comparison.portions())
    names = [rule.name for rule in candidate]
    samples = {name: reckoning.categories[name].samples for name in CATEGORIES}
    shown = _describe(session, {number for numbers in samples.values() for number in numbers}, in_force, candidate, now)
    return {
        "cooling_off": format_duration(cooling_off),
        "files": reckoning.files,
        "changes": {name: reckoning.categories[name].as_json() for name in CATEGORIES},
        "effects": reckoning.effects(names),
        "samples": {name: [shown[n] for n in numbers if n in shown] for name, numbers in samples.items()},
        "forecast": {"in_force": reckoning.before, "candidate": reckoning.after},
    }


def _describe(
    session: Session, numbers: set[int], in_force: RuleSet, candidate: Sequence[RetentionRule], now: datetime
) -> dict[int, dict[str, Any]]:
    """Files in short, with what both rule sets say of them."""
    rows = files.find_files(session, sorted(numbers))
    before, after = Circumstances(session, in_force, now), Circumstances(session, RuleSet(0, tuple(candidate)), now)
    return {number: _in_short(row, before, after) for number, row in rows.items()}


def _in_short(row: MediaFileRow, before: Circumstances, after: Circumstances) -> dict[str, Any]:
    was, becomes = before.decide(row).decision, after.decide(row).decision
    return {
        "id": row.id,
        "app_id": row.app_id,
        "vendor": row.vendor.value,
        "file_id": row.file_id,
        "stream_id": row.stream_id,
        "state": row.state.value,
        "ended_at": iso(row.ended_at),
        "rule_before": was.rule,
        "due_before": iso(was.due_at),
        "rule_after": becomes.rule,
        "due_after": iso(becomes.due_at),
    }
