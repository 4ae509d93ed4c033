"""Whether the clock may be trusted with deleting (docs/sweep.md, "What stops every deletion"): comparisons alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from service.units import describe_moment

MAX_OFF: Final = timedelta(minutes=10)
"""How far clocks may be apart; ZEGO refuses the signatures of a clock that is further off."""

_SET_CLOCK: Final = "set the clock, and keep it set with NTP (chrony or systemd-timesyncd)"


class Cause(StrEnum):
    """What keeps every file from being deleted; documented in docs/sweep.md."""

    RECORD = "clock_behind_record"
    ZEGO = "clock_off_zego"
    JUMP = "clock_jumped"
    RULES = "rules_unreadable"
    SCHEMA = "schema_not_at_head"
    SPOOL = "callbacks_in_spool"


class Refusal(NamedTuple):
    """Why nothing is deleted, and what to do, in one sentence."""

    cause: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a clock showed, and when, in seconds of a clock that nobody sets."""

    moment: datetime
    at: float

    def find_ahead(self, now: datetime, at: float) -> timedelta:
        """How far that clock is ahead of ours, which shows `now` at `at`."""
        return self.moment + timedelta(seconds=at - self.at) - now


def judge_record(now: datetime, newest: datetime | None) -> Refusal | None:
    """Whether our clock is too far behind the newest time on record."""
    if newest is None or newest - now <= MAX_OFF:
        return None
    behind = _describe(newest - now)
    text = f"the clock is {behind} behind the newest time on record, {describe_moment(newest)}: {_SET_CLOCK}"
    right = "if it is right, that time is wrong: `zego-retention sweep`, run twice, puts the right one on record"
    return Refusal(Cause.RECORD, f"{text}; {right}")


def judge_zego(ahead: timedelta | None) -> Refusal | None:
    """Whether our clock is too far off ZEGO's; None: ZEGO has sent no time."""
    if ahead is None or abs(ahead) <= MAX_OFF:
        return None
    direction = "behind" if ahead > timedelta(0) else "ahead of"
    return Refusal(Cause.ZEGO, f"the clock is {_describe(abs(ahead))} {direction} ZEGO's: {_SET_CLOCK}")


def judge_jump(ahead: timedelta) -> Refusal | None:
    """Whether our clock was set too far during a pass."""
    if abs(ahead) <= MAX_OFF:
        return None
    direction = "back" if ahead > timedelta(0) else "forward"
    return Refusal(Cause.JUMP, f"the clock was set {direction} by {_describe(abs(ahead))} during a sweep: {_SET_CLOCK}")


def _describe(span: timedelta) -> str:
    """A span in whole minutes, or in hours and days where it is long."""
    minutes = round(span.total_seconds() / 60)
    for unit, size in (("days", 2 * 24 * 60), ("hours", 2 * 60)):
        if minutes >= size:
            return f"{minutes // (size // 2)} {unit}"
    return f"{minutes} minutes"
