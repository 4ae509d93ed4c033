"""The way in: all commands together, each loaded when it is called, and what becomes of an error."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from service import __version__
from service.cli.invocation import CommandFailed, ExitCode, Invocation, ReaderGone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

PROGRAM: Final = "zego-retention"

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("service.cli.processes:demo_command", "Show the main job on embedded parts, with nothing to set up."),
    "doctor": ("service.cli.doctor:doctor_command", "Check everything; say what is wrong, and the fix."),
    "serve": ("service.cli.processes:serve_command", "Run the web side and the worker together, until interrupted."),
    "web": ("service.cli.processes:web_command", "Run the web side: it receives callbacks."),
    "worker": ("service.cli.processes:worker_command", "Run the worker: it deletes what is due."),
    "sweep": ("service.cli.sweep:sweep_command", "Delete what is due now, once; or show it with --dry-run."),
    "reconcile": ("service.cli.reconcile:reconcile_command", "Compare the inventory with the vendors' listings."),
    "rules": ("service.cli.rules:rules_group", "Show, preview, apply and roll back retention rules."),
    "previews": ("service.cli.previews:previews_group", "Show what a preview of rules has found."),
    "files": ("service.cli.files:files_group", "List media files, explain, confirm, retry and delete them."),
    "holds": ("service.cli.holds:holds_group", "Keep files whatever the rules say."),
    "erasures": ("service.cli.erasures:erasures_group", "Show what people asked to be deleted."),
    "callbacks": ("service.cli.callbacks:callbacks_group", "Show stored callbacks, and have them judged again."),
    "runs": ("service.cli.runs:runs_group", "Show what sweeps have done."),
    "listings": ("service.cli.reconcile:listings_group", "Show what the vendors' listings showed."),
    "audit": ("service.cli.audit:audit_group", "List, verify and export the record of changes."),
    "tokens": ("service.cli.tokens:tokens_group", "Make and revoke access tokens of the API."),
    "migrate": ("service.cli.processes:migrate_command", "Bring the database to this release's schema."),
}
"""Every command, in the order in which people need them: where it is, and its line in `--help`."""


class LazyGroup(click.Group):
    """Loads a command's module when it is called, not when the commands are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """The names, in their order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 something failed; 2 usage; 3 done, but something needs a person.",
)
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Delete ZEGO's CDN recordings when their retention window has passed.

    Settings come from environment variables ZEGO_RETENTION_…, or from a TOML file named by ZEGO_RETENTION_CONFIG.
    """


def run_command(arguments: Sequence[str] | None, environ: Mapping[str, str], now: Callable[[], datetime] | None) -> int:
    """Carry out one command and return its exit code.

    Raises:
        KeyboardInterrupt: a person stopped it.
    """
    _survive_odd_encodings()
    invocation = Invocation(environ, now)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        # Not `cli.main`: it reports an interruption by itself, in two lines.
        with cli.make_context(PROGRAM, list(given), obj=invocation) as context:
            code = cli.invoke(context)
        _flush()
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except ReaderGone:
        return _leave_quietly()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:  # noqa: BLE001  (whatever it is: a person reads one line)
        return _fail(_describe(error))
    return int(code or ExitCode.DONE)


def _describe(error: Exception) -> str:
    """One line for a person: what happened and what helps."""
    if isinstance(error, CommandFailed):
        return str(error)
    # Loaded only now: a command that goes well may not need them.
    from service.database import DatabaseUnavailable
    from service.health.remedies import NO_PERMISSION_REMEDY, describe_no_permission, find_database_remedy
    from service.leader.leader import LeadLost
    from service.model import NotPossible
    from service.rules.file import RulesError
    from service.settings import SettingsError

    if isinstance(error, PermissionError):
        return f"{describe_no_permission(error)}; {NO_PERMISSION_REMEDY}"
    if isinstance(error, DatabaseUnavailable):
        remedy = find_database_remedy(str(error))
        return f"{error}; {remedy}" if remedy else str(error)
    if isinstance(error, LeadLost):
        return f"{error}, so this command has stopped; run it again"
    if isinstance(error, NotPossible | RulesError | SettingsError):
        return str(error)
    logging.getLogger(__name__).debug("command_failed", exc_info=error)
    where = "set ZEGO_RETENTION_LOG_LEVEL=DEBUG to see where, and report it, please"
    return f"unexpected {type(error).__name__}: {where}"


def _fail(message: str) -> int:
    sys.stderr.write(f"{PROGRAM}: {' '.join(message.split())}\n")
    return ExitCode.FAILED


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def _leave_quietly() -> int:
    # What is still buffered would be written, and fail, when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE


def _survive_odd_encodings() -> None:
    """Print what an output's encoding lacks as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
