"""Orders: what a person changed and the leader has to apply to the files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final


class OrderKind(StrEnum):
    """What an order asks for; the payload's keys are documented where it is placed and applied."""

    RULES = "rules"
    HOLD = "hold"
    RELEASE = "release"
    ERASE = "erase"
    CONFIRM = "confirm"
    RETRY = "retry"
    APPROVE = "approve"
    REPLAY = "replay"
    SWEEP = "sweep"
    RECONCILE = "reconcile"


class OrderState(StrEnum):
    """How an order stands."""

    APPLIED = "applied"
    FAILED = "failed"
    WAITING = "waiting"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Order:
    """An order; `number` is that of its audit entry, `app_id` the one app that it concerns (None: all).

    `result` says what came of it, once `applied_at` is set. `failure` says why it could not be applied; it is tried
    again, and until then no file of the apps that it concerns is asked for. With both, it has expired: nothing was
    done.
    """

    number: int
    kind: OrderKind
    app_id: str | None
    payload: dict[str, Any]
    applied_at: datetime | None = None
    result: dict[str, Any] | None = None
    failure: str | None = None

    @property
    def state(self) -> OrderState:
        """How it stands."""
        if self.applied_at is not None:
            return OrderState.APPLIED if self.failure is None else OrderState.EXPIRED
        return OrderState.WAITING if self.failure is None else OrderState.FAILED

    @property
    def summary(self) -> str:
        """The same as a sentence."""
        if self.state is OrderState.EXPIRED:
            return f"expired: {self.failure}"
        if self.state is OrderState.FAILED:
            return f"recorded, but applying it failed: {self.failure}"
        if self.state is OrderState.WAITING:
            return "recorded, not applied yet: see `zego-retention doctor` if that lasts"
        return "applied"


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction of applying an order has done.

    `result` is what is reported once the order is applied. `resume_after` is where the next transaction continues
    (the number of a file, for orders that may concern many); None: nothing is left.
    """

    result: dict[str, Any]
    resume_after: int | None = None


RUN_REQUESTS = frozenset({OrderKind.SWEEP, OrderKind.APPROVE, OrderKind.RECONCILE})
"""Orders that ask for a run: they are finished when it starts, by whoever runs it, with its number as the result."""

REQUESTS_LAST: Final = timedelta(minutes=15)
"""How old an order for a run may be when a leader finds it; an older one expires: it may be of a restored backup."""

EXPIRED: Final = (
    f"nobody began with it within {REQUESTS_LAST.seconds // 60} minutes, so nothing was done; order it again if it is"
    " still wanted"
)
