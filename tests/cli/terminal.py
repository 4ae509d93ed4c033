"""A person at a terminal: a real process that is asked something, and an answer typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.processes import MAX_WAIT_S
from tests.world import environment

if TYPE_CHECKING:
    from tests.world import World


def type_into(world: World, database_url: str, question: bytes, answer: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal, answer its question; the exit code and what was seen. The world leads afterwards."""
    world.service.leader.release()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        env=os.environ | environment(database_url, world.sandbox.url),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    seen, typed, deadline = b"", False, time.monotonic() + MAX_WAIT_S
    while time.monotonic() < deadline:
        try:
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 4096)
        except OSError:  # how a terminal says that the other side is gone
            break
        if question in seen and not typed:
            os.write(ours, answer)
            typed = True
    code = process.wait(MAX_WAIT_S)
    os.close(ours)
    assert world.service.leader.try_to_lead()
    world.service.take_over()
    return code, seen.decode(errors="replace")
