"""Why a file is kept or deleted: what counts for it now, or counted when it was deleted; and what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from service.database import Database, Transaction
from service.files import store
from service.files.policy import Policy, PolicyReader
from service.files.store import iterate_stream
from service.model import END_STATES, Erasure, FileState, Hold, MediaFile, NoSuchThing
from service.rules.decide import describe_erasure
from service.rules.explain import Line, LineResult, describe_date, describe_wait, explain, explain_past
from service.rules.latest import counts_as_recording, find_kept_as_latest, span_of
from service.rules.store import NO_RULES, Revision, find_current_number, find_revision
from service.units import describe_moment

_NEXT_BY_STATE = {
    FileState.DELETED: "nothing: it is deleted",
    FileState.GONE: "nothing: the vendor does not have it",
    FileState.DELETING: "the outcome of the call under way",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is.

    `decided` is its row as it would be decided now, if it can be. `revision` is the one that it was decided under
    (None: none, or an erasure decides), `in_force` the number of today's. `lines` is what counts, or counted when it
    ended; `date` how its date comes about; `wait` what it waits for; `latest` why its rank keeps it.
    """

    file: MediaFile
    decided: MediaFile
    revision: Revision | None
    in_force: int
    next_step: str
    lines: tuple[Line, ...] = ()
    date: str | None = None
    wait: str | None = None
    latest: str | None = None
    holds: tuple[Hold, ...] = ()
    erasure: Erasure | None = None


def explain_file(
    database: Database, reader: PolicyReader, number: int, now: datetime, *, sweeps: bool = True
) -> Explanation:
    """Say why a file is where it is, and what happens next; `sweeps`: whether sweeps run by themselves."""
    with database.read() as tx:
        file = store.find_file(tx, number)
        if file is None:
            raise NoSuchThing(f"there is no file {number}: see `zego-retention files list`")
        if file.state in END_STATES:
            return _explain_end(tx, file)
        policy, decided = reader.read(tx, [file]), file
        if file.state is not FileState.DELETING:
            decided = policy.decide_file(file._replace(decide_again=True), now)
        if decided.state is FileState.SCHEDULED and file.state is FileState.UNCONFIRMED and file.confirmed_at is None:
            decided = decided._replace(state=file.state, state_reason=file.state_reason)  # by the setting CONFIRM
        holds = tuple(policy.holds.iterate(file, now))
        erasure = None if file.erasure_id is None else policy.erasures[file.erasure_id]
        is_ranked = erasure is None and decided.state is FileState.SCHEDULED
        latest = _find_rank(tx, policy, decided, now) if is_ranked else None
        return Explanation(
            file,
            decided,
            None if erasure is not None and decided.rule is None else find_revision(tx, decided.revision),
            policy.rules.revision,
            _describe_next(file, decided, holds, latest, now, sweeps=sweeps),
            lines=explain(file, policy.rules, holds, erasure, latest=latest),
            date=describe_date(file, policy.rules.find_rule(decided.rule), decided.due_at),
            wait=describe_wait(decided, now),
            latest=latest,
            holds=holds,
            erasure=erasure,
        )


def _explain_end(tx: Transaction, file: MediaFile) -> Explanation:
    """What decided it then; nothing did where it ended without having been asked for."""
    revision, erasure, date = find_revision(tx, file.revision), None, None
    rules = NO_RULES if revision is None else revision.rule_set
    rule = rules.find_rule(file.rule)
    lines: tuple[Line, ...] = ()
    if file.last_outcome is not None:
        if file.erasure_id is not None and file.rule is None:
            erasure = store.find_erasures(tx, [file.erasure_id])[file.erasure_id]
            lines = (Line("erasure", LineResult.ERASED, describe_erasure(erasure)),)
        else:
            # Why it was to be deleted, not what the vendor answered.
            reason = rule.reason if rule is not None and file.state is FileState.GONE else file.state_reason
            lines = explain_past(file, rules, file.rule, reason)
        date = describe_date(file, rule, file.due_at)
    revision = revision if erasure is None else None
    in_force, next_step = find_current_number(tx), _NEXT_BY_STATE[file.state]
    return Explanation(file, file, revision, in_force, next_step, lines=lines, date=date, erasure=erasure)


def _find_rank(tx: Transaction, policy: Policy, file: MediaFile, now: datetime) -> str | None:
    """Why its rank keeps a file that nothing else keeps, if it does."""
    rule = policy.rules.find_rule(file.rule)
    if rule is None or rule.keep_latest is None or file.due_at is None or not file.stream_id:
        return None
    others = iterate_stream(tx, file.app_id, file.stream_id, rule.name)
    spans = (span_of(other) for other in others if counts_as_recording(other, now))
    return find_kept_as_latest(file, spans, rule.keep_latest)


def _describe_next(
    file: MediaFile, decided: MediaFile, holds: tuple[Hold, ...], latest: str | None, now: datetime, *, sweeps: bool
) -> str:
    if file.state in _NEXT_BY_STATE:
        return _NEXT_BY_STATE[file.state]
    if file.state is FileState.FAILED:
        return f"nothing, until `zego-retention files retry {file.id}`"
    if decided.state is FileState.HELD:
        is_erased = file.erasure_id is not None and file.suspicion is None
        then = f"; then erasure {file.erasure_id} deletes it with the next sweep" if is_erased else ""
        return f"nothing, until {' and '.join(map(_describe_end, holds)) or 'the holds can be checked'}{then}"
    if decided.state is FileState.UNCONFIRMED:
        return f"nothing, until a listing shows it or `zego-retention files confirm {file.id}`"
    if decided.state is FileState.SCHEDULED and decided.call_after is not None and latest is None:
        at = describe_moment(max(decided.call_after, now))
        by = "sweep" if sweeps else "`zego-retention sweep` (none runs by itself: ZEGO_RETENTION_SWEEP_EVERY is off)"
        return f"the first {by} after {at} deletes it, if the rules still say so then"
    until = "its facts change" if latest is None else "it is no longer one of the newest of its stream"
    return f"nothing, unless the rules change or {until}"


def _describe_end(hold: Hold) -> str:
    ends = "" if hold.until is None else f" or ends at {describe_moment(hold.until)}"
    return f"hold {hold.id} is released (`zego-retention holds release {hold.id}`){ends}"
