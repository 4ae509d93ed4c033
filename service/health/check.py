"""What a check of the doctor says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

AT_ONCE: Final = timedelta(minutes=1)  # longer than the worker takes to do what it does at once
LOG_SAYS_WHY: Final = "a worker does that at once: start one, or see in its log why not"


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"  # nothing is wrong, but it is good to know
    WARNING = "warning"  # something may be wrong
    ATTENTION = "attention"  # the service works, but files or an app wait for a person
    PROBLEM = "problem"  # it does not work
    SKIPPED = "skipped"  # it could not be looked at


class Check(NamedTuple):
    """One line of the doctor: what was looked at, how it stands, and (if not well) the fix.

    One with a `key`, which stays the same while it lasts, is sent to people when it begins and when it is over.
    """

    name: str
    status: Status
    text: str
    fix: str = ""
    key: str = ""


Findings: TypeAlias = Iterable[tuple[Status, str, str] | tuple[Status, str, str, str]]
"""What a check found: status, text, fix, and a key if people are to be notified."""
