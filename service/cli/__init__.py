"""The command line: `zego-retention …`. `commands.py` declares all of it; what a command does is loaded when called."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # an interruption is one line from here on, so nothing is loaded before `main` that takes time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

_INTERRUPTED = "zego-retention: interrupted\n"


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], datetime] | None = None,
) -> int:
    """Carry out one command and return its exit code; what goes wrong is said in one line on standard error."""
    before, sys.unraisablehook = sys.unraisablehook, _leave_if_interrupted
    missing = _open_missing_streams()
    try:
        from service.cli.commands import cli
        from service.cli.frame import Invocation, run_command, utc_now

        invocation = Invocation(environ, now or utc_now, has_output="stdout" not in missing)
        return run_command(cli, sys.argv[1:] if arguments is None else arguments, invocation)
    except KeyboardInterrupt:  # also while modules are still being loaded
        try:
            sys.stdout.flush()  # what was shown before comes before
            sys.stderr.write(_INTERRUPTED)
        except OSError:
            pass
        return 1
    finally:
        sys.unraisablehook = before


def _open_missing_streams() -> list[str]:
    """Where a shell closed one (`>&-`), the next file to be opened would take its place: a database, for one."""
    missing = []
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            missing.append(name)
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    return missing


def _leave_if_interrupted(lost: sys.UnraisableHookArgs) -> None:
    """Where Python cannot pass Ctrl-C on (in a callback of its import machinery, for one), end here."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    os.write(2, _INTERRUPTED.encode())
    os._exit(1)
