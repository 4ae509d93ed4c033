"""What a check of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended.

    `warning`: something may be wrong. `attention`: the service works, but files or an app wait for a person. `problem`:
    it does not work. `skipped`: it could not be looked at.
    """

    OK = "ok"
    WARNING = "warning"
    ATTENTION = "attention"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: what was looked at, how it stands, and (if not well) the fix."""

    name: str
    status: Status
    text: str
    fix: str = ""
