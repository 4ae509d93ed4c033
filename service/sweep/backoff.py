"""When to try again: per file after a charged attempt, per app after a failure that is no file's fault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

_THROTTLE_FIRST: Final = timedelta(seconds=1)
_JITTER_SHARE: Final = 0.25
_MAX_DOUBLINGS: Final = 40


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The settings RETRY_FIRST, RETRY_LAST and GIVE_UP_AFTER."""

    first: timedelta
    last: timedelta
    give_up_after: timedelta


def find_delay(failures: int, policy: RetryPolicy, jitter: float) -> timedelta:
    """How long to wait after so many failures in a row; `jitter`, in [0, 1), only shortens it."""
    return _find_delay(failures, policy.first, policy.last, jitter)


def is_given_up(first_attempt_at: datetime, now: datetime, policy: RetryPolicy) -> bool:
    """Whether a file whose first charged attempt was then is asked for no more: a person has to look."""
    return now - first_attempt_at >= policy.give_up_after


def find_pause(
    failures: int, policy: RetryPolicy, jitter: float, *, throttled: bool, retry_after_s: float | None = None
) -> timedelta:
    """How long a whole app pauses after `failures` failed calls in a row (this one included).

    Throttling is back-pressure and starts at a second; other trouble starts at RETRY_FIRST. A Retry-After of ZEGO is
    respected, up to RETRY_LAST.
    """
    first = min(_THROTTLE_FIRST, policy.first) if throttled else policy.first
    delay = _find_delay(failures, first, policy.last, jitter)
    if retry_after_s is not None:
        delay = max(delay, min(timedelta(seconds=retry_after_s), policy.last))
    return delay


def _find_delay(failures: int, first: timedelta, last: timedelta, jitter: float) -> timedelta:
    # Jitter only shortens, so that RETRY_LAST stays an upper bound.
    doubled_s = first.total_seconds() * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return timedelta(seconds=min(doubled_s, last.total_seconds()) * (1 - _JITTER_SHARE * jitter))
