from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import structlog

from service.cli import main
from tests.world import World, environment, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output, which has to be one JSON object per line and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        [only] = self.objects
        return only


Run: TypeAlias = Callable[..., Result]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for room in ("service.sweep", "service.listing"):
        logging.getLogger(room).setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_world(database_url) as world:
        yield world


@pytest.fixture
def run(world: World, database_url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, in the world's surroundings and at its time; meanwhile the world does not lead."""

    def run_command(*arguments: object, **settings: str) -> Result:
        environ = environment(database_url, world.sandbox.url, **settings)
        world.service.leader.release()
        capsys.readouterr()
        code = main([str(argument) for argument in arguments], environ=environ, now=world.clock)
        captured = capsys.readouterr()
        if world.service.leader.try_to_lead():
            world.service.take_over()
        return Result(code, captured.out, captured.err)

    return run_command
