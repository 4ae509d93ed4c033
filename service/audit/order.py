"""Orders: what a person changed and the leader has to apply to the files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Order:
    """An order; `number` is that of its audit entry, `app_id` the one app that it concerns (None: all).

    `result` says what came of it, once `applied_at` is set. `failure` says why it could not be applied; it is tried
    again, and until then no file of the apps that it concerns is asked for.
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
            return OrderState.APPLIED
        return OrderState.WAITING if self.failure is None else OrderState.FAILED

    @property
    def summary(self) -> str:
        """The same as a sentence."""
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
