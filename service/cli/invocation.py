"""One call of the command line: what it reads, where it writes, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import IO, TYPE_CHECKING, Any, NoReturn

import structlog
from rich.console import Console

from service.db.probing import find_missing_file
from service.logs import configure_logging
from service.setting_values import with_absolute_path
from service.settings import Settings, load_settings
from service.wiring import Service, build_service, prepare_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from rich.console import RenderableType

    from service.db.engine import Database

_ENDLESS = 100_000
"""Columns of an output that is no terminal: nothing is wrapped or cut there."""

log = structlog.get_logger(__name__)


class ExitCode(IntEnum):
    """How a command ends; documented in the README."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NEEDS_PERSON = 3


class CommandFailed(Exception):  # noqa: N818  (an answer to a person, not a defect)
    """The command could not do what was asked; the text says why in one line."""


class ReaderGone(Exception):  # noqa: N818  (a state of the world: `… | head` has seen enough)
    """Whoever read standard output has closed it."""


class Output(Console):
    """A console that takes text literally and, unless it is a terminal, never wraps."""

    def __init__(self, stream: IO[str]) -> None:
        self.on_terminal = stream.isatty()
        width = None if self.on_terminal else _ENDLESS
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Let the command end quietly."""
        raise ReaderGone


@dataclass(frozen=True, slots=True)
class Invocation:
    """The surroundings of a command, handed to it: the environment, the clock, standard output and standard error."""

    environ: Mapping[str, str]
    now: Callable[[], datetime]
    out: Output
    err: Output

    def read_settings(self, *, is_process: bool = False) -> Settings:
        """Read the settings and start logging; what stays running logs from INFO on, a single command from WARNING on.

        Raises:
            SettingsError: a setting is missing or wrong.
        """
        found = load_settings(self.environ)
        # From here on every message names the file itself, wherever the command was started.
        settings = found.model_copy(update={"database_url": with_absolute_path(found.database_url)})
        chosen = is_process or "log_level" in settings.model_fields_set
        configure_logging(settings.log_format, settings.log_level if chosen else "WARNING")
        return settings

    @contextmanager
    def opened(self, *, puts_keep_in_force: bool = True) -> Iterator[Service]:
        """The service on a database that is ready, closed at the end of the block.

        A command that promises to change nothing does without putting KEEP in force while there are no rules.

        Raises:
            SettingsError: a setting is missing or wrong.
            DatabaseUnavailable: the database cannot be used, or has to be migrated first.
            PermissionError: this user may not touch the file of an SQLite database.
        """
        settings = self.read_settings()
        warn_of_settings(settings)
        service = build_service(settings, now=self.now)
        try:
            new = find_new_file(service.database)
            prepare_database(service, puts_keep_in_force=puts_keep_in_force)
            if new:
                self.note(f"created a new database: {new}")
            yield service
        finally:
            service.close()

    def show(self, *parts: RenderableType) -> None:
        """Print for people on standard output."""
        for part in parts:
            if self.out.on_terminal:
                self.out.print(part)
                continue
            with self.out.capture() as captured:
                self.out.print(part)
            # Columns are padded with spaces, which mean nothing in a pipe.
            self.print_plain("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def note(self, text: str) -> None:
        """Print a remark for people on standard error, where it is in no script's way."""
        self.err.print(text)

    def print_json(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Print one JSON object per line, in ASCII: any terminal and any encoding can take it."""
        for item in objects:
            self.print_plain(json.dumps(item) + "\n")

    def print_plain(self, text: str) -> None:
        """Print text as it is on standard output.

        Raises:
            ReaderGone: nobody reads it any more.
        """
        try:
            self.out.file.write(text)
        except BrokenPipeError:
            raise ReaderGone from None


def find_new_file(database: Database) -> Path | None:
    """The SQLite file that the next use of the database creates; None if it is there, or on a server.

    Raises:
        PermissionError: it is there, and this user may not use it.
    """
    missing = find_missing_file(database)
    if missing is None and database.is_sqlite and not os.access(str(database.url.database), os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), database.url.database)
    return missing


def warn_of_settings(settings: Settings) -> None:
    """Log what the settings hold that means nothing."""
    for warning in settings.warnings:
        log.warning("setting_ignored", note=warning)


def survive_odd_encodings() -> None:
    """Print what an output's encoding lacks as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
