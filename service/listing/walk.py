"""What the ways through the vendors' listings have in common."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from service.zego.messages import Query, SearchAnswer

Walk: TypeAlias = Generator[Query, SearchAnswer, tuple[str, ...]]
"""Asks questions and is sent the answers; returns why the listing is not complete, a line each (none: it is complete).

The files of every answer are the caller's to take; a file may come more than once.
"""

MAX_PROBLEMS: Final = 20
"""After so many a listing is given up: the vendor does not answer what is asked."""


@dataclass(slots=True)
class Problems:
    """Why a listing cannot be called complete."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Keep a problem."""
        if line not in self.lines:
            self.lines.append(line)

    @property
    def are_many(self) -> bool:
        """It is of no use to ask on."""
        return len(self.lines) >= MAX_PROBLEMS
