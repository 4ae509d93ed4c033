"""The way in: all commands together, and what becomes of an error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click
import structlog

from service import __version__
from service.cli.audit import audit_group
from service.cli.callbacks import callbacks_group
from service.cli.doctor import doctor_command
from service.cli.files import files_group
from service.cli.holds import holds_group
from service.cli.invocation import (
    CommandFailed,
    ExitCode,
    Invocation,
    Output,
    ReaderGone,
    survive_odd_encodings,
)
from service.cli.processes import demo_command, migrate_command, serve_command, web_command, worker_command
from service.cli.reconcile import reconcile_command
from service.cli.rules import rules_group
from service.cli.runs import runs_group
from service.cli.sweep import sweep_command
from service.cli.tokens import tokens_group
from service.core.rules_file import RulesError
from service.db.engine import DatabaseUnavailable
from service.logs import configure_logging
from service.settings import SettingsError
from service.usecases.inventory import NotPossible
from service.usecases.remedies import NO_PERMISSION_REMEDY, describe_no_permission, find_remedy
from service.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

PROGRAM = "zego-retention"
_EXPECTED = (CommandFailed, SettingsError, DatabaseUnavailable, RulesError, NotPossible, PermissionError)

log = structlog.get_logger(__name__)


class _InOrder(click.Group):
    """Lists its commands in the order in which people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """The names as they were added."""
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 something failed; 2 usage; 3 done, but something needs a person.",
)
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Delete ZEGO's CDN recordings when their retention window has passed.

    Settings come from environment variables ZEGO_RETENTION_…, or from a TOML file named by ZEGO_RETENTION_CONFIG.
    """


for command in (
    demo_command,
    doctor_command,
    serve_command,
    web_command,
    worker_command,
    sweep_command,
    reconcile_command,
    rules_group,
    files_group,
    holds_group,
    callbacks_group,
    runs_group,
    audit_group,
    tokens_group,
    migrate_command,
):
    cli.add_command(command)


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> int:
    """Carry out one command and return its exit code; what goes wrong is said in one line on standard error.

    Without `arguments` and `environ`, those of the process count.
    """
    survive_odd_encodings()
    configure_logging(None, "WARNING")
    surroundings = os.environ if environ is None else environ
    invocation = Invocation(surroundings, now, Output(sys.stdout), Output(sys.stderr))
    try:
        code = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False, obj=invocation)
        _flush()
    except ReaderGone:
        return _leave_quietly()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted")
    except _EXPECTED as error:
        return _fail(_with_remedy(error))
    except Exception as error:
        log.debug("command_failed", exc_info=True)
        return _fail(
            f"unexpected {type(error).__name__}: set ZEGO_RETENTION_LOG_LEVEL=DEBUG to see where, and report it, please"
        )
    return int(code or ExitCode.DONE)


def _fail(message: str) -> int:
    sys.stderr.write(f"{PROGRAM}: {' '.join(message.split())}\n")
    return ExitCode.FAILED


def _with_remedy(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{describe_no_permission(error)}; {NO_PERMISSION_REMEDY}"
    remedy = find_remedy(str(error)) if isinstance(error, DatabaseUnavailable) else None
    return f"{error}; {remedy}" if remedy else str(error)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def _leave_quietly() -> int:
    # What is still buffered would be written, and fail, when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE
