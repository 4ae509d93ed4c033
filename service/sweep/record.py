"""Recording what came of calls: their attempts, their files, and what it means for the whole app."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from service.database import Transaction
from service.files.store import find_files
from service.model import END_STATES, FileState, MediaFile, Outcome, Vendor, WaitReason
from service.rules.decide import find_call_after
from service.sweep import claim_store, store
from service.sweep.answers import CODE_FAILED, Effect, FileResult, Reading, credit_earlier_attempt
from service.sweep.backoff import RetryPolicy, find_delay, find_pause, is_given_up
from service.sweep.calling import OpenCall
from service.sweep.records import AppState
from service.units import describe_moment
from service.zego.messages import DeleteAnswer

_ENDS = (Outcome.DELETED, Outcome.GONE)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recorder:
    """How outcomes are followed up: the retry settings and a source of jitter in [0, 1)."""

    policy: RetryPolicy
    jitter: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Answered:
    """A call with its answer and what that means.

    `shows_recovery` is False if it was opened before the app's latest trouble: then it proves nothing about that.
    """

    call: OpenCall
    answer: DeleteAnswer
    reading: Reading
    shows_recovery: bool = True


def record_answers(tx: Transaction, recorder: Recorder, answered: Sequence[Answered], now: datetime) -> None:
    """Write down answers: each call, its attempts, its files, and the state of its app.

    Once only: a commit whose success was not seen is tried again, and must not charge the files twice.
    """
    # Trouble last: of calls that were in flight together, one that worked does not end what another one met.
    for each in sorted(answered, key=lambda each: not each.reading.is_about_files):
        if not store.is_answered(tx, each.call.id):
            _record(tx, recorder, each, now)


def close_open_attempts(tx: Transaction, now: datetime, policy: RetryPolicy, jitter: Callable[[], float]) -> int:
    """Close what a process left behind that died, or lost the lead: attempts as unknown, runs as lost.

    ZEGO may have acted on them, so their files wait a while and are asked for again. What has ended meanwhile stays as
    it is. Returns how many attempts there were.
    """
    closed = store.close_unrecorded(tx, "the process ended before it could record an answer", now)
    until = now + find_delay(1, policy, jitter())
    reason = f"the answer to its last call was not recorded; asked for again after {describe_moment(until)}"
    claim_store.release_all(tx, until, reason, now)
    store.lose_running(tx, now, "its process ended, or lost the lead; what it had claimed was given back")
    return closed


def _record(tx: Transaction, recorder: Recorder, answered: Answered, now: datetime) -> None:
    call, reading = answered.call, answered.reading
    retry_at = _apply_effect(tx, recorder, answered, now)
    results = {file.number: reading.results[file.file_id] for file in call.files}
    gone = [number for number, result in results.items() if result.outcome is Outcome.GONE]
    for number in store.find_unknown_before(tx, gone, call.id):
        results[number] = credit_earlier_attempt(results[number])
    by_result: dict[FileResult, list[int]] = defaultdict(list)
    for number, result in results.items():
        by_result[result].append(number)
    for result, numbers in by_result.items():
        store.close_attempts(tx, call.id, numbers if len(by_result) > 1 else None, result, now)
        if result.outcome in _ENDS:
            state = FileState(result.outcome.value)
            reason = "" if state is FileState.DELETED else f"the vendor says it was not there: {result.summary}"
            claim_store.end_files(tx, numbers, state, reason, now, charged=result.charged)
    _follow_up(tx, recorder, {n: r for n, r in results.items() if r.outcome not in _ENDS}, retry_at, now)
    store.save_answer(tx, call.id, answered.answer, now)


def _follow_up(
    tx: Transaction, recorder: Recorder, results: dict[int, FileResult], retry_at: datetime | None, now: datetime
) -> None:
    """Release the files that have not ended: they wait for the next attempt, or have failed."""
    found = find_files(tx, results).values()
    claim_store.save_outcomes(
        tx,
        [_release(file, recorder, results[file.id], retry_at, now) for file in found if file.state not in END_STATES],
    )


def _release(
    file: MediaFile, recorder: Recorder, result: FileResult, retry_at: datetime | None, now: datetime
) -> MediaFile:
    file = file._replace(last_outcome=result.outcome, state_at=now)
    if result.charged:
        file = file._replace(attempts=file.attempts + 1, first_attempt_at=file.first_attempt_at or now)
    if result.outcome is Outcome.REJECTED:
        return file._replace(state=FileState.FAILED, state_reason=f"refused: {result.summary}")
    if result.charged:
        first = file.first_attempt_at or now
        if is_given_up(first, now, recorder.policy):
            given_up = f"given up after {file.attempts} attempts since {describe_moment(first)}: {result.summary}"
            return file._replace(state=FileState.FAILED, state_reason=given_up)
        retry_at = now + find_delay(file.attempts, recorder.policy, recorder.jitter())
    when = (
        f"asked for again after {describe_moment(retry_at)}" if retry_at else "asked for again once ZEGO accepts calls"
    )
    reason = f"last attempt {result.outcome.value} ({result.summary}); {when}"
    if retry_at is not None and (file.wait_until is None or file.wait_until < retry_at):
        # (Else something lets it wait for longer, since it was claimed.)
        file = file._replace(wait_until=retry_at, wait_reason=WaitReason.RETRY)
    call_after = find_call_after(file.due_at, file.wait_until)
    return file._replace(state=FileState.SCHEDULED, state_reason=reason, call_after=call_after)


def _apply_effect(tx: Transaction, recorder: Recorder, answered: Answered, now: datetime) -> datetime | None:
    """Write down or clear what stands in the way of the app; returns when its files may be asked for again.

    None: that is for each file to say, or only a probe can.
    """
    call, reading = answered.call, answered.reading
    if reading.is_about_files:
        # Code 1000 is unspecific: alone, it does not show that the app is out of trouble.
        is_proof = reading.took_call or reading.any_result.code != str(CODE_FAILED)
        if is_proof and answered.shows_recovery and store.clear_app_states(tx, call.app_id, call.vendor):
            log.info("app_is_called_again", app=call.app_id, vendor=call.vendor.value)
        return None
    if reading.split:  # meanwhile its files wait; the bisection asks for them all the same
        return now + find_delay(1, recorder.policy, recorder.jitter())
    states = {state.vendor: state for state in store.list_app_states(tx, call.app_id)}
    if reading.effect in (Effect.BLOCK_APP, Effect.BLOCK_VENDOR):
        _block(tx, answered, states, now)
        return None
    return _pause(tx, recorder, answered, states.get(None), now)


def _block(tx: Transaction, answered: Answered, states: dict[Vendor | None, AppState], now: datetime) -> None:
    call, result = answered.call, answered.reading.any_result
    vendor = call.vendor if answered.reading.effect is Effect.BLOCK_VENDOR else None
    before = states.get(vendor)
    since = before.since if before is not None and before.blocked else now
    failures = (before.failures if before else 0) + 1
    store.save_app_state(tx, AppState(call.app_id, vendor, True, since, None, failures, result.code, result.message))
    if before is None or not before.blocked:
        log.error("app_blocked", app=call.app_id, vendor=vendor, code=result.code, message=result.message)


def _pause(
    tx: Transaction, recorder: Recorder, answered: Answered, before: AppState | None, now: datetime
) -> datetime | None:
    call, result = answered.call, answered.reading.any_result
    if before is not None and before.blocked:
        return None
    if before is not None and before.until is not None and before.since <= now < before.until:
        return before.until  # calls that were in flight together count as one failure
    failures = (before.failures if before else 0) + 1
    pause = find_pause(
        failures,
        recorder.policy,
        recorder.jitter(),
        throttled=answered.reading.effect is Effect.THROTTLE,
        retry_after_s=answered.answer.retry_after_s,
    )
    state = AppState(call.app_id, None, False, now, now + pause, failures, result.code, result.message)
    store.save_app_state(tx, state)
    log.warning("app_paused", app=call.app_id, seconds=round(pause.total_seconds()), code=result.code)
    return state.until
