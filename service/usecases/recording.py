"""Recording what came of a call: its attempts, its files, and what it means for the whole app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.core.backoff import GiveUp, RetryPolicy, decide_pause, decide_retry
from service.core.model import END_STATES, DeleteAnswer, FileState, Lane, Outcome
from service.core.outcomes import CODE_FAILED, Effect, FileResult, Reading, credit_earlier_attempt
from service.core.purge import NOT_TOLD
from service.core.wording import in_words
from service.db import claims, files, gates, runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.db.engine import Session
    from service.db.models import AttemptRow, MediaFileRow
    from service.usecases.claiming import OpenCall, Pass

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recorder:
    """How outcomes are followed up: the retry settings and a source of jitter in [0, 1)."""

    policy: RetryPolicy
    jitter: Callable[[], float]


def record_call(
    session: Session,
    recorder: Recorder,
    sweep: Pass,
    lane: Lane,
    call: OpenCall,
    answer: DeleteAnswer,
    reading: Reading,
    now: datetime,
) -> None:
    """Write down an answer: the call, each attempt, each file, and the gate of the app.

    Once only: a commit whose success was not seen is tried again, and must not charge the files twice.
    """
    if runs.is_answered(session, call.call_id):
        return
    retry_at = _apply_effect(session, recorder, lane, reading, answer, now)
    keys = [file.key for file in call.files]
    attempts = runs.open_attempts(session, call.call_id)
    doubtful = runs.maybe_deleted_before(session, keys, call.call_id)
    rows = files.find_files(session, keys, lock=True)
    purges: list[str | None] = []
    for file in call.files:
        told, attempt = reading.results[file.file_id], attempts[file.key]
        result = credit_earlier_attempt(told) if file.key in doubtful else told
        purge = _purge_of(told, result, answer)
        purges.append(purge)
        runs.record_result(attempt, result, now)
        if row := rows.get(file.key):
            if result.outcome in (Outcome.DELETED, Outcome.GONE) and row.state not in END_STATES:
                _remember_why(row, attempt)
            _follow_up(row, recorder, sweep, result, retry_at, now, keep_claim=reading.split, purge=purge)
    # What it says of files that it deleted itself counts, and not that an earlier call deleted others ("").
    told_purge = max((purge for purge in purges if purge is not None), default=None)
    runs.record_answer(session, call.call_id, answer, now, cache_code=told_purge)
    session.flush()


def _purge_of(told: FileResult, result: FileResult, answer: DeleteAnswer) -> str | None:
    """What is known of purging the cache of one file; None where it was not asked for, or nothing was deleted.

    Of a file that an earlier call deleted, whose answer was never seen, nobody was told.
    """
    if answer.cache_code is None or result.outcome is not Outcome.DELETED:
        return None
    return answer.cache_code if told.outcome is Outcome.DELETED else NOT_TOLD


def _follow_up(
    row: MediaFileRow,
    recorder: Recorder,
    sweep: Pass,
    result: FileResult,
    retry_at: datetime | None,
    now: datetime,
    *,
    keep_claim: bool,
    purge: str | None,
) -> None:
    if row.state is FileState.GONE and result.outcome is Outcome.DELETED:
        # Calls of two passes crossed: this one deleted the file, and the other, recorded first, only missed it.
        row.state_reason = "a call of another pass, recorded first, found it gone already"
    elif row.state in END_STATES:
        return
    is_ours = row.claim_run_id == sweep.run_id and row.state is FileState.DELETING
    row.last_outcome, row.last_code, row.last_message = result.outcome, result.code, result.message
    row.last_request_id, row.last_attempt_at, row.last_cache_code = result.request_id, now, purge
    if result.charged:
        row.attempts += 1
        row.first_attempt_at = row.first_attempt_at or now
    if result.outcome in (Outcome.DELETED, Outcome.GONE):
        # An observed end counts even where the claim was lost meanwhile: the file is not there any more.
        _end(row, FileState(result.outcome.value), result, now)
    elif is_ours and result.outcome is Outcome.REJECTED:
        _end(row, FileState.FAILED, result, now)
    elif is_ours and result.charged:
        _schedule_retry(row, recorder, result, now)
    elif is_ours and not keep_claim:
        row.retry_at = retry_at
        claims.release(row, _waiting(result, retry_at), now)


def _remember_why(row: MediaFileRow, attempt: AttemptRow) -> None:
    """A file that is gone shows what let it go, not what was decided while its call was under way, such as a hold."""
    row.rule, row.due_at = attempt.rule, attempt.due_at
    row.revision, row.state_reason = attempt.revision, attempt.reason


def _schedule_retry(row: MediaFileRow, recorder: Recorder, result: FileResult, now: datetime) -> None:
    first = row.first_attempt_at or now
    follow = decide_retry(row.attempts, first, now, recorder.policy, recorder.jitter())
    if isinstance(follow, GiveUp):
        _end(row, FileState.FAILED, result, now, follow.reason)
        return
    row.retry_at = follow.at
    claims.release(row, _waiting(result, follow.at), now)


def _end(row: MediaFileRow, state: FileState, result: FileResult, now: datetime, why: str = "") -> None:
    row.state, row.decided_at = state, now
    said = " ".join(part for part in (result.code, result.message) if part)
    row.state_reason = {
        FileState.DELETED: f"deleted: {row.state_reason}",
        FileState.GONE: f"the vendor says it was not there: {said}",
    }.get(state, f"{why or 'refused'}: {said}")
    row.claim_run_id = row.claimed_at = row.retry_at = None


def _waiting(result: FileResult, retry_at: datetime | None) -> str:
    said = " ".join(part for part in (result.code, result.message) if part)
    when = f"tried again after {in_words(retry_at)}" if retry_at else "tried again once the app is let in"
    return f"last attempt {result.outcome.value} ({said}); {when}"


def _apply_effect(
    session: Session, recorder: Recorder, lane: Lane, reading: Reading, answer: DeleteAnswer, now: datetime
) -> datetime | None:
    """Close or open the app's gate; returns when its files may be tried again, None where only a probe can tell."""
    app_id, vendor = lane
    if reading.done:
        # Code 1000 is unspecific: alone, it does not show that the app is out of trouble.
        is_proof = reading.took_call or reading.any_code != str(CODE_FAILED)
        if is_proof and gates.open_gates(session, app_id, vendor):
            log.info("gate_opened", app=app_id, vendor=vendor.value)
        return None
    if reading.split:
        return None
    result = next(iter(reading.results.values()))
    if reading.effect in (Effect.BLOCK_APP, Effect.BLOCK_LANE):
        blocked = vendor if reading.effect is Effect.BLOCK_LANE else None
        gates.block(session, app_id, blocked, now, result.code, result.message)
        log.error("app_blocked", app=app_id, vendor=blocked and blocked.value, code=result.code, message=result.message)
        return None
    standing = gates.find_gate(session, app_id, vendor)
    if standing is not None and standing.is_closed(now):
        return standing.until  # calls that were in flight together count as one failure
    until = decide_pause(
        (standing.failures if standing else 0) + 1,
        now,
        recorder.policy,
        recorder.jitter(),
        throttled=reading.effect is Effect.THROTTLE,
        retry_after_s=answer.retry_after_s,
    )
    gates.pause(session, app_id, now, until, result.code, result.message)
    log.warning("app_paused", app=app_id, until=until.isoformat(), code=result.code, message=result.message)
    return until
