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

    def find_delay(self, failures: int, jitter: float, *, first: timedelta | None = None) -> timedelta:
        """How long to wait after so many failures in a row; `jitter`, in [0, 1), only shortens it."""
        doubled_s = (first or self.first).total_seconds() * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS)
        return timedelta(seconds=min(doubled_s, self.last.total_seconds()) * (1 - _JITTER_SHARE * jitter))

    def find_pause(
        self, failures: int, jitter: float, *, throttled: bool, retry_after_s: float | None = None
    ) -> timedelta:
        """How long a whole app pauses after `failures` failed calls in a row (this one included).

        Throttling is back-pressure and starts at a second; other trouble starts at RETRY_FIRST. A Retry-After of ZEGO
        is respected, up to RETRY_LAST.
        """
        pause = self.find_delay(failures, jitter, first=min(_THROTTLE_FIRST, self.first) if throttled else None)
        return max(pause, min(timedelta(seconds=retry_after_s or 0), self.last))

    def is_given_up(self, first_attempt_at: datetime, now: datetime) -> bool:
        """Whether a file whose first charged attempt was then is asked for no more: a person has to look."""
        return now - first_attempt_at >= self.give_up_after
