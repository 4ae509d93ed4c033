"""When sweeps are meant to start: slots computed from the calendar alone, the same in every process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from service.units import format_duration

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRIAL: Final = datetime(2024, 1, 1, tzinfo=UTC)
_FIELDS: Final = 5
_OFF: Final = "off"
_EVERY: Final = "every "
_RUN_UP: Final = timedelta(hours=26)
"""Longer than any jump that a clock of a time zone has made (a whole day, in Samoa)."""


@dataclass(frozen=True, slots=True)
class Every:
    """Slots at the multiples of a positive period since 1970-01-01T00:00Z."""

    period: timedelta

    def last_slot(self, now: datetime) -> datetime:
        """The last slot up to and including `now`."""
        return _EPOCH + (now - _EPOCH) // self.period * self.period

    def next_slot(self, now: datetime) -> datetime:
        """The first slot after `now`."""
        return self.last_slot(now) + self.period


@dataclass(frozen=True, slots=True)
class Cron:
    """Slots of a cron expression of five fields, in the local time of a zone; answers are in UTC.

    As cron has it: a local time that a clock change skips fires right after it, one that it repeats fires once.
    """

    expression: str
    timezone: ZoneInfo

    def __post_init__(self) -> None:
        try:
            fires = len(self.expression.split()) == _FIELDS and next(self._from(_TRIAL), None) is not None
        except (CronSimError, ValueError):  # a ValueError: a number of thousands of digits
            fires = False
        if not fires:
            raise ValueError(
                f"{self.expression[:60]!r} is not a cron expression with a next date: write five fields (minute, hour,"
                " day of month, month, day of week), for example 30 3 * * *"
            )

    def last_slot(self, now: datetime) -> datetime:
        """The last slot up to and including `now`; a ValueError if there was none in the 50 years before."""
        for candidate in CronSim(self.expression, now.astimezone(self.timezone), reverse=True):
            # Backwards, or from inside a repeated hour, the library misplaces slots; forwards from before, it does not.
            start = candidate.astimezone(UTC) - _RUN_UP
            if slots := list(takewhile(lambda slot: slot <= now, self._from(start))):
                return slots[-1]
        raise ValueError(f"{self.expression!r} has not fired in 50 years")

    def next_slot(self, now: datetime) -> datetime:
        """The first slot after `now`."""
        return next(slot for slot in self._from(now - _RUN_UP) if slot > now)

    def _from(self, start: datetime) -> Iterator[datetime]:
        return (slot.astimezone(UTC) for slot in CronSim(self.expression, start.astimezone(self.timezone)))


Slots: TypeAlias = Every | Cron


def describe_slots(slots: Slots | None) -> str:
    """When sweeps start, for people: `every 15m`, `30 3 * * * Asia/Shanghai`, `off`."""
    if slots is None:
        return _OFF
    if isinstance(slots, Every):
        return f"{_EVERY}{format_duration(slots.period)}"
    return f"{' '.join(slots.expression.split())} {slots.timezone.key}"
