"""Recording what came of calls: their attempts, their files, and what it means for the whole app."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from service.database import Transaction
from service.files.store import find_files, save_files
from service.model import END_STATES, FileState, MediaFile, Outcome, WaitReason
from service.rules.waiting import find_call_after
from service.sweep import claim_store, store
from service.sweep.answers import CODE_FAILED, Effect, FileResult, Reading, credit_earlier_attempt
from service.sweep.backoff import RetryPolicy
from service.sweep.claim import OpenCall
from service.sweep.records import AppState
from service.units import describe_moment

_PURGED: Final = "1"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes answers down. `jitter` gives numbers in [0, 1)."""

    policy: RetryPolicy
    jitter: Callable[[], float]
    now: datetime

    def record_answers(self, tx: Transaction, answered: Iterable[tuple[OpenCall, Reading]], trouble_after: int) -> None:
        """Write down answers: each call, its attempts, its files, and the state of its app.

        Once only: a commit whose success was not seen is tried again, and must not charge the files twice. Calls up to
        the number `trouble_after` were opened before the app's latest trouble: they prove nothing about that.
        """
        # Trouble last: of calls that were in flight together, one that worked does not end what another one met.
        for call, reading in sorted(answered, key=lambda each: not each[1].is_about_files):
            run_id = claim_store.save_answer(tx, call.id, reading.answer, self.now)
            if run_id is not None:
                retry_at = self._apply_effect(tx, call, reading, may_clear=call.id > trouble_after)
                more = self._record_files(tx, call, reading, retry_at)
                if reading.answer.cache_code not in (None, _PURGED):
                    more["purges_failed"] = more[Outcome.DELETED]
                store.add_to_totals(tx, run_id, more)

    def _record_files(
        self, tx: Transaction, call: OpenCall, reading: Reading, retry_at: datetime | None
    ) -> dict[str, float]:
        """Write down what came of each file; returns what that adds to the totals of the run."""
        results = {number: reading.results[file_id] for number, file_id in call.files.items()}
        gone = [number for number, result in results.items() if result.outcome is Outcome.GONE]
        for number in claim_store.find_unknown_before(tx, gone, call.id, self.now):
            results[number] = credit_earlier_attempt(results[number])
        by_result: dict[FileResult, list[int]] = defaultdict(list)
        for number, result in results.items():
            by_result[result].append(number)
        others, more = [], defaultdict[str, float](int, unanswered=-len(results))
        for result, numbers in by_result.items():
            more[result.outcome] += len(numbers)
            claim_store.close_attempts(tx, call.id, numbers, result, self.now)
            if result.outcome in (Outcome.DELETED, Outcome.GONE):
                state = FileState(result.outcome.value)
                reason = "" if state is FileState.DELETED else f"the vendor says it was not there: {result.summary}"
                seconds, size = claim_store.end_files(tx, numbers, state, reason, self.now, charged=result.charged)
                if state is FileState.DELETED:
                    more["freed_s"] += seconds
                    more["freed_bytes"] += size
            else:
                others += numbers
        released = [
            self._release(file, results[file.id], retry_at)
            for file in find_files(tx, others).values()
            if file.state not in END_STATES
        ]
        save_files(tx, released)
        return more

    def _release(self, file: MediaFile, result: FileResult, retry_at: datetime | None) -> MediaFile:
        """The row of a file that has not ended: it waits for the next attempt, or has failed."""
        file, failure = file._replace(last_outcome=result.outcome, state_at=self.now), None
        if result.charged:
            first = file.first_attempt_at or self.now
            file = file._replace(attempts=file.attempts + 1, first_attempt_at=first)
            retry_at = self.now + self.policy.find_delay(file.attempts, self.jitter())
            if self.policy.is_given_up(first, self.now):
                failure = f"given up after {file.attempts} attempts since {describe_moment(first)}"
        if result.outcome is Outcome.REJECTED:
            failure = "refused"
        if failure:
            return file._replace(state=FileState.FAILED, state_reason=f"{failure}: {result.summary}")
        when = f"after {describe_moment(retry_at)}" if retry_at else "once ZEGO accepts calls"
        reason = f"last attempt {result.outcome.value} ({result.summary}); retried {when}"
        if retry_at is not None and (file.wait_until is None or file.wait_until < retry_at):
            # (Else something lets it wait for longer, since it was claimed.)
            file = file._replace(wait_until=retry_at, wait_reason=WaitReason.RETRY)
        call_after = find_call_after(file.due_at, file.wait_until)
        return file._replace(state=FileState.SCHEDULED, state_reason=reason, call_after=call_after)

    def _apply_effect(self, tx: Transaction, call: OpenCall, reading: Reading, *, may_clear: bool) -> datetime | None:
        """Write down or clear what stands in the way of the app; returns when its files may be asked for again.

        None: that is for each file to say, or only a probe can.
        """
        effect, code, message = reading.effect, reading.code, reading.message
        if reading.is_about_files:
            # Code 1000 is unspecific: alone, it does not show that the app is out of trouble.
            if may_clear and code != CODE_FAILED and store.clear_app_states(tx, call.app_id, call.vendor):
                log.info("app_is_called_again", app=call.app_id, vendor=call.vendor.value)
            return None
        if effect is Effect.SPLIT:  # meanwhile its files wait; the bisection asks for them all the same
            return self.now + self.policy.find_delay(1, self.jitter())
        blocks = effect in (Effect.BLOCK_APP, Effect.BLOCK_VENDOR)
        vendor = call.vendor if effect is Effect.BLOCK_VENDOR else None
        before = next((each for each in store.list_app_states(tx, call.app_id) if each.vendor is vendor), None)
        if before is not None and not blocks and (before.blocked or before.pauses_at(self.now)):
            return before.until  # calls that were in flight together count as one failure
        failures, since, until = (before.failures if before else 0) + 1, self.now, None
        if not blocks:
            throttled, retry_after_s = effect is Effect.THROTTLE, reading.answer.retry_after_s
            pause = self.policy.find_pause(failures, self.jitter(), throttled=throttled, retry_after_s=retry_after_s)
            until = self.now + pause
            log.warning("app_paused", app=call.app_id, until=describe_moment(until), code=code, message=message)
        elif before is not None and before.blocked:
            since = before.since
        else:
            log.error("app_blocked", app=call.app_id, vendor=vendor, code=code, message=message)
        store.save_app_state(tx, AppState(call.app_id, vendor, blocks, since, until, failures, code, message))
        return until


def close_open_attempts(tx: Transaction, now: datetime, policy: RetryPolicy, jitter: Callable[[], float]) -> int:
    """Close what a process left behind that died, or lost the lead: attempts as unknown, runs as lost.

    ZEGO may have acted on them, so their files wait a while and are asked for again. What has ended meanwhile stays as
    it is. Returns how many attempts there were.
    """
    until = now + policy.find_delay(1, jitter())
    reason = f"the answer to its last call was not recorded; retried after {describe_moment(until)}"
    return claim_store.close_open(tx, until, reason, now)
