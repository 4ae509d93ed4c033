"""What is done to whom and when: a pure function of seed, length and database, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

POSTGRESQL: Final = "postgresql"
SQLITE: Final = "sqlite"

_LONG_S: Final = 300
"""From this length on, what is done lasts as long as it would in production."""


class Track(StrEnum):
    """Who deals it. Within a track one follows the other, the tracks run side by side."""

    MACHINE = "machine"
    ZEGO = "zego"
    PEOPLE = "people"


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that is done, `at` so many seconds after the start, for `lasts` seconds."""

    at: float
    track: Track
    kind: str
    lasts: float = 0.0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ends(self) -> float:
        return self.at + self.lasts

    def __str__(self) -> str:
        more = "".join(f" {name}={value}" for name, value in self.arguments.items())
        lasts = f" for {self.lasts:.0f} s" if self.lasts else ""
        return f"{self.at:6.1f}  {self.track:8}{self.kind}{more}{lasts}"


# How long each lasts in a long run and in a short one.
_MACHINE: Final = {
    "kill web": (0.0, 0.0),
    "kill leader": (0.0, 0.0),
    "suspend leader": (20.0, 6.0),
    "stop the database": (120.0, 6.0),
    "hold the database": (30.0, 5.0),
    "fill the disk": (20.0, 4.0),
    "clock a day ahead": (20.0, 4.0),
    "clock a day behind": (20.0, 4.0),
}
_NOT_ON: Final = {SQLITE: {"stop the database"}, POSTGRESQL: {"hold the database"}}
_OFTEN: Final = ("kill web", "kill leader")

_ZEGO: Final = (
    "drop before",
    "drop after",
    "stall",
    "502",
    "502 but done",
    "503 with Retry-After",
    "429",
    "cut JSON",
    "code 6",
    "code 1000",
    "code 4",
    "code 5",
    "omit from the answer",
    "error for a file",
    "code 1000 for a file",
    "listing is short",
    "listing without ids",
    "listing understates",
)


def make_schedule(seed: int, seconds: int, database: str) -> list[Blow]:
    """Everything that is done in a run; it ends a little before `seconds`."""
    # A text as the seed: the hash of a tuple is not the same in every process.
    chance = random.Random(f"{seed} {seconds} {database}")
    blows = [*_plan_machine(chance, seconds, database), *_plan_zego(chance, seconds), *_plan_people(chance, seconds)]
    return sorted(blows, key=lambda blow: (blow.at, blow.track))


def count_kinds(blows: Sequence[Blow]) -> dict[str, int]:
    """How often each thing is done."""
    found: dict[str, int] = {}
    for blow in blows:
        found[blow.kind] = found.get(blow.kind, 0) + 1
    return dict(sorted(found.items()))


def _plan_machine(chance: random.Random, seconds: int, database: str) -> Iterator[Blow]:
    """Each kind once, in any order, and then what there is time for."""
    is_long = seconds >= _LONG_S
    kinds = [kind for kind in _MACHINE if kind not in _NOT_ON[database]]
    once = chance.sample(kinds, len(kinds))
    # Between the long ones processes are killed.
    wanted = [each for kind in once for each in ((kind, chance.choice(_OFTEN)) if is_long else (kind,))]
    gap = (2.0, 8.0) if is_long else (0.5, 1.5)
    at = chance.uniform(*gap)
    while True:
        kind = wanted.pop(0) if wanted else chance.choice([*kinds, *_OFTEN])
        lasts = _MACHINE[kind][not is_long]
        if at + lasts > seconds - 2:
            return
        yield Blow(at, Track.MACHINE, kind, lasts, _draw_arguments(chance, kind))
        at += lasts + chance.uniform(*gap)


def _draw_arguments(chance: random.Random, kind: str) -> dict[str, Any]:
    if kind == "fill the disk":
        return {"leaves_bytes": chance.choice((0, 50_000)), "spool": chance.choice((True, False))}
    if kind == "stop the database":
        return {"how": chance.choice(("fast", "immediate"))}
    return {}


def _plan_zego(chance: random.Random, seconds: int) -> Iterator[Blow]:
    is_long = seconds >= _LONG_S
    order = chance.sample(_ZEGO, len(_ZEGO))
    at, number = chance.uniform(1, 3), 0
    while at < seconds - 3:
        kind = order[number % len(order)]
        lasts = chance.uniform(4, 15) if is_long else chance.uniform(0.8, 2.0)
        # A stall beyond the client's patience, or a short one.
        arguments = {"seconds": chance.choice((2.0, 35.0)) if is_long else 2.0} if kind == "stall" else {}
        yield Blow(at, Track.ZEGO, kind, min(lasts, seconds - at - 1), arguments)
        at += lasts + (chance.uniform(3, 12) if is_long else chance.uniform(0.2, 0.6))
        number += 1


def _plan_people(chance: random.Random, seconds: int) -> Iterator[Blow]:
    """Holds that are released, rules that are shortened and taken back, and a round of looking after things."""
    every = seconds / 3 if seconds >= _LONG_S else seconds
    begin = 0.0
    number = 0
    while begin + every <= seconds + 1:
        number += 1
        moments = sorted(chance.uniform(begin + every * 0.08, begin + every * 0.9) for _ in range(4))
        stream = f"pause-{number}"
        yield Blow(moments[0], Track.PEOPLE, "hold", 0.0, {"stream": stream})
        yield Blow(moments[2], Track.PEOPLE, "release", 0.0, {"stream": stream})
        yield Blow(moments[1], Track.PEOPLE, "shorten the rules")
        yield Blow(moments[3], Track.PEOPLE, "take the rules back")
        begin += every
    at, pause = 2.0, 10.0 if seconds >= _LONG_S else 4.0
    while at < seconds:
        yield Blow(at, Track.PEOPLE, "look after it")
        at += pause
