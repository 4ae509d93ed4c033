"""What a run did to whom, and what came of it, as text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.chaos.schedule import count_kinds
from tests.chaos.witness import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.world import Result

_MAX_PROBLEMS: Final = 60


def describe(result: Result, seed: int, seconds: int) -> str:
    """Everything that a person needs to judge a run, and to find out what happened."""
    return "\n".join(_write(result, seed, seconds))


def _write(result: Result, seed: int, seconds: int) -> Iterator[str]:
    yield f"=== {result.database}, seed {seed}, {seconds} s"
    yield "what was done, and when (seconds from the start):"
    yield from (f"  {blow}" for blow in result.schedule if blow.kind != "look after it")
    yield "how often:"
    planned = count_kinds(result.schedule)
    yield from (f"  {kind}: {result.dealt[kind]} of {count}" for kind, count in planned.items())
    yield "figures:"
    yield from (f"  {name}: {figure}" for name, figure in result.figures.items())
    if result.problems:
        yield "problems:"
        yield from (f"  {problem}" for problem in result.problems[:_MAX_PROBLEMS])
        yield f"what is known of them:\n{result.more}"
    counts = Counter(problem.fault for problem in result.problems)
    verdict = ", ".join(f"{counts[fault]} {fault}" for fault in Fault)
    yield f"{result.database}, seed {seed}: {verdict}"
