"""`serve`: web side and worker as two child processes of one that only watches over them (docs/operations.md).

Two processes, so that a worker that dies never takes the callback URL away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

import structlog

from service import __version__
from service.database import DatabaseUnavailable
from service.logs import configure_logging
from service.rules.store import find_current
from service.settings import Settings
from service.stopping import StopSignals, stop_signals, with_lifeline
from service.units import count_of
from service.web.address import CannotListen, check_address, is_answering
from service.wiring import MigrationsPending, open_service

_EARLY_S: Final = 3.0
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_STABLE_S: Final = 60.0
_LOOK_S: Final = 0.1
_MAX_STOPPING_S: Final = 90.0

log = structlog.get_logger(__name__)


def run_serve(settings: Settings) -> int:
    """Run both sides until SIGTERM or SIGINT; both may finish their work. Returns the exit code.

    A side that ends at the very start stops everything: something is wrong that waiting does not cure. Later it is
    started again, after 1 s, then 2 s, up to 30 s.
    """
    configure_logging(settings.log_format, settings.log_level)
    with stop_signals(second_ends=False) as signals:
        try:
            check_address(settings.listen)
            rules = _prepare(settings)
        except (CannotListen, DatabaseUnavailable) as error:
            sys.stderr.write(f"zego-retention: {error}\n")
            return 1
        sides = [Side("web"), Side("worker")]
        try:
            return _watch(sides, signals, settings, rules)
        finally:
            _stop(sides, signals)


@dataclass(slots=True)
class Side:
    """One child process: the command it runs, and when it was, or will be, started (monotonic seconds)."""

    command: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    pause_s: float = _SHORTEST_PAUSE_S

    def start(self) -> None:
        """Start the process, in a session of its own: a Ctrl-C reaches it through us, once."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  (our own command)
            # -P: a folder called "service" where we were started must not be taken for ours.
            [sys.executable, "-P", "-m", "service", self.command],
            env=with_lifeline(os.environ),
            start_new_session=True,
        )

    def look(self) -> int | None:
        """The exit code of a process that has ended since the last look; one whose pause is over is started again."""
        if self.process is None:
            if time.monotonic() >= self.start_again_at:
                self.start()
            return None
        code = self.process.poll()
        if code is not None:
            if time.monotonic() - self.started_at > _STABLE_S:
                self.pause_s = _SHORTEST_PAUSE_S
            self.process = None
            self.start_again_at = time.monotonic() + self.pause_s
            self.pause_s = min(self.pause_s * 2, _LONGEST_PAUSE_S)
        return code


def describe_start(settings: Settings, rules: str) -> str:
    """What a person needs to know once the service runs: where it listens, what to register, what is in force."""
    if settings.public_url:
        url = f"{settings.public_url}/zego/callback"
    else:
        url = "set ZEGO_RETENTION_PUBLIC_URL to where ZEGO reaches this service; register that and /zego/callback"
    no_app = "none: set ZEGO_RETENTION_APP_ID, …_SERVER_SECRET and …_CALLBACK_SECRET"
    return (
        f"zego-retention {__version__} is running; Ctrl-C stops it\n"
        f"  listening on  http://{settings.listen}\n"
        f"  callback URL  {url}\n"
        "                (ZEGO's console: Project → Server callback → Recording file)\n"
        f"  apps          {', '.join(app.name for app in settings.apps) or no_app}\n"
        f"  rules         {rules}\n"
    ) + (
        ""
        if settings.sweep_slots
        else "  sweeps        off (ZEGO_RETENTION_SWEEP_EVERY): nothing is deleted by itself\n"
    )


def _prepare(settings: Settings) -> str:
    """Make the database ready and say which rules are in force. A server that is away is left to both sides to await.

    Raises:
        DatabaseUnavailable: waiting would not help: a migration is pending, or the file cannot be used.
    """
    try:
        service = open_service(settings, creates_database=True)
    except MigrationsPending:
        raise
    except DatabaseUnavailable as error:
        if settings.database_url.startswith("sqlite"):
            raise
        log.error("database_not_ready", detail=str(error))
        return "unknown until the database is there"
    try:
        with service.database.read() as tx:
            revision = find_current(tx)
    finally:
        service.close()
    if revision is None:
        return "none, so nothing is ever deleted: set ZEGO_RETENTION_KEEP, or see `zego-retention rules apply --help`"
    return f"revision {revision.number}, {count_of(len(revision.rules), 'rule')}; see `zego-retention rules list`"


def _watch(sides: list[Side], signals: StopSignals, settings: Settings, rules: str) -> int:
    """Keep both sides running until a signal comes (0), or one ends within three seconds or before all runs (1).

    Where the service runs is said as soon as it does.
    """
    for side in sides:
        side.start()
    early, announced = time.monotonic() + _EARLY_S, False
    while True:
        signum = signals.wait(_LOOK_S)
        if signum is not None:
            log.info("serve_stopping", signal=signal.Signals(signum).name)
            return 0
        for side in sides:
            code = side.look()
            if code is None:
                continue
            if time.monotonic() < early or not announced:
                log.error("side_failed", side=side.command, code=code)
                return 1
            log.error("side_ended", side=side.command, code=code, again_in_s=side.start_again_at - time.monotonic())
        if not announced and is_answering(settings.listen):
            announced = True
            sys.stdout.write(describe_start(settings, rules))
            sys.stdout.flush()


def _stop(sides: list[Side], signals: StopSignals) -> None:
    """Ask both sides to finish, and wait; a second signal, or too long a wait, ends them at once."""
    running = [side.process for side in sides if side.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _MAX_STOPPING_S
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        if signals.wait(_LOOK_S) is not None:
            break
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
    log.info("serve_stopped")
