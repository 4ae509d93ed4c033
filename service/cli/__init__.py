"""The command line: `zego-retention …`. `commands.py` declares all of it; what a command does is loaded when called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

_INTERRUPTED = "zego-retention: interrupted\n"


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Carry out one command and return its exit code; what goes wrong is said in one line on standard error."""
    before, sys.unraisablehook = sys.unraisablehook, _leave_if_interrupted
    try:
        from service.cli.commands import cli
        from service.cli.frame import Invocation, run_command

        return run_command(cli, sys.argv[1:] if arguments is None else arguments, Invocation(environ, now))
    except KeyboardInterrupt:  # also while modules are still being loaded
        with suppress(OSError):
            sys.stdout.flush()  # what was shown before comes before
        sys.stderr.write(_INTERRUPTED)
        return 1
    finally:
        sys.unraisablehook = before


def _leave_if_interrupted(lost: sys.UnraisableHookArgs) -> None:
    """Where Python cannot pass Ctrl-C on (in a callback of its import machinery, for one), end here."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    os.write(2, _INTERRUPTED.encode())
    os._exit(1)
