"""The breaker: how many files that nobody approved a pass may ask for of one app."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_SHARE_COUNTS_BEYOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The most files of an app in one pass, and the largest share of its present files where over 1,000 are due.

    Raises:
        ValueError: one of them is not above 0; there is no limit that means "none".
    """

    files: int
    share: float

    def __post_init__(self) -> None:
        if not (self.files > 0 and self.share > 0):
            msg = f"the breaker's limits must be above 0, not {self.files} files and a share of {self.share}"
            raise ValueError(msg)

    def allow(self, present: int) -> int:
        """How many files may go at most, of an app with so many present ones."""
        # The share as it is written: in binary, 0.2 of some counts is a little less than what it looks like.
        return min(self.files, max(_SHARE_COUNTS_BEYOND, int(Decimal(str(self.share)) * present)))

    def needs_present(self, due: int) -> bool:
        """Whether the number of present files matters, which is dear to count."""
        return due > min(self.files, _SHARE_COUNTS_BEYOND)


@dataclass(frozen=True, slots=True)
class Trip:
    """Why a pass is stopped: so many files due, of so many present, and the limit that they break in words."""

    due: int
    present: int
    reason: str


def judge_plan(due: int, present: int, limits: Limits) -> Trip | None:
    """Whether so many files of an app, due and approved by nobody, are too many for one pass."""
    if due <= limits.allow(present):
        return None
    if due > limits.files:
        return Trip(
            due,
            present,
            f"{due:,} files are due that nobody approved, more than BREAKER_FILES={limits.files:,} in one pass",
        )
    share = f"more than BREAKER_SHARE={limits.share:g} of its {present:,} present files in one pass"
    return Trip(due, present, f"{due:,} files are due that nobody approved, {share}")
