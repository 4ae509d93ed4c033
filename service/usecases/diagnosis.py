"""What a check of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended. `attention`: it works, but files wait for a person. `skipped`: it could not be looked at."""

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
