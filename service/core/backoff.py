"""When to try again: per file after a charged attempt, per app after a failure that is no file's fault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

_THROTTLE_FIRST = timedelta(seconds=1)
_JITTER_SHARE = 0.25
_MAX_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The settings RETRY_FIRST, RETRY_LAST and GIVE_UP_AFTER."""

    first: timedelta
    last: timedelta
    give_up_after: timedelta


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Ask again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Ask no more: a person has to look."""

    reason: str


def decide_retry(
    attempts: int, first_attempt_at: datetime, now: datetime, policy: RetryPolicy, jitter: float
) -> TryAgain | GiveUp:
    """Decide what follows a charged attempt that did not end the file.

    `attempts` counts charged attempts, this one included; `first_attempt_at` is the first of them; `jitter` is in
    [0, 1).
    """
    if now - first_attempt_at >= policy.give_up_after:
        return GiveUp(f"given up after {attempts} attempts since {first_attempt_at:%Y-%m-%d %H:%M} UTC")
    return TryAgain(now + _delay(attempts, policy.first, policy.last, jitter))


def decide_pause(
    failures: int,
    now: datetime,
    policy: RetryPolicy,
    jitter: float,
    *,
    throttled: bool,
    retry_after_s: float | None = None,
) -> datetime:
    """Decide until when a whole app pauses after `failures` failed calls in a row (this one included).

    Throttling is back-pressure and starts at a second; other trouble starts at RETRY_FIRST. A Retry-After of ZEGO is
    respected, up to RETRY_LAST.
    """
    first = min(_THROTTLE_FIRST, policy.first) if throttled else policy.first
    delay = _delay(failures, first, policy.last, jitter)
    if retry_after_s is not None:
        delay = max(delay, min(timedelta(seconds=retry_after_s), policy.last))
    return now + delay


def _delay(failures: int, first: timedelta, last: timedelta, jitter: float) -> timedelta:
    # Jitter only shortens, so that RETRY_LAST stays an upper bound.
    doubled = first * (1 << min(max(failures - 1, 0), _MAX_DOUBLINGS))
    return min(doubled, last) * (1 - _JITTER_SHARE * jitter)
