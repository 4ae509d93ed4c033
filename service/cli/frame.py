"""One call of the command line: what it works with, what becomes of an error, and how it ends."""

from __future__ import annotations

import errno
import getpass
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import click

from service.model import Actor

if TYPE_CHECKING:
    from service.settings import Settings
    from service.wiring import Service

PROGRAM: Final = "zego-retention"
_LONGEST_NAME: Final = 200


class ExitCode(IntEnum):
    """How a command ends; documented in the README."""

    DONE = 0
    FAILED = 1
    NEEDS_PERSON = 3


class CommandFailed(Exception):  # noqa: N818  (an answer to a person, not a defect)
    """The command could not do what was asked; the text says why in one line."""


class Invocation:
    """What a command works with: the environment, the clock, the options that many commands share, the service."""

    def __init__(self, environ: Mapping[str, str], now: Callable[[], datetime], *, has_output: bool = True) -> None:
        self.environ = environ
        self.now = now
        self.has_output = has_output
        self.as_json = False
        self.is_wide = False
        self.limit: int | None = None
        self.by: str | None = None

    @cached_property
    def service(self) -> Service:
        """The service, on a database that is ready."""
        from service.wiring import open_service

        return open_service(self.read_settings(), now=self.now)

    @property
    def actor(self) -> Actor:
        """Who changes something: as given with --by, else the user of this machine."""
        return Actor((self.by or _name_user())[:_LONGEST_NAME], "command line")

    def read_settings(self, *, stays: bool = False, warns: bool = True) -> Settings:
        """Read the settings and start logging; unless it `stays` running, a command logs from WARNING on.

        `warns`: log what the settings hold that means nothing.
        """
        import structlog

        from service.logs import configure_logging
        from service.settings import load_settings
        from service.stopping import has_lifeline

        settings = load_settings(self.environ)
        chosen = stays or "log_level" in settings.model_fields_set
        configure_logging(settings.log_format, settings.log_level if chosen else "WARNING")
        for room in ("service.sweep", "service.listing"):  # what a command finds it shows by itself
            logging.getLogger(room).setLevel(logging.NOTSET if chosen else logging.CRITICAL)
        # Whoever started this process has said what there is to say.
        for warning in settings.warnings if warns and not has_lifeline(self.environ) else ():
            structlog.get_logger(__name__).warning("setting_ignored", note=warning)
        return settings

    def close(self) -> None:
        """Close the service, if it was opened."""
        if "service" in self.__dict__:
            self.service.close()


def run_command(cli: click.Group, arguments: Sequence[str], invocation: Invocation) -> int:
    """Carry out one command and return its exit code; KeyboardInterrupt if a person stopped it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # what an output's encoding lacks stops nothing
    try:
        _refuse_bytes(arguments)
        # Not `cli.main`: it reports an interruption by itself, in two lines.
        with cli.make_context(PROGRAM, list(arguments), obj=invocation) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except (BrokenPipeError, SystemExit):  # `… | head` has seen enough (rich raises the latter of the two then)
        code = ExitCode.DONE
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        code = error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:  # noqa: BLE001  (whatever it is: a person reads one line)
        with suppress(OSError):
            sys.stderr.write(f"{PROGRAM}: {' '.join(_describe(error).split())}\n")
        code = ExitCode.FAILED
    finally:
        invocation.close()
        _drop_what_nobody_takes()
    return int(code or ExitCode.DONE)


def _describe(error: Exception) -> str:
    """What happened and what helps."""
    # Loaded only now: a command that goes well may not need them.
    from service.database import DatabaseUnavailable
    from service.health.remedies import find_remedy
    from service.leader.leader import LeadLost
    from service.model import NotPossible
    from service.rules.file import RulesError
    from service.settings import SettingsError
    from service.web.address import CannotListen

    if isinstance(error, DatabaseUnavailable | PermissionError):
        return "; ".join(filter(None, find_remedy(error)))
    if isinstance(error, LeadLost):
        return f"{error}, so this command has stopped; run it again"
    if isinstance(error, CommandFailed | CannotListen | NotPossible | RulesError | SettingsError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or ("standard output" if error.errno == errno.ENOSPC else "")
        return f"the system says: {error.strerror}" + (f" ({where})" if where else "")
    logging.getLogger(__name__).debug("command_failed", exc_info=error)
    where = "set ZEGO_RETENTION_LOG_LEVEL=DEBUG to see where, and report it, please"
    return f"unexpected {type(error).__name__}: {where}"


def _drop_what_nobody_takes() -> None:
    """Output that cannot be written would fail once more, with a traceback, when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Neither database nor output takes what is no text."""
    for text in arguments:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"an argument is not UTF-8 text: {text!r}") from None


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def _name_user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"
    return name.encode("utf-8", "backslashreplace").decode()
