"""`python -m tests.chaos`: callbacks and sweeps while everything goes wrong that can; afterwards, what came of it.

Both databases are two worlds side by side, each in a process of its own.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import click

from tests.chaos.report import describe
from tests.chaos.schedule import POSTGRESQL, SQLITE
from tests.chaos.world import run

_HELP_SEED = "Makes the run repeatable; by default one at random."


@click.command()
@click.option("--seed", type=int, default=lambda: random.SystemRandom().randrange(1_000_000), help=_HELP_SEED)
@click.option("--seconds", type=click.IntRange(20), default=900, show_default=True, help="How long things go wrong.")
@click.option("--database", type=click.Choice([SQLITE, POSTGRESQL, "both"]), default="both", show_default=True)
def main(seed: int, seconds: int, database: str) -> None:
    """Do harm for a while, then judge; exits 1 if anything was lost, wrong, stuck or unexplained."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    if database != "both":
        result = run(seed, seconds, database)
        click.echo(describe(result, seed, seconds))
        sys.exit(bool(result.problems))
    click.echo(f"chaos: seed {seed}, {seconds} s, SQLite and PostgreSQL side by side; again: make chaos SEED={seed}")
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), "--seconds", str(seconds), "--database"]
    worlds = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in (SQLITE, POSTGRESQL)]
    try:
        for world in worlds:
            click.echo(world.communicate()[0])
    finally:
        for world in worlds:
            if world.poll() is None:
                world.terminate()
                world.wait()
    sys.exit(any(world.returncode for world in worlds))


if __name__ == "__main__":
    main()
