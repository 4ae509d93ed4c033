"""Claiming files for a pass: whatever is claimed was decided under the rules in force in that very transaction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from service.core.model import Action, Lane
from service.db import claims, files, holds, leases, locks, revisions, runs
from service.db.claims import Wanted
from service.db.models import RunState
from service.usecases.deciding import decide_rows, demand_confirmation, lock_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from service.core.rules import RuleSet
    from service.db.claims import Cursor
    from service.db.engine import Session
    from service.db.models import MediaFileRow

SWEEP_LEASE = "sweep"


@dataclass(frozen=True, slots=True)
class Pass:
    """The pass that is under way: its run, the fence of its lease, and whether it only looks at retries.

    With `approved_run` it only carries out the plans of that run, with `confirm_all` it deletes only what a listing or
    a person has confirmed.
    """

    run_id: int
    fence: int
    only_retries: bool = False
    approved_run: int | None = None
    confirm_all: bool = False

    @property
    def approval(self) -> str | None:
        """What must have approved a file that this pass deletes; None where that does not matter."""
        return None if self.approved_run is None else approval_of(self.approved_run)


def approval_of(run_id: int) -> str:
    """What is noted on a file whose deletion a person approved with the plan of a run."""
    return f"run {run_id}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A file in a pass's hands: its number in the inventory and the id to ask ZEGO for.

    It is new if nobody approved its deletion and it is not being retried.
    """

    key: int
    file_id: str
    is_new: bool = False


class Admission:
    """How many new files of an app the breaker lets a pass claim; one that was given back counts once.

    What becomes due while the pass is under way must not take it past the breaker after that has looked.
    """

    def __init__(self, allowance: int) -> None:
        self._allowance = allowance
        self._admitted: set[int] = set()

    @property
    def is_used_up(self) -> bool:
        """No new file may be claimed any more."""
        return len(self._admitted) >= self._allowance

    def widen(self, allowance: int) -> None:
        """Let so many through in all."""
        self._allowance = max(self._allowance, allowance)

    def choose(self, rows: Sequence[MediaFileRow]) -> list[MediaFileRow]:
        """Those of these files that may be claimed, in their order."""
        room = self._allowance - len(self._admitted)
        counted = (row.id for row in rows if _is_new(row) and row.id not in self._admitted)
        left_out = set(islice(counted, max(room, 0), None))
        return [row for row in rows if row.id not in left_out]

    def note(self, files: Sequence[Claimed]) -> None:
        """These files are asked for: the new ones count."""
        self._admitted.update(file.key for file in files if file.is_new)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one look at the due files brought: the files claimed, and where the next one begins (None: nothing left)."""

    files: tuple[Claimed, ...]
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that is written down and may be sent: its files, the revision that lets them go, and the newest hold."""

    call_id: int
    files: tuple[Claimed, ...]
    revision: int
    newest_hold: int


def claim_chunk(
    session: Session,
    sweep: Pass,
    lane: Lane,
    admission: Admission,
    after: Cursor | None,
    limit: int,
    now: datetime,
    *,
    only_retries: bool,
) -> Chunk:
    """Claim the next due files of a lane that today's rules still let go and the breaker admits; decide all anew."""
    wanted = Wanted(only_retries, admission.is_used_up, sweep.approval)
    rules = _rules_under_lock(session, lane[0])
    # Which streams to lock is known only from rows that are not locked yet: the locks come first, then the rows.
    if any(rule.keep_latest for rule in rules.rules):
        peeked = claims.next_due(session, lane, now, after, limit, wanted, lock=False)
        lock_ranks(session, rules, [(row.app_id, row.stream_id) for row in peeked])
        session.expire_all()
    rows = claims.next_due(session, lane, now, after, limit, wanted)
    if not rows:
        return Chunk((), None)
    last = rows[-1]
    cursor = (last.due_at or now, last.id)
    due = _keep_what_should_stay(session, sweep, rows, rules, now)
    approved = [row for row in due if sweep.approval in (None, row.approval)]
    taken = claims.claim(session, admission.choose(approved), sweep.run_id, now)
    return Chunk(tuple(Claimed(row.id, row.file_id, _is_new(row)) for row in taken), cursor)


