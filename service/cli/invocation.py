"""One call of the command line: what it reads, where it writes, and how it ends."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from rich.console import RenderableType

    from service.cli.tables import Output
    from service.settings import Settings
    from service.wiring import Service


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


class Invocation:
    """The surroundings of a command, handed to it: the environment, the clock, standard output and standard error."""

    def __init__(self, environ: Mapping[str, str], now: Callable[[], datetime] | None = None) -> None:
        self.environ = environ
        self._now = now

    @cached_property
    def now(self) -> Callable[[], datetime]:
        """The clock."""
        from service.wiring import utc_now

        return self._now or utc_now

    @cached_property
    def out(self) -> Output:
        """Standard output."""
        from service.cli.tables import Output

        return Output(sys.stdout)

    @cached_property
    def err(self) -> Output:
        """Standard error."""
        from service.cli.tables import Output

        return Output(sys.stderr)

    def read_settings(self, *, is_process: bool = False) -> Settings:
        """Read the settings and start logging; what stays running logs from INFO on, a single command from WARNING on.

        Raises:
            SettingsError: a setting is missing or wrong.
        """
        from service.logs import configure_logging
        from service.settings import load_settings

        settings = load_settings(self.environ)
        chosen = is_process or "log_level" in settings.model_fields_set
        configure_logging(settings.log_format, settings.log_level if chosen else "WARNING")
        return settings

    @contextmanager
    def opened(self, *, creates_database: bool = False) -> Iterator[Service]:
        """The service on a database that is ready, closed at the end of the block.

        Raises:
            SettingsError: a setting is missing or wrong.
            DatabaseUnavailable: the database does not exist, cannot be used, or has to be migrated first.
            PermissionError: this user may not touch the file of an SQLite database.
        """
        settings = self.read_settings()
        warn_of_settings(settings)
        from service.wiring import open_service

        service = open_service(settings, now=self.now, creates_database=creates_database)
        try:
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
            sys.stdout.write(text)
        except BrokenPipeError:
            raise ReaderGone from None


def warn_of_settings(settings: Settings) -> None:
    """Log what the settings hold that means nothing."""
    if settings.warnings:
        import structlog

        log = structlog.get_logger(__name__)
        for warning in settings.warnings:
            log.warning("setting_ignored", note=warning)
