"""Why a file is kept or deleted: what counts for it now, or counted when it was deleted; and what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.core.accounts import describe_arithmetic, describe_erasure_date, explain_past
from service.core.file_sets import FileSet
from service.core.model import END_STATES, Action, FileState
from service.core.rules import RuleExplanation, RuleSet, explain, find_hold
from service.core.wording import in_words
from service.db import erasures, files, gates, holds, plans, revisions, runs
from service.usecases.breaking import describe_remedy
from service.usecases.deciding import Circumstances
from service.usecases.erasing import erasure_as_json
from service.usecases.holding import hold_as_json
from service.usecases.inventory import NoSuchThing, attempt_as_json, file_as_json, iso
from service.usecases.pauses import describe_gate

if TYPE_CHECKING:
    from datetime import datetime

    from service.core.cooling import Change
    from service.core.model import Decision, MediaFile
    from service.db.engine import Database, Session
    from service.db.models import AttemptRow, MediaFileRow


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is (docs/api.md, "An explanation").

    `as_of` is None where the decision is that of now, else the moment of the attempt that ended the file: then
    `revision`, `decision` and `rules` are those of that moment.
    """

    file: dict[str, Any]
    as_of: datetime | None
    revision: int
    revision_in_force: int
    applied: dict[str, Any] | None
    decision: dict[str, Any]
    rules: tuple[RuleExplanation, ...]
    holds: tuple[dict[str, Any], ...]
    erasure: dict[str, Any] | None
    cooling: str | None
    attempts: tuple[dict[str, Any], ...]
    next_step: str


def explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as the API and `--json` show it (docs/api.md, "An explanation")."""
    return {
        "file": explanation.file,
        "as_of": iso(explanation.as_of),
        "revision": explanation.revision,
        "revision_in_force": explanation.revision_in_force,
        "applied": explanation.applied,
        "decision": explanation.decision,
        "rules": [{"name": r.name, "result": r.result.value, "why": r.why} for r in explanation.rules],
        "holds": list(explanation.holds),
        "erasure": explanation.erasure,
        "cooling": explanation.cooling,
        "attempts": list(explanation.attempts),
        "next_step": explanation.next_step,
    }


def explain_file(database: Database, file_key: int, now: datetime) -> Explanation:
    """Say why a file is where it is, and what happens next; of one that is gone, why it was let go then.

    Raises:
        NoSuchThing: there is no such file.
    """
    with database.read() as session:
        row = files.find_file(session, file_key)
        if row is None:
            raise NoSuchThing(f"there is no file {file_key}: see `zego-retention files list`")
        attempts = list(runs.list_attempts(session, file_key=file_key))
        purges = runs.find_cache_codes(session, file_key=file_key)
        shown = tuple(attempt_as_json(attempt, purges) for attempt in attempts)
        if row.state in END_STATES:
            return _explain_end(session, row, attempts[-1] if attempts else None, shown)
        return _explain_now(session, row, shown, now)


def _explain_now(
    session: Session, row: MediaFileRow, attempts: tuple[dict[str, Any], ...], now: datetime
) -> Explanation:
    rules = revisions.current_rules(session)
    around = Circumstances(session, rules, now)
    file = around.facts_of(row)
    _, decision, approval = around.decide(row)
    cooling = _describe_cooling(around.wait_of(row, decision), decision, row)
    return Explanation(
        file=file_as_json(row),
        as_of=None,
        revision=row.revision,
        revision_in_force=rules.revision,
        applied=_describe_revision(session, rules.revision),
        decision=_describe_decision(file, rules, decision) | {"approval": approval},
        rules=explain(file, rules.rules, around.holds_of(row), now),
        holds=_list_holds(session, file, around, row, now),
        erasure=_find_erasure(session, row.erasure_id),
        cooling=cooling,
        attempts=attempts,
        next_step=_Future(session, row, file, decision, around, now).describe(cooling),
    )


def _explain_end(
    session: Session, row: MediaFileRow, last: AttemptRow | None, attempts: tuple[dict[str, Any], ...]
) -> Explanation:
    """The decision behind the last attempt, under the rules of then; without one, what is on record of the file."""
    of = last or row
    reason = last.reason if last else row.state_reason
    rules = revisions.find_rules(session, of.revision) or RuleSet(of.revision, ())
    file = files.facts_of(row)
    rule = next((rule for rule in rules.rules if rule.name == of.rule), None)
    by_erasure = last is not None and last.rule is None
    return Explanation(
        file=file_as_json(row),
        as_of=last.opened_at if last else row.decided_at,
        revision=of.revision,
        revision_in_force=revisions.current_number(session),
        applied=_describe_revision(session, of.revision),
        decision={
            "action": Action.DELETE.value,
            "rule": of.rule,
            "due_at": iso(of.due_at),
            "observed_due_at": None,
            "reason": reason,
            "arithmetic": describe_arithmetic(file, rule, of.due_at, None),
            "approval": row.approval,
        },
        rules=explain_past(file, rules.rules, of.rule, reason) if last else (),
        holds=(),
        erasure=_find_erasure(session, row.erasure_id) if by_erasure else None,
        cooling=None,
        attempts=attempts,
        next_step="nothing: it is deleted" if row.state is FileState.DELETED else "nothing: it is not there",
    )


def _describe_decision(file: MediaFile, rules: RuleSet, decision: Decision) -> dict[str, Any]:
    rule = next((rule for rule in rules.rules if rule.name == decision.rule), None)
    if file.erasure is not None:
        arithmetic: str | None = describe_erasure_date(file.erasure)
    else:
        arithmetic = describe_arithmetic(file, rule, decision.due_at, decision.observed_due_at)
    return {
        "action": decision.action.value,
        "rule": decision.rule,
        "due_at": iso(decision.due_at),
        "observed_due_at": iso(decision.observed_due_at),
        "reason": decision.reason,
        "arithmetic": arithmetic,
    }


def _describe_revision(session: Session, number: int) -> dict[str, Any] | None:
    revision = revisions.find_revision(session, number)
    if revision is None:
        return None
    return {
        "at": iso(revision.applied_at),
        "by": revision.applied_by,
        "through": revision.through,
        "source": revision.source,
    }


def _list_holds(
    session: Session, file: MediaFile, around: Circumstances, row: MediaFileRow, now: datetime
) -> tuple[dict[str, Any], ...]:
    covering = [hold for hold in around.holds_of(row) if find_hold(file, [hold], now)]
    found = [holds.find_hold(session, hold.number) for hold in covering if hold.number is not None]
    return tuple(hold_as_json(each, row.id if each.file_id else None) for each in found if each is not None)


def _find_erasure(session: Session, number: int | None) -> dict[str, Any] | None:
    row = None if number is None else erasures.find_erasure(session, number)
    return None if row is None else erasure_as_json(row)


def _describe_cooling(change: Change | None, decision: Decision, row: MediaFileRow) -> str | None:
    if decision.cooling_until is None:
        return None
    until = in_words(decision.cooling_until)
    if change is not None and change.cooling_until == decision.cooling_until:
        revision = change.rules.revision
        return f"revision {revision} moved its date earlier, so it is not called before {until}"
    found = in_words(row.adopted_at or row.decided_at)
    return f"it was found in a listing on {found}, so it is not called before {until}"


@dataclass(frozen=True, slots=True)
class _Future:
    """What there is to say about what happens to a file next."""

    session: Session
    row: MediaFileRow
    file: MediaFile
    decision: Decision
    around: Circumstances
    now: datetime

    def describe(self, cooling: str | None) -> str:
        if self.row.state is FileState.FAILED:
            return f"nothing, until `zego-retention files retry {self.row.id}`"
        if self.row.state is FileState.DELETING:
            return "the outcome of the call under way"
        return self._describe_decided(cooling)

    def _describe_decided(self, cooling: str | None) -> str:
        if self.decision.action in (Action.WAIT, Action.DELETE):
            return self._describe_deletion(cooling)
        if self.decision.action is Action.HOLD:
            return self._describe_hold()
        if self.decision.action is Action.CONFIRM:
            return f"nothing, until a listing shows it or `zego-retention files confirm {self.row.id}`"
        if self.decision.observed_due_at is not None:
            would = "would have been" if self.decision.observed_due_at <= self.now else "would be"
            return f"nothing: the rule only observes; it {would} let go on {in_words(self.decision.observed_due_at)}"
        return "nothing, unless the rules change"

    def _describe_deletion(self, cooling: str | None) -> str:
        row, decision = self.row, self.decision
        due = max(filter(None, (decision.due_at, decision.cooling_until)), default=self.now)
        step = f"deleted by the first sweep after {in_words(due)}, if the rules still let it go then"
        if row.state is FileState.SCHEDULED and row.retry_at is not None and row.retry_at > self.now:
            step = f"asked for again after {in_words(row.retry_at)}"
        elif cooling and decision.cooling_until and decision.cooling_until > self.now:
            step += " (cooling-off)"
        return "; but ".join([step, *self._list_obstacles()])

    def _describe_hold(self) -> str:
        covering = [hold for hold in self.around.holds_of(self.row) if find_hold(self.file, [hold], self.now)]
        if not covering or any(hold.number is None for hold in covering):
            return "nothing, until the holds can be checked"
        ends = [
            f"hold {hold.number} is released (`zego-retention holds release {hold.number}`)"
            + (f" or ends at {in_words(hold.until)}" if hold.until else "")
            for hold in covering
        ]
        return f"nothing, until {' and '.join(ends)}"

    def _list_obstacles(self) -> list[str]:
        gate = gates.find_gate(self.session, self.row.app_id, self.row.vendor)
        closed = [describe_gate(gate)] if gate is not None and gate.is_closed(self.now) else []
        named_by = [
            plan.run_id
            for plan in plans.list_open(self.session)
            if plan.app_id == self.row.app_id and self.row.id in FileSet.decode(plan.files)
        ]
        return [
            *closed,
            *(f"the breaker stopped run {run}, whose plan names it: {describe_remedy(run)}" for run in named_by),
        ]