def open_call(session: Session, sweep: Pass, lane: Lane, wanted: Sequence[Claimed], now: datetime) -> OpenCall | None:
    """Decide once more and write the call down before it is sent; None when nothing is left to send.

    Files that another process took over are left out; files that today's rules keep are given back.
    """
    rules = _rules_under_lock(session, lane[0])
    if not leases.holds_lease(session, SWEEP_LEASE, sweep.fence):
        return None
    keys = [file.key for file in wanted]
    if any(rule.keep_latest for rule in rules.rules):
        rows = files.find_files(session, keys).values()
        lock_ranks(session, rules, [(row.app_id, row.stream_id) for row in rows])
        session.expire_all()
    due = []
    for row in _keep_what_should_stay(session, sweep, claims.claimed_by(session, sweep.run_id, keys), rules, now):
        if sweep.approval in (None, row.approval):
            due.append(row)
        else:
            claims.release(row, "due; a change took back what had approved it", now)
    if not due:
        return None
    call_id = runs.open_call(session, sweep.run_id, lane, due, now)
    newest_hold = holds.newest_number(session, lane[0])
    return OpenCall(call_id, tuple(Claimed(row.id, row.file_id) for row in due), rules.revision, newest_hold)


def is_still_good(session: Session, sweep: Pass, lane: Lane, call: OpenCall) -> bool:
    """Nothing has changed since the call was written down: the lease, the claims, the rules and the holds stand."""
    keys = [file.key for file in call.files]
    return (
        leases.holds_lease(session, SWEEP_LEASE, sweep.fence)
        and revisions.current_number(session) == call.revision
        and holds.newest_number(session, lane[0]) == call.newest_hold
        and claims.count_claimed(session, sweep.run_id, keys) == len(keys)
    )


def give_back(session: Session, sweep: Pass, wanted: Sequence[Claimed], reason: str, now: datetime) -> None:
    """Give claimed files back that were not asked for; they are due as before."""
    for row in claims.claimed_by(session, sweep.run_id, [file.key for file in wanted]):
        claims.release(row, reason, now)


def release_stale(session: Session, lease: timedelta, now: datetime) -> int:
    """Give back what runs without a sign of life, or already over, still had in hand; returns how many files."""
    released = 0
    for run_id in claims.list_stale_runs(session, now, lease):
        # Claims first: that waits for a call that is just being written down, so that its attempts are seen here.
        released += claims.release_claims(session, run_id, f"given back: run {run_id} gave no sign of life", now)
        claims.close_open_attempts(session, run_id, now)
        runs.finish_run(session, run_id, RunState.LOST, now, "gave no sign of life; its claims were given back")
    return released


def _rules_under_lock(session: Session, app_id: str) -> RuleSet:
    locks.lock_policy_shared(session)
    locks.lock_holds_shared(session, app_id)
    return revisions.current_rules(session)


def _is_new(row: MediaFileRow) -> bool:
    return row.approval is None and not claims.is_retried(row, row.due_at)


def _keep_what_should_stay(
    session: Session, sweep: Pass, rows: Sequence[MediaFileRow], rules: RuleSet, now: datetime
) -> list[MediaFileRow]:
    due = []
    if sweep.confirm_all:
        for row in rows:
            demand_confirmation(row)
        session.flush()
    for row, decision, approval in decide_rows(session, rows, rules, now):
        if decision.action is Action.DELETE:
            files.note_decision(row, decision, approval, rules.revision, now)
            due.append(row)
        else:
            files.apply_decision(row, decision, approval, rules.revision, now)
    session.flush()
    return due
