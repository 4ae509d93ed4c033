"""The command line: `zego-retention …`. Nothing is imported before it is needed, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

_INTERRUPTED = "zego-retention: interrupted\n"


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    now: Callable[[], datetime] | None = None,
) -> int:
    """Carry out one command and return its exit code; what goes wrong is said in one line on standard error.

    What is not given is that of this process: its arguments, its environment, its clock.
    """
    before, sys.unraisablehook = sys.unraisablehook, _leave_if_interrupted
    try:
        from service.cli.entry import run_command

        return run_command(arguments, os.environ if environ is None else environ, now)
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
