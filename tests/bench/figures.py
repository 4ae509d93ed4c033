"""Figures: what was measured, what it is compared with, and what it should be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_ROW = "{part:8} {database:11} {what:52} {value:>16} {beside:28} {ratio:>9} {aim:8} {met:4} {note}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement. The aim (at least, or at most) is for the ratio to `beside` if there is one, else the value."""

    part: str
    database: str
    what: str
    value: float
    unit: str = ""
    beside: float | None = None
    named: str = ""
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.beside is None else self.value / max(self.beside, 1e-9)

    @property
    def is_met(self) -> bool | None:
        judged = self.value if self.ratio is None else self.ratio
        if self.at_least is not None:
            return judged >= self.at_least
        return None if self.at_most is None else judged <= self.at_most

    def show(self) -> str:
        """Its row of the table."""
        aims = (f"{sign} {aim:g}" for sign, aim in (("≥", self.at_least), ("≤", self.at_most)) if aim is not None)
        cells = asdict(self) | {
            "value": f"{_show(self.value)} {self.unit}",
            "beside": "" if self.beside is None else f"{_show(self.beside)} {self.named}",
            "ratio": "" if self.ratio is None else f"{_show(self.ratio)} ×",
            "aim": "".join(aims),
            "met": {None: "", True: "yes", False: "NO"}[self.is_met],
        }
        return _ROW.format(**cells).rstrip()


@dataclass(slots=True)
class Report:
    """The figures of one run, each printed when it is known."""

    about: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)

    def start(self) -> None:
        names = ("part", "database", "what", "value", "beside", "ratio", "aim", "met", "note")
        print(_ROW.format(**dict(zip(names, names, strict=True))))

    def add(self, *figures: Figure) -> None:
        for figure in figures:
            self.figures.append(figure)
            print(figure.show(), flush=True)

    def write(self, path: Path) -> None:
        """The same as JSON."""
        found = [asdict(figure) | {"ratio": figure.ratio, "is_met": figure.is_met} for figure in self.figures]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.about | {"figures": found}, indent=1, ensure_ascii=False), encoding="utf-8")


def _show(number: float) -> str:
    return f"{number:,.0f}" if number == 0 or abs(number) >= 100 else f"{number:.3g}"
