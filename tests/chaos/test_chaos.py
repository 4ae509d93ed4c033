"""The short form of `make chaos`: 40 seconds of harm on both databases side by side, then the verdict."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEED = 7


@pytest.mark.timeout(330)
def test_nothing_is_lost_wrong_stuck_or_unexplained() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--seconds", "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for database in ("sqlite", "postgresql"):
        assert f"{database}, seed {SEED}: 0 lost, 0 wrong, 0 stuck, 0 unexplained" in done.stdout
